"""A RoboVLMs experiment as typed values: what of its JSON changes what the model computes, or how it is trained.

`read_config` (in `read.py`) makes one from a file and says what became of every key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from volition.compat.actions import ActionScaling

HeadType = Literal["FCDecoder", "LSTMDecoder", "GPTDecoder", "DiscreteDecoder"]


@dataclass(frozen=True, kw_only=True)
class ActHeadConfig:
    """`act_head`. The chunk length and the window come from the top level of the file, as in the reference."""

    type: HeadType = "LSTMDecoder"
    hidden_size: int = 1024
    action_dim: int = 7
    down_sample: Literal["none", "pooling"] = "none"
    latent: int = 1  # action tokens per frame, or tokens left after pooling
    action_space: Literal["continuous", "down_sample", "discrete"] = "continuous"
    history_type: Literal["post", "pre", "video"] = "post"
    token_source: Literal["all", "text", "vision"] = "all"  # which states are pooled when there is no action token
    fill_zero: bool = False  # nothing may attend to the action tokens
    num_layers: int = 4
    policy_rnn_dropout_p: float = 0.0
    n_bin: int = 256
    min_action: float = -1.0
    max_action: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, ("hidden_size", "latent", "num_layers"), "act_head.")
        if self.action_dim < 2:
            raise ValueError(f"act_head.action_dim must be at least 2 (arm and gripper), got {self.action_dim}")
        if (self.type == "DiscreteDecoder") != (self.action_space == "discrete"):
            raise ValueError(
                f"act_head.type={self.type!r} and act_head.action_space={self.action_space!r} must go together: "
                "'DiscreteDecoder' with 'discrete', every other head with 'continuous' or 'down_sample'"
            )
        if self.history_type == "video" and self.type != "FCDecoder":
            raise ValueError(
                f"act_head.history_type='video' makes one state for all frames, which {self.type} cannot take "
                "(it fails in the reference too): use 'FCDecoder', or the history 'post' or 'pre'"
            )
        if self.action_space == "down_sample" and self.down_sample == "none":
            raise ValueError(
                "act_head.action_space='down_sample' has as many states as the text has words: "
                "act_head.down_sample must be 'pooling', got 'none'"
            )


@dataclass(frozen=True, kw_only=True)
class TrainSetup:
    """`train_setup`: what is trained."""

    freeze_backbone: bool = False
    train_vision: bool = True
    train_text_embedding: bool = True
    train_decoder_layers: int = -1  # the last k layers of the text model; -1 for all
    freeze_resampler: bool = False
    lora_enable: bool = False
    lora_r: int = 64
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    lora_bias: Literal["none", "all", "lora_only"] = "none"


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    arm_gripper_loss_ratio: float = 0.01  # of the gripper's cross entropy; the arm counts 1
    vl_cotrain_ratio: float = 0.05  # ten times that with discrete actions
    clip_norm_ratio: float = 0.05


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    learning_rate: float = 2e-5
    weight_decay: float = 0.0
    scheduler: Literal["constant", "half-cosine", "cosine"] = "constant"
    warmup_epochs: float = 0.0
    warmup_steps: int = 0
    min_lr_scale: float = 1e-2  # of half-cosine only
    gradient_clip_val: float = 0.0  # the top-level key; `trainer.gradient_clip_val` has no effect
    batch_size: int = 1  # per process
    max_epochs: int = 5
    max_steps: int = -1
    accumulate_grad_batches: int = 1
    seed: int = 123


@dataclass(frozen=True, kw_only=True)
class RoboVLMsConfig:
    """One experiment of the reference."""

    robovlm_name: str = "RoboKosMos"
    model: str = "kosmos"
    window_size: int = 8
    fwd_pred_next_n: int = 10
    use_hand_rgb: bool = False
    image_size: int = 224
    use_vision_resampler: bool = False
    use_clip_norm: bool = False  # an auxiliary loss of training alone
    tcp_rel: bool = False  # actions are in the frame of the gripper
    vlm_path: str = ""  # `vlm.pretrained_model_name_or_path`
    tokenizer_path: str = ""
    additional_special_tokens: tuple[str, ...] = ()
    act_head: ActHeadConfig = field(default_factory=ActHeadConfig)
    train_setup: TrainSetup = field(default_factory=TrainSetup)
    scaling: ActionScaling = field(default_factory=ActionScaling)
    weights: LossWeights = field(default_factory=LossWeights)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        require_positive(self, ("window_size", "fwd_pred_next_n", "image_size"))


def require_positive(config: object, names: tuple[str, ...], prefix: str = "") -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{prefix}{name} must be at least 1, got {getattr(config, name)}")
