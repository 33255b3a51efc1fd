"""Does the gripper open when it is told to?"""

from __future__ import annotations

import numpy as np

from volition.data.checks.evidence import Evidence, Places, places
from volition.data.checks.finding import Finding
from volition.data.spec import UNKNOWN

BEFORE, SPAN = 3, 10  # control steps around a change of the command: it has not answered yet, it has answered
FEW = 3  # changes of the command; with fewer the widths at rest are compared as well
CLEAR = 0.5  # share of the motion that must go one way


def gripper(evidence: Evidence) -> Finding:
    """Whether the width grows with the command, which is the polarity of every contract: high is open."""
    where = places(evidence.spec)
    if where.gripper is None or where.width is None:
        return Finding(name="gripper", level="note", said="states or actions have no gripper by name")
    commands = np.concatenate([trace.actions[:, where.gripper] for trace in evidence.traces])
    if np.ptp(commands) == 0:
        return Finding(name="gripper", level="note", said=f"the command never changes from {commands[0]:g}")
    agreement, how = _agreement(evidence, where)
    unit = evidence.spec.action_space.dimensions[where.gripper].unit
    if abs(agreement) < CLEAR:
        said = f"the width does not follow the command ({how})"
        fix = "check that the state's gripper entry is a width, and that states and actions belong together"
        return Finding(name="gripper", level="note" if unit == UNKNOWN else "warning", said=said,
                       fix="" if unit == UNKNOWN else fix)  # fmt: skip
    if agreement > 0:
        return Finding(name="gripper", level="ok", said=f"it opens when the command rises ({how})")
    said = f"it closes when the command rises ({how}): the polarity is the other way round"
    fix = "flip the sign of the gripper's action: +1 is open and -1 closed"
    return Finding(name="gripper", level="error", said=said, fix=fix)


def _agreement(evidence: Evidence, where: Places) -> tuple[float, str]:
    """In [-1, 1]: how much of the width's motion after a change of the command goes the command's way, and words."""
    assert where.gripper is not None
    assert where.width is not None
    along, total, events = 0.0, 0.0, 0
    for trace in evidence.traces:
        command, width = trace.actions[:, where.gripper], trace.states[:, where.width]
        for at in (np.flatnonzero(np.diff(command)) + 1).tolist():
            if at + 1 < len(trace):
                moved = float(width[min(at + SPAN, len(trace) - 1)] - width[max(at - BEFORE, 0)])
                along += float(np.sign(command[at] - command[at - 1])) * moved
                total, events = total + abs(moved), events + 1
    if events >= FEW and total > 0:
        share = along / total
        return float(share), f"{(1 + abs(share)) / 2:.0%} of its motion after {events} changes of the command"
    command, width = (np.concatenate([getattr(t, kind)[:, place] for t in evidence.traces])
                      for kind, place in (("actions", where.gripper), ("states", where.width)))  # fmt: skip
    found = float(np.corrcoef(command, width)[0, 1]) if np.ptp(width) > 0 else 0.0
    return found, f"correlation of command and width {found:.2f}"
