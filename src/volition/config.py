"""Configs are frozen dataclasses; an experiment is a function (a recipe) that returns one.

volition train smoke                                      a recipe of ours
volition train my_lab.recipes:ours --loop.num-steps 500   any importable function, any field overridden
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from volition.auxiliary import AnyAuxiliary, Auxiliary
from volition.backbones import AnyBackbone, Backbone, Checked, TinyPaliGemma
from volition.contract import RobotSpec
from volition.data.action_transforms import AnyTransform
from volition.data.calvin_select import CalvinConfig
from volition.data.codecs import PackConfig
from volition.data.fit import Normalization
from volition.data.mixture import SourceConfig
from volition.data.record import RecordConfig
from volition.data.transforms import Chain, Transform
from volition.envs.base import EnvConfig
from volition.heads import AnyHead, LSTMHeadConfig, SpaceChecked
from volition.names import locate, suggest
from volition.policy import Collator, Policy
from volition.training.freeze import TrainableConfig, make_trainable
from volition.training.precision import set_precision
from volition.training.train import LoopConfig

logger = logging.getLogger(__name__)
REMOTE_CODE = "transformers_modules"  # the package as which transformers runs code that comes with a model


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """What the policy sees and plans, in control steps."""

    num_obs_steps: int = 4  # T: looks in a window, the newest is now
    obs_stride: int = 5  # control steps between two observation steps; the policy is asked at this rate
    action_horizon: int = 10  # H: actions of a chunk, one a control step
    replan_steps: int = 5  # executed before the policy is asked again
    # policy_head: every step goes through the VLM alone and the head sees the sequence. interleaved: all steps of a
    # window are one sequence of the VLM. one_step: there is nothing but the present (T = 1).
    history: Literal["policy_head", "interleaved", "one_step"] = "policy_head"

    def __post_init__(self) -> None:
        if self.history == "one_step" and self.num_obs_steps != 1:
            raise ValueError(f"history='one_step' needs num_obs_steps=1, got {self.num_obs_steps}")
        if not 1 <= self.replan_steps <= self.action_horizon:
            raise ValueError(f"replan_steps={self.replan_steps} must be in 1..action_horizon={self.action_horizon}")
        if self.num_obs_steps > 1 and self.obs_stride != self.replan_steps:
            raise ValueError(
                f"obs_stride={self.obs_stride} must equal replan_steps={self.replan_steps}: with history, the policy "
                "must see steps as far apart when it acts as when it was trained"
            )


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Demonstrations that a recipe needs, recorded on first use: which, and in which environment."""

    env: EnvConfig
    record: RecordConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    path: str = ""  # a dataset folder; `volition record` makes one
    reader: CalvinConfig | None = None  # which part of a dataset of that format; everything by default
    recording: Recording | None = None  # how `path` is made when it is not there yet
    cameras: tuple[str, ...] = ("static", "gripper")  # of the dataset's, that the policy looks through
    state: tuple[str, ...] = ()  # names of the state entries that the policy is given; none by default
    transforms: tuple[AnyTransform, ...] = ()  # of actions, in this order, before they are normalised
    cache: PackConfig = field(default_factory=PackConfig)  # how decoded pictures are kept between runs
    normalize: Normalization = "range"  # what becomes -1..1: what the action space declares, or what the data has
    skip_frames: int = 1  # every n-th frame only is the last of a window: fewer samples that are nearly alike
    balance_tasks: bool = True  # every task the same share of the samples
    task_weights: tuple[tuple[str, float], ...] = ()  # task -> how often, where 1 is usual
    sources: tuple[SourceConfig, ...] = ()  # datasets beside it, brought to its robot; all else here holds for all
    weight: float = 1.0  # share of `path` in a batch, beside those of the sources
    held_out: float = 0.0  # share of the episodes of every task that validates and is not learned from
    blind: bool = False  # cameras blacked out: the control that tells what seeing is worth
    deaf: bool = False  # instruction withheld: the control that tells what listening is worth


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything a run needs, and everything a checkpoint remembers."""

    data: DataConfig = field(default_factory=DataConfig)
    window: WindowConfig = field(default_factory=WindowConfig)
    backbone: AnyBackbone = field(default_factory=TinyPaliGemma)
    head: AnyHead = field(default_factory=LSTMHeadConfig)
    auxiliary: tuple[AnyAuxiliary, ...] = ()  # losses beside the head's own
    train: TrainableConfig = field(default_factory=TrainableConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    from_scratch: bool = False  # random weights in place of the backbone's own: the control for what pretraining brings
    start: str = ""  # a checkpoint, or a run (its last), whose weights training begins with, the head's too

    def __post_init__(self) -> None:
        if self.start and self.from_scratch:
            raise ValueError(f"from_scratch begins with random weights, and start={self.start!r} with trained ones")
        if not 0 <= self.data.held_out < 1:
            raise ValueError(f"data.held_out must be a share, at least 0 and below 1, got {self.data.held_out}")
        if self.loop.keep_best and not self.data.held_out:
            raise ValueError(
                f"loop.keep_best={self.loop.keep_best} needs a validation loss: set data.held_out, to 0.1 say"
            )

    def check(self, robot: RobotSpec) -> None:
        """What can be wrong with the model and with what it is to look at, before anything takes time."""
        self._require(robot)
        unseen = sorted(robot.image_sizes.keys() - {*self.data.cameras})
        if unseen:
            logger.warning("the policy will not see the cameras %s: data.cameras does not name them", unseen)
        if isinstance(self.head, SpaceChecked):
            space = Chain(transforms=self.data.transforms).space(robot.action_space)
            self.head.check(space.scaled(), horizon=self.window.action_horizon)
        if isinstance(self.backbone, Checked):
            self.backbone.check()

    def _require(self, robot: RobotSpec) -> None:
        unknown = [name for name in self.data.state if name not in robot.state]
        missing = [name for name in self.data.cameras if name not in robot.image_sizes]
        if unknown or missing:
            raise ValueError(
                f"the recipe asks for state {unknown} and cameras {missing} that the robot does not have; "
                f"it has state {list(robot.state)} and cameras {list(robot.image_sizes)}"
            )

    def build(self, robot: RobotSpec, transforms: Transform | None = None, *, pretrained: bool = True) -> Policy:
        """A policy for this robot. `pretrained=False`: for a checkpoint to fill, and then only to act.

        Its backbone is random, and auxiliary losses do not open what they learn from.
        """
        self._require(robot)
        transforms = transforms or Chain()
        backbone = self.backbone.build(pretrained=pretrained and not self.from_scratch)
        set_precision(backbone, self.loop.precision)
        state = tuple(robot.state.index(name) for name in self.data.state)
        head = self.head.build(
            backbone,
            transforms.space(robot.action_space).scaled(),
            num_obs_steps=self.window.num_obs_steps,
            horizon=self.window.action_horizon,
            state_dim=len(state),
        )
        interleaved = self.window.history == "interleaved"
        collator = Collator(transforms, backbone.adapter, self.data.cameras, state, interleaved)
        auxiliary = self._auxiliary(backbone, collator, training=pretrained)
        policy = Policy(backbone, head, collator, self.window.num_obs_steps, auxiliary)
        make_trainable(policy, self.train)
        return policy

    def _auxiliary(self, backbone: Backbone, collator: Collator, *, training: bool) -> list[Auxiliary]:
        made = [
            config.build(backbone, cameras=collator.cameras, transforms=collator.transforms, training=training)
            for config in self.auxiliary
            if config.weight
        ]
        names = [one.name for one in made]
        if len(set(names)) < len(names):
            raise ValueError(f"each auxiliary loss must be there at most once, got {names}")
        return made


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What a checkpoint was trained for. Train, eval, serve and export refuse a mismatch and print the difference."""

    robot: RobotSpec
    window: WindowConfig
    transforms: Any  # the Transform with its statistics
    convention: str = ""  # hash of the robot's spec, which `volition verify` prints of a dataset; "" fills it in

    def __post_init__(self) -> None:
        found = self.robot.convention
        if self.convention not in ("", found):
            raise ValueError(
                f"the contract must fit its own hash {self.convention}, but what it says of the robot has {found}: "
                "it was changed after training; use the checkpoint as it was written"
            )
        object.__setattr__(self, "convention", found)


def dump(config: Any) -> Any:
    """Dataclass -> JSON-able tree that names its own types, so that `load` needs no registry."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        kind = type(config)
        fields = {f.name: dump(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"type": f"{kind.__module__}:{kind.__qualname__}", **fields}
    if isinstance(config, dict):
        return {name: dump(value) for name, value in config.items()}
    return [dump(x) for x in config] if isinstance(config, list | tuple) else config


def packages_of(config: Any) -> tuple[str, ...]:
    """What `load` must be allowed for a config that is here already, made by a recipe that somebody chose to run."""
    found = set()
    left = [dump(config)]
    while left:
        tree = left.pop()
        left += tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
        if isinstance(tree, dict) and "type" in tree:
            found.add(str(tree["type"]).split(":")[0].split(".")[0])
            found |= {REMOTE_CODE} if tree.get("trust_remote_code") else set()
    return tuple(sorted(found - {"volition"}))


def load(tree: Any, *, allow: tuple[str, ...] = ()) -> Any:
    """The inverse of `dump`. Only frozen dataclasses inside `volition` and the packages in `allow` are made.

    A config is data that may come from anybody: any other name is refused before it is imported.
    """
    if isinstance(tree, list):
        return tuple(load(x, allow=allow) for x in tree)
    if not isinstance(tree, dict):
        return tree
    if "type" not in tree:
        return {name: load(value, allow=allow) for name, value in tree.items()}
    path = tree["type"]
    package = str(path).split(":")[0].split(".")[0]
    if package not in ("volition", *allow):
        raise ValueError(
            f"the config names {path!r}, but only types inside 'volition' are loaded; "
            f"if you trust its origin, pass --allow {package}"
        )
    kind = locate(path)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and _is_frozen(kind)):
        raise ValueError(f"the config names {path!r}, which must be a frozen dataclass and is {kind!r}")
    if kind.__module__.split(".")[0] != package:
        raise ValueError(f"the config names {path!r}, which comes from {kind.__module__!r}: name it there")
    known = [f.name for f in dataclasses.fields(kind)]
    for name in tree:
        if name != "type" and name not in known:
            raise ValueError(f"{path} has no field {name!r}{suggest(name, known)}")
    fields = {name: load(value, allow=allow) for name, value in tree.items() if name != "type"}
    if fields.get("trust_remote_code") and REMOTE_CODE not in allow:
        raise ValueError(
            f"the config asks for {path} to run code that comes with a model (trust_remote_code); "
            f"if you trust its origin, pass --allow {REMOTE_CODE}"
        )
    if hasattr(kind, "of_today"):  # brings the fields of older versions' files to those of today
        fields = kind.of_today(fields)
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"{path} cannot be made from the config's fields {sorted(fields)}: {error}") from error


def _is_frozen(kind: Any) -> bool:
    return kind.__dataclass_params__.frozen


def read(path: Path, *, allow: tuple[str, ...] = ()) -> Any:
    """A config file written with `json.dumps(dump(config))`."""
    if not path.exists():
        raise ValueError(f"{path} is missing: is {path.parent} a run or a checkpoint of Volition?")
    try:
        tree = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be JSON: {error}") from error
    return load(tree, allow=allow)
