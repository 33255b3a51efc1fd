"""Passes that are recorded and replayed act as the model does, whatever records them; on a GPU, as CUDA graphs.

Without a GPU a stand-in records: it has fixed inputs and outputs as a graph has, so that whoever forgets to copy either
is found out; what it cannot show is that a GPU takes a model's kernels into a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.export.seen import EPISODES
from tests.export.test_passes import HISTORIES
from tests.families import make_family
from tests.tiny import CAMERAS, HEADS, make_backbone, make_head
from volition.backbones.encoded import Encoded
from volition.contract import relative_arm_7d
from volition.data.transforms import Chain
from volition.export.captured import CapturedPasses, Recording, captured
from volition.policy import Acting, Collator
from volition.studies.backbone_checks import make_batch

READS_A_NUMBER = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")


class Recorder:
    """Fixed places for inputs and outputs, as a CUDA graph has; notes what would have to wait for a GPU."""

    def __init__(self) -> None:
        self.made: list[Sequence[Tensor]] = []
        self.replays = 0
        self.waits: set[str] = set()

    def __call__(self, run: Callable[[], Sequence[Tensor]]) -> Recording:
        with Watching(self.waits), patch("torch.cuda.is_current_stream_capturing", lambda: True):
            first = run()  # transformers asks, and then looks at no mask
        made = [torch.full_like(x, torch.nan) for x in first]  # a recording runs nothing
        self.made.append(made)

        def replay() -> None:
            self.replays += 1
            for place, x in zip(made, run(), strict=True):
                place.copy_(x)

        return Recording(replay=replay, made=made)


class Watching(TorchDispatchMode):
    def __init__(self, found: set[str]):
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = function.overloadpacket.__name__
        if name in READS_A_NUMBER:
            self._found.add(name)
        return function(*args, **(kwargs or {}))


def policy(head: str, history: str) -> Acting:
    steps, in_one_row = HISTORIES[history]
    backbone = make_backbone("paligemma")
    built = make_head(head, backbone, relative_arm_7d().scaled(), steps=steps).eval()
    for parameter in built.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return Acting(backbone, built, Collator(Chain(), backbone.adapter, CAMERAS, (), in_one_row), steps).eval()


def act_twice(actor: Acting) -> np.ndarray:
    """float32[steps, robots, H, A] of two robots, who change places."""
    states, chunks = actor.start(2), []
    for step in range(2):
        torch.manual_seed(step)
        chunk, after = actor.act([EPISODES[robot][step] for robot in (step, 1 - step)], states)
        chunks.append(chunk)
        states = after[::-1]
    return np.stack(chunks)


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("head", HEADS)
def test_captured_passes_act_as_the_model(head: str, history: str) -> None:
    ours, recorder = policy(head, history), Recorder()
    theirs = captured(ours, recorder)
    mine, other = act_twice(ours), act_twice(theirs)
    assert np.abs(mine - other).max() < 1e-5
    assert np.ptp(mine, axis=(0, 1)).max() > 1e-2, "what is seen changes nothing, so nothing was compared"
    assert recorder.replays >= len(recorder.made) > 0
    assert not recorder.waits, "a GPU would have to be asked for a number"


def waits_of(family: str) -> set[str]:
    """What a GPU would be asked for in a family's pass; what is recorded answers as the model does."""
    backbone, recorder = make_family(family), Recorder()
    batch = make_batch(backbone)
    with torch.inference_mode():
        found = Encoded(CapturedPasses(backbone, recorder, most=1), batch).readout
        assert torch.allclose(found, backbone.encode(batch).readout, atol=1e-6)
    return recorder.waits


@pytest.mark.parametrize(("family", "waits"), [("kosmos-2", False), ("smolvlm", False), ("qwen2_5_vl", True)])
def test_families_of_whose_passes_a_gpu_need_not_say_a_number(family: str, waits: bool) -> None:
    """docs/serving.md tells how many there are of each, by `captured_families.py`."""
    assert bool(waits_of(family)) == waits


def test_equal_sizes_share_a_recording_and_answers_outlive_the_next_call() -> None:
    recorder = Recorder()
    actor = captured(policy("lstm", "policy_head"), recorder)
    first, states = actor.act([EPISODES[0][0]], actor.start(1))
    kept, remembered = first.copy(), states[0]
    second, _ = actor.act([EPISODES[0][1]], states)
    assert len(recorder.made) == 1
    assert recorder.replays == 2
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    again, _ = actor.act([EPISODES[0][1]], [remembered])
    assert np.array_equal(again, second)
    actor.act([EPISODES[0][2], EPISODES[1][2]], actor.start(2))
    assert len(recorder.made) == 2


def test_instructions_of_like_length_share_a_recording() -> None:
    recorder = Recorder()
    actor = captured(policy("mlp", "one_step"), recorder)
    for prompt in ("go", "go left", "please go to the left"):
        actor.act([replace(EPISODES[0][0], instruction=prompt)], actor.start(1))
    assert len(recorder.made) == 1


def test_the_oldest_recordings_are_forgotten() -> None:
    recorder = Recorder()
    actor = captured(policy("mlp", "one_step"), recorder, most=2)

    def ask(rows: int) -> int:
        actor.act([EPISODES[0][0]] * rows, actor.start(rows))
        return len(recorder.made)

    assert [ask(1), ask(2), ask(1), ask(3), ask(1), ask(2)] == [1, 2, 2, 3, 3, 4]


def test_what_cannot_be_captured_is_refused() -> None:
    actor = policy("mlp", "one_step")
    with pytest.raises(ValueError, match=r"CUDA graphs need a GPU .*this policy is on cpu"):
        captured(actor)
    with pytest.raises(ValueError, match="this is an exported policy"):
        captured(captured(actor, Recorder()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("head", HEADS)
def test_cuda_graphs_act_as_the_model(head: str, history: str) -> None:
    ours = policy(head, history).to("cuda")
    theirs = captured(ours)
    assert isinstance(theirs.backbone, CapturedPasses)
    assert np.abs(act_twice(ours) - act_twice(theirs)).max() < 1e-3
