"""The safety envelope: the last thing that an action passes before the robot, on its side or in the server.

    action float[A] -> finite? fresh? in range? -> speed, acceleration -> workspace -> gripper -> action, interventions

Every intervention is logged, counted, and told to the caller. What is not finite or too old becomes the robot's
declared hold; everything else is brought inside its limit. The workspace wins over what comes before it: at its wall
the robot stops, whatever that takes. A robot that is outside already may move inwards only.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Callable, Sequence

import numpy as np

from volition_client.ages import Ages, fresh
from volition_client.axes import Axes
from volition_client.fit import needs_angles, require_fit
from volition_client.holding import Holding
from volition_client.motion import INTERVENTIONS, ROUNDING, Guarded, Intervention, Motion, slow, turn_of
from volition_client.safety import GRIPPER, POSE, ActionLayout, SafetyLimits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """What the next action is counted from."""

    last: Motion | None  # None: nothing was told yet
    planned: tuple[Motion | None, ...] = ()  # before the newest trajectory, and after each of its actions

    def without_target(self) -> Kept:
        """The next position is counted from the measured pose, however much of the trajectory was carried out."""
        return Kept(_without_target(self.last), tuple(map(_without_target, self.planned)))


class Envelope:
    """One robot's. `guard` is called for every action that is about to be executed, once a control step."""

    def __init__(
        self,
        layout: ActionLayout,
        limits: SafetyLimits,
        control_hz: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds that never go back; a wall clock would let a jump of it through as silence."""
        if not control_hz > 0:
            raise ValueError(f"control_hz must be above 0, got {control_hz}")
        require_fit(layout, limits)
        self._needs_angles = needs_angles(layout, limits)
        self.layout, self.limits, self._hz, self._clock = layout, limits, control_hz, clock
        self._axes = Axes(layout, control_hz)
        self._holding = Holding(layout, limits, self._axes)
        self._lock = threading.RLock()
        self._last: Motion | None = None
        self._planned: tuple[Motion | None, ...] = ()
        self.counts: dict[str, int] = dict.fromkeys(INTERVENTIONS, 0)
        self.fed_at = clock()  # when it last let something through; a call that raises steers nobody

    def guard(
        self,
        action: np.ndarray,
        pose: Sequence[float] | None = None,
        observed_at: float | None = None,
        measured_at: float | None = None,
    ) -> Guarded:
        """`action` float[A] -> what may be executed instead of it.

        pose         measured x y z (rx ry rz), metres and radians; needed where the workspace is bounded
        observed_at  when the observation behind the action was made, on this envelope's clock
        measured_at  when the pose was measured, on the same clock; now, where it is not said
        """
        with self._lock:
            now = self._clock()
            ages = Ages.at(now, observed_at, measured_at)
            measured = self._pose(pose)
            guarded, self._last = self._step(np.asarray(action, np.float64), measured, ages, self._last)
            self._planned = ()
            self._note(guarded.interventions)
            self.fed_at = now
            return guarded

    def guard_trajectory(
        self,
        actions: np.ndarray,
        pose: Sequence[float] | None = None,
        observed_at: float | None = None,
        executed: int | None = None,
        measured_at: float | None = None,
    ) -> tuple[np.ndarray, tuple[Intervention, ...]]:
        """A whole chunk float[H, A], each step from where the one before it leads.

        `executed`: how many will be carried out before the next trajectory; all, where it is not said.
        """
        with self._lock:
            now = self._clock()
            ages = Ages.at(now, observed_at, measured_at)
            measured, motion = self._pose(pose), self._last
            found: list[Intervention] = []
            planned = [motion]
            safe = np.empty((len(actions), len(self.layout.names)))
            for i, action in enumerate(np.asarray(actions, np.float64)):
                guarded, motion = self._step(action, measured, ages, motion)
                safe[i] = guarded.action
                found += [replace(x, text=f"step {i}: {x.text}") for x in guarded.interventions]
                planned.append(motion)
                if measured is not None:
                    measured = measured + self._axes.displacement(motion.velocity, measured)
            self._planned = tuple(planned)
            self._last = planned[-1 if executed is None else min(executed, len(actions))]
            self._note(found)
            self.fed_at = now
            return safe, tuple(found)

    def executed(self, count: int) -> None:
        """Of the newest trajectory so many actions were carried out, fewer or more than was said beforehand."""
        with self._lock:
            if self._planned:
                self._last = self._planned[max(0, min(count, len(self._planned) - 1))]

    def hold(self, kind: str, text: str, pose: Sequence[float] | None = None) -> Guarded:
        """The robot's declared hold, as an intervention: for a watchdog, or for a policy that has no action.

        `pose`, measured now: where a robot that is told positions is to stay, if it is not where it was told to be.
        """
        with self._lock:
            measured = None if pose is None else self._pose(pose)
            if measured is not None and not np.isfinite(measured).all():
                measured = None  # as in `guard`: what is no number tells nothing
            guarded, self._last = self._held(kind, text, self._last, measured)
            self._planned = ()
            self._note(guarded.interventions)
            return guarded

    def reset(self) -> None:
        """A new episode: the robot stands still, and may stand anywhere. Counts stay, and how its gripper was told."""
        with self._lock:
            self._holding.forget(self._last)
            self._last, self._planned = None, ()
            self.fed_at = self._clock()

    @property
    def can_hold(self) -> bool:
        """False where the hold keeps something that is not known without a pose: before an episode's first action."""
        with self._lock:
            return self._holding.can(self._last)

    def kept(self) -> Kept:
        """What the next action is counted from, for `go_back`."""
        with self._lock:
            return Kept(self._last, self._planned)

    def go_back(self, kept: Kept) -> None:
        """What was guarded since then was not sent to the robot after all."""
        with self._lock:
            self._last, self._planned = kept.last, kept.planned

    def forget_target(self) -> None:
        """The next position is counted from the measured pose. How the robot moves is not forgotten."""
        with self._lock:
            self._last = _without_target(self._last)

    def _step(
        self, action: np.ndarray, pose: np.ndarray | None, ages: Ages, last: Motion | None
    ) -> tuple[Guarded, Motion]:
        if action.shape != (len(self.layout.names),):
            raise ValueError(
                f"an action must have {len(self.layout.names)} numbers, got the shape {list(action.shape)}"
            )
        if pose is not None and not np.isfinite(pose).all():
            return self._held("not_finite", f"a pose must be finite, got {pose.tolist()}", last)
        stale = ages.stale(self.limits.stale_seconds)
        # A pose that is as old as that would pull the robot back to where it was.
        stands = pose if fresh(ages.pose, self.limits.stale_seconds) else None
        if not np.isfinite(action).all():
            return self._held("not_finite", f"an action must be finite, got {action.tolist()}", last, stands)
        if stale:
            return self._held("stale", stale, last, stands)
        with np.errstate(over="ignore", invalid="ignore"):  # of finite numbers that are too large; found below
            guarded, motion = self._limited(action, pose, last)
        if not (np.isfinite(guarded.action).all() and np.isfinite(motion.velocity).all()):
            text = f"an action must be so small that its speed can be reckoned, got {action.tolist()}"
            return self._held("not_finite", text, last, stands)
        return guarded, motion

    def _limited(self, action: np.ndarray, pose: np.ndarray | None, last: Motion | None) -> tuple[Guarded, Motion]:
        found: list[Intervention] = []
        action = self._axes.in_range(action, found)
        reference = self._reference(pose, last)
        velocity = self._axes.velocity(action, reference)
        before = np.zeros(6) if last is None else last.velocity
        limits, hz = self.limits, self._hz
        velocity[:3] = slow(velocity[:3], before[:3], limits.speed, limits.acceleration / hz, "", found)
        velocity[3:] = self._slow_turn(velocity[3:], before[3:], found)
        if pose is not None:
            velocity = self._inside(velocity, reference if self.layout.kind == "position" else pose, pose, found)
        safe = self._axes.action(action, velocity, reference)
        self._slow_gripper(safe, last, found)
        target = reference + velocity / self._hz if self.layout.kind == "position" else None
        return Guarded(safe, tuple(found)), Motion(safe, velocity, target)

    def _held(
        self, kind: str, text: str, last: Motion | None, pose: np.ndarray | None = None
    ) -> tuple[Guarded, Motion]:
        motion = self._holding.motion(last, pose, text)
        return Guarded(motion.action, (Intervention(kind, text),)), motion

    def _slow_turn(self, velocity: np.ndarray, before: np.ndarray, found: list[Intervention]) -> np.ndarray:
        """Euler angles of one step are no vector: the turn that they make together is what counts."""
        limits = self.limits
        slowed = slow(velocity, before, limits.turn_speed, limits.turn_acceleration / self._hz, "turn_", found)
        most = limits.turn_speed / self._hz
        angle = turn_of(slowed / self._hz)
        while angle > most * (1 + ROUNDING):
            if not any(x.kind == "turn_speed" for x in found):
                found.append(Intervention("turn_speed", f"a turn of {angle:.4g} rad in one step becomes {most:.4g}"))
            slowed = slowed * (most / angle) * (1 - ROUNDING)
            angle = turn_of(slowed / self._hz)
        return slowed

    def _inside(
        self, velocity: np.ndarray, start: np.ndarray, measured: np.ndarray, found: list[Intervention]
    ) -> np.ndarray:
        """Stop at the walls; `start`: where this step begins. Who is outside may come back, not go further out."""
        low = np.array([-np.inf if x is None else x for x in self.limits.low])
        high = np.array([np.inf if x is None else x for x in self.limits.high])
        low, high = np.minimum(low, measured), np.maximum(high, measured)
        moved = self._axes.displacement(velocity, measured)
        excess = start + moved - np.clip(start + moved, low, high)
        if not (np.abs(excess) > ROUNDING).any():
            return velocity
        walls = ", ".join(name for name, over in zip(POSE, excess) if abs(over) > ROUNDING)
        found.append(Intervention("workspace", f"the step leads out of the workspace along {walls}"))
        if self.layout.frame == "world":
            stopped = (np.clip(start + moved, low, high) - start) * self._hz
            return np.where(np.abs(excess) > ROUNDING, stopped, velocity)
        with np.errstate(divide="ignore", invalid="ignore"):  # axes that do not move limit nothing
            room = np.where(moved > 0, high - start, low - start) / moved
        share = float(np.clip(np.nanmin(np.where(moved == 0, 1.0, room)), 0, 1))
        return velocity * share

    def _slow_gripper(self, action: np.ndarray, last: Motion | None, found: list[Intervention]) -> None:
        place = self._axes.places.get(GRIPPER)
        sent = self._holding.sent(last)
        if place is None or np.isnan(sent[place]):  # nobody told it anything yet
            return
        most = self.limits.gripper_speed / self._hz * self._axes.half_stroke
        change = action[place] - sent[place]
        if abs(change) > most * (1 + ROUNDING):
            found.append(Intervention("gripper_speed", f"a change of {change:.3g} in one step becomes {most:.3g}"))
            action[place] = sent[place] + np.sign(change) * most

    def _pose(self, pose: Sequence[float] | None) -> np.ndarray | None:
        """float64[6]; unnamed angles are 0 and then must not be bounded."""
        if pose is None:
            if self.limits.bounds_pose:
                raise ValueError("a bounded workspace needs the measured pose: guard(action, pose=...)")
            return None
        if len(pose) not in (3, 6):
            raise ValueError(f"a pose must be 3 or 6 numbers (x y z, rx ry rz), got {list(pose)}")
        if len(pose) == 3 and self._needs_angles:
            raise ValueError(
                "the pose must have rx ry rz: angles are bounded or told, or a bounded base turns with them"
            )
        return np.concatenate([np.asarray(pose, np.float64), np.zeros(6 - len(pose))])

    def _reference(self, pose: np.ndarray | None, last: Motion | None) -> np.ndarray:
        if self.layout.kind != "position":
            return np.zeros(6)
        stands = self._holding.stands(pose, last)
        if stands is None:
            raise ValueError("the first position needs the measured pose, to know how far: guard(action, pose=...)")
        return stands

    def _note(self, interventions: Sequence[Intervention]) -> None:
        for one in interventions:
            self.counts[one.kind] += 1
            logger.warning("safety envelope, %s: %s", one.kind, one.text)


def _without_target(motion: Motion | None) -> Motion | None:
    return None if motion is None else replace(motion, target=None)
