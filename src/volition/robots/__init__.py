"""What a robot understands: actions in metres and radians, and the limits that it declares.

`guard.py` beside it (it needs the extra serve) is the safety envelope that such actions pass.
"""

from volition.robots.action import ActionLimits, ActionParser, RoboAction, agreement, signed_gripper

__all__ = ["ActionLimits", "ActionParser", "RoboAction", "agreement", "signed_gripper"]
