"""Holds the robot when nobody steers it: the policy is silent, its process hangs, the network is gone.

    with Watchdog(envelope, robot.execute, control_hz=30):
        while True: robot.execute(envelope.guard(policy.act(observe())).action)

`send` gets the hold action, once a control step, from the moment at which `Envelope.guard` has let nothing through for
`watchdog_seconds` until it does again, and once when the block ends, however it ends: a robot that is steered by
velocities would go on with the last one. Before an episode's first action there is nothing to stop, and where the hold
keeps something as it was sent last, nothing to keep but a gripper: such a hold is sent from that action on. It runs in
a thread of its own, so `send` must be safe beside the loop; leaving the block waits a second for a `send` that blocks,
and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Callable

import numpy as np

from volition_client.envelope import Envelope

logger = logging.getLogger(__name__)
LONGEST_SEND = 1.0  # seconds that leaving the block waits for the last hold


class Watchdog:
    def __init__(
        self,
        envelope: Envelope,
        send: Callable[[np.ndarray], None],
        control_hz: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: the envelope's own."""
        if envelope.limits.watchdog_seconds == float("inf"):
            raise ValueError("a watchdog needs SafetyLimits.watchdog_seconds, the longest silence that is allowed")
        self._envelope, self._send, self._period, self._clock = envelope, send, 1 / control_hz, clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.holding = False
        self.failure: Exception | None = None  # of `send`; the loop should look at it

    def check(self) -> bool:
        """Hold now if it is time to; whether it was. The thread calls it every control step."""
        silent = self._clock() - self._envelope.fed_at
        self.holding = silent > self._envelope.limits.watchdog_seconds and self._envelope.can_hold
        if self.holding:
            self._hold(f"no action for {silent:.3f} s")
        return self.holding

    def _hold(self, why: str) -> None:
        if self._envelope.can_hold:  # else nothing has been sent: the robot does what it did before us
            self._send(self._envelope.hold("watchdog", why).action)

    def _attempt(self, act: Callable[[], object]) -> None:
        """A watchdog that dies is worse than one that failed; nor may it hide what ended the loop."""
        try:
            act()
        except Exception as error:
            self.failure = error
            logger.exception("the watchdog could not hold the robot")

    def __enter__(self) -> Watchdog:
        self._thread = threading.Thread(target=self._run, name="volition-watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(LONGEST_SEND)
        if self._thread.is_alive():  # waiting longer would only hide what ended the loop
            self.failure = TimeoutError(f"`send` must return within {LONGEST_SEND:g} s, and blocks")
            logger.error("the watchdog could not hold the robot: %s", self.failure)

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            self._attempt(self.check)
        self._attempt(lambda: self._hold("the loop has ended"))
