import pytest
import torch

from volition.types import Loss, Target, Term


def test_the_total_is_the_weighted_sum_of_its_terms() -> None:
    arm, hand = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    loss = Loss.of([Term("arm", arm), Term("hand", hand, 0.01)], {"mae": arm * 2})
    loss = loss.plus([Term("words", hand * hand, 0.5)])
    assert loss.total.item() == pytest.approx(2.0 + 0.01 * 3.0 + 0.5 * 9.0)
    assert {name: x.item() for name, x in loss.metrics.items()} == {"mae": 4.0, "arm": 2.0, "hand": 3.0, "words": 9.0}
    assert not any(x.requires_grad for x in loss.metrics.values())
    loss.total.backward()
    assert (arm.grad, hand.grad) == (torch.tensor(1.0), torch.tensor(0.01 + 0.5 * 6.0))


def test_every_term_has_a_name_of_its_own() -> None:
    term = Term("arm", torch.tensor(1.0))
    with pytest.raises(ValueError, match="'arm' is there already"):
        Loss.of([term], {}).plus([term])
    with pytest.raises(ValueError, match="'arm' is there already"):
        Loss.of([term], {"arm": torch.tensor(1.0)})


def test_extras_move_with_the_target() -> None:
    target = Target(actions=torch.zeros(1, 1, 1, 1), mask=torch.ones(1, 1, 1).bool(), extras={"x": torch.zeros(2)})
    moved = target.to(torch.device("meta"))
    assert moved.extras["x"].device.type == moved.actions.device.type == "meta"


def test_what_counts_is_inside_the_episode_and_of_a_dimension_that_is_there() -> None:
    mask, known = torch.tensor([[[True, False]]] * 2), torch.tensor([[True, True], [False, True]])
    target = Target(actions=torch.zeros(2, 1, 2, 2), mask=mask, known=known)
    assert target.counts[:, 0].tolist() == [[[True, True], [False, False]], [[False, True], [False, False]]]
    everything = Target(actions=target.actions, mask=mask)
    assert everything.counts[1, 0].tolist() == [[True, True], [False, False]]
    moved = target.to(torch.device("meta"))
    assert moved.known is not None
    assert moved.known.device.type == "meta"
    assert everything.to(torch.device("cpu")).known is None
