"""What every head must do, over every action space."""

import itertools
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import HEADS, SPACES, make_backbone, make_batch, make_head, make_target
from volition.policy import Policy
from volition.types import Batch

TEXTS = ["lift red", "push the blue block"]
CASES = list(itertools.product(HEADS, SPACES, (0, 2)))


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("paligemma")


@pytest.fixture(params=CASES, ids=lambda c: "-".join(map(str, c)))
def case(request, backbone):
    name, space, state_dim = request.param
    head = make_head(name, backbone, SPACES[space], state_dim=state_dim)
    batch = make_batch(backbone, TEXTS, state_dim=state_dim)
    return head, batch, make_target(batch, SPACES[space]), SPACES[space]


def step_of(backbone, batch: Batch, t: int) -> Batch:
    texts = TEXTS[: batch.shape[0]]
    return Batch(
        inputs=backbone.adapter.collate(texts, len(batch.images)),
        images={name: x[:, t : t + 1] for name, x in batch.images.items()},
        state=batch.state[:, t : t + 1],
    )


def test_loss_is_finite_and_every_parameter_learns(backbone, case) -> None:
    head, batch, target, _ = case
    head.zero_grad()
    loss = head.loss(backbone.encode(batch), batch, target)
    loss.total.backward()
    assert loss.total.isfinite()
    assert all(not value.requires_grad for value in loss.metrics.values())
    # An empty output layer (no binary dimension) has nothing to learn.
    silent = [n for n, p in head.named_parameters() if p.numel() and (p.grad is None or not p.grad.abs().sum() > 0)]
    assert not silent


def test_masked_steps_do_not_count(backbone, case) -> None:
    head, batch, target, _ = case
    mask = target.mask.clone()
    mask[:, :, 2:] = False
    other = target.actions.clone()
    other[:, :, 2:] = -other[:, :, 2:]
    encoded = backbone.encode(batch)
    first = head.loss(encoded, batch, replace(target, mask=mask)).total
    second = head.loss(encoded, batch, replace(target, mask=mask, actions=other)).total
    assert torch.equal(first, second)
    assert not torch.equal(first, head.loss(encoded, batch, target).total)
    nothing = head.loss(encoded, batch, replace(target, mask=torch.zeros_like(mask)))
    assert nothing.total == 0


def test_it_overfits_a_batch(backbone, case) -> None:
    head, batch, target, _ = case
    readout = backbone.encode(batch)
    assert readout.readout is not None
    readout.readout = readout.readout.detach()  # type: ignore[misc]  # the cached value: only the head is trained
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    first = head.loss(readout, batch, target).total.item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = head.loss(readout, batch, target).total
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first


def test_chunks_have_their_shape_and_range(backbone, case) -> None:
    head, batch, _, space = case
    chunk, states = head.predict(backbone.encode(s := step_of(backbone, batch, 0)), s, [head.start() for _ in TEXTS])
    assert chunk.shape == (2, 4, space.dim)
    assert len(states) == 2
    assert chunk.abs().max() <= 1
    assert set(chunk[..., list(space.binary)].flatten().tolist()) <= {-1.0, 1.0}


def test_acting_runs_what_training_ran(backbone, case) -> None:
    """Step by step through its state, the head must predict what it would have been scored on in a full window."""
    head, batch, target, _ = case
    states = [head.start() for _ in TEXTS]
    with torch.no_grad():
        for t in (0, 0, 0, 1, 2):  # three times the first frame: the window as `Windows` pads it, then moving on
            step = step_of(backbone, batch, t)
            chunk, states = head.predict(backbone.encode(step), step, states)
        wanted = target.actions.clone()
        wanted[:, -1] = chunk
        exact = replace(target, actions=wanted, mask=torch.zeros_like(target.mask))
        exact.mask[:, -1] = True
        error = head.loss(backbone.encode(batch), batch, exact).metrics["mae"]
    assert error < 1e-5


def test_robots_do_not_share_history(backbone, case) -> None:
    """Row i of a batch equals the row alone, and states may move between batches."""
    head, batch, _, _ = case
    with torch.no_grad():
        states = [head.start() for _ in TEXTS]
        for t in range(3):
            step = step_of(backbone, batch, t)
            together, states = head.predict(backbone.encode(step), step, states)
        alone = [head.start()]
        single = Batch(inputs={}, images={n: x[:1] for n, x in batch.images.items()}, state=batch.state[:1])
        for t in range(3):
            step = step_of(backbone, single, t)
            chunk, alone = head.predict(backbone.encode(step), step, alone)
    torch.testing.assert_close(together[:1], chunk, rtol=1e-4, atol=1e-5)


def test_predicting_leaves_the_head_as_it_was(backbone, case) -> None:
    head, batch, _, _ = case
    step = step_of(backbone, batch, 0)
    with torch.no_grad():
        first, _ = head.predict(backbone.encode(step), step, [head.start() for _ in TEXTS])
        second, _ = head.predict(backbone.encode(step), step, [head.start() for _ in TEXTS])
    assert torch.equal(first, second)


def test_round_trip_is_bit_equal(backbone, case, tmp_path) -> None:
    head, batch, target, _ = case
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    before = head.loss(backbone.encode(batch), batch, target).total
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    head.load_state_dict(load_file(tmp_path / "head.safetensors"), strict=True)
    assert torch.equal(before, head.loss(backbone.encode(batch), batch, target).total)


def test_policy_is_an_actor() -> None:
    from volition.records import Actor

    assert issubclass(Policy, Actor)
