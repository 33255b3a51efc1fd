"""What of a policy is trained: a switch a part, the last layers alone, and LoRA on parts of choice.

Experiment.build -> make_trainable(policy, config): afterwards `requires_grad` says it all, and the optimizer, the
gradient norm and the checkpoint's moments know the trained parameters only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from volition.policy import Policy
from volition.training.lora import LoRAConfig, add_lora
from volition.training.parts import PARTS, Part, decoder_layers, find_parts, require_parts


@dataclass(frozen=True, kw_only=True)
class TrainableConfig:
    """True trains a part, False leaves it as it is to the bit. Learning rates of parts are in `OptimConfig`."""

    vision: bool = True  # the vision tower
    resampler: bool = True
    projector: bool = True  # what leads from the vision tower to the language model
    embeddings: bool = True  # of the words, with the output weights that are tied to them
    backbone: bool = True  # the language model
    last_layers: int = 0  # above 0: of the language model's decoder only this many layers, and nothing else of it
    readouts: bool = True  # the action token [LRN]
    head: bool = True
    auxiliary: bool = True  # modules of auxiliary losses
    lora: LoRAConfig = field(default_factory=LoRAConfig)

    def __post_init__(self) -> None:
        if self.last_layers < 0:
            raise ValueError(f"last_layers must be at least 0 (0: all of them), got {self.last_layers}")
        if self.last_layers and not self.backbone:
            raise ValueError(f"last_layers={self.last_layers} needs backbone=True; with False none of them is trained")
        if contrary := [part for part in self.lora.parts if part in self.frozen]:
            raise ValueError(f"lora.parts names {contrary}, which the switches freeze: set them to True")

    @property
    def frozen(self) -> tuple[Part, ...]:
        return tuple(part for part in PARTS if not getattr(self, part))


def make_trainable(policy: Policy, config: TrainableConfig) -> None:
    """Freeze in place what the switches say, then add LoRA. ValueError for a part that is named and not there."""
    part_of = find_parts(policy)
    require_parts(part_of, config.frozen, "`train` freezes")
    require_parts(part_of, config.lora.parts, "train.lora.parts names")
    for name, part in part_of.items():
        if part in config.frozen:
            policy.get_parameter(name).requires_grad_(False)
    if config.last_layers:
        _keep_last_layers(policy, config.last_layers)
    if config.lora.parts:
        add_lora(policy, config.lora)
    if not any(parameter.requires_grad for parameter in policy.parameters()):
        raise ValueError("nothing is left to train: set at least one of the switches in `train` to True")


def _keep_last_layers(policy: Policy, count: int) -> None:
    layers = decoder_layers(policy.backbone)
    if count > len(layers):
        raise ValueError(f"train.last_layers={count} must be at most the decoder's number of layers, {len(layers)}")
    kept = {id(p) for layer in layers[-count:] for p in layer.parameters()}
    for name, part in find_parts(policy).items():
        parameter = policy.get_parameter(name)
        if part == "backbone" and id(parameter) not in kept:
            parameter.requires_grad_(False)
