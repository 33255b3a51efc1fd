"""`volition plan`: what it counts is there, what it predicts holds, and what it picks fits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_cli import volition
from tests.tiny import SMALL
from volition.backbones import TinyPaliGemma
from volition.config import Experiment
from volition.heads import MLPHeadConfig
from volition.studies.audit import data_of
from volition.studies.footprint import Footprint, LiveMemory, Moment, fullest, measure
from volition.studies.planning import MARGIN, MENU, RETURNING, chosen, fit, in_four_bits, parse_bytes, plan
from volition.training.freeze import TrainableConfig
from volition.training.lora import LoRAConfig
from volition.training.recompute import RecomputeConfig
from volition.training.train import LoopConfig

EXPERIMENT = Experiment(
    backbone=TinyPaliGemma(**SMALL),
    head=MLPHeadConfig(hidden=16),
    loop=LoopConfig(num_steps=4, batch_size=8, log_every=2, save_every=2),
)
FOOTPRINT = Footprint(
    weight_bytes=1000,
    state_bytes=2000,
    moments=(Moment(other_bytes=300.0, window_bytes=500.0),),
    window_seconds=0.1,
    step_seconds=0.5,
    window_flops=1e6,
    trained=250,
)


def test_live_memory_counts_what_is_there_and_no_more() -> None:
    with LiveMemory() as live:
        a = torch.zeros(1000)  # 4 kB
        b = a.view(10, 100)  # the same memory
        a.add_(1)
        c = a + b.flatten()
        assert live.now == 8000
        del c
        assert live.now == 4000
        torch.zeros(500)
        assert (live.now, live.peak) == (4000, 8000)


def test_memory_grows_with_windows_in_a_straight_line() -> None:
    """What one and two windows tell of four."""
    experiment, episodes, robot, _ = data_of(EXPERIMENT)
    few, many = (measure(experiment, episodes, robot, windows=pair) for pair in ((1, 2), (3, 4)))
    assert few.bytes_of(4) == pytest.approx(many.bytes_of(4), rel=0.05)
    trained = sum(p.numel() for p in EXPERIMENT.build(robot).parameters())
    assert few.trained == trained
    assert few.weight_bytes == 4 * trained
    assert few.state_bytes == pytest.approx(8 * trained, rel=0.01)  # two moments
    assert few.window_flops == pytest.approx(many.window_flops, rel=0.01)
    assert few.window_flops > 0


def test_what_is_fullest_with_many_windows_is_found_from_steps_with_few() -> None:
    """Gradients are most of a step with one window and with two, activations of one with eight."""
    window_bytes, other_bytes = (
        np.array([0.0, 90.0, 100.0, 40.0, 10.0, 0.0]),
        np.array([5.0, 50.0, 60.0, 300, 420, 430]),
    )
    held = lambda windows: other_bytes + windows * window_bytes
    moments = fullest(held(1), held(2), (1, 2))
    assert moments[0] == Moment(other_bytes=420.0, window_bytes=10.0)
    assert moments[-1] == Moment(other_bytes=60.0, window_bytes=100.0)
    for windows in range(1, 20):
        assert max(moment.bytes_of(windows) for moment in moments) == pytest.approx(held(windows).max())


def test_a_step_with_large_weights_is_foreseen() -> None:
    """As above, of a real model: wide, on small pictures."""
    wide = TinyPaliGemma(**SMALL | {"width": 256, "num_heads": 4, "mlp_ratio": 4})
    experiment, episodes, robot, _ = data_of(replace(EXPERIMENT, backbone=wide))
    few, many = (measure(experiment, episodes, robot, windows=pair) for pair in ((1, 2), (31, 32)))
    assert few.moments[0].window_bytes < 0.5 * few.moments[-1].window_bytes  # not the same moments
    for windows in (1, 4, 32):
        assert few.bytes_of(windows) == pytest.approx(many.bytes_of(windows), rel=0.02)


@pytest.mark.parametrize(
    ("budget", "part", "accumulate"),
    [(7301 / MARGIN, 8, 1), (7200 / MARGIN, 4, 2), (3801 / MARGIN, 1, 8), (3000, 0, 8)],
)
def test_the_largest_part_that_fits_is_taken(budget: float, part: int, accumulate: int) -> None:
    found = fit(MENU[0], FOOTPRINT, EXPERIMENT, budget=budget, base=0.0)
    assert (found.part, found.accumulate) == (part, accumulate)
    if part:
        assert found.peak_bytes <= MARGIN * budget
    assert found.seconds == pytest.approx(0.5 + 8 * 0.1)


def test_four_bits_shrink_the_frozen_weights_alone() -> None:
    small = in_four_bits(replace(FOOTPRINT, weight_bytes=1_001_000), EXPERIMENT)
    assert small.weight_bytes == pytest.approx(1000 + 1_000_000 * (0.5 + 4 / 64) / 4, abs=2)


def test_the_menu_is_tried_and_the_first_that_fits_chosen() -> None:
    train = TrainableConfig(lora=LoRAConfig(rank=2))  # beside 32 numbers, 64 are not few
    deep = TinyPaliGemma(**SMALL | {"vision_layers": 4, "text_layers": 4})  # one layer recomputed saves nothing
    narrow = replace(EXPERIMENT, backbone=deep, train=train)
    plans, source = plan(narrow, 1e12, on_gpu=True)
    assert "noise" in source
    assert [one.settings for one in plans] == list(MENU)
    best = chosen(plans)
    assert best is not None
    assert (best.settings, best.flags) == (MENU[0], ())
    by_name = {one.settings.name: one.footprint for one in plans}
    assert by_name["LoRA"].trained < 0.6 * by_name["all weights"].trained
    added = {name: one.moments[-1].window_bytes for name, one in by_name.items()}  # with many windows
    assert added["all weights, all layers recomputed"] < 0.8 * added["all weights"]
    assert chosen([replace(one, part=0) for one in plans]) is None


def test_on_this_machine_the_chosen_one_is_timed_as_it_will_run() -> None:
    plans, _ = plan(EXPERIMENT, 1e12, on_gpu=False)
    assert [one.timed for one in plans] == [True, *[False] * (len(plans) - 1)]
    assert plans[0].seconds > 0
    none, _ = plan(EXPERIMENT, 1.0, on_gpu=False)
    assert not any(one.timed for one in none)


def test_the_flags_are_what_makes_a_recipe_what_was_tried() -> None:
    train = TrainableConfig(projector=False, lora=LoRAConfig(parts=("vision",), rank=8, quantize=True))
    loop = replace(EXPERIMENT.loop, accumulate=2, recompute=RecomputeConfig(vision="layers"))
    recipe = replace(EXPERIMENT, train=train, loop=loop)
    plain, lora, qlora = (one.apply(recipe) for one in (MENU[0], MENU[3], MENU[5]))
    assert not plain.train.projector  # what the recipe leaves as it is stays so
    assert plain.train.lora.parts == ()
    assert plain.loop.recompute == RecomputeConfig()
    assert MENU[0].flags(recipe, 1) == (
        *("--train.lora.parts", "--train.lora.no-quantize", "--loop.recompute.vision", "nothing"),
        *("--loop.accumulate", "1"),
    )
    assert (lora.train.lora.parts, lora.train.lora.rank) == (("vision",), 8)
    assert MENU[5].flags(recipe, 2) == ("--train.no-embeddings", "--loop.recompute.language", "layers")
    assert qlora.loop.recompute == RecomputeConfig(vision="layers", language="layers")


@pytest.mark.parametrize(("text", "size"), [("24GB", 24e9), ("16 GiB", 16 * 2**30), ("900mb", 9e8), ("1.5G", 1.5e9)])
def test_sizes(text: str, size: float) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["24", "GB", "x24GB", ""])
def test_sizes_without_sense(text: str) -> None:
    with pytest.raises(ValueError, match="such as 24GB"):
        parse_bytes(text)


@pytest.mark.slow
def test_the_command_says_what_to_type(tmp_path: Path, capsys: Any) -> None:
    flags = (
        "--backbone.width",
        32,
        "--backbone.num-heads",
        2,
        "--backbone.text-layers",
        1,
        "--backbone.vision-layers",
        1,
    )
    flags = (*flags, "--backbone.weights", "", "--head.hidden", 16, "--data.path", "nowhere", "--loop.batch-size", 4)
    assert volition("plan", "smoke", "--gpu", "8GB", "--json", tmp_path / "plan.json", *flags) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("volition train smoke --backbone.width 32 ")
    assert "--backbone.weights '' --head.hidden 16" in said
    assert said.splitlines()[-1].endswith("--loop.batch-size 4 --device cuda")
    assert json.loads((tmp_path / "plan.json").read_text())["chosen"] == "all weights"
    assert volition("plan", "smoke", "--gpu", "610MB", *flags) == 1
    assert "nothing fits into 610MB" in capsys.readouterr().out
    assert volition("plan", "smoke", *flags) == 2
    assert "--gpu 24GB, or --cpu 16GB" in capsys.readouterr().err


def test_on_a_cpu_the_command_has_free_memory_returned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    found = [fit(MENU[2], FOOTPRINT, EXPERIMENT, budget=1e9, base=0.0)]
    monkeypatch.setattr("volition.studies.plan_command.plan", lambda *asked, **how: (found, "noise"))
    assert volition("plan", "smoke", "--cpu=8GB", "--loop.batch-size", "8", "--json", tmp_path / "plan.json") == 0
    recomputed = "--loop.recompute.vision layers --loop.recompute.language layers"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{RETURNING}volition train smoke --loop.batch-size 8 {recomputed}"
    assert volition("plan", "smoke", "--gpu", "8GB") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("volition train")
