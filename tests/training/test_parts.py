"""A batch in parts, on one device or several, has the loss and the gradient of the whole."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import HEADS, SPACES, make_backbone, make_batch, make_head, make_target
from volition.backbones.images import Augmentation
from volition.data.transforms import Chain
from volition.policy import Collator, Policy
from volition.training.ranks import Ranks
from volition.training.train import LoopConfig
from volition.types import Batch, Target

DRAWING = ("flow", "diffusion", "expert")  # their loss draws noise, for every part its own


def rows(batch: Batch, target: Target, part: slice) -> tuple[Batch, Target]:
    steps = batch.shape[1]
    tokens = slice((part.start or 0) * steps, None if part.stop is None else part.stop * steps)
    return (
        Batch(
            inputs={name: x[tokens] for name, x in batch.inputs.items()},
            images={name: x[part] for name, x in batch.images.items()},
            state=batch.state[part],
        ),
        replace(
            target,
            actions=target.actions[part],
            mask=target.mask[part],
            known=None if target.known is None else target.known[part],
        ),
    )


@pytest.mark.parametrize("name", [name for name in HEADS if name not in DRAWING])
def test_parts_add_up_to_the_whole(name: str) -> None:
    backbone, space = make_backbone("paligemma"), SPACES["arm-7d"]
    head = make_head(name, backbone, space, steps=2)
    policy = Policy(backbone, head, Collator(Chain(), backbone.adapter, (), ()), 2).eval()
    batch = make_batch(backbone, ["push the red block"] * 4, steps=2)
    target = make_target(batch, space)
    target.mask[0, :, 1:] = False  # episodes end at different places, and one robot lacks dimensions
    target.mask[3, 1] = False
    if name != "fast":
        known = torch.ones(4, space.dim, dtype=torch.bool)
        known[1, 3:] = False
        target = replace(target, known=known)

    whole = policy(batch, target)
    whole.total.backward()
    expected = {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    parts = [rows(batch, target, slice(0, 1)), rows(batch, target, slice(1, None))]
    shares = Ranks().shares(policy, [t for _, t in parts], torch.device("cpu"))
    losses = [policy(b, t).shared(share) for (b, t), share in zip(parts, shares)]
    for loss in losses:
        loss.total.backward()
    assert sum(loss.total.item() for loss in losses) == pytest.approx(whole.total.item(), rel=1e-5)
    for term in whole.terms:
        assert sum(loss.metrics[term.name].item() for loss in losses) == pytest.approx(term.value.item(), rel=1e-5)
    found = {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for n, gradient in expected.items():
        torch.testing.assert_close(found[n], gradient, rtol=1e-3, atol=1e-6)
    # A plain mean over the parts would be another loss: that they are weighed can be seen.
    plain = sum(policy(b, t).total.item() for b, t in parts) / 2
    assert abs(plain - whole.total.item()) > 1e-3 * abs(whole.total.item())


def test_windows_are_augmented_alike_in_every_part() -> None:
    generator = torch.Generator().manual_seed(1)
    images = {"a": torch.randint(0, 256, (6, 2, 20, 20, 3), dtype=torch.uint8, generator=generator)}
    strong = Augmentation(crop=0.2, shift=0.2, brightness=0.2, contrast=0.3, colour=0.2)
    seeded = lambda: torch.Generator().manual_seed(7)
    whole = strong(images, seeded())["a"]
    for part in range(3):
        some = strong({"a": images["a"][part::3]}, seeded(), (part, 3))["a"]
        assert torch.equal(some, whole[part::3])


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "near"), [(10, 4, "take 8 or 12"), (2, 4, "take 4"), (7, 2, "take 6 or 8")]
)
def test_a_batch_that_does_not_divide_says_which_would(batch_size: int, accumulate: int, near: str) -> None:
    with pytest.raises(ValueError, match=near):
        LoopConfig(batch_size=batch_size, accumulate=accumulate)
    with pytest.raises(ValueError, match=r"= 3 ranks x accumulate=2: take 6 or 12"):
        Ranks(count=3).require_parts(8, 2)
