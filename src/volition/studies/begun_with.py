"""A policy that begins with another one's weights, head and all: to go on with other data, tasks or loops."""

from __future__ import annotations

import logging
from pathlib import Path

from volition.config import Contract, packages_of, read
from volition.contract import differences, require_equal
from volition.policy import Policy
from volition.training import checkpoint as checkpoints

logger = logging.getLogger(__name__)


def begin_with(policy: Policy, start: str, contract: Contract) -> None:
    """`start`: a step folder, or a run (its last). ValueError where it is another model, or means other actions.

    Statistics are those of the new data: where an action comes to another number than before, a warning says so.
    """
    folder = checkpoints.resolve(Path(start))
    before: Contract = read(folder / "contract.json", allow=packages_of(contract))
    spaces = [one.transforms.space(one.robot.action_space).scaled() for one in (before, contract)]
    require_equal(*spaces, left_name="the policy that training begins with", right_name="the dataset")
    if changed := differences(before.transforms, contract.transforms):
        logger.warning(
            "the policy of %s was trained with other transforms, so the same numbers mean something else to it at "
            "first: %s%s",
            start,
            "; ".join(changed[:3]),
            f" and {len(changed) - 3} more" if len(changed) > 3 else "",
        )
    checkpoints.load_weights(policy, folder)
