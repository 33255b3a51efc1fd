"""Flow matching: a velocity field carries noise to an action chunk along straight lines.

At time s in 0..1 the blend is x = (1 - s) * noise + s * chunk, and its velocity chunk - noise = (chunk - x) / (1 - s)
("rectified flow", Liu et al. 2022; "conditional flow matching", Lipman et al. 2022). The loss is the squared error of
the chunk, which is (1 - s)^2 times that of the velocity and has the same minimum. Acting integrates by Euler's method.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.base import Backbone
from volition.contract import ActionSpace
from volition.heads.base import Head
from volition.heads.denoiser import Denoise, DenoiserConfig, DenoisingHead


@dataclass(frozen=True, kw_only=True)
class FlowHeadConfig:
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    num_steps: int = 10  # Euler steps when acting
    seed: int = 0  # of the noise when acting

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}")

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return FlowHead(self, backbone, space, num_obs_steps, horizon, state_dim)


class FlowHead(DenoisingHead):
    def __init__(
        self,
        config: FlowHeadConfig,
        backbone: Backbone,
        space: ActionSpace,
        num_obs_steps: int,
        horizon: int,
        state_dim: int,
    ):
        super().__init__(config.denoiser, backbone, space, num_obs_steps, horizon, state_dim, config.seed)
        self.num_steps = config.num_steps

    def error(self, denoise: Denoise, chunks: Float[Tensor, "R H A"]) -> Float[Tensor, "R H A"]:
        return flow_error(denoise, chunks)

    def sample(self, denoise: Denoise, noise: Float[Tensor, "B H A"]) -> Float[Tensor, "B H A"]:
        return integrate(denoise, noise, self.num_steps)


def flow_error(denoise: Denoise, chunks: Float[Tensor, "*rows H A"]) -> Float[Tensor, "*rows H A"]:
    """Squared error of what `denoise` answers, at noise and times drawn from torch's global generator."""
    time = torch.rand(chunks.shape[:-2], device=chunks.device)
    noisy = torch.lerp(torch.randn_like(chunks), chunks, time[..., None, None])
    return (denoise(noisy, time) - chunks).square()


def integrate(denoise: Denoise, noise: Float[Tensor, "*rows H A"], num_steps: int) -> Float[Tensor, "*rows H A"]:
    """From time 0 to 1; the last step lands on what `denoise` answers."""
    chunks = noise
    for step in range(num_steps):
        time = step / num_steps
        velocity = (denoise(chunks, noise.new_full(noise.shape[:-2], time)) - chunks) / (1 - time)
        chunks = chunks + velocity / num_steps
    return chunks
