"""From what a client sent to an `Observation` that fits the contract, or an error that says what does not.

    {"observation/static": uint8[H, W, 3], "observation/state": float[S], "prompt": "open the drawer"}

Names are the contract's; a robot without state entries may leave the state out. Anything of another shape, type or name
is refused: a policy that is fed something else acts on nonsense, and looks as if it worked.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from volition.contract import RobotSpec
from volition.records import Observation, Settled
from volition.serving.refusals import QUOTED, listed, quoted
from volition_client.errors import ServerError

PREFIX, STATE, PROMPT = "observation/", "observation/state", "prompt"
# What else a message may hold, beside the observation itself.
CONTROL = ("reset", "request", "time", "age", "convention", "session", "executed", "answered", "settled", "weights")
LONGEST_PROMPT = 2000  # characters
LARGEST = 2.0**53  # of a number in a message: whole ones are exact up to here


def read(message: Any, robot: RobotSpec) -> Observation:
    """ServerError of type bad_message, bad_observation or foreign_contract."""
    if not isinstance(message, Mapping):
        raise ServerError("bad_message", f"an observation must be a map, got {type(message).__name__}")
    own = robot.convention
    if not isinstance(message.get("convention", own), str):
        raise ServerError("bad_message", "convention must be text, as the metadata has it")
    if message.get("convention", own) != own:
        raise ServerError(
            "foreign_contract",
            f"this policy's convention is {own}, the client was made for {quoted(message['convention'])}: "
            "compare the metadata of both (action units, cameras, state)",
        )
    expected = {PREFIX + camera.name for camera in robot.cameras} | {STATE, PROMPT}
    _require_names(message, expected, optional=set() if robot.state else {STATE})
    images = {
        camera.name: _picture(PREFIX + camera.name, message[PREFIX + camera.name], (camera.height, camera.width, 3))
        for camera in robot.cameras
    }
    return Observation(images=images, state=_state(message, robot), instruction=_prompt(message[PROMPT]))


def _require_names(message: Mapping[str, Any], expected: set[str], optional: set[str]) -> None:
    missing = sorted(expected - optional - message.keys())
    if missing:
        raise ServerError(
            "bad_observation",
            f"the observation lacks {', '.join(missing)}; this policy wants {', '.join(sorted(expected))}",
        )
    unknown = sorted(message.keys() - expected - set(CONTROL))
    if unknown:
        near = difflib.get_close_matches(unknown[0][:QUOTED], sorted(expected), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it wants {', '.join(sorted(expected))}"
        raise ServerError("bad_observation", f"this policy has no use for {listed(unknown)}{hint}")


def _picture(name: str, given: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8[1, height, width, 3]"""
    wanted = f"{name} must be uint8{list(shape)} (height, width, RGB)"
    if not isinstance(given, np.ndarray):
        raise ServerError("bad_observation", f"{wanted}, got {type(given).__name__}")
    if given.dtype != np.uint8 or given.shape not in (shape, (1, *shape)):
        hint = "; it has its channels first" if given.shape[-3:] == (3, *shape[:2]) else ""
        raise ServerError("bad_observation", f"{wanted}, got {given.dtype}{list(given.shape)}{hint}")
    return given.reshape(1, *shape)


def _state(message: Mapping[str, Any], robot: RobotSpec) -> np.ndarray:
    """float32[1, S]"""
    size = len(robot.state)
    given = message.get(STATE)
    if given is None and not size:
        return np.zeros((1, 0), np.float32)
    array = _array(given, size, size)
    if array.dtype.kind not in "iuf" or array.shape not in ((size,), (1, size)):
        found = f"{array.dtype}{list(array.shape)}" if array.dtype != object else type(given).__name__
        raise ServerError("bad_observation", f"{STATE} must be {size} numbers ({', '.join(robot.state)}), got {found}")
    with np.errstate(over="ignore"):
        state = array.reshape(1, size).astype(np.float32)
    if not np.isfinite(state).all():
        bad = [name for name, fine in zip(robot.state, np.isfinite(state[0])) if not fine]
        raise ServerError("bad_observation", f"{STATE} must be finite in float32, and is not for {', '.join(bad)}")
    return state


def _array(given: Any, *most: int) -> np.ndarray:
    """Of objects where it is none of numbers, or longer than `most`: others wait while a long list is converted."""
    if isinstance(given, np.ndarray):
        return given
    try:
        return np.asarray(given) if isinstance(given, list) and _is_short(given, most) else np.empty(0, object)
    except ValueError:  # a list of lists that differ in length
        return np.empty(0, object)


def _is_short(given: Any, most: tuple[int, ...]) -> bool:
    if not isinstance(given, list):
        return isinstance(given, (int, float, np.generic))
    return bool(most) and len(given) <= most[0] and all(_is_short(one, most[1:]) for one in given)


def settled(message: Mapping[str, Any], horizon: int, dim: int) -> Settled | None:
    """What the robot is going to do anyway, `settled` [P, A] with `weights` [P] in 0..1; None where it does not say."""
    if message.get("settled") is None and message.get("weights") is None:
        return None
    actions, weights = _array(message.get("settled"), horizon, dim), _array(message.get("weights"), horizon)
    fits = actions.ndim == 2 and 1 <= len(actions) <= horizon and actions.shape[1] == dim
    if not fits or actions.dtype.kind not in "iuf" or not np.isfinite(actions).all():
        raise ServerError("bad_observation", f"settled must be 1 to {horizon} actions of {dim} finite numbers")
    if weights.shape != actions.shape[:1] or weights.dtype.kind not in "iuf" or not _shares(weights):
        raise ServerError("bad_observation", f"weights must be {len(actions)} numbers in 0..1, one for each action")
    return Settled(actions.astype(np.float32), weights.astype(np.float32))


def _shares(weights: np.ndarray) -> bool:
    return bool(((weights >= 0) & (weights <= 1)).all())


def _prompt(given: Any) -> str:
    if isinstance(given, str) and len(given) <= LONGEST_PROMPT:
        try:
            given.encode()
        except UnicodeEncodeError as error:  # halves of a pair: neither a tokenizer nor an answer can have them
            raise ServerError("bad_observation", f"{PROMPT} must be text in UTF-8: {error}") from error
        return given
    found = f"{len(given)} characters" if isinstance(given, str) else type(given).__name__
    raise ServerError("bad_observation", f"{PROMPT} must be text of at most {LONGEST_PROMPT} characters, got {found}")


def flag(message: Mapping[str, Any], name: str) -> bool:
    value = message.get(name, False)
    if not isinstance(value, (bool, np.bool_)):
        raise ServerError("bad_message", f"{name} must be true or false, got {quoted(value)}")
    return bool(value)


def number(message: Mapping[str, Any], name: str) -> float | None:
    """A finite number, or None where there is none."""
    value = message.get(name)
    if value is None:
        return None
    known = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not known or not abs(value) <= LARGEST:
        raise ServerError("bad_message", f"{name} must be a finite number within +-{LARGEST:g}, got {quoted(value)}")
    return float(value)
