# Everything sets itself up: `make demo` and `make test` are the two commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MUJOCO_GL ?= egl
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test setup lint types check clean gl

demo: setup
	$(BIN)/volition demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

setup: $(VENV)/.ready gl

# torch first and by its exact version: a range would fetch the newest build with gigabytes of CUDA packages.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Volition needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# MuJoCo draws through EGL; Debian and Ubuntu carry it in these packages.
gl: $(VENV)/.ready
	@$(BIN)/python -m volition.envs.desk.gl || ( \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq libegl1 libegl-mesa0 libgl1-mesa-dri; \
	  else echo 'No OpenGL library for drawing. Type:  sudo apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri'; exit 1; fi )

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
