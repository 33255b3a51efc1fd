"""Counters, gauges and histograms, in the text format that Prometheus scrapes. Thread-safe, and no more than that."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Mapping

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counter:
    def __init__(self, name: str, text: str, label: str = ""):
        self.name, self.text, self._label = name, text, label
        self._values: dict[str, float] = {} if label else {"": 0.0}
        self._lock = threading.Lock()

    def add(self, label: str = "", amount: float = 1.0) -> None:
        with self._lock:
            self._values[label] = self._values.get(label, 0.0) + amount

    def value(self, label: str = "") -> float:
        return self._values.get(label, 0.0)

    def lines(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} counter"
        with self._lock:
            values = sorted(self._values.items())
        for label, value in values:
            yield f"{self.name}{_labels({self._label: label} if self._label else {})} {_exact(value)}"


class Histogram:
    def __init__(self, name: str, text: str, bounds: tuple[float, ...]):
        self.name, self.text, self._bounds = name, text, bounds
        self._counts, self._sum = [0] * (len(bounds) + 1), 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        with self._lock:
            self._counts[bisect.bisect_left(self._bounds, value)] += 1
            self._sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def lines(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} histogram"
        with self._lock:
            counts, total = list(self._counts), self._sum
        so_far = 0
        for bound, count in zip((*self._bounds, float("inf")), counts):
            so_far += count
            shown = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f"{self.name}_bucket{_labels({'le': shown})} {so_far}"
        yield f"{self.name}_sum {_exact(total)}"
        yield f"{self.name}_count {so_far}"


class Metrics:
    """Everything that a server counts."""

    def __init__(self) -> None:
        self.requests = Counter("volition_requests_total", "Answers with actions, and all refusals", "outcome")
        self.interventions = Counter("volition_interventions_total", "Interventions of the safety envelope", "kind")
        self.reloads = Counter("volition_reloads_total", "Reloads of the policy, by what became of them", "outcome")
        self.fresh = Counter(
            "volition_fresh_states_total", "Times that a policy's memory of a session began anew", "why"
        )
        self.latency = Histogram("volition_request_seconds", "From a request's arrival to its answer", SECONDS)
        self.policy = Histogram("volition_policy_seconds", "One call of the policy, whatever its rows", SECONDS)
        self.rows = Histogram("volition_batch_rows", "Requests that one call of the policy answered", ROWS)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """`gauges`: name -> (help, value now)."""
        every = (self.requests, self.interventions, self.reloads, self.fresh, self.latency, self.policy, self.rows)
        lines = [line for one in every for line in one.lines()]
        for name, (text, value) in gauges.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {_exact(value)}"]
        return "\n".join(lines) + "\n"


def _exact(value: float) -> str:
    """Counters grow: with six digits a million and one would be a million."""
    return f"{value:.17g}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = {k: v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for k, v in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
