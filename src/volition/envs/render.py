"""Pictures of a world, drawn on demand with the process's one GL context. Drawing never changes the physics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from volition.envs.gl import mujoco, process_context

_MAX_GEOMS = 400


class Renderer:
    """Draws one world; made before the first picture only, so that physics alone needs no GL."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._context = process_context()
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        flag = mujoco.mjtRndFlag
        for expensive in (flag.mjRND_SHADOW, flag.mjRND_REFLECTION, flag.mjRND_SKYBOX, flag.mjRND_HAZE):
            self._scene.flags[expensive] = 0
        self._option, self._perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._cameras = {}
        for index in range(model.ncam):
            camera = mujoco.MjvCamera()
            camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
            camera.fixedcamid = index
            self._cameras[model.camera(index).name] = camera

    def draw(
        self,
        camera: str,
        height: int,
        width: int,
        decorate: Callable[[mujoco.MjvScene], None] = lambda scene: None,
    ) -> np.ndarray:
        """uint8[height, width, 3], RGB. Raises ValueError for an unknown camera, `DrawingError` without GL.

        `decorate` may add to what is drawn, for films; the world has none of it.
        """
        if camera not in self._cameras:
            raise ValueError(f"camera must be one of {', '.join(self._cameras)}, got {camera!r}")
        if height < 1 or width < 1:
            raise ValueError(f"height and width must be positive, got {height} x {width}")
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, self._perturb, self._cameras[camera],
            mujoco.mjtCatBit.mjCAT_ALL, self._scene,
        )  # fmt: skip
        decorate(self._scene)
        return self._context.draw(self._scene, height, width)
