"""The policy: backbone + head + what turns robot units into tensors and back. One screen from sample to loss."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from volition.auxiliary.base import Auxiliary
from volition.backbones.base import Adapter, Backbone, Encoded
from volition.backbones.interleaved import stream
from volition.backbones.stream import Memory, Runner
from volition.data.transforms import Transform
from volition.heads.base import Head, Inpainting
from volition.records import Observation, Sample, Settled
from volition.types import Batch, Loss, Target


@dataclass(frozen=True)
class RobotState:
    """What a policy remembers of one robot."""

    memory: Memory | None  # of the backbone, with interleaved history
    head: Any
    confidence: np.ndarray | None = None  # float32[H]: of the chunk that came with this state, where the head tells


class Acting(nn.Module):
    """What acts: implements `records.Actor`, and evaluation and serving know it only as that.

    `backbone` makes the passes of the VLM, be it a `Backbone` or one that was exported.
    """

    def __init__(self, backbone: Runner, head: Head, collator: Collator, max_steps: int = 1):
        """`max_steps`: observation steps in a window of training, the most that a row of interleaved history holds."""
        super().__init__()
        self.backbone, self.head, self.collator, self.max_steps = backbone, head, collator, max_steps

    def start(self, n: int) -> list[RobotState]:
        """States of `n` robots that have seen nothing."""
        return [RobotState(None, self.head.start()) for _ in range(n)]

    def start_with(self, noise: Sequence[int]) -> list[RobotState]:
        """As `start`, a robot for every number; what draws noise to act draws each robot's own."""
        return [RobotState(None, self.head.start_with(number)) for number in noise]

    def padded_for(self, instructions: Sequence[str]) -> Acting:
        """The same weights, with rows as long in every call as the longest of these instructions makes them.

        Interleaved history is left as it is: rows of one length go through the backbone together, without padding.
        """
        if self.collator.interleaved or not instructions:
            return self
        padded = copy(self)
        padded.collator = self.collator.padded_for(instructions)
        return padded

    @torch.inference_mode()
    def act(
        self, observations: Sequence[Observation], states: Sequence[RobotState]
    ) -> tuple[np.ndarray, list[RobotState]]:
        """One observation (T = 1) and state a robot -> action chunks float32[B, H, A] in robot units, new states."""
        batch = self.collator.batch(observations).to(self.backbone.device)
        encoded, remembered = self._read(batch, states)
        chunks, heads, sure = self.head.predict_with_confidence(encoded, batch, [state.head for state in remembered])
        confidence = [None] * len(states) if sure is None else sure.float().cpu().numpy()
        after = [RobotState(state.memory, *rest) for state, *rest in zip(remembered, heads, confidence)]
        return self.collator.decode(chunks, observations), after

    @property
    def continues(self) -> bool:
        """Whether `act_on` can be asked for."""
        return isinstance(self.head, Inpainting)

    @torch.inference_mode()
    def act_on(
        self, observations: Sequence[Observation], states: Sequence[RobotState], settled: Sequence[Settled | None]
    ) -> tuple[np.ndarray, list[RobotState]]:
        """As `act`, with chunks that begin as what is settled says."""
        assert isinstance(self.head, Inpainting), "ask `continues` first"
        batch = self.collator.batch(observations).to(self.backbone.device)
        encoded, remembered = self._read(batch, states)
        known, weights = self.collator.settled(settled, observations)
        device, heads = self.backbone.device, [state.head for state in remembered]
        chunks, heads = self.head.inpaint(encoded, batch, heads, known.to(device), weights.to(device))
        after = [RobotState(state.memory, head) for state, head in zip(remembered, heads)]
        return self.collator.decode(chunks, observations), after

    def _read(self, batch: Batch, states: Sequence[RobotState]) -> tuple[Encoded, list[RobotState]]:
        """The newest step of every robot, and what is remembered of the robot then; its head has still to act."""
        if not self.collator.interleaved:
            return Encoded(self.backbone, batch), list(states)
        encoded, memories, recalled = stream(
            self.backbone, batch, [s.memory for s in states], max_steps=self.max_steps, keep=self.max_steps // 4
        )
        heads = [state.head for state in states]
        for i, steps in recalled.items():
            heads[i] = self.head.recall(steps.encoded, steps.batch, heads[i])
        return encoded, [RobotState(memory, head) for memory, head in zip(memories, heads)]


class Policy(Acting):
    """What acts and learns."""

    backbone: Backbone

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        collator: Collator,
        max_steps: int = 1,
        auxiliary: Sequence[Auxiliary] = (),
    ):
        """`max_steps`: observation steps in a window of training, the most that a row of interleaved history holds."""
        super().__init__(backbone, head, collator, max_steps)
        self.auxiliary: Sequence[Auxiliary] = nn.ModuleList(auxiliary)  # type: ignore[assignment]  # a list of such

    def forward(self, batch: Batch, target: Target) -> Loss:
        encoded = self.backbone.encode(batch)
        loss = self.head.loss(encoded, batch, target)
        terms = [one.term(self.backbone, encoded, target) for one in self.auxiliary]
        return loss.plus([term for term in terms if term is not None])

    def counts(self, target: Target) -> dict[str, Tensor]:
        """How many numbers each term of the loss is a mean over (see `Head.counts`); "" for what is not named."""
        wanted = [(one, target.extras.get(one.name)) for one in self.auxiliary]
        extra = {f"{one.name}_loss": one.count(found, target) for one, found in wanted if found is not None}
        return {"": target.mask.sum()} | self.head.counts(target) | extra

    def train(self, mode: bool = True) -> Policy:
        """Frozen modules that keep running statistics (batch norms) go on as in evaluation, so that these stay too."""
        super().train(mode)
        for module in self.modules():
            if hasattr(module, "running_mean") and not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self


@dataclass(frozen=True)
class Collator:
    """Raw samples -> tensors. Has no weights, so that data workers can carry it."""

    transforms: Transform
    adapter: Adapter
    cameras: tuple[str, ...]  # the ones the policy looks at, in the order of its prompt
    state: tuple[int, ...]  # the entries of the robot's state that it is given; none by default
    interleaved: bool = False  # all steps of a window in one row of the backbone, instead of a row each
    length: int = 0  # tokens that rows are padded to at least
    multiple: int = 1  # and then to the next multiple of so many

    def __call__(self, samples: Sequence[Sample]) -> tuple[Batch, Target]:
        actions = [self.transforms.encode(s.actions, s.observation) for s in samples]
        target = Target(actions=_stack(actions), mask=_stack([s.mask for s in samples]), known=self._known(samples))
        return self.batch([s.observation for s in samples]), target

    def padded_for(self, instructions: Sequence[str], steps: int = 1) -> Collator:
        """With rows as long as the longest of these makes them; steps: of a window, which interleaved history needs."""
        each = steps if self.interleaved else 1
        rows = self.adapter.collate(instructions, len(self.cameras), steps=each, causal=self.interleaved)
        return replace(self, length=rows["input_ids"].shape[1])

    def _known(self, samples: Sequence[Sample]) -> torch.Tensor | None:
        """Which dimensions each sample has of those that the policy learns, [B, A]; None where all have all."""
        given = [np.ones(s.actions.shape[-1], bool) if s.known is None else s.known for s in samples]
        encoded = np.stack([self.transforms.known(known) for known in given])
        return None if encoded.all() else torch.from_numpy(encoded)

    def settled(
        self, settled: Sequence[Settled | None], observations: Sequence[Observation]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The first P actions of every chunk as the head sees them [B, P, A], and how settled each is [B, P].

        Of one robot at least something is settled.
        """
        length, dim = np.max([one.actions.shape for one in settled if one is not None], axis=0)
        actions = np.zeros((len(settled), length, dim), np.float32)
        weights = np.zeros((len(settled), length), np.float32)
        for row, one in enumerate(settled):
            if one is not None:
                actions[row, : len(one.actions)], weights[row, : len(one.weights)] = one.actions, one.weights
        encoded = [self.transforms.encode(x[None], o)[0] for x, o in zip(actions, observations)]
        return _stack(encoded), torch.from_numpy(weights)

    def decode(self, chunks: torch.Tensor, observations: Sequence[Observation]) -> np.ndarray:
        """float32[B, H, A] in robot units."""
        decode = self.transforms.decode
        return np.stack([decode(c, o) for c, o in zip(chunks.float().cpu().numpy(), observations)])

    def batch(self, observations: Sequence[Observation]) -> Batch:
        for observation in observations:
            if missing := [camera for camera in self.cameras if camera not in observation.images]:
                raise ValueError(f"an observation must have the cameras {missing}, and has {[*observation.images]}")
        seen = [self.transforms.observe(o) for o in observations]
        steps = len(seen[0].state)
        rows_each, steps_each = (1, steps) if self.interleaved else (steps, 1)
        texts = [o.instruction for o in seen for _ in range(rows_each)]
        return Batch(
            inputs=self.adapter.collate(
                texts,
                len(self.cameras),
                steps=steps_each,
                causal=self.interleaved,
                length=self.length,
                multiple=self.multiple,
            ),
            images={camera: _stack([o.images[camera] for o in seen]) for camera in self.cameras},
            state=_stack([o.state[:, list(self.state)] for o in seen]),
        )


def _stack(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
