"""Which parameters are trained, as `train_setup` says, and LoRA as the reference places it."""

from __future__ import annotations

from torch import nn

from volition.compat.config import TrainSetup
from volition.compat.model import RoboVLM


def set_trainable(model: RoboVLM, setup: TrainSetup) -> None:
    """Set `requires_grad` of everything. Head and action token always learn.

    With LoRA the backbone itself is frozen, but what the flags ask for on top is trained; in the reference LoRA
    silently undoes `train_vision`.
    """
    backbone, family = model.backbone, model.family
    text = family.text_model(backbone)
    model.requires_grad_(True)
    if setup.lora_enable:
        add_lora(model, setup)
    elif setup.freeze_backbone:
        backbone.requires_grad_(False)
    elif setup.train_decoder_layers != -1:
        backbone.requires_grad_(False)
        text.layers[len(text.layers) - setup.train_decoder_layers :].requires_grad_(True)
    if setup.train_vision or not setup.lora_enable:
        family.vision_tower(backbone).requires_grad_(setup.train_vision)
    text.embed_tokens.requires_grad_(setup.train_text_embedding)
    if model.vision_resampler is not None:
        model.vision_resampler.requires_grad_(not setup.freeze_resampler)


def add_lora(model: RoboVLM, setup: TrainSetup) -> None:
    """Adapters on every linear layer of the backbone but the vocabulary's; the backbone itself is frozen."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("train_setup.lora_enable needs peft: install volition[lora]") from error
    vocabulary = model.backbone.get_output_embeddings()
    names = [
        name
        for name, module in model.backbone.named_modules()
        if isinstance(module, nn.Linear) and module is not vocabulary
    ]
    config = LoraConfig(
        r=setup.lora_r,
        lora_alpha=setup.lora_alpha,
        lora_dropout=setup.lora_dropout,
        bias=setup.lora_bias,
        target_modules=names,
    )
    inject_adapter_in_model(config, model.backbone)
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(".lora_" in name or (setup.lora_bias == "all" and name.endswith(".bias")))
