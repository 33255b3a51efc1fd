"""Families with an encoder and a decoder: Florence-2, T5Gemma 2. The encoder reads the prompt, the decoder [LRN].

To everyone else a row looks as ever, prompt then [LRN]: the hidden states of the prompt are the encoder's, those from
the first [LRN] on the decoder's, which begins with the mark that its family begins with.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.rereading import Rereading


class EncoderDecoder(Rereading):
    interleaves = False

    def arguments(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Any]:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        is_learned = (ids >= self.readout_ids[0]) & mask.bool()
        first = is_learned.long().argmax(1, keepdim=True)
        there = torch.arange(ids.shape[1], device=ids.device)
        length = ids.shape[1] - int(first.min())
        # Position 0 of the decoder is its own beginning; what stands at `first` comes next.
        where = (first - 1 + torch.arange(length + 1, device=ids.device)).clamp(0, ids.shape[1] - 1)
        begun = torch.cat([torch.full_like(first, self.start_id()), ids.gather(1, where)[:, 1:]], dim=1)
        inside = (first - 1 + torch.arange(length + 1, device=ids.device)) < ids.shape[1]
        decoder_mask = mask.gather(1, where) * inside
        decoder_mask[:, 0] = 1
        prompt = there < first
        return inputs | {
            "input_ids": ids.masked_fill(~prompt, 0),
            "attention_mask": mask * prompt,
            "decoder_input_ids": begun,
            "decoder_attention_mask": decoder_mask,
        }

    def read(self, model: Any, inputs: dict[str, Tensor]) -> Float[Tensor, "N L D"]:
        given = self.arguments(model, inputs)
        output = model.base_model(**given, use_cache=False)
        first = (given["attention_mask"]).sum(1, keepdim=True)
        there = torch.arange(inputs["input_ids"].shape[1], device=first.device)
        at = (there - first + 1).clamp(0, output.last_hidden_state.shape[1] - 1)
        width = output.last_hidden_state.shape[-1]
        decoded = output.last_hidden_state.gather(1, at[..., None].expand(-1, -1, width))
        return torch.where((there < first)[..., None], output.encoder_last_hidden_state, decoded)

    def start_id(self) -> int:
        text = self.config.get_text_config(decoder=True)
        start = getattr(text, "decoder_start_token_id", None)
        return start if start is not None else text.bos_token_id


class T5Gemma2(EncoderDecoder):
    """Its decoder has a token table of its own, tied to the encoder's, which does not know [LRN]."""

    def arguments(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Any]:
        given = super().arguments(model, inputs)
        return given | {"decoder_inputs_embeds": model.get_input_embeddings()(given.pop("decoder_input_ids"))}
