"""Any image-text-to-text model of `transformers`, from a folder or the hub, through the family's own forward.

Everything that can be wrong with a model is found from its config and tokenizer, before its weights are read. Pictures
and tokenizer are put together here, from the model's files, because many families' own processors need torchvision.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageTextToText, AutoTokenizer, PreTrainedConfig
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from volition.backbones.adapter import Adapter
from volition.backbones.base import Backbone
from volition.backbones.families import adapter_for
from volition.backbones.images import Pictures
from volition.backbones.resampler import ResamplerConfig, with_resampler

DEFAULT_SIDE = 224  # of pictures for a tower that takes them in any size
# Names in configs for the side, in patches, of what becomes one token.
MERGES = ("spatial_merge_size", "merge_size", "pooling_kernel_size", "downsample_factor")


@dataclass(frozen=True, kw_only=True)
class HubBackbone:
    """`model_id` is a folder written by `save_pretrained`, or a name on the hub (needs a network the first time)."""

    model_id: str
    revision: str = "main"
    num_readouts: int = 1
    image_size: int = 0  # side of the pictures that the tower gets; 0 = what it was trained with, or 224 if any
    bfloat16: bool = True  # autocast of the forward where the device has it; the weights stay in float32
    # "": what transformers takes. On a CPU "eager" trains faster in bfloat16: the fused kernel is slow in its backward.
    attention: Literal["", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] = ""
    resampler: ResamplerConfig | None = None  # between vision tower and language model
    trust_remote_code: bool = False  # run code that comes with the model; a checkpoint's config needs --allow for it

    def check(self) -> None:
        """ValueError for all that is wrong with the model and that its config and tokenizer tell."""
        self._read()

    def build(self, *, pretrained: bool = True) -> Backbone:
        config, tokenizer, adapter, preprocessor, size = self._read()
        # Weights are safetensors, never pickles.
        model = (
            reach(
                self.model_id,
                lambda: AutoModelForImageTextToText.from_pretrained(
                    self.model_id, dtype=torch.float32, use_safetensors=True, **self._source
                ),
            )
            if pretrained
            else AutoModelForImageTextToText.from_config(config, **self._trust)
        )
        if self.attention:
            model.set_attn_implementation(self.attention)
        model.requires_grad_()  # some families freeze parts of themselves; what is trained is the recipe's to say
        chosen, resampler = with_resampler(
            self.resampler,
            model,
            lambda: adapter(tokenizer, model, pictures=Pictures.of(preprocessor, size), num_readouts=self.num_readouts),
        )
        autocast = torch.bfloat16 if self.bfloat16 else None
        return Backbone(model, chosen, autocast=autocast, resampler=resampler)

    def _read(self) -> tuple[Any, Any, type[Adapter], dict[str, Any], tuple[int, int]]:
        """Config, tokenizer, adapter, what the files say about pictures, and their size."""
        config = self._config()
        with torch.device("meta"):  # no memory, no time: only its shape is looked at
            shell = reach(self.model_id, lambda: AutoModelForImageTextToText.from_config(config, **self._trust))
        tokenizer = reach(self.model_id, lambda: AutoTokenizer.from_pretrained(self.model_id, **self._source))
        adapter = adapter_for(shell)
        adapter.require_marks(tokenizer, config)
        preprocessor = preprocessing(self.model_id, self.revision)
        return config, tokenizer, adapter, preprocessor, picture_size(config, preprocessor, adapter, self.image_size)

    @property
    def _trust(self) -> dict[str, Any]:
        return {"trust_remote_code": self.trust_remote_code}

    @property
    def _source(self) -> dict[str, Any]:
        return {"revision": self.revision, **self._trust}

    def _config(self) -> Any:
        """The model's config, if it is that of a model that sees and speaks."""
        raw = reach(self.model_id, lambda: PreTrainedConfig.get_config_dict(self.model_id, revision=self.revision)[0])
        if "model_type" not in raw:
            raise ValueError(
                f"model_id={self.model_id!r} must hold a config.json with a model_type: is it a saved model?"
            )
        kind = raw["model_type"]
        if kind not in CONFIG_MAPPING and not self.trust_remote_code:
            raise ValueError(
                f"model_id={self.model_id!r} is of model_type {kind!r}, which transformers does not know"
                + (
                    ": it brings its own code; if you trust its origin, set trust_remote_code"
                    if "auto_map" in raw
                    else ""
                )
            )
        config = reach(self.model_id, lambda: AutoConfig.from_pretrained(self.model_id, **self._source))
        brought = self.trust_remote_code and "AutoModelForImageTextToText" in raw.get("auto_map", {})
        if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not brought:
            raise ValueError(
                f"model_id={self.model_id!r} must be a model that reads pictures and text; {kind!r} is none that "
                "AutoModelForImageTextToText knows (`volition backbones` lists them)"
            )
        return config


def reach(model_id: str, load: Callable[[], Any]) -> Any:
    """What `load` reads of the model; ValueError if it cannot be got at."""
    try:
        return load()
    except OSError as error:
        raise ValueError(
            f"model_id={model_id!r} must be a folder with a saved model or a model on the hub that can be reached "
            f"(HF_HUB_OFFLINE=1 forbids that): {error}"
        ) from error


def preprocessing(model_id: str, revision: str = "main") -> dict[str, Any]:
    """What the model's files say about its pictures."""
    try:
        return ImageProcessingMixin.get_image_processor_dict(model_id, revision=revision)[0]
    except OSError:
        logging.getLogger(__name__).warning(
            "%s has no preprocessor_config.json: pictures are given to it in [-1, 1], as SigLIP's", model_id
        )
        return {}


def picture_size(config: Any, preprocessor: dict[str, Any], adapter: type[Adapter], side: int) -> tuple[int, int]:
    """Height and width: `side` if it is given, else what the tower was trained with."""
    vision = getattr(config, "vision_config", None) or config
    patch = getattr(vision, "patch_size", 1)
    merged = [getattr(part, name, None) for part in (vision, config) for name in MERGES]
    side_of_token = adapter.merge or next((x for x in merged if isinstance(x, int)), 1)
    step = patch * side_of_token if isinstance(patch, int) else 1
    if side % step:
        raise ValueError(f"image_size={side} must be a multiple of {step}, the side of what becomes one token")
    if side:
        return side, side
    if adapter.any_size:
        return (DEFAULT_SIDE // step * step,) * 2
    trained = getattr(vision, "image_size", None) or preprocessor.get("crop_size") or preprocessor.get("size")
    if isinstance(trained, dict):
        trained = [trained[name] for name in ("height", "width") if name in trained] or [*trained.values()][:1]
    sides = trained if isinstance(trained, list | tuple) else [trained or DEFAULT_SIDE]
    return int(sides[0]), int(sides[-1])
