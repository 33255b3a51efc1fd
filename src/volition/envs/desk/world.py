"""One scene in MuJoCo with names resolved: where joints, bodies and lamps lie in MuJoCo's arrays.

`World` is the model, its data and the addresses; it knows nothing of actions. `Desk` holds one per scene.
"""

from __future__ import annotations

import numpy as np

from volition.envs.desk.kinematics import euler_from_rotation, quaternion_from_rotation, rotation_from_euler
from volition.envs.desk.layout import LAYOUTS
from volition.envs.desk.scene import SUBSTEPS, scene_model
from volition.envs.desk.state import BLOCKS, BlockState, Shift
from volition.envs.gl import mujoco

CAMERAS = ("static", "gripper")
FURNITURE_JOINTS = ("door", "drawer", "button", "switch")  # the order in scene_obs
_LAMPS = ("bulb", "led")
_ROBOT, _TABLE, _SHELF, _DRAWER, _OTHER = range(5)
_CATEGORIES = ("robot", "table", "shelf", "drawer", "other", *BLOCKS)
_CAMERA_TARGET = np.array([0.055, -0.032, 0.489])
_CAMERA_AZIMUTH, _CAMERA_ELEVATION, _CAMERA_DISTANCE = -1.0, 0.78, 4.5  # radians, radians, metres


class World:
    """A compiled scene. Its furniture can be moved between episodes with `place`."""

    def __init__(self, scene: str) -> None:
        self.scene = scene
        self.layout = LAYOUTS[scene]
        self.model = scene_model(scene)
        self.data = mujoco.MjData(self.model)
        model = self.model
        address = {model.joint(i).name: int(model.jnt_qposadr[i]) for i in range(model.njnt)}
        self.arm = np.array([address[f"joint{i + 1}"] for i in range(7)])
        self.fingers = np.array([address["finger_left"], address["finger_right"]])
        self.furniture = np.array([address[name] for name in FURNITURE_JOINTS])
        self.blocks = {name: address[name] for name in BLOCKS}
        self._block_bodies = {name: model.body(name).id for name in BLOCKS}
        self._block_dofs = {name: int(model.joint(name).dofadr[0]) for name in BLOCKS}
        self.tcp = model.site("tcp").id
        self.limits = {name: tuple(model.joint(name).range.tolist()) for name in FURNITURE_JOINTS}
        self._furniture_body = model.body("furniture").id
        self._category = self._body_categories()
        self._lamp_geoms = {name: (model.geom(name).id, model.geom(f"{name}_glow").id) for name in _LAMPS}
        self._lamp_materials = {
            name: (model.material(f"{name}_on").id, model.material(f"{name}_glow_on").id) for name in _LAMPS
        }
        self._lamp_off = model.material("lamp_off").id

    def _body_categories(self) -> np.ndarray:
        """int[bodies]: index into `_CATEGORIES` of every body."""
        model = self.model
        known = {"table": _TABLE, "shelf": _SHELF, "drawer": _DRAWER}
        known |= {name: _OTHER + 1 + index for index, name in enumerate(BLOCKS)}
        category = np.full(model.nbody, _OTHER)
        first_robot = model.body("link0").id
        for body in range(model.nbody):
            if model.body_rootid[body] == first_robot:
                category[body] = _ROBOT
            else:
                category[body] = known.get(model.body(body).name, _OTHER)
        return category

    def place(self, shift: Shift) -> None:
        """Move the furniture and the static camera to where `shift` says. Call before the state is set."""
        model = self.model
        model.body_pos[self._furniture_body] = (shift.x, shift.y, 0.0)
        turn = rotation_from_euler(np.array([0.0, 0.0, shift.yaw]))
        model.body_quat[self._furniture_body] = quaternion_from_rotation(turn)
        azimuth, elevation, share = shift.camera
        azimuth, elevation = _CAMERA_AZIMUTH + azimuth, _CAMERA_ELEVATION + elevation
        back = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        camera = model.camera("static").id
        model.cam_pos[camera] = _CAMERA_TARGET + _CAMERA_DISTANCE * (1.0 + share) * back
        axes = np.stack((right, np.cross(back, right), back), axis=1)
        model.cam_quat[camera] = quaternion_from_rotation(axes)

    def advance(self) -> None:
        """One control step. Positions and contacts belong to the new state, as after a reset or restore."""
        for _ in range(SUBSTEPS):
            mujoco.mj_step2(self.model, self.data)
            mujoco.mj_step1(self.model, self.data)

    def light(self, name: str, on: bool) -> None:
        """Give a lamp ("bulb" or "led") the look of being on or off."""
        materials = self._lamp_materials[name] if on else (self._lamp_off, self._lamp_off)
        for geom, material in zip(self._lamp_geoms[name], materials):
            self.model.geom_matid[geom] = material

    def site(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Position float64[3] and rotation float64[3, 3] of a named site, world frame, now."""
        try:
            site = self.data.site(name)
        except KeyError as error:
            known = sorted(self.model.site(i).name for i in range(self.model.nsite))
            raise ValueError(f"site must be one of {', '.join(known)}, got {name!r}") from error
        return site.xpos.copy(), site.xmat.reshape(3, 3).copy()

    def furniture_pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Position float64[3] and rotation float64[3, 3] of the furniture frame in the world."""
        body = self._furniture_body
        return self.data.xpos[body].copy(), self.data.xmat[body].reshape(3, 3).copy()

    def project(self, camera: str, points: np.ndarray) -> np.ndarray:
        """float64[n, 3], world -> float64[n, 2] in the picture: (0, 0) left top, (1, 1) right bottom, NaN behind.

        For pictures as high as wide; a wider one shows more at its sides.
        """
        index = self.model.camera(camera).id
        local = (points - self.data.cam_xpos[index]) @ self.data.cam_xmat[index].reshape(3, 3)
        depth = np.where(local[:, 2] < 0, -local[:, 2], np.nan)[:, None]
        slope = np.tan(np.radians(self.model.cam_fovy[index]) / 2)
        return 0.5 + local[:, :2] / depth / (2 * slope) * (1.0, -1.0)

    def set_block(self, name: str, pose: np.ndarray) -> None:
        """Put a block at `pose` float64[6]: position in metres and Euler XYZ in radians."""
        start = self.blocks[name]
        self.data.qpos[start : start + 3] = pose[:3]
        self.data.qpos[start + 3 : start + 7] = quaternion_from_rotation(rotation_from_euler(pose[3:]))

    def block_pose(self, name: str) -> np.ndarray:
        """float64[6]: position in metres and Euler XYZ in radians."""
        body = self._block_bodies[name]
        return np.concatenate((self.data.xpos[body], euler_from_rotation(self.data.xmat[body].reshape(3, 3))))

    def touches(self) -> dict[str, set[str]]:
        """For "robot" and every block: what it is in contact with now."""
        found: dict[str, set[str]] = {"robot": set(), **{name: set() for name in BLOCKS}}
        count = self.data.ncon
        if count:
            pairs = self._category[self.model.geom_bodyid[self.data.contact.geom[:count]]]
            for first, second in set(map(tuple, pairs.tolist())):
                a, b = _CATEGORIES[first], _CATEGORIES[second]
                if a in found:
                    found[a].add(b)
                if b in found:
                    found[b].add(a)
        return found

    def block_state(self, name: str, touches: set[str]) -> BlockState:
        body, dof = self._block_bodies[name], self._block_dofs[name]
        rotation = self.data.xmat[body].reshape(3, 3).copy()
        return BlockState(
            position=self.data.xpos[body].copy(),
            rotation=rotation,
            linear_velocity=self.data.qvel[dof : dof + 3].copy(),
            angular_velocity=rotation @ self.data.qvel[dof + 3 : dof + 6],  # MuJoCo gives it in the body's frame
            touches=frozenset(touches),
        )
