"""The reference's continuous heads under its own parameter names: states at the action tokens -> chunks of actions.

    tokens [B, T, K, D] --features--> [B, T, F] --sequence--> [B, T, G] --outputs--> arm [B, T, H, A-1], gripper logits

In streaming, a robot's state is the window of features that it has seen (at most `memory` of them). Each step runs
that window from nothing, which equals the reference's carried state to rounding and does not leak between robots.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from volition.compat.config import ActHeadConfig
from volition.compat.gpt2 import GPT2
from volition.heads.base import newest, pad, slide


class OutputMLP(nn.Module):
    """Four layers; `bounded` ones end in tanh."""

    def __init__(self, inputs: int, outputs: int, *, bounded: bool):
        super().__init__()
        layers: list[nn.Module] = []
        for wide in (1024, 512, 256):
            layers += [nn.Linear(inputs, wide), nn.ReLU()]
            inputs = wide
        layers.append(nn.Linear(inputs, outputs))
        self.mlp = nn.Sequential(*layers, *([nn.Tanh()] if bounded else []))

    def forward(self, x: Float[Tensor, "*N G"]) -> Float[Tensor, "*N O"]:
        return self.mlp(x)


class ActHead(nn.Module, ABC):
    """`width` is D of the backbone, `chunk` H, `window` the most observation steps that are looked back on."""

    def __init__(self, config: ActHeadConfig, width: int, *, chunk: int, window: int):
        super().__init__()
        self.config, self.chunk, self.memory = config, chunk, window
        self.num_features = width * config.latent
        self.num_hidden = config.hidden_size * config.latent
        self.add_sequence()
        self.actions = OutputMLP(self.num_hidden, chunk * (config.action_dim - 1), bounded=True)
        self.gripper = OutputMLP(self.num_hidden, chunk, bounded=False)

    @abstractmethod
    def add_sequence(self) -> None:
        """Make the layers of `sequence` that stand before the outputs."""

    @abstractmethod
    def sequence(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T G"]:
        """Causal, from nothing seen before."""

    def forward(self, tokens: Float[Tensor, "B T K D"]) -> tuple[Float[Tensor, "B T H C"], Float[Tensor, "B T H 1"]]:
        """Every step of the window, in the units of training: arm in [-1, 1], gripper logits (above 0 is open)."""
        return self.outputs(self.sequence(self.features(tokens)))

    def features(self, tokens: Float[Tensor, "B T K D"]) -> Float[Tensor, "B T F"]:
        """One vector a step: the tokens side by side, or the maxima over `latent` shares of them."""
        if self.config.down_sample == "pooling":
            tokens = F.adaptive_max_pool1d(tokens.flatten(0, 1).mT, self.config.latent).mT.unflatten(
                0, tokens.shape[:2]
            )
        if tokens.shape[2] * tokens.shape[3] != self.num_features:
            raise ValueError(
                f"the head takes {self.num_features} numbers a step, got {tokens.shape[2]} tokens of "
                f"{tokens.shape[3]}: set act_head.latent to the number of tokens, or act_head.down_sample to 'pooling'"
            )
        return tokens.flatten(2)

    def outputs(self, hidden: Float[Tensor, "*N G"]) -> tuple[Float[Tensor, "*N H C"], Float[Tensor, "*N H 1"]]:
        return tuple(layer(hidden).unflatten(-1, (self.chunk, -1)) for layer in (self.actions, self.gripper))

    def start(self) -> Float[Tensor, "0 F"]:
        """The state of a robot that has seen nothing."""
        return next(self.parameters()).new_zeros(0, self.num_features)

    def step(
        self, features: Float[Tensor, "B F"], states: Sequence[Float[Tensor, "_ F"]]
    ) -> tuple[Float[Tensor, "B H C"], Float[Tensor, "B H 1"], list[Float[Tensor, "_ F"]]]:
        """One step of every robot: arm, gripper logits, new states."""
        windows = slide(states, features[:, None], self.memory)
        return *self.last(windows), windows

    def last(self, windows: Sequence[Float[Tensor, "_ F"]]) -> tuple[Float[Tensor, "B H C"], Float[Tensor, "B H 1"]]:
        """The newest step of windows of any lengths: what is padded behind a window's end cannot be seen from it."""
        return self.outputs(newest(self.sequence(pad(windows, max(map(len, windows)))), windows))


class FCHead(ActHead):
    """Every step alone: it remembers nothing."""

    def __init__(self, config: ActHeadConfig, width: int, *, chunk: int, window: int):
        super().__init__(config, width, chunk=chunk, window=1)
        middle = self.num_features // 2  # made last, as in the reference: optimizer states count parameters
        self.mlp = nn.Sequential(nn.Linear(self.num_features, middle), nn.ReLU(), nn.Linear(middle, self.num_hidden))

    def add_sequence(self) -> None:
        """Nothing that must stand before the outputs."""

    def sequence(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T G"]:
        return self.mlp(features)


class LSTMHead(ActHead):
    def add_sequence(self) -> None:
        config = self.config
        self.rnn = nn.LSTM(
            self.num_features,
            self.num_hidden,
            config.num_layers,
            batch_first=True,
            dropout=config.policy_rnn_dropout_p,
        )

    def sequence(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T G"]:
        return self.rnn(features)[0]


class GPTHead(ActHead):
    """GPT-2 with eight layers and eight heads, positions counted from the oldest step of the window."""

    def add_sequence(self) -> None:
        width = self.num_features // self.config.latent
        if self.config.hidden_size != width and self.config.latent > 1:
            raise ValueError(
                f"GPTDecoder with act_head.latent={self.config.latent} needs act_head.hidden_size equal to the "
                f"backbone's width {width}, got {self.config.hidden_size} (the reference fails there too)"
            )
        same = self.config.hidden_size == width
        self.fc = nn.Identity() if same else nn.Linear(self.num_features, self.config.hidden_size)
        self.gpt = GPT2(self.num_hidden, window=self.memory)

    def sequence(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T G"]:
        return self.gpt(self.fc(features))


HEADS: dict[str, type[ActHead]] = {"FCDecoder": FCHead, "LSTMDecoder": LSTMHead, "GPTDecoder": GPTHead}


def make_head(config: ActHeadConfig, width: int, *, chunk: int, window: int) -> ActHead:
    """The head that `config.type` names; a discrete policy has none, its actions are words of the model."""
    if config.type not in HEADS:
        raise ValueError(f"act_head.type must be one of {', '.join(HEADS)} for continuous actions, got {config.type!r}")
    return HEADS[config.type](config, width, chunk=chunk, window=window)
