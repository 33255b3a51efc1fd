"""What `volition eval` says in the terminal: figures with their intervals, what went wrong, where the rest is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from volition.evaluation.episodes import last_line

WEAKEST = 6  # tasks that are listed


def lines(score: Mapping[str, Any]) -> Iterator[str]:
    """Of a whole document: what was scored at its top, and each other part under its name."""
    if "offline" in score:
        yield from _offline(score["offline"])
    if any(name in score for name in ("average_length", "success_rate", "num_finished")):
        yield from scored(score)
    if "probes" in score:
        yield from _probes(score["probes"])
    if "timing" in score:
        yield from _timing(score["timing"])
    if "resampled" in score:
        yield "Other tasks and initial states, drawn anew"
        yield from scored(score["resampled"])


def scored(score: Mapping[str, Any]) -> Iterator[str]:
    if "num_finished" in score:
        yield f"{score['num_finished']} of {score['num_episodes']} episodes are in {score['folder']}"
        yield f"  {score['next']}"
        return
    yield from _chains(score) if "average_length" in score else _tasks(score)
    yield from _weakest(score["tasks"])
    yield from _measures(score.get("measures", {}))
    if "against" in score:
        yield from _against(score["against"])
    yield from _troubles(score)
    yield f"  {score['steps_per_policy_call']:.1f} control steps a policy call, {_limit(score)}"
    if score.get("control_steps_per_second"):
        steps, calls = score["control_steps_per_second"], score["policy_calls_per_second"]
        yield f"  {steps:,.0f} control steps/s, {calls:,.0f} policy calls/s, {score['evaluation_seconds']:,.0f} s"
    yield "  " + ", ".join(f"{name} {told}" for name, told in score["settings"]["simulator"].items())
    yield f"  results: {score['folder']}"
    if "report" in score:
        yield f"  report: {score['report']}"


def _limit(score: Mapping[str, Any]) -> str:
    """How many steps a task had; said aloud where it is not what the environment's protocol gives it."""
    given, protocol = score["max_steps"], score["settings"].get("protocol_max_steps", score["max_steps"])
    if given == protocol:
        return f"at most {given} a task"
    return f"at most {given} a task, where the protocol has {protocol}: not comparable with figures by the protocol"


def percent(rate: float, interval: Sequence[float]) -> str:
    """'94 % (91 to 97)', the interval rounded outwards."""
    low, high = math.floor(100 * interval[0] + 1e-9), math.ceil(100 * interval[1] - 1e-9)
    return f"{100 * rate:.0f} % ({low} to {high})"


def _chains(score: Mapping[str, Any]) -> Iterator[str]:
    low, high = score["average_length_interval"]
    yield f"Average length {score['average_length']:.3f} ({low:.3f} to {high:.3f}), {score['num_chains']} chains"
    reached = zip(score["chain_success"], score["chain_success_intervals"])
    yield "  in a row: " + ", ".join(f"{i} {percent(rate, span)}" for i, (rate, span) in enumerate(reached, start=1))
    yield _needed("of this length", score["chains_needed"], "chains")


def _tasks(score: Mapping[str, Any]) -> Iterator[str]:
    rate = percent(score["success_rate"], score["success_interval"])
    yield f"Success {rate}, mean over {len(score['tasks'])} tasks, {score['num_episodes']} episodes"
    yield _needed("of this rate", score["episodes_needed"], "episodes")


def _needed(what: str, counts: Mapping[str, int], unit: str) -> str:
    told = ", ".join(f"{difference}: {count:,}" for difference, count in counts.items())
    return f"  {unit} that each of two policies {what} needs to show a difference of {told}"


def _weakest(tasks: Mapping[str, Any]) -> Iterator[str]:
    count = lambda row: row.get("num_attempts", row.get("num_episodes"))
    weak = sorted((name for name in tasks if tasks[name]["success_rate"] < 1), key=lambda n: tasks[n]["success_rate"])
    for name in weak[:WEAKEST]:
        row = tasks[name]
        yield f"  {name:28} {percent(row['success_rate'], row['success_interval'])}, {count(row)} times"
    if len(weak) > WEAKEST:
        yield f"  ... and {len(weak) - WEAKEST} more tasks that sometimes fail"


def _measures(measures: Mapping[str, Any]) -> Iterator[str]:
    if measures:
        yield f"  {'':28} {'all attempts':28} where it succeeded"
    for name, row in measures.items():
        good = row["of_successes"]
        yield f"  {name:28} {_measured(row):28} {_measured(good) if good else '-'}"


def _measured(row: Mapping[str, Any]) -> str:
    return f"{row['mean']:.3g}{_reach(row['interval'], '.3g')}"


def _reach(interval: Sequence[float] | None, form: str) -> str:
    """' (0.1 to 0.3)'; "" where one value, or several equal ones, tell nothing of it."""
    return f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else ""


def _against(found: Mapping[str, Any]) -> Iterator[str]:
    if "error" in found:
        yield f"Against {found['checkpoint']}: no start was judged for both: {last_line(found['error'])}"
        return
    low, high = found["interval"]
    gain = f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    yield f"Against {found['checkpoint']}: {gain}, p = {found['p_value']:.2g}"
    yield (
        f"  {found['num_pairs']} common starts: better on {found['only_first_better']}, worse on "
        f"{found['only_second_better']}"
    )
    if found["p_value"] >= 0.05 and found["pairs_needed"]:
        yield f"  no difference is shown; if this is the true one, {found['pairs_needed']:,} common starts show it"


def _troubles(score: Mapping[str, Any]) -> Iterator[str]:
    if score["num_errors"]:
        yield f"  {score['num_errors']} episodes ended as errors and are not counted:"
        reasons: dict[str, list[str]] = {}
        for wrong in score["errors"]:
            reasons.setdefault(last_line(wrong["error"]), []).append(wrong["trial"])
        for reason, trials in list(reasons.items())[:WEAKEST]:
            yield f"    {trials[0]}{f' and {len(trials) - 1} more' if len(trials) > 1 else ''}: {reason}"
    if score["repeated_episodes"]:
        first = score["repeated_episodes"][0]
        yield f"  {len(score['repeated_episodes'])} episodes were begun again, the first: {first['reasons'][0]}"


def _probes(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'':28} {'success':18} change on the same starts"
    for row in found["rows"]:
        if "error" in row:
            yield f"{row['name']:28} could not be tried: {last_line(row['error'])}"
            continue
        change, rate = row["change"], percent(row["success_rate"], row["success_interval"])
        low, high = (round(100 * x) for x in change["interval"])
        points = f"{100 * change['difference']:+.0f} points ({low:+d} to {high:+d}), p = {change['p_value']:.2g}"
        yield f"{row['name']:28} {rate:18} {points if row['name'] != 'undisturbed' else ''}".rstrip()
    if found["swap"] is not None:
        swap = found["swap"]
        done = percent(swap["commanded_rate"], swap["commanded_interval"])
        other = percent(swap["original_rate"], swap["original_interval"])
        yield f"{'told another task':28} {done:18} the one that the start was made for: {other}"
    yield from (f"  {sentence}" for sentence in found["uses"])
    for row in found["prove_nothing"]:
        rate = percent(row["success_rate"], row["success_interval"])
        yield f"  {row['task']} needs no {row['needs_no']}: {row['shown_by']} {rate}, {row['num_episodes']} times"
    yield f"  page: {found['page']}"


def _timing(found: Mapping[str, Any]) -> Iterator[str]:
    late = sorted({row["latency"] for row in found["rows"]})
    yield f"{'success, if late by':20}" + "".join(f"{steps:>3} steps          " for steps in late).rstrip()
    for name in dict.fromkeys(row["chunking"] for row in found["rows"]):
        cells = {row["latency"]: row for row in found["rows"] if row["chunking"] == name}
        yield f"  {name:18}" + "".join(f"{_late(cells[steps]):19}" for steps in late).rstrip()
        for kind in ("left_out", "error"):
            if reasons := sorted({last_line(cell[kind]) for cell in cells.values() if kind in cell}):
                yield f"    {reasons[0]}"
    seconds, hz = found["policy_call_seconds"], found["control_hz"]
    yield f"  a policy call takes {1000 * seconds:.0f} ms here, {seconds * hz:.1f} control steps of {1000 / hz:.0f} ms"
    yield f"  plot: {found['plot']}"


def _late(cell: Mapping[str, Any]) -> str:
    if "success_rate" in cell:
        return percent(cell["success_rate"], cell["success_interval"])
    return "only errors" if "error" in cell else "-"


def _offline(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"On recorded actions: {found['num_steps']} steps of {found['num_episodes']} episodes"
    for kind, constant, better in (("mae", "constant_mae", "error"), ("accuracy", "constant_accuracy", "accuracy")):
        for name, row in found[kind].items():
            yield (
                f"  {name:12} {better} {row['value']:.4f}{_reach(row['interval'], '.4f')}; "
                f"a constant answer has {found[constant][name]:.4f}"
            )
