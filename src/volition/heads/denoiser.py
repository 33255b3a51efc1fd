"""What flow matching and diffusion share: a head that turns noise into chunks, step by step, given the readouts.

Training blends every demonstrated chunk with noise and asks the denoiser for the chunk; acting starts from noise alone.
That noise is a function of the robot's state (a seed and a count of its predictions), so the same robot acts the same
every time, whoever else is in the batch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import Head, ReadoutFeatures, assemble, is_high, masked_mean, newest, pad, slide
from volition.heads.gpt2 import GPT2, require_divisible
from volition.types import Batch, Loss, Target, Term

NUM_FREQUENCIES = 16  # of the denoiser's clock
Denoise = Callable[[Tensor, Tensor], Tensor]  # noisy chunks [..., H, A] and their times [...] in 0..1 -> clean chunks


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    width: int = 256
    num_blocks: int = 3
    num_layers: int = 2  # of the decoder that looks back over the window
    num_heads: int = 8
    num_draws: int = 4  # of noise for every chunk of a training step: they cost little beside the VLM's pass

    def __post_init__(self) -> None:
        require_divisible(self.width, self.num_heads)


@dataclass(frozen=True)
class DenoisingState:
    """What a robot has seen, and where it is in its own sequence of noise."""

    window: Tensor | None
    seed: int
    num_predictions: int = 0

    def next(self, window: Tensor | None) -> DenoisingState:
        return DenoisingState(window=window, seed=self.seed, num_predictions=self.num_predictions + 1)


class DenoisingHead(Head):
    """A subclass says how chunk and noise are blended, and how the denoiser's answers lead from noise to chunks.

    The denoiser answers the chunk. Noise and velocity, which others ask for, follow from it; they took longer to learn.
    """

    def __init__(
        self,
        config: DenoiserConfig,
        backbone: Backbone,
        space: ActionSpace,
        num_obs_steps: int,
        horizon: int,
        state_dim: int,
        seed: int,
    ):
        super().__init__()
        self.space, self.horizon, self.num_obs_steps = space, horizon, num_obs_steps
        self.num_draws, self.seed = config.num_draws, seed
        self.features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        self.input = nn.Linear(self.features.width, config.width)
        self.decoder = GPT2(config.width, config.num_layers, config.num_heads, num_obs_steps)
        self.denoiser = Denoiser(config.width, config.num_blocks, horizon, space.dim)

    @abstractmethod
    def error(self, denoise: Denoise, chunks: Float[Tensor, "R H A"]) -> Float[Tensor, "R H A"]:
        """Squared error of what `denoise` answers, at noise and times drawn from torch's global generator."""

    @abstractmethod
    def sample(self, denoise: Denoise, noise: Float[Tensor, "B H A"]) -> Float[Tensor, "B H A"]:
        """Chunks, on the way from `noise` that `denoise` shows; a function of these two alone."""

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        context = self._draws(self.context(self.features(encoded, batch)))
        chunks = self._draws(pack(target, self.space))
        error = self.error(lambda noisy, time: self.denoiser(noisy, time, context), chunks)
        error = error.unflatten(0, (self.num_draws, *batch.shape)).mean(0)
        return Loss.of([Term("denoising_loss", masked_mean(error, packed(target.counts, self.space)))], {})

    def counts(self, target: Target) -> dict[str, Tensor]:
        return {"denoising_loss": target.counts.sum()}

    def start(self) -> DenoisingState:
        return self.start_with(0)

    def start_with(self, noise: int) -> DenoisingState:
        return DenoisingState(window=None, seed=self.seed ^ noise)

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[DenoisingState]
    ) -> tuple[Float[Tensor, "B H A"], list[DenoisingState]]:
        return self._act(encoded, batch, states, lambda denoise: denoise)

    def inpaint(
        self,
        encoded: Encoded,
        batch: Batch,
        states: Sequence[DenoisingState],
        known: Float[Tensor, "B P A"],
        weights: Float[Tensor, "B P"],
    ) -> tuple[Float[Tensor, "B H A"], list[DenoisingState]]:
        return self._act(encoded, batch, states, partial(pinned, known=pack_known(known, self.space), weights=weights))

    def _act(
        self, encoded: Encoded, batch: Batch, states: Sequence[DenoisingState], change: Callable[[Denoise], Denoise]
    ) -> tuple[Float[Tensor, "B H A"], list[DenoisingState]]:
        windows = slide([state.window for state in states], self.features(encoded, batch), self.num_obs_steps)
        context = newest(self.context(pad(windows, self.num_obs_steps)), windows)
        noise = draw_noise(states, self.horizon, self.space.dim).to(context.device)
        after = [state.next(window) for state, window in zip(states, windows)]
        chunks = self.sample(change(lambda noisy, time: self.denoiser(noisy, time, context)), noise)
        return unpack(chunks, self.space), after

    def recall(self, encoded: Encoded, batch: Batch, state: DenoisingState) -> DenoisingState:
        return replace(state, window=self.features(encoded, batch)[0, -self.num_obs_steps :])

    def context(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T W"]:
        return self.decoder(self.input(features))

    def _draws(self, x: Float[Tensor, "B T *rest"]) -> Float[Tensor, "R *rest"]:
        return x.expand(self.num_draws, *x.shape).flatten(0, 2)


def pack(target: Target, space: ActionSpace) -> Float[Tensor, "B T H A"]:
    """Demonstrated chunks as denoisers see them: `packed`, binary dimensions as -1 or 1; 0 where nothing counts."""
    return pack_known(target.actions, space) * packed(target.counts, space)


def pack_known(actions: Float[Tensor, "*n A"], space: ActionSpace) -> Float[Tensor, "*n A"]:
    """Actions as denoisers see them."""
    binary = is_high(actions, space).float() * 2 - 1
    return torch.cat([actions[..., list(space.continuous)], binary], dim=-1)


def pinned(denoise: Denoise, known: Float[Tensor, "*rows P A"], weights: Float[Tensor, "*rows P"]) -> Denoise:
    """`denoise`, whose answers are held to what is known of the chunk's beginning, as far as the weights say.

    What is free follows, for every noisy chunk on the way carries what is known.
    """

    def denoise_the_rest(noisy: Tensor, time: Tensor) -> Tensor:
        free, length = denoise(noisy, time), known.shape[-2]
        held = torch.lerp(free[..., :length, :], known, weights[..., None].expand_as(known))
        return torch.cat([held, free[..., length:, :]], dim=-2)

    return denoise_the_rest


def packed(values: Shaped[Tensor, "*n A"], space: ActionSpace) -> Shaped[Tensor, "*n A"]:
    """Continuous dimensions first, then binary ones."""
    return values[..., [*space.continuous, *space.binary]]


def unpack(chunks: Float[Tensor, "B H A"], space: ActionSpace) -> Float[Tensor, "B H A"]:
    """Actions of what a denoiser ended with: continuous dimensions within -1..1, binary ones exactly low or high."""
    continuous, binary = chunks.split([len(space.continuous), len(space.binary)], dim=-1)
    return assemble(continuous.clamp(-1, 1), binary, space)


def draw_noise(states: Sequence[DenoisingState], horizon: int, dim: int) -> Float[Tensor, "B H A"]:
    """What each robot's next prediction starts from; drawn on the CPU, so that it is the same on every device."""
    generator = torch.Generator()
    rows = [
        torch.randn(horizon, dim, generator=generator.manual_seed(state.seed * 1_000_003 + state.num_predictions))
        for state in states
    ]
    return torch.stack(rows)


class Denoiser(nn.Module):
    """An MLP over the whole chunk; time and context scale and shift what every block reads (as in DiT, "adaLN")."""

    def __init__(self, width: int, num_blocks: int, horizon: int, dim: int):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(2 * NUM_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.input = nn.Linear(horizon * dim, width)
        self.blocks = nn.ModuleList([DenoiserBlock(width) for _ in range(num_blocks)])
        self.output = nn.Linear(width, horizon * dim)

    def forward(
        self, noisy: Float[Tensor, "R H A"], time: Float[Tensor, " R"], context: Float[Tensor, "R W"]
    ) -> Float[Tensor, "R H A"]:
        condition = F.silu(context + self.time(waves(time)))
        x = self.input(noisy.flatten(1))
        for block in self.blocks:
            x = block(x, condition)
        return self.output(x).view_as(noisy)


class DenoiserBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Float[Tensor, "R W"], condition: Float[Tensor, "R W"]) -> Float[Tensor, "R W"]:
        scale, shift = self.modulation(condition).chunk(2, dim=-1)
        return x + self.mlp(self.norm(x) * (1 + scale) + shift)


def waves(time: Float[Tensor, " R"]) -> Float[Tensor, "R waves"]:
    """Sines and cosines of a time in 0..1, from half a period over that range to sixty-four."""
    frequencies = math.pi * 2 ** torch.linspace(0, 7, NUM_FREQUENCIES, device=time.device)
    angles = time[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
