"""Shared by all tests: one thread (two of them fight over a shared core), no network, and tiny things to train."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ["HF_HUB_OFFLINE"] = "1"
