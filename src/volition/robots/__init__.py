"""What a robot understands: actions in metres and radians, and the limits that it declares.

    numbers float[H, A] --ActionParser--> RoboAction, ... --convert--> the same as steps, velocities or positions

`guard.py` beside it (it needs the extra serve) is the safety envelope that such actions pass.
"""

from volition.robots.action import ActionLimits, ActionParser, RoboAction, agreement, signed_gripper
from volition.robots.motion import convert

__all__ = ["ActionLimits", "ActionParser", "RoboAction", "agreement", "convert", "signed_gripper"]
