"""What every head must do, over every action space."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import BEYOND_READOUT, HEADS, SPACES, UNSCORED, make_backbone, make_batch, make_head, make_target
from volition.backbones import Encoded
from volition.contract import ActionSpace
from volition.heads import Head
from volition.heads.base import Inpainting
from volition.policy import Policy
from volition.types import Batch, Loss, Target

TEXTS = ["lift red", "push the blue block"]
NOISY = ("flow", "diffusion", "expert")  # they draw noise to act
CASES = [(name, *setting) for name in HEADS for setting in (("arm-7d", 0), ("base-2d", 2))]  # the state's entries


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("paligemma")


def name_of(parameters) -> str:
    return "-".join(map(str, parameters))


@pytest.fixture(params=CASES, ids=name_of)
def case(request, backbone):
    return make_case(backbone, *request.param)


@pytest.fixture(params=[c for c in CASES if c[0] not in UNSCORED], ids=name_of)
def scored_case(request, backbone):
    """Of a head whose loss scores the very chunk that it would act with."""
    return make_case(backbone, *request.param)


@pytest.fixture(params=[c for c in CASES if c[0] not in BEYOND_READOUT], ids=name_of)
def readout_case(request, backbone):
    """Of a head that read-outs are enough for."""
    return make_case(backbone, *request.param)


def make_case(backbone, name: str, space: str, state_dim: int):
    head = make_head(name, backbone, SPACES[space], state_dim=state_dim)
    batch = make_batch(backbone, TEXTS, state_dim=state_dim)
    return head, batch, make_target(batch, SPACES[space]), SPACES[space]


def scored(head: Head, encoded: Encoded, batch: Batch, target: Target) -> Loss:
    """The loss, with the same noise every time: what differs then between two of them is not chance."""
    torch.manual_seed(0)
    return head.loss(encoded, batch, target)


def streamed(head: Head, backbone, batch: Batch) -> torch.Tensor:
    """The last of the chunks that robots get, one after the other, in the frames of a window."""
    states = [head.start() for _ in range(batch.shape[0])]
    with torch.no_grad():
        for t in (0, 0, 0, 1, 2):  # three times the first frame: the window as `Windows` pads it, then moving on
            step = step_of(backbone, batch, t)
            chunk, states = head.predict(backbone.encode(step), step, states)
    return chunk


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
    first = scored(head, encoded, batch, replace(target, mask=mask)).total
    second = scored(head, encoded, batch, replace(target, mask=mask, actions=other)).total
    assert torch.equal(first, second)
    assert not torch.equal(first, scored(head, encoded, batch, target).total)
    nothing = scored(head, encoded, batch, replace(target, mask=torch.zeros_like(mask)))
    assert nothing.total == 0


def test_it_overfits_a_batch(backbone, readout_case) -> None:
    """Robots that then see what it was trained on do what was demonstrated."""
    head, batch, target, space = readout_case
    readout = backbone.encode(batch)
    assert readout.readout is not None
    readout.readout = readout.readout.detach()  # type: ignore[misc]  # the cached value: only the head is trained
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    torch.manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(readout, batch, target).total.backward()
        optimizer.step()
    assert_shown(streamed(head, backbone, batch), target, space)


@pytest.mark.parametrize("name", BEYOND_READOUT)
def test_it_overfits_a_batch_with_its_backbone(name: str) -> None:
    """The same for a head that reads more than [LRN]: its loss trains the VLM, tokens of its own included."""
    backbone = make_backbone("paligemma")
    head, batch, target, actions = make_case(backbone, name, "arm-7d", 2)
    optimizer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=3e-3)
    torch.manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(backbone.encode(batch), batch, target).total.backward()
        optimizer.step()
    assert_shown(streamed(head, backbone, batch), target, actions)


def assert_shown(chunk: torch.Tensor, target: Target, space: ActionSpace) -> None:
    """The chunk is what was demonstrated at the last step."""
    error = (chunk - target.actions[:, -1]).abs()
    assert error[..., list(space.continuous)].mean() < 0.1
    assert error[..., list(space.binary)].sum() == 0


def test_chunks_have_their_shape_and_range(backbone, case) -> None:
    head, batch, _, space = case
    chunk, states = head.predict(backbone.encode(s := step_of(backbone, batch, 0)), s, [head.start() for _ in TEXTS])
    assert chunk.shape == (2, 4, space.dim)
    assert len(states) == 2
    assert chunk.abs().max() <= 1
    assert set(chunk[..., list(space.binary)].flatten().tolist()) <= {-1.0, 1.0}


def test_acting_runs_what_training_ran(backbone, scored_case) -> None:
    """Step by step through its state, the head must predict what it would have been scored on in a full window."""
    head, batch, target, _ = scored_case
    wanted = target.actions.clone()
    wanted[:, -1] = streamed(head, backbone, batch)
    exact = replace(target, actions=wanted, mask=torch.zeros_like(target.mask))
    exact.mask[:, -1] = True
    with torch.no_grad():
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
    """A robot's chunk is a function of what it saw and of its state: of no attribute, and of no global seed."""
    head, batch, _, _ = case
    step = step_of(backbone, batch, 0)
    with torch.no_grad():
        torch.manual_seed(1)
        first, _ = head.predict(backbone.encode(step), step, [head.start() for _ in TEXTS])
        torch.manual_seed(2)
        second, _ = head.predict(backbone.encode(step), step, [head.start() for _ in TEXTS])
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", HEADS)
def test_a_robot_may_draw_noise_of_its_own(backbone, name: str) -> None:
    head = make_head(name, backbone, SPACES["arm-7d"]).eval()
    step = step_of(backbone, make_batch(backbone, TEXTS), 0)
    with torch.no_grad():
        usual, _ = head.predict(backbone.encode(step), step, [head.start() for _ in TEXTS])
        first, _ = head.predict(backbone.encode(step), step, [head.start_with(number) for number in (7, 8)])
        second, _ = head.predict(backbone.encode(step), step, [head.start_with(number) for number in (7, 9)])
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1]) == torch.equal(first, usual) == (name not in NOISY)


@pytest.mark.parametrize("name", HEADS)
def test_same_seed_same_actions(backbone, name: str) -> None:
    """Built, trained and asked twice."""
    chunks = []
    for _ in range(2):
        head, batch, target, _ = make_case(backbone, name, "arm-7d", 0)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            scored(head, backbone.encode(batch), batch, target).total.backward()
            optimizer.step()
        chunks.append(streamed(head, backbone, batch))
    assert torch.equal(*chunks)


def test_round_trip_is_bit_equal(backbone, case, tmp_path) -> None:
    head, batch, target, _ = case
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    before = scored(head, backbone.encode(batch), batch, target).total
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    head.load_state_dict(load_file(tmp_path / "head.safetensors"), strict=True)
    assert torch.equal(before, scored(head, backbone.encode(batch), batch, target).total)


def test_policy_is_an_actor() -> None:
    from volition.records import Actor

    assert issubclass(Policy, Actor)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "fast"])
def test_a_dimension_that_a_robot_lacks_is_not_learned_from_it(backbone, name: str) -> None:
    """The first robot of the batch has no x and no gripper: what stands there changes neither loss nor gradient."""
    head, batch, target, _ = make_case(backbone, name, "arm-7d", 0)
    known = torch.ones(2, 7, dtype=torch.bool)
    known[0, [0, 6]] = False
    losses, gradients = [], []
    for x, gripper in ((-1.0, -1.0), (0.7, 1.0)):
        actions = target.actions.clone()
        actions[0, ..., 0], actions[0, ..., 6] = x, gripper
        head.zero_grad()
        loss = scored(head, backbone.encode(batch), batch, replace(target, actions=actions, known=known))
        loss.total.backward()
        losses.append(loss.total.item())
        gradients.append([p.grad.clone() for p in head.parameters() if p.grad is not None])
    assert losses[0] == losses[1]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    everything = scored(head, backbone.encode(batch), batch, replace(target, actions=actions))
    assert everything.total.item() != losses[1]


def test_a_head_that_cannot_leave_a_dimension_out_says_so(backbone) -> None:
    head, batch, target, _ = make_case(backbone, "fast", "arm-7d", 0)
    known = torch.ones(2, 7, dtype=torch.bool)
    known[0, 0] = False
    with pytest.raises(ValueError, match="cannot leave out those that a robot of the batch lacks"):
        head.loss(backbone.encode(batch), batch, replace(target, known=known))


@pytest.mark.parametrize("space", ["arm-7d", "base-2d"])
@pytest.mark.parametrize("name", ["flow", "diffusion", "expert"])
def test_heads_that_denoise_continue_what_is_settled(name: str, space: str, backbone) -> None:
    head = make_head(name, backbone, SPACES[space])
    assert isinstance(head, Inpainting)
    batch = make_batch(backbone, TEXTS)
    step = step_of(backbone, batch, 0)
    encoded = backbone.encode(step)
    with torch.no_grad():
        free, _ = head.predict(encoded, step, [head.start(), head.start()])
        other, _ = head.predict(encoded, step, [replace(head.start(), seed=9)] * 2)
        known = other[:, :3]  # what another seed would do, binary dimensions at their ends
        weights = torch.tensor([[1.0, 1.0, 0.5], [0.0, 0.0, 0.0]])
        held, after = head.inpaint(encoded, step, [head.start(), head.start()], known, weights)
        alone, _ = head.inpaint(encoded, step, [head.start(), head.start()], known[[0, 0]], weights[[0, 0]])
    assert [state.num_predictions for state in after] == [1, 1]
    torch.testing.assert_close(held[0, :2], known[0, :2], rtol=0, atol=1e-5)
    assert torch.equal(held[1], free[1]), "a row of which nothing is settled is as it was"
    assert not torch.allclose(held[0, 3:], free[0, 3:]), "what is free follows what is settled"
    torch.testing.assert_close(alone[0], held[0], rtol=1e-4, atol=1e-5)
