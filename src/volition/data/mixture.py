"""Several datasets in one run: what other robots did becomes what the policy's own robot would have recorded.

    SourceConfig --match--> Adaptation, in a Source --Mixture.samples(step)--> Sample in the robot's units

The first source is the robot's own dataset: its spec is the contract, and the policy answers in its units. The others
come to it by transforms of their actions, and by the names of cameras and state entries. What follows, statistics,
collator and losses, knows of one robot only.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from volition.contract import RobotSpec, differences
from volition.data.action_transforms import AnyTransform
from volition.data.calvin_select import CalvinConfig
from volition.data.sampler import Balance, Sampler, make_strata
from volition.data.transforms import Chain, Transform, clip_to
from volition.data.windows import Windows
from volition.records import Episode, Observation, Sample

logger = logging.getLogger(__name__)

BLACK = ""  # in place of a camera's name


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """A dataset beside the robot's own."""

    path: str
    weight: float = 1.0  # its share of the samples, relative to the others
    reader: CalvinConfig | None = None
    transforms: tuple[AnyTransform, ...] = ()  # of its actions, into those of the robot's own dataset
    # (the robot's name, the name here) where they differ; "" for a camera that there is none: the policy sees black
    cameras: tuple[tuple[str, str], ...] = ()
    state: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """Makes the robot's sample of another robot's."""

    transforms: Transform  # of actions and state
    cameras: Mapping[str, str]  # those that the policy is given: the robot's name -> the other's, or BLACK
    sizes: Mapping[str, tuple[int, int]]  # of the robot's cameras: height, width
    known: np.ndarray  # bool[A], False for a dimension of the robot's actions that the other lacks

    def __call__(self, sample: Sample) -> Sample:
        seen = self.transforms.observe(sample.observation)
        future = sample.future
        return Sample(
            observation=dataclasses.replace(seen, images=self._shown(seen.images)),
            actions=self.transforms.encode(sample.actions, sample.observation),
            mask=sample.mask,
            future=future and dataclasses.replace(future, images=self._shown(future.images)),
            known=self.known,
        )

    def _shown(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        steps = len(next(iter(images.values())))
        return {
            camera: np.zeros((steps, *self.sizes[camera], 3), np.uint8)
            if name == BLACK
            else resized(images[name], self.sizes[camera])
            for camera, name in self.cameras.items()
        }


@dataclass(frozen=True, kw_only=True)
class Source:
    episodes: Sequence[Episode]
    weight: float = 1.0
    adaptation: Adaptation | None = None  # None: they are the robot's own


@dataclass(frozen=True, kw_only=True)
class ArrangeState(Transform):
    """The robot's entries of the state, each from its place here; NaN where there is none, which nothing may read."""

    entries: tuple[int | None, ...]

    def observe(self, observation: Observation) -> Observation:
        missing = np.full(len(observation.state), np.nan, np.float32)
        columns = [missing if i is None else observation.state[:, i] for i in self.entries]
        state = np.stack(columns, axis=-1) if columns else observation.state[:, :0]
        return dataclasses.replace(observation, state=state)


class Mixture:
    """Samples of any step, drawn from all sources by weight (see `data.sampler`)."""

    def __init__(
        self,
        sources: Sequence[Source],
        make_windows: Callable[[Sequence[Episode]], Windows],
        *,
        batch_size: int,
        seed: int = 0,
        balance: Balance = "tasks",
        task_weights: Mapping[str, float] | None = None,
    ) -> None:
        """`balance` and `task_weights` hold within each source; a task with a weight must be in at least one."""
        tasks = sorted({episode.task for source in sources for episode in source.episodes})
        unknown = sorted(set(task_weights or {}) - set(tasks))
        if unknown:
            raise ValueError(f"weights name tasks {unknown} that no dataset has; there are {tasks}")
        self.sources = sources
        self.windows = [make_windows(source.episodes) for source in sources]
        strata = [
            stratum
            for i, source in enumerate(sources)
            for stratum in make_strata(
                source.episodes,
                windows=np.diff(self.windows[i].ends, prepend=0),
                source=i,
                weight=source.weight,
                balance=balance,
                task_weights=task_weights,
            )
        ]
        self.sampler = Sampler(strata, batch_size=batch_size, seed=seed)

    def samples(self, step: int, *, rank: int = 0, num_ranks: int = 1) -> list[Sample]:
        """The batch of step 1, 2, ..., or the share of a rank."""
        draw = self.sampler.draw(step, rank=rank, num_ranks=num_ranks)
        return [self._sample(*row) for row in zip(draw.sources.tolist(), draw.indices.tolist(), draw.choices.tolist())]

    def _sample(self, source: int, index: int, choice: int) -> Sample:
        sample, adaptation = self.windows[source].sample(index, choice), self.sources[source].adaptation
        return sample if adaptation is None else adaptation(sample)


def match(
    config: SourceConfig, spec: RobotSpec, robot: RobotSpec, *, cameras: Sequence[str], state: Sequence[str]
) -> Adaptation:
    """From a dataset that says `spec` of itself to `robot`; `cameras` and `state` are those that the policy is given.

    Raises ValueError that names everything in which it does not come to what the robot has.
    """
    chain = Chain(transforms=(clip_to(spec.action_space), *config.transforms))
    if found := differences(chain.space(spec.action_space), robot.action_space, "actions"):
        lines = "\n  ".join(found)
        raise ValueError(
            f"{config.path}: its actions must be those of the first dataset once its `transforms` have changed them; "
            f"they differ (its != the first's):\n  {lines}\n"
            "Inverse(of=..., shown=...) can say what such numbers mean, MapActions which of them there are"
        )
    if spec.control_hz != robot.control_hz:
        logger.warning(
            "%s was recorded at %g Hz, the first dataset at %g Hz: a step takes another time in each",
            *(config.path, spec.control_hz, robot.control_hz),
        )
    shown = _paired("cameras", config, config.cameras, [*robot.image_sizes], [*spec.image_sizes, BLACK], cameras)
    read = _paired("state", config, config.state, robot.state, spec.state, state)
    arrange = ArrangeState(entries=tuple(spec.state.index(read[x]) if x in read else None for x in robot.state))
    return Adaptation(
        transforms=Chain(transforms=(*chain.transforms, arrange)),
        cameras={camera: shown[camera] for camera in cameras},
        sizes=robot.image_sizes,
        known=chain.known(np.ones(spec.action_space.dim, bool)),
    )


def _paired(
    what: str,
    config: SourceConfig,
    pairs: Sequence[tuple[str, str]],
    ours: Sequence[str],
    theirs: Sequence[str],
    used: Sequence[str],
) -> dict[str, str]:
    """Our name -> theirs; ValueError where a pair names what there is not, or a name that is used has no pair."""
    names = {name: name for name in ours if name in theirs} | dict(pairs)
    wrong = [pair for pair in pairs if pair[0] not in ours or pair[1] not in theirs]
    missing = [name for name in used if name not in names]
    if wrong or missing:
        raise ValueError(
            f"{config.path}: {what} must pair names of the first dataset, {list(ours)}, with names here, "
            f"{list(theirs)}, and each that the policy is given; {missing} have no pair, and {wrong} are none"
        )
    return names


def resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8[n, height, width, 3] of another height and width, each pixel the mean of what it covers."""
    if frames.shape[1:3] == size:
        return frames
    pictures = [Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR) for frame in frames]
    return np.stack([np.asarray(picture) for picture in pictures])
