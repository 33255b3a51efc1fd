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

from volition_client.axes import Axes
from volition_client.fit import needs_angles, require_fit
from volition_client.motion import INTERVENTIONS, ROUNDING, Guarded, Intervention, short_way, shorten, slow, turn_of
from volition_client.safety import GRIPPER, POSE, ActionLayout, SafetyLimits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Motion:
    """What the robot was told."""

    action: np.ndarray  # float64[A]
    velocity: np.ndarray  # float64[6]: metres a second, radians a second
    target: np.ndarray | None = None  # float64[6], of kind "position"


@dataclass(frozen=True)
class Kept:
    """What the next action is counted from."""

    last: Motion | None  # None: nothing was told yet
    planned: tuple[Motion | None, ...] = ()  # before the newest trajectory, and after each of its actions


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
        self._lock = threading.RLock()
        self._last: Motion | None = None
        self._planned: tuple[Motion | None, ...] = ()
        self._sent: np.ndarray | None = None  # the last action, also after `reset`
        self.counts: dict[str, int] = dict.fromkeys(INTERVENTIONS, 0)
        self.fed_at = clock()  # when it last let something through; a call that raises steers nobody

    def guard(
        self, action: np.ndarray, pose: Sequence[float] | None = None, observed_at: float | None = None
    ) -> Guarded:
        """`action` float[A] -> what may be executed instead of it.

        pose         measured x y z (rx ry rz), metres and radians; needed where the workspace is bounded
        observed_at  when the observation behind the action was made, on this envelope's clock
        """
        with self._lock:
            now = self._clock()
            age = 0.0 if observed_at is None else now - observed_at
            measured = self._pose(pose)
            guarded, self._last = self._step(np.asarray(action, np.float64), measured, age, self._last)
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
    ) -> tuple[np.ndarray, tuple[Intervention, ...]]:
        """A whole chunk float[H, A], each step from where the one before it leads.

        `executed`: how many will be carried out before the next trajectory; all, where it is not said.
        """
        with self._lock:
            now = self._clock()
            age = 0.0 if observed_at is None else now - observed_at
            measured, motion = self._pose(pose), self._last
            found: list[Intervention] = []
            planned = [motion]
            safe = np.empty((len(actions), len(self.layout.names)))
            for i, action in enumerate(np.asarray(actions, np.float64)):
                guarded, motion = self._step(action, measured, age, motion)
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

    def hold(self, kind: str, text: str) -> Guarded:
        """The robot's declared hold, as an intervention: for a watchdog, or for a policy that has no action."""
        with self._lock:
            guarded, self._last = self._held(kind, text, self._last)
            self._planned = ()
            self._note(guarded.interventions)
            return guarded

    def reset(self) -> None:
        """A new episode: the robot stands still. Counts stay, and what it was sent last."""
        with self._lock:
            self._sent = self._last.action if self._last is not None else self._sent
            self._last, self._planned = None, ()
            self.fed_at = self._clock()

    @property
    def can_hold(self) -> bool:
        """False before the first action, where the hold keeps something as it was sent last."""
        with self._lock:
            return self._last is not None or self._sent is not None or None not in self.limits.hold.action

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
            if self._last is not None:
                self._last = replace(self._last, target=None)

    def _step(
        self, action: np.ndarray, pose: np.ndarray | None, age: float, last: Motion | None
    ) -> tuple[Guarded, Motion]:
        if action.shape != (len(self.layout.names),):
            raise ValueError(
                f"an action must have {len(self.layout.names)} numbers, got the shape {list(action.shape)}"
            )
        if not np.isfinite(action).all():
            return self._held("not_finite", f"an action must be finite, got {action.tolist()}", last)
        if pose is not None and not np.isfinite(pose).all():
            return self._held("not_finite", f"a pose must be finite, got {pose.tolist()}", last)
        if not age <= self.limits.stale_seconds:  # also for an age that is no number
            text = f"the observation is {age:.3f} s old, more than {self.limits.stale_seconds:g}"
            return self._held("stale", text, last)
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

    def _held(self, kind: str, text: str, last: Motion | None) -> tuple[Guarded, Motion]:
        sent = last.action if last is not None else self._sent
        if sent is None and None in self.limits.hold.action:
            kept = self.layout.names[self.limits.hold.action.index(None)]
            raise RuntimeError(f"the hold keeps {kept!r} as it was sent last, but nothing has been sent: {text}")
        declared = [np.nan if value is None else value for value in self.limits.hold.action]
        action = np.array(declared) if sent is None else np.where(np.isnan(declared), sent, declared)
        target = None if last is None or last.target is None else self._axes.place(np.array(declared), last.target)
        return Guarded(action, (Intervention(kind, text),)), Motion(action, np.zeros(6), target)

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
        if place is None or last is None:
            return
        most = self.limits.gripper_speed / self._hz
        change = action[place] - last.action[place]
        if abs(change) > most * (1 + ROUNDING):
            found.append(Intervention("gripper_speed", f"a change of {change:.3g} in one step becomes {most:.3g}"))
            action[place] = last.action[place] + np.sign(change) * most

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
        if last is not None and last.target is not None:
            return last.target if pose is None else self._followed(last.target, pose)
        if pose is None:
            raise ValueError("the first position needs the measured pose, to know how far: guard(action, pose=...)")
        return pose

    def _followed(self, target: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """A target that the robot can be on its way to: one that was moved, or is stuck, is not where it was told."""
        lead, limits = short_way(target - pose), self.limits
        moves = shorten(lead[:3], limits.speed * limits.lag_seconds)
        turns = shorten(lead[3:], limits.turn_speed * limits.lag_seconds)
        return pose + np.concatenate([moves, turns])

    def _note(self, interventions: Sequence[Intervention]) -> None:
        for one in interventions:
            self.counts[one.kind] += 1
            logger.warning("safety envelope, %s: %s", one.kind, one.text)
