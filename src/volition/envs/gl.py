"""The one door to MuJoCo's drawing: chooses the backend before `mujoco` is imported, and holds the one GL context.

    python -m volition.envs.gl      exits 0 when a picture can be drawn without a screen, else 1 and says why

A second context in the same process draws nonsense without an error, so there is exactly one, made at the first
picture, shared by all models and bound to the thread and process that made it.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading

if sys.platform.startswith("linux") and not any(
    os.environ.get(name) for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")
):
    os.environ["MUJOCO_GL"] = "egl"
# Mesa's software rasteriser draws small pictures faster in the calling thread: its helpers cost more than they do.
os.environ.setdefault("LP_NUM_THREADS", "0")

import numpy as np

HELP = (
    "drawing needs an OpenGL library that works without a screen; on Debian and Ubuntu install it with: "
    "sudo apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri   and set MUJOCO_GL=egl "
    "(MUJOCO_GL=disable simulates without pictures)"
)

try:
    import mujoco
except (ImportError, AttributeError, RuntimeError, OSError) as error:  # what PyOpenGL raises differs by library
    raise ImportError(f"MuJoCo cannot be imported with MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}: {HELP}") from error

logger = logging.getLogger(__name__)

# Few slices, no multisampling, no shadows: a picture pair takes 1 ms instead of 94.
VISUAL = (
    '<visual><global offwidth="200" offheight="200"/>'
    '<quality shadowsize="0" offsamples="0" numslices="12" numstacks="6" numquads="1"/>'
    '<headlight ambient="0.42 0.42 0.42" diffuse="0.28 0.28 0.28" specular="0 0 0"/>'
    '<map znear="0.01" zfar="12"/></visual>'
)


class DrawingError(RuntimeError):
    """No picture can be drawn on this machine, in this process or in this thread; the message says what to do."""


class Context:
    """An off-screen GL context with MuJoCo's drawing lists. Make it with `process_context` only."""

    def __init__(self) -> None:
        model = mujoco.MjModel.from_xml_string(f"<mujoco>{VISUAL}</mujoco>")
        self._size = (model.vis.global_.offheight, model.vis.global_.offwidth)
        self._owner = (os.getpid(), threading.get_ident())
        make = getattr(mujoco, "GLContext", None)
        if make is None:
            raise DrawingError(f"MuJoCo found no OpenGL (MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}); {HELP}")
        try:
            self._window = make(self._size[1], self._size[0])
            self._window.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        except (RuntimeError, ImportError, AttributeError, OSError, mujoco.FatalError) as error:
            raise DrawingError(f"no off-screen GL context could be made ({error}); {HELP}") from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        if self._context.currentBuffer != mujoco.mjtFramebuffer.mjFB_OFFSCREEN:
            raise DrawingError(f"the GL context has no off-screen buffer; {HELP}")

    def draw(self, scene: mujoco.MjvScene, height: int, width: int) -> np.ndarray:
        """uint8[height, width, 3], RGB, first row on top."""
        if self._owner != (os.getpid(), threading.get_ident()):
            raise DrawingError(
                "pictures must be drawn by the process and thread that drew the first one, because there is one GL "
                "context a process; start workers with the 'spawn' method before anything is drawn"
            )
        if height > self._size[0] or width > self._size[1]:
            self._size = (max(height, self._size[0]), max(width, self._size[1]))
            mujoco.mjr_resizeOffscreen(self._size[1], self._size[0], self._context)
        view, pixels = mujoco.MjrRect(0, 0, width, height), np.empty((height, width, 3), np.uint8)
        mujoco.mjr_render(view, scene, self._context)
        mujoco.mjr_readPixels(pixels, None, view, self._context)
        return pixels[::-1]


@functools.cache
def process_context() -> Context:
    """The context of this process, made at the first call. Raises `DrawingError` where none can be made."""
    context = Context()
    if not _draws(context):
        raise DrawingError(f"the GL context draws constant pictures; {HELP}")
    return context


def _draws(context: Context) -> bool:
    """Whether a white box before a black background shows as both."""
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco>{VISUAL}<worldbody><geom type="box" size="0.1 0.1 0.1" rgba="1 1 1 1"/></worldbody></mujoco>'
    )
    data, scene = mujoco.MjData(model), mujoco.MjvScene(model, 10)
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.distance = 1.0
    option, perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
    mujoco.mjv_updateScene(model, data, option, perturb, camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
    picture = context.draw(scene, 32, 32)
    return bool(picture[16, 16].min() > 60 and picture[0, 0].max() < 30)


def main() -> int:
    """0 when a picture can be drawn here, else 1 with the reason logged."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        process_context()
    except DrawingError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
