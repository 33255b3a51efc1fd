"""A VLM of your own: any image-text-to-text model of `transformers`, with the prompt that its family was trained on.

    cd examples
    python 02_your_own_vlm.py                                      makes a tiny LLaVA, in place of one you downloaded
    volition train 02_your_own_vlm:as_it_is                        no line of code for the model
    volition train 02_your_own_vlm:with_its_prompt                 an adapter of your own
    volition eval runs/with_its_prompt --starts 2 --tasks open_drawer --allow 02_your_own_vlm

Expected: both train 20 steps and save a checkpoint whose backbone is the tiny LLaVA. Its weights are random, so that
nothing has to be downloaded: this shows where a model plugs in, not what a good one does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, LlavaConfig

from volition.backbones import Adapter, Backbone, HubBackbone
from volition.backbones.images import Pictures
from volition.backbones.tiny import SPECIAL, tiny_tokenizer, vocabulary
from volition.config import DataConfig, Experiment
from volition.recipes import smoke
from volition.recipes.desk import demo_recording

FOLDER = "runs/tiny-llava"


def make_model() -> None:
    """A folder as `save_pretrained` writes it: what a downloaded model looks like."""
    torch.manual_seed(0)
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config={"model_type": "siglip_vision_model", "image_size": 96, "patch_size": 16, **size},
        text_config={"model_type": "llama", "vocab_size": len(vocabulary()), "num_key_value_heads": 2, **size},
        image_token_id=SPECIAL.index("<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    AutoModelForImageTextToText.from_config(config).save_pretrained(FOLDER)
    tiny_tokenizer().save_pretrained(FOLDER)


class AskedAdapter(Adapter):
    """All that differs between families is in an adapter. It has no weights, so that data workers can carry it."""

    def prompt(self, instruction: str, num_images: int) -> list[int]:
        """Pictures first, then the question that the model is used to."""
        asked = f"what should the robot do to {instruction}?"
        return [*self.picture_ids * num_images, *self.words(asked)]


@dataclass(frozen=True, kw_only=True)
class AskedVLM:
    """What a checkpoint remembers of the model, and how it is built from that."""

    model_id: str = FOLDER
    num_readouts: int = 1

    def build(self, *, pretrained: bool = True) -> Backbone:
        """`pretrained=False`: the same model with random weights, for a checkpoint to fill."""
        config = AutoConfig.from_pretrained(self.model_id)
        model = (
            AutoModelForImageTextToText.from_pretrained(self.model_id, dtype=torch.float32)
            if pretrained
            else AutoModelForImageTextToText.from_config(config)
        )
        side = config.vision_config.image_size
        adapter = AskedAdapter(
            AutoTokenizer.from_pretrained(self.model_id),
            model,  # is asked for its tokens a picture, its vocabulary and so on
            pictures=Pictures(size=(side, side)),
            num_readouts=self.num_readouts,
        )
        return Backbone(model, adapter)


def as_it_is() -> Experiment:
    """A model whose family needs nothing: name it."""
    base = smoke()
    data = DataConfig(path="runs/example-data", recording=demo_recording(4, tasks=("open_drawer",)))
    loop = replace(base.loop, num_steps=20, log_every=10, save_every=20)
    return replace(base, data=data, backbone=HubBackbone(model_id=FOLDER), loop=loop)


def with_its_prompt() -> Experiment:
    """The same model behind an adapter of our own."""
    return replace(as_it_is(), backbone=AskedVLM())


if __name__ == "__main__":
    make_model()
