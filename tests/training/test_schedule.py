"""Learning rates against the reference's, which `compat` reproduces to the last digit; and where ours are better."""

import json
from pathlib import Path

import pytest
import torch

from tests.training.families import make_policy
from volition.training.optim import OptimConfig, make_optimizer

CASES = json.loads((Path(__file__).parents[1] / "golden" / "g_lr.json").read_text())
RUNS = {name: case for name, case in CASES.items() if isinstance(case, dict)}


@pytest.mark.parametrize("name", RUNS)
def test_our_rates_are_the_references(name: str) -> None:
    """At step 1, 2, ..., total. The reference spends its step 0 at a rate of 0 where it warms up, which ours has not;
    its "cosine" knows no lowest rate, and after the end both of its cosines rise again, where ours stays."""
    case = RUNS[name]
    given = case["cfg"]
    kind = given["scheduler"] or "constant"
    total = case["max_steps"] if case["max_steps"] > 0 else case["total"]
    config = OptimConfig(
        schedule=kind,
        warmup_steps=given["warmup_steps"],
        warmup_epochs=float(given["warmup_epochs"]),
        min_lr_scale=given["min_lr_scale"] if kind == "half-cosine" else 0.0,
    )
    per_epoch = case["total"] / case["epochs"]
    ours = [given["learning_rate"] * config.lr_scale(step, total, per_epoch) for step in range(1, total + 1)]
    theirs = case["lr_per_step"][1 : total + 1]
    assert ours[: len(theirs)] == pytest.approx(theirs, rel=1e-9, abs=1e-15)
    if kind != "constant":
        after = len(case["lr_per_step"]) - 1
        lowest = given["learning_rate"] * config.min_lr_scale
        assert given["learning_rate"] * config.lr_scale(after, total, per_epoch) == pytest.approx(lowest)
        assert case["lr_per_step"][after] > lowest


@pytest.mark.parametrize(
    ("config", "step", "expected"),
    [
        (OptimConfig(warmup_steps=10), 5, 0.5),
        (OptimConfig(warmup_steps=10), 10, 1.0),
        (OptimConfig(warmup_steps=10), 55, 0.5),
        (OptimConfig(warmup_steps=10), 100, 0.0),
        (OptimConfig(warmup_steps=10, min_lr_scale=0.2), 100, 0.2),
        (OptimConfig(warmup_steps=10, min_lr_scale=0.2, schedule="half-cosine"), 100, 0.2),
        (OptimConfig(warmup_steps=10, schedule="constant"), 77, 1.0),
        (OptimConfig(warmup_steps=10, schedule="linear"), 55, 0.5),
        (OptimConfig(warmup_steps=10, schedule="linear", min_lr_scale=0.5), 100, 0.5),
        (OptimConfig(warmup_steps=0, warmup_ratio=0.1), 5, 0.5),
        (OptimConfig(warmup_steps=0, warmup_epochs=0.5), 5, 0.5),  # of 20 steps each
        (OptimConfig(warmup_steps=5, warmup_ratio=0.05, warmup_epochs=0.5), 10, 0.5),
        (OptimConfig(warmup_steps=100), 100, 1.0),  # nothing but warm-up: the reference divides by zero
    ],
)
def test_schedule(config: OptimConfig, step: int, expected: float) -> None:
    assert config.lr_scale(step, 100, 20.0) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [{"warmup_ratio": 1.5}, {"min_lr_scale": -0.1}, {"warmup_steps": -1}])
def test_shares_and_counts_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        OptimConfig(**wrong)


def test_everything_decays_where_the_reference_is_followed() -> None:
    optimizer = make_optimizer(make_policy("llava"), OptimConfig(decayed="everything", weight_decay=0.1))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.1}


def test_moments_in_eight_bits_learn() -> None:
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    policy = make_policy("llava")
    optimizer = make_optimizer(policy, OptimConfig(optimizer="adamw-8bit", lr=1e-2, backbone_lr=1e-2))
    weight = max(policy.parameters(), key=lambda p: p.numel())
    before = weight.detach().square().mean().item()
    for _ in range(10):
        weight.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert weight.detach().square().mean().item() < 0.9 * before
    moments = optimizer.state[weight].values()
    large = [x for x in moments if isinstance(x, torch.Tensor) and x.numel() >= weight.numel()]
    assert large
    if weight.numel() >= 4096:
        assert all(x.dtype == torch.uint8 for x in large)
