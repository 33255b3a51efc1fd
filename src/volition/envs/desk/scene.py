"""The whole MJCF model of a scene: physics settings, materials, lights, arm, furniture and blocks.

scene_model("A") -> mujoco.MjModel
"""

from __future__ import annotations

from volition.envs.desk.furniture import block_bodies, furniture_body
from volition.envs.desk.kinematics import arm_body
from volition.envs.desk.layout import LAYOUTS, Layout
from volition.envs.gl import VISUAL, mujoco

CONTROL_HZ = 30
SUBSTEPS = 8

# 50 line-search iterations: with 20 a grasp slips and looks like bad friction. Elliptic cones with impratio 10 keep a
# held block from creeping.
_OPTION = (
    f'<compiler angle="radian" autolimits="true"/><option timestep="{1 / (CONTROL_HZ * SUBSTEPS)}" '
    'integrator="implicitfast" solver="Newton" cone="elliptic" impratio="10" iterations="50" ls_iterations="50"/>'
)
_DEFAULTS = (
    "<default>"
    '<default class="robot"><geom contype="1" conaffinity="0" condim="3" friction="1 0.01 0.0001"/></default>'
    '<default class="pad"><geom contype="1" conaffinity="0" condim="4" friction="1.5 0.02 0.0001" priority="1" '
    'solref="0.01 1" rgba="0.20 0.21 0.23 1"/></default>'
    '<default class="solid"><geom type="box" contype="0" conaffinity="3" condim="3" '
    'friction="1 0.01 0.0001"/></default>'
    '<default class="look"><geom type="box" contype="0" conaffinity="0" mass="0"/></default>'
    '<default class="block"><geom type="box" contype="2" conaffinity="3" condim="3" '
    'friction="0.7 0.005 0.0001"/></default>'
    "</default>"
)
_GAINS = (4500, 4500, 3500, 3500, 2000, 2000, 2000)
_FINGER_GAIN = 800


def _materials() -> str:
    colours = {
        "arm": "0.93 0.93 0.94", "joint": "0.80 0.82 0.85", "hand": "0.62 0.64 0.67", "pedestal": "0.35 0.37 0.40",
        "lamp_off": "0.30 0.30 0.31",
    }  # fmt: skip
    text = "".join(f'<material name="{name}" rgba="{rgba} 1" specular="0"/>' for name, rgba in colours.items())
    lit = {
        "bulb_on": "1 0.93 0.45",
        "bulb_glow_on": "1 0.80 0.12",
        "led_on": "0.55 1 0.55",
        "led_glow_on": "0.10 0.85 0.25",
    }
    text += "".join(f'<material name="{n}" rgba="{c} 1" emission="0.6" specular="0"/>' for n, c in lit.items())
    return f"<asset>{text}</asset>"


def _actuators() -> str:
    text = "".join(
        f'<position joint="joint{index + 1}" kp="{gain}" kv="{gain / 40}" forcerange="-200 200"/>'
        for index, gain in enumerate(_GAINS)
    )
    for finger in ("finger_left", "finger_right"):
        text += f'<position joint="{finger}" kp="{_FINGER_GAIN}" kv="{_FINGER_GAIN / 20}" forcerange="-70 70"/>'
    return f"<actuator>{text}</actuator>"


def scene_text(layout: Layout) -> str:
    """MJCF of one scene."""
    red, green, blue = layout.floor
    return (
        f'<mujoco model="desk {layout.name}">{_OPTION}{VISUAL}<statistic extent="1" center="0 0 0.4"/>{_DEFAULTS}'
        f"{_materials()}<worldbody>"
        '<light pos="1 -1.5 3" dir="-0.35 0.5 -1" directional="true" castshadow="false" diffuse="0.5 0.5 0.5" '
        'specular="0 0 0"/>'
        '<camera name="static" pos="3 -3 3" fovy="11.8"/>'
        # A box, since planes are drawn from lists of one model and the drawing context is shared by all.
        f'<geom name="floor" class="solid" pos="0 0 -0.05" size="4 4 0.05" rgba="{red} {green} {blue} 1"/>'
        f"{furniture_body(layout)}{block_bodies(layout)}{arm_body()}</worldbody>"
        '<contact><exclude body1="finger_left" body2="finger_right"/></contact>'
        f"{_actuators()}</mujoco>"
    )


def scene_model(scene: str) -> mujoco.MjModel:
    """The compiled model of scene "A", "B", "C" or "D"."""
    if scene not in LAYOUTS:
        raise ValueError(f"scene must be one of {', '.join(LAYOUTS)}, got {scene!r}")
    return mujoco.MjModel.from_xml_string(scene_text(LAYOUTS[scene]))
