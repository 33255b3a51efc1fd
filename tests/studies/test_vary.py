"""What `volition compare` is told to vary, and what it makes of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from volition.config import Experiment
from volition.heads import ActionLoss, FlowHeadConfig, LSTMHeadConfig, MLPHeadConfig
from volition.recipes import demo, seeds_table, seeds_table_mobile
from volition.studies.vary import make_variants, set_field, split_values


def test_everything_that_is_varied_is_crossed() -> None:
    found = make_variants(
        {"": demo()}, ["loop.optim.lr=1e-3,3e-4"], heads=["mlp", "flow"], history=["policy_head", "one_step"]
    )
    assert len(found) == 8
    assert found[0].name == "loop.optim.lr=1e-3, head=mlp, history=policy_head"
    assert len({variant.folder for variant in found}) == 8
    last = found[-1].experiment
    assert (last.loop.optim.lr, type(last.head), last.window.num_obs_steps) == (3e-4, FlowHeadConfig, 1)
    assert found[-1].with_seed(3).loop.seed == 3


def test_named_heads_keep_the_recipes_loss() -> None:
    (mlp,) = make_variants({"": demo()}, heads=["mlp"])
    assert mlp.experiment.head == MLPHeadConfig(loss=ActionLoss(kind="l1", binary_weight=0.3))


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("loop.num_steps", "7", 7),
        ("loop.optim.lr", "1", 1.0),
        ("loop.optim.schedule", "linear", "linear"),
        ("train.vision", "False", False),
        ("head", "MLPHeadConfig", MLPHeadConfig()),
        ("head", "LSTMHeadConfig(hidden=64)", LSTMHeadConfig(hidden=64)),
        ("data.cameras", "('static',)", ("static",)),
        ("loop.optim.vision_lr", "None", None),
    ],
)
def test_values_are_read_by_the_fields_type(path: str, text: str, expected: Any) -> None:
    value: Any = set_field(Experiment(), path, text)
    for name in path.split("."):
        value = getattr(value, name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("vary", "heads", "history", "message"),
    [
        (["loop.num_step=3"], [], [], r"no field 'num_step'; did you mean 'num_steps'"),
        (["loop.num_steps"], [], [], r"--vary must be path=value"),
        (["loop.num_steps=x"], [], [], r"loop.num_steps=x: must be of type int, got 'x'"),
        (["loop.num_steps=0,-1"], [], [], r"loop.num_steps=-1: num_steps must be at least 0"),
        (["loop.optim.schedule=linaer"], [], [], r"must be one of .*did you mean 'linear'"),
        (["head=MPLHeadConfig"], [], [], r"must be a config.*did you mean 'MLPHeadConfig'"),
        (["head=__import__('os')"], [], [], r"must be a config class|must be a literal"),
        ([], ["mpl"], [], r"there is no head 'mpl'; did you mean 'mlp'"),
        ([], [], ["both"], r"history must be one of"),
        (["head=MLPHeadConfig"], ["mlp"], [], r"varied once, and \['head'\]"),
    ],
)
def test_what_cannot_be_is_said(vary: list[str], heads: list[str], history: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_variants({"": demo()}, vary, heads, history)


def test_values_are_parted_outside_of_brackets_only() -> None:
    assert split_values("A(x=1, y=(2, 3)),B,'c'") == ["A(x=1, y=(2, 3))", "B", "'c'"]


@pytest.mark.parametrize("study", [seeds_table, seeds_table_mobile])
def test_a_shipped_study_has_eight_rows_with_one_budget(study: Callable[[], dict[str, Experiment]]) -> None:
    rows = study()
    assert len(rows) == 8
    assert len({(row.loop.num_steps, row.loop.batch_size, row.loop.seed, row.window) for row in rows.values()}) == 1
    assert len({str(row) for row in rows.values()}) == 8
    found = make_variants(rows, ["loop.num_steps=10,20"])
    assert len(found) == 16
    assert found[1].name == "Kosmos-2 + CLIP, LSTM, normalised, loop.num_steps=20"
    assert replace(found[0].experiment, loop=found[1].experiment.loop) == found[1].experiment
    one = make_variants(rows, ["loop.num_steps=10", "loop.log_every=5,10"])
    assert one[0].name == "Kosmos-2 + CLIP, LSTM, normalised, loop.log_every=5"
    assert one[0].experiment.loop.num_steps == 10
