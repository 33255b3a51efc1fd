"""Configs survive the way to disk and back, and a hostile one runs nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from tests.toy import SPEC
from volition import recipes
from volition.backbones import HubBackbone
from volition.config import Contract, DataConfig, Experiment, WindowConfig, dump, load, read
from volition.contract import Camera, Dimension, RobotSpec, differences, relative_arm_7d, require_equal
from volition.data.calvin_select import CalvinConfig
from volition.data.transforms import Chain, NormalizeState, Scale, clip_to
from volition.envs.desk.environment import DeskConfig
from volition.envs.desk.starts import ShiftRange
from volition.heads import FASTHeadConfig
from volition.names import locate, suggest
from volition.studies.train_command import parse
from volition.training.train import LoopConfig

ROBOT = RobotSpec(
    action_space=relative_arm_7d(),
    cameras=(Camera(name="static", height=96, width=96),),
    state=("tcp_x", "tcp_y"),
    control_hz=30.0,
)


def through_json(config: Any) -> Any:
    return json.loads(json.dumps(dump(config)))


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_recipe_survives_the_way_to_disk(name: str) -> None:
    experiment = getattr(recipes, name)()
    assert isinstance(experiment, Experiment)
    assert load(through_json(experiment)) == experiment


def test_a_contract_survives_the_way_to_disk() -> None:
    scale = Scale(offset=(0.1, -0.2), factor=(1.5, 1e-3))
    transforms = Chain(transforms=(clip_to(ROBOT.action_space), NormalizeState(scale=scale)))
    contract = Contract(robot=ROBOT, window=WindowConfig(), transforms=transforms)
    assert load(through_json(contract)) == contract


def test_a_contract_keeps_the_hash_of_its_convention() -> None:
    tree = through_json(Contract(robot=ROBOT, window=WindowConfig(), transforms=Chain()))
    assert tree["convention"] == ROBOT.convention
    assert load({k: v for k, v in tree.items() if k != "convention"}).convention == ROBOT.convention  # older ones
    tree["robot"]["action_space"]["frame"] = "tcp"
    assert load(tree["robot"]).convention != tree["convention"]
    with pytest.raises(ValueError, match="changed after training"):
        load(tree)


def test_every_node_names_its_type() -> None:
    tree = through_json(recipes.demo())
    assert tree["type"] == "volition.config:Experiment"
    assert tree["head"]["type"] == "volition.heads.lstm:LSTMHeadConfig"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("num_step", r"LoopConfig has no field 'num_step'; did you mean 'num_steps'\?"),
        ("qqq", r"LoopConfig has no field 'qqq'; there are 'num_steps', 'batch_size'"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest(field: str, message: str) -> None:
    tree = through_json(LoopConfig())
    tree[field] = 5
    with pytest.raises(ValueError, match=message):
        load(tree)


def test_an_environment_reads_what_version_0_1_wrote_of_it() -> None:
    ranges = dump(ShiftRange(x=0.01, yaw=0.2))
    before = {"type": "volition.envs.desk.environment:DeskConfig", "shift": ranges, "scenes": ["D"]}
    assert load(before) == DeskConfig(shift=True, shift_range=ShiftRange(x=0.01, yaw=0.2), scenes=("D",))
    assert load(before | {"shift": dump(ShiftRange())}) == DeskConfig(scenes=("D",))


def test_suggest() -> None:
    assert suggest("trian", ["train", "eval"]) == "; did you mean 'train'?"
    assert suggest("xyz", ["train", "eval"]) == "; there are 'train', 'eval'"


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package outside Volition that leaves a mark when it is imported, and has a frozen and a thawed dataclass."""
    mark = tmp_path / "mark"
    (tmp_path / "trapped_lab.py").write_text(
        "from dataclasses import dataclass\n"
        "from pathlib import Path\n"
        f"Path({str(mark)!r}).touch()\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class MyHead:\n"
        "    width: int = 1\n"
        "@dataclass\n"
        "class Thawed:\n"
        "    width: int = 1\n"
        "def function():\n"
        f"    Path({str(mark)!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield mark
    sys.modules.pop("trapped_lab", None)


def test_a_foreign_type_is_refused_before_it_is_imported(trap: Path) -> None:
    with pytest.raises(ValueError, match=r"only types inside 'volition' are loaded.*--allow trapped_lab"):
        load({"type": "trapped_lab:MyHead", "width": 3})
    assert not trap.exists()
    assert "trapped_lab" not in sys.modules


def test_allow_admits_a_package_and_only_that_one(trap: Path) -> None:
    made = load({"head": {"type": "trapped_lab:MyHead", "width": 3}}, allow=("trapped_lab",))
    assert made["head"].width == 3
    with pytest.raises(ValueError, match="--allow other_lab"):
        load({"type": "other_lab:MyHead"}, allow=("trapped_lab",))


@pytest.mark.parametrize("name", ["Thawed", "function"])
def test_even_an_allowed_package_gives_frozen_dataclasses_only(trap: Path, name: str) -> None:
    with pytest.raises(ValueError, match="must be a frozen dataclass"):
        load({"type": f"trapped_lab:{name}"}, allow=("trapped_lab",))


@pytest.mark.parametrize(
    "path",
    ["os:system", "subprocess:Popen", "builtins:eval", "volitional:Head", "os.path:join", "", ":x", "posix:system"],
)
def test_hostile_types_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="only types inside 'volition'"):
        load({"type": path, "args": ["touch", "here"]})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("volition.cli:main", "must be a frozen dataclass"),
        ("volition.names:importlib.import_module", "must be a frozen dataclass"),
        ("volition.backbones.base:Adapter", "must be a frozen dataclass"),
        ("volition.training.train:Trainer", "must be a frozen dataclass"),
        ("volition.no_such:Thing", "must name a module that can be imported"),
        ("volition.config:Experimemt", "has no 'Experimemt'; did you mean 'Experiment'"),
        ("volition.config", "expected 'package.module:function'"),
    ],
)
def test_what_lies_inside_the_package_but_is_no_config_is_refused_too(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load({"type": path})


@pytest.mark.parametrize("path", [5, None, ["os:system"], {"type": "os:system"}])
def test_a_type_that_is_no_text(path: Any) -> None:
    with pytest.raises(ValueError, match="only types inside 'volition'"):
        load({"type": path})


def test_a_frozen_dataclass_of_another_package_cannot_be_reached_through_ours(
    trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import volition.contract as ours

    monkeypatch.setattr(ours, "Borrowed", locate("trapped_lab:MyHead"), raising=False)
    with pytest.raises(ValueError, match="comes from 'trapped_lab'"):
        load({"type": "volition.contract:Borrowed"})


@pytest.mark.parametrize(
    "tree",
    [
        {"type": "volition.contract:Camera", "name": "static"},
        {"type": "volition.config:WindowConfig", "num_obs_steps": "four"},
    ],
)
def test_fields_that_are_missing_or_of_another_kind(tree: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be made from the config's fields"):
        load(tree)


def test_read_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json is missing: is .* a run or a checkpoint"):
        read(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"type": "volition.config:Wind')
    with pytest.raises(ValueError, match="must be JSON"):
        read(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"replan_steps": 11}, "replan_steps=11 must be in 1..action_horizon=10"),
        ({"replan_steps": 0, "obs_stride": 0}, "replan_steps=0 must be in 1"),
        ({"obs_stride": 3}, "obs_stride=3 must equal replan_steps=5"),
    ],
)
def test_window_errors(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowConfig(**fields)


def test_one_observation_step_has_no_stride_to_keep() -> None:
    assert WindowConfig(num_obs_steps=1, obs_stride=1).replan_steps == 5


def test_a_resumed_log_needs_saves_at_logged_steps() -> None:
    with pytest.raises(ValueError, match="save_every=25 must be a multiple of log_every=10"):
        LoopConfig(save_every=25, log_every=10)


def test_a_recipe_cannot_ask_for_what_the_robot_does_not_have() -> None:
    experiment = Experiment(data=DataConfig(cameras=("static", "wrist"), state=("tcp_x", "torque")))
    with pytest.raises(
        ValueError, match=r"state \['torque'\] and cameras \['wrist'\].*it has state \['tcp_x', 'tcp_y'\]"
    ):
        experiment.build(ROBOT)


def of_a_model_in_a_folder() -> Experiment:
    return replace(recipes.smoke(), backbone=HubBackbone(model_id="a flag says which"))


def test_a_model_without_eyes_is_told_before_anything_is_recorded(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"must be a model that reads pictures and text; 'llama' is none"):
        parse(f"{__name__}:of_a_model_in_a_folder", ["--backbone.model-id", str(tmp_path)])


def with_coarse_tokens() -> Experiment:
    return replace(recipes.smoke(), head=FASTHeadConfig(scale=1.0))


def test_so_is_a_head_that_cannot_say_what_the_robot_does() -> None:
    with pytest.raises(ValueError, match=r"scale=1.0 must be above .* may turn a binary dimension around"):
        parse(f"{__name__}:with_coarse_tokens", [])
    assert parse(f"{__name__}:with_coarse_tokens", ["--head.scale", "10"]).experiment.head == FASTHeadConfig()


def test_so_is_a_camera_that_is_not_there_and_one_that_nobody_looks_at_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ValueError, match=r"cameras \['top'\] that the robot does not have"):
        parse("smoke", ["--data.cameras", "static", "top"])
    assert parse("smoke", ["--data.cameras", "static"]).experiment.data.cameras == ("static",)
    assert [record.message for record in caplog.records] == [
        "the policy will not see the cameras ['gripper']: data.cameras does not name them"
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "discrete"}, "dimension 'x': kind must be 'continuous' or 'binary', got 'discrete'"),
        ({"low": 1.0, "high": 1.0}, r"dimension 'x': low=1.0 must be below high=1.0"),
    ],
)
def test_dimension_errors(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dimension(name="x", unit="m", **fields)


def test_contract_differences_are_printed_leaf_by_leaf() -> None:
    space = replace(relative_arm_7d(metres=0.05), frame="tcp")
    other = replace(ROBOT, action_space=space, control_hz=15.0)
    assert differences(ROBOT, ROBOT) == []
    assert differences(ROBOT, other) == [
        *(f"action_space.dimensions[{i}].unit: '0.02 m' != '0.05 m'" for i in range(3)),
        "action_space.frame: 'world' != 'tcp'",
        "control_hz: 30.0 != 15.0",
    ]
    with pytest.raises(ValueError, match="the checkpoint and the environment must agree") as caught:
        require_equal(ROBOT, other, left_name="the checkpoint", right_name="the environment")
    assert all(line in str(caught.value) for line in differences(ROBOT, other))


def test_differences_of_unequal_lengths_and_kinds() -> None:
    assert len(differences(ROBOT, replace(ROBOT, state=("tcp_x",)))) == 1
    assert len(differences(ROBOT, SPEC)) >= 3
    assert differences(1, 1.5, "x") == ["x: 1 != 1.5"]


def test_a_recipe_can_ask_for_a_part_of_a_dataset() -> None:
    assert load(through_json(recipes.calvin())) == recipes.calvin()
    flags = ("exclude-tasks", "open_drawer"), ("share", "0.1"), ("seed", "3")
    command = parse("calvin", [word for name, value in flags for word in (f"--data.reader.{name}", value)])
    assert command.experiment.data.reader == CalvinConfig(exclude_tasks=("open_drawer",), share=0.1, seed=3)
