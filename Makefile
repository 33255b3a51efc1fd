# Everything sets itself up: `make demo` and `make test` are the two commands.
#   make demo PYTHON=python3.12      with another Python (3.11 or newer)
#   make test TESTS=tests/data       one part only
PYTHON ?= python3
TESTS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export HF_HUB_OFFLINE ?= 1
ifeq ($(shell uname -s),Linux)
export MUJOCO_GL ?= egl
endif

.PHONY: demo test setup lint types check clean gl

demo: setup
	$(BIN)/volition demo

# One thread a process: two processes whose threads wait for each other's cores are slower than one. Each takes half of
# the tests in their order, so that what a file's tests share is made once, and helps the other at the end.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal $(TESTS)

setup: $(VENV)/.ready gl

# torch first and by its exact version: a range would fetch the newest build with gigabytes of CUDA packages.
# A torch for GPUs that is in .venv already is yours and stays (docs/your-own-gpu.md).
$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo 'There is no $(PYTHON). Name a Python 3.11 or newer: make PYTHON=python3.12 ...'; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Volition needs Python 3.11 or newer, and this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	@echo 'Installing into $(VENV): some minutes, once.'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -c 'import sys, torch; sys.exit(not (torch.version.cuda or torch.version.hip))' 2>/dev/null \
	  || $(INSTALL) -c constraints.txt torch
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	@$(INSTALL) -c $(VENV)/constraints.txt -e '.[dev]'
	@touch $@

# MuJoCo draws through EGL; Debian and Ubuntu carry it in these packages.
GL_PACKAGES := libegl1 libegl-mesa0 libgl1-mesa-dri
gl: $(VENV)/.ready
	@$(BIN)/python -m volition.envs.gl 2>$(VENV)/gl.log || { \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    echo 'Installing $(GL_PACKAGES) for drawing.'; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(GL_PACKAGES) >/dev/null \
	      && $(BIN)/python -m volition.envs.gl; \
	  else cat $(VENV)/gl.log; exit 1; fi; }

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
