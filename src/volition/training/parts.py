"""Which part of a policy every parameter belongs to, found by the model's structure on any family.

    vision --> resampler, projector --> backbone (the language model; its words: embeddings; [LRN]: readouts) --> head

`transformers` models say themselves where their vision tower and decoder are; what stands between them projects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from torch import nn

from volition.backbones import Backbone
from volition.policy import Policy

Part = Literal["vision", "resampler", "projector", "embeddings", "backbone", "readouts", "head", "auxiliary"]
PARTS: tuple[Part, ...] = get_args(Part)


def find_parts(policy: Policy) -> dict[str, Part]:
    """Parameter name -> part, for every parameter; a part that the model does not have is nobody's.

    A tensor that two parts share (words tied to the vocabulary's output weights) belongs to `embeddings`. A resampler
    is any module of a class whose name ends so, ours or the model's. Modules inside the vision tower, behind its
    layers, count as the projector where none stands outside (Qwen-VL's merger).
    """
    owner: dict[int, Part] = {}
    for part, module in _claims(policy):
        for parameter in module.parameters():
            owner.setdefault(id(parameter), part)
    return {name: owner[id(parameter)] for name, parameter in policy.named_parameters()}


def require_parts(part_of: Mapping[str, Part], wanted: Sequence[Part], who: str) -> None:
    """ValueError that names the parts in `wanted` of which the policy has no parameter."""
    found = set(part_of.values())
    if missing := [part for part in wanted if part not in found]:
        there = [part for part in PARTS if part in found]
        raise ValueError(f"{who} {missing}, which cannot be found on this model; it has {there}")


def decoder_layers(backbone: Backbone) -> nn.ModuleList:
    """The layers that [LRN] passes, in their order."""
    decoder = _decoder(backbone)
    while (deeper := decoder.get_decoder() if hasattr(decoder, "get_decoder") else decoder) is not decoder:
        decoder = deeper  # an encoder-decoder inside a wrapper
    layers = _layers(decoder, aside={module for tower in vision_towers(backbone) for module in tower.modules()})
    if layers is None:
        raise ValueError(f"{type(backbone.model).__name__} must have a list of decoder layers; it has none")
    return layers


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name was added by LoRA."""
    return ".lora_" in name


def _claims(policy: Policy) -> Iterator[tuple[Part, nn.Module]]:
    """The first that claims a parameter has it."""
    backbone = policy.backbone
    model = backbone.model
    yield "readouts", nn.ParameterList([backbone.embedding.new])
    yield "embeddings", backbone.embedding
    yield from (("resampler", m) for m in backbone.modules() if type(m).__name__.endswith("Resampler"))
    towers = vision_towers(backbone)
    # Sound is not used by any policy; it is nothing between eyes and words.
    audio = _encoder(backbone, "audio")
    language = [_decoder(backbone), _owner_of_words(backbone), model.get_output_embeddings(), audio]
    known = {id(p) for m in (*towers, *language) if m is not None for p in m.parameters()}
    if all(id(p) in known for p in model.parameters()):
        yield from (("projector", m) for tower in towers for m in _behind_the_layers(tower))
    yield from (("vision", tower) for tower in towers)
    yield from (("backbone", m) for m in language if m is not None)
    yield "projector", backbone
    yield "head", policy.head
    yield "auxiliary", policy


def _decoder(backbone: Backbone) -> Any:
    """What the model names as its language model; a model that names none is one."""
    return backbone.model.get_decoder() if hasattr(backbone.model, "get_decoder") else backbone.model


def vision_towers(backbone: Backbone) -> list[nn.Module]:
    """The vision tower and, in models that have several, the others: whatever takes pictures and knows no words."""
    decoder = set(_decoder(backbone).modules())
    named = _encoder(backbone, "image")
    if named is None and (encoder := _encoder(backbone, None)) not in decoder:
        named = encoder  # Pix2Struct and its like: pictures are what the only encoder reads
    others = [
        module
        for module in backbone.model.modules()
        if getattr(module, "main_input_name", "") == "pixel_values" and backbone.embedding not in module.modules()
    ]
    return [*([named] if named is not None else []), *others]


def _encoder(backbone: Backbone, modality: str | None) -> nn.Module | None:
    """What the model names as its encoder, if that is a module apart from its words."""
    found = backbone.model
    while backbone.embedding in found.modules():
        deeper = found.get_encoder(modality=modality) if hasattr(found, "get_encoder") else found
        if deeper is None or deeper is found:
            return None
        found = deeper
    return found


def _owner_of_words(backbone: Backbone) -> nn.Module:
    """The smallest model around the word embeddings: the encoder, where a decoder of its own answers."""
    around = [
        m for m in backbone.model.modules() if hasattr(m, "main_input_name") and backbone.embedding in m.modules()
    ]
    return min(around, key=_size, default=backbone.embedding)


def _behind_the_layers(tower: nn.Module) -> list[nn.Module]:
    """Children of the tower after the one with its layers, norms alone aside."""
    children = list(tower.children())
    layers = _layers(tower)
    place = next((i for i, child in enumerate(children) if layers and layers in child.modules()), len(children))
    return [child for child in children[place + 1 :] if any(p.ndim > 1 for p in child.parameters())]


def _layers(module: nn.Module, aside: Collection[nn.Module] = ()) -> nn.ModuleList | None:
    """The list of as many modules as the config says, else the largest one."""
    config = getattr(module, "config", None)
    count = getattr(config, "depth", None) or getattr(config, "num_hidden_layers", None)
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList) and m not in aside]
    return max(lists, key=lambda m: (len(m) == count, _size(m)), default=None)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
