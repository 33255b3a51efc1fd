"""Diffusion: chunks drown in noise over many training steps, and acting undoes a few of them with DDIM.

The schedule is the squared cosine (Nichol & Dhariwal 2021), training is DDPM's (Ho et al. 2020), and the sampler that
takes the noise out again without adding any is DDIM's (Song et al. 2021), all three from `diffusers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.base import Backbone
from volition.contract import ActionSpace
from volition.heads.base import Head
from volition.heads.denoiser import Denoise, DenoiserConfig, DenoisingHead


@dataclass(frozen=True, kw_only=True)
class DiffusionHeadConfig:
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    num_training_steps: int = 100  # of noise
    num_steps: int = 10  # of them when acting
    seed: int = 0  # of the noise when acting

    def __post_init__(self) -> None:
        if not 1 <= self.num_steps <= self.num_training_steps:
            raise ValueError(f"num_steps={self.num_steps} must be in 1..num_training_steps={self.num_training_steps}")

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return DiffusionHead(self, backbone, space, num_obs_steps, horizon, state_dim)


class DiffusionHead(DenoisingHead):
    def __init__(
        self,
        config: DiffusionHeadConfig,
        backbone: Backbone,
        space: ActionSpace,
        num_obs_steps: int,
        horizon: int,
        state_dim: int,
    ):
        super().__init__(config.denoiser, backbone, space, num_obs_steps, horizon, state_dim, config.seed)
        self.num_training_steps, self.scheduler = config.num_training_steps, make_scheduler(config)

    def error(self, denoise: Denoise, chunks: Float[Tensor, "R H A"]) -> Float[Tensor, "R H A"]:
        steps = torch.randint(self.num_training_steps, (len(chunks),), device=chunks.device)
        noisy = self.scheduler.add_noise(chunks, torch.randn_like(chunks), steps)
        return (denoise(noisy, steps / self.num_training_steps) - chunks).square()

    def sample(self, denoise: Denoise, noise: Float[Tensor, "B H A"]) -> Float[Tensor, "B H A"]:
        chunks = noise
        for step in self.scheduler.timesteps.tolist():
            time = noise.new_full((len(noise),), step / self.num_training_steps)
            chunks = self.scheduler.step(denoise(chunks, time), step, chunks).prev_sample
        return chunks


def make_scheduler(config: DiffusionHeadConfig) -> Any:
    try:
        from diffusers import DDIMScheduler
    except ModuleNotFoundError as error:
        raise ValueError(
            f'the diffusion head needs the package {error.name!r}: pip install "volition[diffusion]"'
        ) from error
    scheduler = DDIMScheduler(
        num_train_timesteps=config.num_training_steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",  # acting starts where training drowned the chunk altogether
    )
    scheduler.set_timesteps(config.num_steps)
    return scheduler
