"""Shared by all tests: one thread (two of them fight over a shared core), no network, no time limits on properties."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("ours", deadline=None)  # machines that others use are slow now and then, and that is no error
settings.load_profile("ours")
