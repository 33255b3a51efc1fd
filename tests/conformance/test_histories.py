"""Every head with every history: acting step by step computes what training computed for the whole window."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.families import make_family
from tests.tiny import BACKBONES, BEYOND_READOUT, HEADS, SPACES, make_backbone, make_head
from volition.backbones.encoded import Stored
from volition.backbones.interleaved import stream
from volition.data.transforms import Chain
from volition.policy import Collator, Policy
from volition.records import Observation
from volition.types import Target

STEPS, TEXT = 4, "lift red"
TEXTS = (TEXT, "push the blue block to the left")
HISTORIES = ("policy_head", "interleaved")
# Families of every kind of positions and masks, beside those of `tests.tiny`.
BODIES = (*BACKBONES, "gemma3", "llava", "qwen2_5_vl", "qwen3_5")
FROM_READOUT = [name for name in HEADS if name not in BEYOND_READOUT]


def make_policy(head: str, history: str, backbone: str = "paligemma", state_dim: int = 2) -> Policy:
    body = make_backbone(backbone) if backbone in BACKBONES else make_family(backbone)
    made = make_head(head, body, SPACES["arm-7d"], steps=STEPS, state_dim=state_dim).eval()
    collator = Collator(Chain(), body.adapter, ("static", "gripper"), tuple(range(state_dim)), history == "interleaved")
    return Policy(body, made, collator, STEPS).eval()


def observation(steps: int, *, text: str = TEXT, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    images = {c: rng.integers(0, 256, (steps, 32, 32, 3), dtype=np.uint8) for c in ("static", "gripper")}
    return Observation(images, rng.normal(size=(steps, 2)).astype(np.float32), text)


def step_of(whole: Observation, t: int, upto: int | None = None) -> Observation:
    chosen = slice(t, (upto or t) + 1)
    return replace(whole, images={name: x[chosen] for name, x in whole.images.items()}, state=whole.state[chosen])


def readouts(policy: Policy, whole: Observation, *, upto: int, first: int = 0) -> torch.Tensor:
    """Of a training window that begins at `first` and ends with `upto`: [T, K, D]."""
    with torch.no_grad():
        return policy.backbone.encode(policy.collator.batch([step_of(whole, first, upto)])).readout[0]


def streamed(policy: Policy, whole: list[Observation], starts: list[int], steps: int) -> Iterator[list[torch.Tensor]]:
    """[K, D] for every robot at every moment; robot i begins at moment `starts[i]`, in one batch with the others."""
    seen: list[torch.Tensor] = []
    policy.head.predict = lambda encoded, batch, states: (  # type: ignore[method-assign]
        seen.append(encoded.readout) or (torch.zeros(len(states), 4, 7), states)
    )
    states = policy.start(len(whole))
    for moment in range(steps):
        running = [i for i, start in enumerate(starts) if start <= moment]
        _, after = policy.act([step_of(whole[i], moment - starts[i]) for i in running], [states[i] for i in running])
        for i, state in zip(running, after):
            states[i] = state
        found = dict(zip(running, seen[-1][:, 0]))
        yield [found.get(i, torch.empty(0)) for i in range(len(whole))]


@pytest.mark.parametrize("backbone", BODIES)
def test_interleaved_streaming_equals_the_window(backbone: str) -> None:
    """Robots that begin at different moments, in one batch, with different instructions, beyond a full window."""
    policy = make_policy("mlp", "interleaved", backbone)
    starts, steps = [0, 0, 2], 8
    whole = [observation(steps, text=TEXTS[i % 2], seed=i) for i in range(3)]
    for moment, found in enumerate(streamed(policy, whole, starts, steps)):
        for i, start in enumerate(starts):
            if moment < start:
                continue
            now = moment - start
            if policy.backbone.adapter.streams:  # a full row begins anew with 1 of 4
                first = 0 if now < STEPS else STEPS - 1 + 3 * ((now - STEPS) // 3)
            else:  # a row that is read again anyway stays full
                first = max(0, now - STEPS + 1)
            expected = readouts(policy, whole[i], first=first, upto=now)[-1]
            torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", BODIES)
def test_decoding_goes_on_from_the_row(backbone: str) -> None:
    """Tokens after a robot's newest step are read in the light of its whole row, and leave the row as it was."""
    policy = make_policy("mlp", "interleaved", backbone)
    whole, memories = observation(STEPS), [None]
    ids = torch.tensor([[7], [9]])
    for t in range(STEPS):
        with torch.no_grad():
            batch = policy.collator.batch([step_of(whole, t)])
            found, memories, _ = stream(policy.backbone, batch, memories, max_steps=STEPS, keep=1)
            window = policy.backbone.encode(policy.collator.batch([step_of(whole, 0, t)]))
            expected = window.extend(ids.T.expand(1, t + 1, 2))[0, -1]
            for _ in range(2):  # the second decoder finds what the first one found
                decoder = found.decoder()
                for k in range(2):
                    decoder.push(ids[k])
                    torch.testing.assert_close(decoder.hidden[0], expected[k], rtol=1e-4, atol=1e-5)


def test_interleaved_steps_see_what_came_before_and_nothing_later() -> None:
    policy = make_policy("mlp", "interleaved")
    whole = observation(STEPS)
    before = readouts(policy, whole, upto=STEPS - 1)
    changed = replace(whole, images={name: x.copy() for name, x in whole.images.items()})
    changed.images["static"][1] = 255 - changed.images["static"][1]
    after = readouts(policy, changed, upto=STEPS - 1)
    assert torch.equal(before[0], after[0])
    assert all(not torch.allclose(before[t], after[t]) for t in (1, 2, 3))


@pytest.mark.parametrize(("head", "history"), list(itertools.product(FROM_READOUT, HISTORIES)))
def test_acting_computes_what_the_window_computed(head: str, history: str) -> None:
    """The head's loss at the actions that the policy takes is that of the same steps in a window of training."""
    policy = make_policy(head, history)
    whole = observation(STEPS)
    states = policy.start(1)
    for t in range(STEPS):
        actions, states = policy.act([step_of(whole, t)], states)
    collated = policy.collator.batch([whole])
    alone = policy.start(1)[0].head
    with torch.no_grad():
        window = policy.backbone.encode(collated).readout
        for t in range(STEPS):
            step = replace(collated, inputs={}, images={}, state=collated.state[:, t : t + 1])
            expected, (alone,) = policy.head.predict(Stored(window[:, t : t + 1]), step, [alone])
    np.testing.assert_allclose(actions, expected.numpy(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_layers_of_streamed_rows_are_those_of_the_window(backbone: str) -> None:
    """Keys and values of every layer, for robots whose rows are not equally long."""
    policy = make_policy("mlp", "interleaved", backbone)
    whole = [observation(STEPS, text=text, seed=i) for i, text in enumerate(TEXTS)]
    memories, starts = [None, None], (0, 2)  # the second robot begins two steps after the first
    for moment in range(STEPS):
        running = [i for i in range(2) if starts[i] <= moment]
        batch = policy.collator.batch([step_of(whole[i], moment - starts[i]) for i in running])
        with torch.no_grad():
            found, after, _ = stream(policy.backbone, batch, [memories[i] for i in running], max_steps=STEPS, keep=0)
        memories[: len(running)] = after
    for i, start in enumerate(starts):
        with torch.no_grad():
            window = policy.backbone.encode(policy.collator.batch([step_of(whole[i], 0, STEPS - 1 - start)]))
            expected = window.layers
        seen, length = found.step_mask[i, 0], window.step_mask[0, -1].sum()
        assert seen.tolist() == [True] * length + [False] * (len(seen) - length)
        for pair, other in zip(found.layers, expected):
            for x, y in zip(pair, other):
                torch.testing.assert_close(x[i, 0, :, :length], y[0, -1, :, :length], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("head", "history"), list(itertools.product(BEYOND_READOUT, HISTORIES)))
def test_acting_reads_what_the_window_held(head: str, history: str) -> None:
    """A head that reads the VLM itself finds in the caches of a robot's row what one pass over the window holds."""
    policy = make_policy(head, history)
    whole = observation(STEPS)
    states, alone = policy.start(1), policy.head.start()
    for t in range(STEPS):
        actions, states = policy.act([step_of(whole, t)], states)
        seen = policy.collator.batch([step_of(whole, 0 if history == "interleaved" else t, t)])
        with torch.no_grad():
            expected, (alone,) = policy.head.predict(policy.backbone.encode(seen), seen, [alone])
        np.testing.assert_allclose(actions, expected.numpy(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_row_that_begins_anew_tells_the_head(head: str) -> None:
    """After a full row, recurrent heads remember the steps of the new row and no others."""
    policy = make_policy(head, "interleaved")
    whole = observation(STEPS + 1)
    states = policy.start(1)
    for t in range(STEPS + 1):
        actions, states = policy.act([step_of(whole, t)], states)
    kept, fresh = step_of(whole, STEPS - 1, STEPS), policy.start(1)
    if not hasattr(fresh[0].head, "num_predictions"):  # sampling heads go on in their own sequence of noise
        for t in range(2):
            expected, fresh = policy.act([step_of(kept, t)], fresh)
        np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=2e-5)
    assert states[0].memory is not None
    assert states[0].memory.steps == 2


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("backbone", BODIES)
def test_a_suffix_follows_its_step_unseen(backbone: str, history: str) -> None:
    """`extend` gives what one row with these tokens gives; a cache gives the same, token by token."""
    policy = make_policy("mlp", history, backbone)
    collated = policy.collator.batch([observation(2, text=text, seed=i) for i, text in enumerate(TEXTS)])
    ids = torch.arange(2 * 2 * 3).view(2, 2, 3) + 7
    with torch.no_grad():
        together = policy.backbone.encode(collated).extend(ids)
        for i, text in enumerate(TEXTS):
            for t in range(2):
                first = 0 if history == "interleaved" else t
                one = policy.collator.batch([step_of(observation(2, text=text, seed=i), first, t)])
                suffix = torch.zeros(1, t - first + 1, 3, dtype=torch.long) + 5
                suffix[0, -1] = ids[i, t]
                alone = policy.backbone.encode(one).extend(suffix)[0, -1]
                torch.testing.assert_close(together[i, t], alone, rtol=1e-4, atol=1e-5)
                decoder = policy.backbone.encode(one).decoder()
                for k in range(3):
                    decoder.push(ids[i, t, k : k + 1])
                    torch.testing.assert_close(together[i, t, k], decoder.hidden[0], rtol=1e-4, atol=1e-5)


def test_one_loss_trains_all_of_it_with_interleaved_history() -> None:
    policy = make_policy("lstm", "interleaved").train()
    collated = policy.collator.batch([observation(STEPS)])
    target = Target(actions=torch.rand(1, STEPS, 4, 7), mask=torch.ones(1, STEPS, 4, dtype=torch.bool))
    policy(collated, target).total.backward()
    embedding = policy.backbone.embedding
    for weights in (embedding.new, embedding.base.weight):
        assert weights.grad is not None
        assert weights.grad.abs().sum() > 0
