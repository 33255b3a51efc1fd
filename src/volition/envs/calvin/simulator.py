"""One scene of the real CALVIN simulator, driven from outside: the only file that meets pybullet and calvin_env.

    simulator = Simulator(clone, "D", renderer="tiny", largest=200)
    info = simulator.reset(robot_obs, scene_obs)         bit-exact: the same futures, whatever ran before
    info = simulator.step(action)                        1/30 s; draws nothing
    simulator.moment(info), simulator.robot_obs(), simulator.render("static", 96, 96)

calvin_env calls pybullet in part without saying which of its worlds is meant, so a process can hold one at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from ctypes.util import find_library
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from volition.envs.calvin.judge import Judge
from volition.envs.calvin.layouts import LAYOUTS, require_measures
from volition.envs.calvin.moment import Block, Layout, Moment
from volition.envs.calvin.rendering import Painter, moved_camera
from volition.envs.calvin.shims import Theirs, load, quiet
from volition.envs.calvin.situations import BLOCKS
from volition.geometry import quaternion_to_matrix

Renderer: TypeAlias = Literal["tiny", "egl"]
RENDERERS: tuple[Renderer, ...] = get_args(Renderer)
CAMERAS = ("static", "gripper")
_LINKS = {"drawer_link": "drawer", "plank_link": "cabinet", "slide_link": "door"}
_FRAMES = {"drawer": "drawer_link", "slide": "slide_link", "switch": "switch_link", "button": "button_link"}


class Simulator:
    """Of one scene; `close` it before another is made."""

    def __init__(
        self,
        clone: Path,
        scene: str,
        *,
        renderer: Renderer,
        largest: int,
        camera_offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        """`largest`: side of the largest picture, pixels; `camera_offset`: of the static one, see `moved_camera`."""
        theirs = load(clone)
        if theirs.pybullet.getConnectionInfo(0)["isConnected"]:
            raise ValueError(
                "a process can hold one CALVIN environment, and this one has one already: close it first, or use a "
                "worker process for each (slots_per_worker=1)"
            )
        if renderer == "egl" and find_library("EGL") is None:
            raise ValueError(
                "the renderer 'egl' needs the library EGL, which this machine lacks: install it (Debian, Ubuntu: "
                "apt install libegl1 libegl-mesa0 libgl1-mesa-dri), or use the renderer 'tiny'"
            )
        self.scene = scene
        self.judge = Judge(theirs, clone)
        self._env = _start(theirs, clone, scene, renderer, largest, camera_offset)
        self._disconnect, self._env.close = self._env.close, lambda: None  # for `close` alone
        self._p = theirs.pybullet
        self._cameras = {camera.name: camera for camera in self._env.cameras}
        self._env.cameras = []  # so that a step draws nothing
        self._env.get_obs = lambda: None  # nor reads what nobody looks at: all is read once more for the judge
        _keep_functions(self._env.p)
        for name, value in vars(self._env.robot).items():
            if theirs.omegaconf.is_list(value):  # lists that check themselves at every look, of numbers that stay
                setattr(self._env.robot, name, theirs.omegaconf.to_container(value))
        self._order = [body.name.removeprefix("block_") for body in self._env.scene.movable_objects]
        robot = self._env.robot.robot_uid
        self._painter = Painter(self._p, self._env.cid, robot) if renderer == "tiny" else None
        self.layout = LAYOUTS[scene]
        require_measures(scene, self._measure())
        if renderer == "egl":  # the first pictures of a process lack their shadows
            for name in CAMERAS:
                self.render(name, largest, largest)

    def reset(self, robot_obs: np.ndarray, scene_obs: np.ndarray) -> dict[str, Any]:
        """Everything at float64[15] and float64[24] (blocks in the order red, blue, pink); what the judge sees then.

        The world is built anew: a reset alone leaves what the solver remembers, and futures differ by tenths of a
        millimetre.
        """
        env = self._env
        env.seed(0)
        env.scene.np_random = env.np_random
        with quiet():
            env.load()
            # Asked for once when the world is made, and lost with every `load`.
            env.p.setPhysicsEngineParameter(deterministicOverlappingPairs=1, physicsClientId=env.cid)
            env.robot.gripper_action = int(robot_obs[-1])  # no reset of theirs does
            env.reset(robot_obs=robot_obs, scene_obs=self._reordered(scene_obs, BLOCKS, self._order))
        for thing in env.scene.fixed_objects:  # of which the judge wants the names of the parts, not the contacts
            thing.get_info = partial(dict, thing.info_dict)
        return env.get_info()

    def step(self, action: np.ndarray) -> dict[str, Any]:
        """Follow a relative action float64[7], the gripper exactly -1 or +1; what the judge sees then."""
        moves = [*action[:6].tolist(), int(action[6])]
        _, _, _, info = self._env.step(np.array(moves))
        return info

    def robot_obs(self) -> np.ndarray:
        """float64[15], as CALVIN's data have it."""
        observed, _ = self._env.robot.get_observation()
        return np.asarray(observed, dtype=np.float64)

    def scene_obs(self) -> np.ndarray:
        """float64[24], blocks in the order red, blue, pink in every scene."""
        return self._reordered(np.asarray(self._env.scene.get_obs()), self._order, BLOCKS)

    def target(self) -> np.ndarray:
        """float64[6]: the pose that CALVIN keeps and adds actions to. No policy sees it, nor does the expert."""
        return np.concatenate((self._env.robot.target_pos, self._env.robot.target_orn))

    def moment(self, info: dict[str, Any]) -> Moment:
        """What the expert may read, of the present; `info` is of the present too."""
        robot, scene = info["robot_info"], info["scene_info"]
        objects = scene["movable_objects"]
        return Moment(
            tcp=np.array(robot["tcp_pos"]),
            euler=np.array(robot["tcp_orn"]),
            width=float(robot["gripper_opening_width"]),
            door=scene["doors"]["base__slide"]["current_state"],
            drawer=scene["doors"]["base__drawer"]["current_state"],
            frames={name: self._frame(link) for name, link in _FRAMES.items()},
            blocks={color: self._block(objects[f"block_{color}"], info) for color in BLOCKS},
            layout=self.layout,
        )

    def render(self, camera: str, height: int, width: int) -> np.ndarray:
        """uint8[height, width, 3], RGB."""
        view = self._cameras[camera]
        view.height, view.width = height, width
        if self._painter is not None:
            return np.ascontiguousarray(self._painter.draw(view), dtype=np.uint8)
        with quiet():  # EGL talks while it draws
            return np.ascontiguousarray(view.render()[0], dtype=np.uint8)

    def close(self) -> None:
        """Exactly once: theirs disconnects again when it is collected, and would then hit a newer world."""
        with quiet():
            self._disconnect()
        self._disconnect = lambda: None
        self._env.cid = -1
        if hasattr(self._env.p, "_client"):  # its owner does the same
            self._env.p._client = -1

    def _block(self, found: dict[str, Any], info: dict[str, Any]) -> Block:
        rotation = quaternion_to_matrix(np.array(found["current_orn"]))
        touches = frozenset(self._name(contact[2], contact[4]) for contact in found["contacts"])
        return Block(position=np.array(found["current_pos"]), rotation=rotation, touches=touches)

    def _name(self, body: int, link: int) -> str:
        if body == self._env.robot.robot_uid:
            return "robot"
        for color, other in zip(self._order, self._env.scene.movable_objects):
            if other.uid == body:
                return color
        if body != self._table.uid:
            return "other"
        return next(
            (name for key, name in _LINKS.items() if self._links[key] == link), "table" if link < 0 else "other"
        )

    @property
    def _table(self) -> Any:
        return self._env.scene.fixed_objects[0]

    @property
    def _links(self) -> dict[str, int]:
        return self._table.info_dict["links"]

    def _frame(self, link: str) -> np.ndarray:
        state = self._p.getLinkState(self._table.uid, self._links[link], physicsClientId=self._env.cid)
        return np.array(state[4])

    def _measure(self) -> Layout:
        p, cid, bodies = self._p, self._env.cid, self._env.scene.movable_objects
        shapes = [p.getCollisionShapeData(body.uid, -1, physicsClientId=cid)[0][3] for body in bodies]
        slide = self._links["slide_link"]
        low, high = p.getAABB(self._table.uid, slide, physicsClientId=cid)
        surfaces = self._env.scene.surfaces
        return Layout(
            lengths={color: float(shape[0]) for color, shape in zip(self._order, shapes)},
            surfaces={str(name): (tuple(low), tuple(high)) for name, (low, high) in surfaces.items()},
            door=(float(low[0]), float(high[0])),
            door_travel=float(p.getJointInfo(self._table.uid, slide, physicsClientId=cid)[9]),
            button=_triple(self._frame("button_link")),
            drawer=_triple(self._frame("drawer_link")),
            switch=float(self._frame("switch_link")[0]),
        )

    @staticmethod
    def _reordered(scene_obs: np.ndarray, given: Any, wanted: Any) -> np.ndarray:
        """Their scene_obs has the blocks in the order of the scene's file, which differs from scene to scene."""
        found = np.array(scene_obs, dtype=np.float64)
        for place, color in enumerate(wanted):
            source = 6 + 6 * list(given).index(color)
            found[6 + 6 * place : 12 + 6 * place] = scene_obs[source : source + 6]
        return found


def _triple(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in vector)
    return x, y, z


def _keep_functions(client: Any) -> None:
    """pybullet's client makes a function anew whenever it is asked for one, some fifty times a step."""
    if hasattr(client, "_client"):  # with EGL it is the module itself
        for name in ("stepSimulation", "getJointState", "getJointStates", "getLinkState", "getContactPoints",
                     "getBasePositionAndOrientation", "getEulerFromQuaternion", "getQuaternionFromEuler",
                     "setJointMotorControl2", "calculateInverseKinematics"):  # fmt: skip
            setattr(client, name, getattr(client, name))


def _start(
    theirs: Theirs, clone: Path, scene: str, renderer: Renderer, largest: int, camera_offset: Sequence[float]
) -> Any:
    """Their environment, from their configuration, without hydra's global state."""
    read = lambda name: theirs.omegaconf.load(clone / "conf" / f"{name}.yaml")
    config = theirs.omegaconf.create(
        {
            "data_path": str(clone / "data"),
            "scene": read(f"scene/calvin_scene_{scene}"),
            "robot": theirs.omegaconf.merge(read("robot/panda"), read("robot/panda_longer_finger")),
            "cameras": {name: read(f"cameras/cameras/{name}") for name in CAMERAS},
        }
    )
    timing = read("env/play_table_env")
    for camera in config.cameras.values():  # EGL opens a window of the largest size
        camera.width = camera.height = largest
    if any(camera_offset):  # else it stands where they say, to the bit
        static = config.cameras.static
        static.look_from = moved_camera(static.look_from, static.look_at, camera_offset).tolist()
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the way in which it looks for EGL
        try:
            return theirs.environment(
                robot_cfg=config.robot,
                scene_cfg=config.scene,
                cameras=config.cameras,
                seed=0,
                bullet_time_step=timing.bullet_time_step,
                control_freq=timing.control_freq,
                use_scene_info=True,
                use_egl=renderer == "egl",
                use_vr=False,
                show_gui=False,
            )
        except SystemExit as error:  # its way to say that EGL could not be loaded
            raise ValueError(
                "the renderer 'egl' could not be loaded by pybullet; volition doctor calvin says more, and the "
                "renderer 'tiny' needs nothing"
            ) from error
