"""`volition audit RECIPE`: takes one real training step and says, module by module, what it trained.

experiment --data or stand-in--> policy --one step of the loop--> gradients, updates, frozen weights compared bit by bit
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from volition.config import Experiment
from volition.contract import Camera, RobotSpec
from volition.data.calvin import SPEC as CALVIN
from volition.data.remote import located
from volition.policy import Policy
from volition.records import Episode
from volition.studies.training import make_batches, make_transforms, open_dataset, open_sources
from volition.training.device import usable_device
from volition.training.distributed import DistributedConfig
from volition.training.parts import PARTS, Part, find_parts
from volition.training.train import Trainer, train


@dataclass(frozen=True, kw_only=True)
class Row:
    """A module, or a whole part. Norms are over its trained weights; None: it has none, or they were zero before."""

    name: str
    part: Part
    parameters: int
    trained: int  # of them
    gradient_norm: float | None  # before clipping
    relative_update: float | None  # |new - old| / |old|

    @property
    def reached(self) -> bool:
        return bool(self.gradient_norm)


@dataclass(frozen=True, kw_only=True)
class Audit:
    data: str  # what the step was taken on
    step: dict[str, float]  # the line of metrics that training would have logged
    parts: tuple[Row, ...]
    modules: tuple[Row, ...]
    frozen_tensors: int
    changed: tuple[str, ...]  # names of frozen tensors that are not what they were, to the bit

    @property
    def not_reached(self) -> tuple[Part, ...]:
        """Parts that are trained and got no gradient from the sum of losses."""
        return tuple(row.part for row in self.parts if row.trained and not row.reached)


def audit(experiment: Experiment, *, device: str = "cpu") -> Audit:
    """One step as `volition train` takes it first; nothing is written."""
    experiment, episodes, robot, source = data_of(experiment)
    others = open_sources(experiment.data, robot)
    torch.manual_seed(experiment.loop.seed)
    policy = experiment.build(robot, make_transforms(experiment, episodes, robot, others)).to(usable_device(device))
    before = {name: value.detach().clone() for name, value in policy.state_dict().items()}
    gradients: dict[str, float] = {}
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_recorder(gradients, name))
    loop = replace(
        experiment.loop,
        distributed=DistributedConfig(),
        log_every=1,
        save_every=1,
        num_steps=max(1, experiment.loop.num_steps),
    )
    step = next(train(Trainer.create(policy, loop), make_batches(experiment, policy, episodes, others)[0], loop))
    after = policy.state_dict()
    frozen = _frozen(policy)
    return Audit(
        data=source,
        step=step,
        parts=_rows(policy, gradients, before, whole_parts=True),
        modules=_rows(policy, gradients, before, whole_parts=False),
        frozen_tensors=len(frozen),
        changed=tuple(name for name in frozen if not torch.equal(before[name], after[name])),
    )


def _recorder(gradients: dict[str, float], name: str) -> Callable[[Tensor], None]:
    def record(parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradients[name] = parameter.grad.norm().item()

    return record


def _frozen(policy: Policy) -> list[str]:
    """Names of every tensor that must stay: weights that are not trained and what such modules count along."""
    state = policy.state_dict(keep_vars=True)
    trained = {name for name, value in state.items() if value.requires_grad}
    at_work = {name.rpartition(".")[0] for name in trained}
    return [
        name
        for name, value in state.items()
        if name not in trained and (isinstance(value, nn.Parameter) or name.rpartition(".")[0] not in at_work)
    ]


def _rows(
    policy: Policy, gradients: Mapping[str, float], before: Mapping[str, Tensor], *, whole_parts: bool
) -> tuple[Row, ...]:
    part_of = find_parts(policy)
    groups: dict[tuple[int, str], list[str]] = {}
    for name, part in part_of.items():
        groups.setdefault((PARTS.index(part), part if whole_parts else module_of(name)), []).append(name)
    rows = []
    for (place, title), names in sorted(groups.items(), key=lambda item: item[0][0]):
        weights = {name: policy.get_parameter(name).detach() for name in names}
        trained = [name for name in names if policy.get_parameter(name).requires_grad]
        change = _norm((weights[name] - before[name]).norm().item() for name in trained)
        size = _norm(before[name].norm().item() for name in trained)
        rows.append(
            Row(
                name=title,
                part=PARTS[place],
                parameters=sum(value.numel() for value in weights.values()),
                trained=sum(weights[name].numel() for name in trained),
                gradient_norm=_norm(gradients.get(name, 0.0) for name in trained) if trained else None,
                relative_update=change / size if size else None,
            )
        )
    return tuple(rows)


def module_of(parameter: str) -> str:
    """'backbone.model.text.layers.3.mlp.up.weight' -> 'backbone.model.text.layers.3': layers are not taken apart."""
    words = parameter.split(".")
    numbered = next((i for i, word in enumerate(words) if word.isdigit()), len(words) - 2)
    return ".".join(words[: numbered + 1])


def _norm(values: Iterable[float]) -> float:
    return math.sqrt(sum(value**2 for value in values))


def data_of(experiment: Experiment) -> tuple[Experiment, Sequence[Episode], RobotSpec, str]:
    """The recipe's data, or noise in its robot's shapes where there is none."""
    data = experiment.data
    if data.path and located(data.path).exists():
        return experiment, *open_dataset(data), f"data of {data.path}"
    if data.recording is not None:
        robot, whose = data.recording.env.spec, "the recipe's robot"
    else:
        cameras = tuple(Camera(name=name, height=200, width=200) for name in data.cameras)
        robot = replace(CALVIN, cameras=cameras, state=data.state or CALVIN.state)
        whose = "a 7-DoF arm, because without its data the recipe does not say which robot it is for"
    episodes = [NoiseEpisode(robot=robot, seed=seed) for seed in range(4)]
    source = f"noise in the shapes of {whose}: {data.path or 'data.path'} is not there"
    return replace(experiment, data=replace(data, task_weights=(), sources=())), episodes, robot, source


@dataclass(frozen=True, kw_only=True)
class NoiseEpisode:
    """Implements `records.Episode`: random pictures, states and actions."""

    robot: RobotSpec
    seed: int
    task: str = "noise"
    instructions: tuple[str, ...] = ("move the block to the left",)

    def __len__(self) -> int:
        return 40

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(self.seed)
        sizes = self.robot.image_sizes.items()
        return {name: draw.integers(0, 256, (len(self), *size, 3), np.uint8)[steps] for name, size in sizes}

    def states(self, steps: np.ndarray) -> np.ndarray:
        shape = (len(self), len(self.robot.state))
        return np.random.default_rng(self.seed).standard_normal(shape, np.float32)[steps]

    def actions(self, steps: np.ndarray) -> np.ndarray:
        draw = np.random.default_rng(self.seed)
        space = self.robot.action_space
        low, high = (np.array([getattr(d, end) for d in space.dimensions]) for end in ("low", "high"))
        values = draw.uniform(low, high, (len(self), space.dim))
        binary = list(space.binary)
        values[:, binary] = np.where(values[:, binary] > (low + high)[binary] / 2, high[binary], low[binary])
        return values.astype(np.float32)[steps]
