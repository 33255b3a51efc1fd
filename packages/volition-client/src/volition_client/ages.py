"""How old what the envelope is told is, and whether it may still be acted on."""

from __future__ import annotations

from dataclasses import dataclass

AHEAD = 0.01  # seconds that something may seem to come from the future: what reading and reckoning with times costs


@dataclass(frozen=True)
class Ages:
    """In seconds, on the envelope's clock."""

    observation: float
    pose: float

    @classmethod
    def at(cls, now: float, observed_at: float | None, measured_at: float | None) -> Ages:
        """None: now."""
        return cls(*(0.0 if time is None else now - time for time in (observed_at, measured_at)))

    def stale(self, most: float) -> str:
        """Why the observation may not be acted on; nothing where it may be."""
        if fresh(self.observation, most):
            return ""
        if self.observation < 0:
            return (
                f"the observation is {-self.observation:.3f} s in the future: observed_at must be of the envelope's "
                "own clock (time.monotonic, if it was given no other) and is of one that differs (time.time, or one "
                "that was set); take both from the same"
            )
        return f"the observation is {self.observation:.3f} s old, more than {most:g}"


def fresh(age: float, most: float) -> bool:
    """Not for an age that is no number, either."""
    return -AHEAD <= age <= most
