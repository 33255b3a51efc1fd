"""LoRA (Hu et al., 2021) through `peft`, and QLoRA (Dettmers et al., 2023) with a base in four bits.

add_lora: chosen linear layers get adapters, their own weights stay --train--> merge_lora: plain weights again
Adapters are parameters like any other: checkpoints hold them beside the base, strictly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from volition.policy import Policy
from volition.training.parts import Part, find_parts, is_adapter

Adaptable = Literal["vision", "resampler", "projector", "backbone"]
ADAPTABLE: tuple[Adaptable, ...] = get_args(Adaptable)


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """W x + alpha / rank * B A dropout(x), for every linear layer of `parts` that the switches would train."""

    parts: tuple[Adaptable, ...] = ()  # their own weights stay as they are; none: no LoRA
    rank: int = 64
    alpha: float = 16.0
    dropout: float = 0.05
    quantize: bool = False  # the adapted layers' own weights in four bits (NF4): QLoRA

    def __post_init__(self) -> None:
        if wrong := [part for part in self.parts if part not in ADAPTABLE]:
            raise ValueError(f"lora.parts must be among {list(ADAPTABLE)}, got {wrong}")
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"rank={self.rank} must be at least 1 and dropout={self.dropout} in 0..1 (1 excluded)")


def add_lora(policy: Policy, config: LoRAConfig) -> None:
    """Adapters in place. At first they add nothing: B is zero."""
    peft = _peft()
    part_of = find_parts(policy)
    targets = _targets(policy, config, part_of)
    if not targets:
        raise ValueError(f"train.lora.parts={list(config.parts)} must hold linear layers that are trained; none does")
    backbone = policy.backbone
    trained = {id(p) for name, p in policy.named_parameters() if p.requires_grad and part_of[name] not in config.parts}
    if config.quantize:
        for name in targets:
            backbone.set_submodule(name, _quantized(backbone.get_submodule(name), backbone.autocast or torch.float32))
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules="|".join(map(re.escape, targets)),  # a pattern for the whole name: exactly these layers
    )
    peft.inject_adapter_in_model(settings, backbone)
    for name, parameter in policy.named_parameters():  # peft has frozen everything else
        if parameter.is_floating_point():
            parameter.requires_grad_(is_adapter(name) or id(parameter) in trained)


def merge_lora(policy: Policy) -> None:
    """Adapters into the weights, in place: afterwards the model is the plain one that `hub_state` can write."""
    layer_kind = _peft().tuners.lora.LoraLayer
    for name, layer in list(policy.backbone.named_modules()):
        if isinstance(layer, layer_kind):
            policy.backbone.set_submodule(name, _merged(layer))
    del policy.backbone.peft_config  # what peft left to know its adapters by


def _targets(policy: Policy, config: LoRAConfig, part_of: dict[str, Part]) -> list[str]:
    """Names of plain linear layers: a subclass is a module of its own kind that reads the weights itself."""
    vocabulary = policy.backbone.model.get_output_embeddings()
    return [
        name
        for name, module in policy.backbone.named_modules()
        if type(module) is nn.Linear
        and module is not vocabulary
        and module.weight.requires_grad
        and part_of[f"backbone.{name}.weight"] in config.parts
    ]


def _quantized(layer: Any, compute: torch.dtype) -> nn.Module:
    try:
        import bitsandbytes
    except ImportError as error:
        raise ValueError(
            "train.lora.quantize=True needs bitsandbytes: pip install 'volition[quant]', or set it to False"
        ) from error
    new = bitsandbytes.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=compute,
        compress_statistics=False,  # a second quantisation keeps numbers outside the tensors that a checkpoint holds
        quant_type="nf4",
    )
    new.weight = bitsandbytes.nn.Params4bit(
        layer.weight.data, requires_grad=False, compress_statistics=False, quant_type="nf4"
    )
    # What its forward would otherwise do to frozen tensors: cast the bias, and repack the weight on some processors.
    new.bias = None if layer.bias is None else nn.Parameter(layer.bias.data.to(compute), requires_grad=False)
    new.support_avx512bf16_for_cpu = False
    return new.to(layer.weight.device)  # moving is what quantises


def _merged(layer: Any) -> nn.Linear:
    base = layer.get_base_layer()
    delta = layer.get_delta_weight("default")
    if type(base) is nn.Linear:
        base.weight.data += delta
        return base
    import bitsandbytes

    whole = bitsandbytes.functional.dequantize_4bit(base.weight.data, base.weight.quant_state)
    plain = nn.Linear(base.in_features, base.out_features, bias=False, device=whole.device, dtype=delta.dtype)
    plain.weight = nn.Parameter(whole.to(delta.dtype) + delta, requires_grad=False)
    plain.bias = base.bias
    return plain


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ValueError(
            "train.lora needs peft: pip install 'volition[lora]', or leave train.lora.parts empty"
        ) from error
    return peft
