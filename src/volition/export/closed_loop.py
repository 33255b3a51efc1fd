"""Whether an exported policy does its tasks as well as the policy itself, in an environment, with an interval.

The same starts for both, so that what differs is the policy. Not worse means that the lower end of the 95 % interval of
the paired difference of the success rates (`evaluation.margin`) lies above minus the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from volition.envs.base import EnvConfig
from volition.evaluation.episodes import EpisodeResult, Trial
from volition.evaluation.margin import starts_for_margin
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.statistics import Difference, paired_difference
from volition.records import Actor


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """Success rates of the exported policy and the policy, and their paired difference, exported minus policy.

    An episode that breaks off with the exported policy alone counts as a failure of it; one that does with the policy
    itself tells nothing about the other, and is left out.
    """

    exported: float
    policy: float
    difference: Difference
    margin: float
    enough: int  # starts that show it not to be worse if it goes on so; 0: none do
    num_errors: int  # episodes of either that broke off

    @property
    def not_worse(self) -> bool:
        """A policy that never succeeds shows nothing about another."""
        return self.policy > 0 and self.difference.low > -self.margin


def closed_loop(
    policy: Actor,
    exported: Actor,
    env: EnvConfig,
    trials: Sequence[Trial],
    configs: tuple[RolloutConfig, RolloutConfig],
    margin: float,
    progress: Callable[[float], None] = lambda share: None,
) -> ClosedLoop:
    """`configs`: of the policy and of the exported one, equal in all that may change a result.

    `margin`: a share of episodes, 0.02 for two points. ValueError where no episode of the policy could be judged.
    """
    done = 0

    def hear(number: int, result: EpisodeResult) -> None:
        nonlocal done
        done += 1
        progress(done / (2 * len(trials)))

    pairs = zip((policy, exported), configs)
    ours, theirs = (evaluate(actor, env.make, trials, config, hear) for actor, config in pairs)
    return judge(ours, theirs, margin)


def judge(ours: Sequence[EpisodeResult], theirs: Sequence[EpisodeResult], margin: float) -> ClosedLoop:
    """From results of the same trials: the policy's, and those of the exported one."""
    counted = [(one, other) for one, other in zip(ours, theirs, strict=True) if not one.error]
    if not counted:
        raise ValueError(f"none of {len(ours)} episodes of the policy could be judged: {ours[0].error}")
    before = [float(one.success) for one, _ in counted]
    after = [float(other.success and not other.error) for _, other in counted]
    found = paired_difference(after, before)
    return ClosedLoop(
        exported=sum(after) / len(after),
        policy=sum(before) / len(before),
        difference=found,
        margin=margin,
        enough=starts_for_margin(found.only_first, found.only_second, found.count, margin),
        num_errors=sum(bool(result.error) for result in (*ours, *theirs)),
    )
