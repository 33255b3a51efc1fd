"""CLIP-norm: the read-out must tell the instruction, as a frozen text model understands it.

    loss = smooth L1 (linear(maximum of the read-out over its K tokens), features / |features|)

The text model is no part of the policy: it is not trained, not saved and not moved to the GPU. It sees each wording
once, on the CPU, and its features are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModelWithProjection

from volition.auxiliary.base import Auxiliary
from volition.backbones.base import Backbone, Encoded
from volition.data.transforms import Transform
from volition.heads.base import masked_mean
from volition.records import Sample
from volition.types import Target


@dataclass(frozen=True, kw_only=True)
class ClipNormConfig:
    """`model_id`: CLIP or an encoder of text alone, a folder or a name on the hub."""

    model_id: str = "openai/clip-vit-large-patch14"
    revision: str = "main"
    num_features: int = 768  # that the text model makes
    weight: float = 0.05

    def build(self, backbone: Backbone, *, cameras: tuple[str, ...], transforms: Transform, training: bool) -> ClipNorm:
        target = TextFeatures.load(self.model_id, self.revision) if training else None
        if target is not None and target.num_features != self.num_features:
            raise ValueError(
                f"num_features={self.num_features} must be what {self.model_id!r} makes: {target.num_features}"
            )
        return ClipNorm(backbone.width, self.num_features, weight=self.weight, feed=target)


class ClipNorm(Auxiliary):
    name: ClassVar[str] = "clip_norm"

    def __init__(self, width: int, num_features: int, *, weight: float, feed: TextFeatures | None):
        super().__init__(weight, feed)
        self.project = nn.Linear(width, num_features)

    def loss(
        self, backbone: Backbone, encoded: Encoded, wanted: Float[Tensor, "B F"], target: Target
    ) -> Float[Tensor, ""]:
        told = self.project(encoded.readout.amax(dim=2))
        error = F.smooth_l1_loss(told, wanted[:, None].expand_as(told), reduction="none").mean(-1, keepdim=True)
        return masked_mean(error, target.mask.any(-1, keepdim=True))


class TextFeatures:
    """Feed: features of every sample's instruction, [B, F], of length 1."""

    def __init__(self, tokenizer: Any, model: nn.Module):
        self._tokenizer, self._model = tokenizer, model.eval().requires_grad_(False)
        self._known: dict[str, Tensor] = {}  # every wording is read alone and once: no batch changes its features
        self.num_features = len(self._features("any words"))

    @classmethod
    def load(cls, model_id: str, revision: str) -> TextFeatures:
        source: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
        try:
            kind = AutoConfig.from_pretrained(model_id, **source).model_type
            of_clip = kind in ("clip", "clip_text_model")
            model = (CLIPTextModelWithProjection if of_clip else AutoModel).from_pretrained(
                model_id, dtype=torch.float32, use_safetensors=True, **source
            )
            return cls(AutoTokenizer.from_pretrained(model_id, **source), model)
        except OSError as error:
            raise ValueError(
                f"model_id={model_id!r} must be a folder with a text model or one on the hub that can be reached "
                f"(HF_HUB_OFFLINE=1 forbids that): {error}"
            ) from error

    def __call__(self, samples: Sequence[Sample], step: int) -> Float[Tensor, "B F"]:
        wordings = [sample.observation.instruction for sample in samples]
        for wording in wordings:
            if wording not in self._known:
                self._known[wording] = self._features(wording)
        return torch.stack([self._known[wording] for wording in wordings])

    @torch.no_grad()
    def _features(self, wording: str) -> Float[Tensor, " F"]:
        """A model without a projection of its own (not CLIP's) is averaged over its tokens."""
        read = self._model(**self._tokenizer(wording, truncation=True, return_tensors="pt"))
        found = read.text_embeds if hasattr(read, "text_embeds") else read.last_hidden_state.mean(dim=1)
        return F.normalize(found[0], dim=-1)
