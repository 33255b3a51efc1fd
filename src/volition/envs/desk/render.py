"""Pictures of a world, drawn on demand with the process's one GL context. Drawing never changes the physics."""

from __future__ import annotations

import numpy as np

from volition.envs.desk.gl import mujoco, process_context
from volition.envs.desk.world import World

CAMERAS = ("static", "gripper")
_MAX_GEOMS = 200


class Renderer:
    """Draws one world; made before the first picture only, so that physics alone needs no GL."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._context = process_context()
        self._scene = mujoco.MjvScene(world.model, _MAX_GEOMS)
        flag = mujoco.mjtRndFlag
        for expensive in (flag.mjRND_SHADOW, flag.mjRND_REFLECTION, flag.mjRND_SKYBOX, flag.mjRND_HAZE):
            self._scene.flags[expensive] = 0
        self._option, self._perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._cameras = {}
        for name in CAMERAS:
            camera = mujoco.MjvCamera()
            camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
            camera.fixedcamid = world.model.camera(name).id
            self._cameras[name] = camera

    def draw(self, camera: str, height: int, width: int) -> np.ndarray:
        """uint8[height, width, 3], RGB. Raises ValueError for an unknown camera, `DrawingError` without GL."""
        if camera not in self._cameras:
            raise ValueError(f"camera must be one of {', '.join(self._cameras)}, got {camera!r}")
        if height < 1 or width < 1:
            raise ValueError(f"height and width must be positive, got {height} x {width}")
        mujoco.mjv_updateScene(
            self._world.model, self._world.data, self._option, self._perturb, self._cameras[camera],
            mujoco.mjtCatBit.mjCAT_ALL, self._scene,
        )  # fmt: skip
        return self._context.draw(self._scene, height, width)
