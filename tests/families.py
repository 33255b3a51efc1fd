"""A tiny random model of every type that `AutoModelForImageTextToText` knows, made in memory from its own defaults.

`config(model_type)` shrinks the defaults by the names of their fields; what that gets wrong for a family is in
`OVERRIDES`. `python -m tests.families --write` runs the whole conformance suite over all of them and writes the table
of known families that ships with the package.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.source_tree import ROOT
from volition.backbones import Adapter, Backbone
from volition.backbones.families import adapter_for
from volition.backbones.grids import Grids, TurnedGrids
from volition.backbones.images import Pictures
from volition.backbones.resampler import ResamplerConfig, with_resampler
from volition.backbones.tiny import SPECIAL, tiny_tokenizer, vocabulary
from volition.studies.backbone_overfit import LEARNT, overfit
from volition.studies.backbones import RESULTS, Family, as_document, give_signal, known, page, run_checks

IMAGE, PAD, EOS = (SPECIAL.index(name) for name in ("<image>", "<pad>", "<eos>"))
WIDTH, LAYERS, HEADS = 32, 2, 2

# Marks around pictures that adapters ask the tokenizer for.
MARKS = ("</image>", "<patch_index_0000>", "<fake_token_around_image>", "<global-img>", "[IMG_BREAK]", "[IMG_END]")
MARKS += ("|NEWLINE|", "<|image_start|>", "<|image|>", "<|image_end|>", "<img>", "</img>", "<IMG_START>", "<IMG_GRID>")
MARKS += ("<IMG_END>", "<|START_OF_IMG|>", "TILE_GLOBAL", "<|IMG_LINE_BREAK|>", "<|END_OF_IMG|>")
VOCABULARY = len(vocabulary()) + len(MARKS)
BEYOND = ("<im_col>",)  # marks of families that keep theirs in a table beyond the vocabulary

# What a field of this name becomes, wherever in the config it stands.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "embed_dim", "encoder_hidden_size", "out_hidden_size"), WIDTH),
    **dict.fromkeys(("text_hidden_size", "projection_dim", "word_embed_proj_dim", "adapter_in_dim"), WIDTH),
    **dict.fromkeys(("adapter_out_dim", "projection_hidden_size", "projector_hidden_size"), WIDTH),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "mlp_dim"), 2 * WIDTH),
    **dict.fromkeys(("intermediate_size_mlp", "dense_intermediate_size", "merged_hidden_size"), 2 * WIDTH),
    **dict.fromkeys(("alignment_intermediate_size", "projection_intermediate_size"), 2 * WIDTH),
    **dict.fromkeys(("num_hidden_layers", "depth", "layers", "encoder_layers", "decoder_layers", "n_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_heads", "num_key_value_heads", "attention_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    "head_dim": WIDTH // HEADS,
    "image_size": 32,
    "patch_size": 8,
    "max_position_embeddings": 256,
    "sliding_window": 128,
    "initializer_range": 0.1,
    **dict.fromkeys(("moe_intermediate_size", "shared_intermediate_size", "shared_experts_intermediate_size"), 16),
    **dict.fromkeys(("num_experts", "n_routed_experts", "moe_num_experts", "num_local_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("n_shared_experts", "moe_num_shared_experts", "n_group", "topk_group"), 1),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim"), 8),
    "v_head_dim": 16,
    **dict.fromkeys(("index_n_heads", "index_topk", "index_head_dim"), 8),
    **dict.fromkeys(("resampler_n_latents", "resampler_head_dim", "latent_query_num", "num_query_tokens"), 4),
    **dict.fromkeys(("resampler_n_heads", "resampler_depth"), 2),
    **dict.fromkeys(("dropout", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
    **dict.fromkeys(("projector_dropout", "projection_dropout", "hidden_dropout", "layerdrop", "drop_path_rate"), 0.0),
    "vocab_size": VOCABULARY,
}
# Fields that follow from others: left out, so that the config's own class makes them again.
DERIVED = ("layer_types", "mlp_layer_types", "per_layer_config", "indexer_types", "no_rope_layers", "moe_layers")
DERIVED += ("kv_source_layers", "local_layer_ids", "id2label", "label2id", "qk_head_dim", "transformers_version")

LLAMA = {"model_type": "llama", "vocab_size": SMALL["vocab_size"], "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH}
LLAMA |= {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS}
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "image_size": 32}
SIGLIP |= {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "patch_size": 8, "vision_use_head": False}
POOLED = {"mm_tokens_per_image": 4}

ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]}
MROPE = {"text_config": {"rope_parameters": ROPE}}
HYBRID = {"text_config": {"layer_types": ["linear_attention", "full_attention"]}}
PINPOINTS = {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]}

BOS = {"text_config": {"bos_token_id": 5}}
CONV = {"layer_types": ["conv", "full_attention"]}
GEMMA4_EYES = {"model_type": "gemma4_vision", "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "patch_size": 8}
GEMMA4_EYES |= {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": 16}
GEMMA4_EYES |= {"pooling_kernel_size": 2, "position_embedding_size": 64}

OVERRIDES: dict[str, dict[str, Any]] = {
    "aria": {"projector_patch_to_query_dict": {16: 4}, "max_value_projector_patch_to_query_dict": 4},
    "cohere_compass": {
        "text_config": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}}
    },
    "deepseek_ocr2": {
        "text_config": {"mlp_layer_types": ["dense", "sparse"], "num_experts_per_tok": 2},
        "vision_config": {"sam_config": {"downsample_channels": [WIDTH, WIDTH], "output_channels": WIDTH}},
    },
    "ernie4_5_vl_moe": {"text_config": {"rope_parameters": ROPE | {"mrope_section": [3, 3, 2]}}},
    "florence2": {
        "vision_config": {"depths": [1, 1], "num_groups": [2, 2], "patch_size": [7, 3], "patch_stride": [4, 2]}
        | {"patch_padding": [3, 1], "patch_prenorm": [False, True], "window_size": 4}
    },
    "gemma3": POOLED,
    "gemma4": {"vision_config": GEMMA4_EYES, "text_config": {"hidden_size_per_layer_input": 8}},
    "git": {"num_image_with_embedding": 2},
    **dict.fromkeys(("glm4v", "glm46v", "glmga", "glm_ocr"), MROPE),
    "glm4v_moe": {"text_config": {"rope_parameters": ROPE | {"mrope_section": [2, 1, 1]}}},
    "glm5_next": {
        "text_config": {"index_kpool": 4, "linear_head_dim": 16, "linear_num_heads": HEADS, "qk_rope_head_dim": 0}
        | {"layer_types": ["linear_attention", "indexed_attention"]}
    },
    "janus": {"vq_config": {"base_channels": 32, "latent_channels": 8, "num_embeddings": 16, "num_patches": 4}},
    "kosmos-2.5": {"vision_config": {"patch_embed_hidden_size": 768, "max_num_patches": 64}},
    "hunyuan_vl": {"text_config": {"rope_parameters": ROPE, "head_dim": 16}, "im_start_id": 40, "im_end_id": 41},
    "kimi_k25": {"text_config": {"head_dim": 8}},
    "lfm2_vl": {"text_config": CONV | {"full_attn_idxs": [1]}},
    "lfm3_vl": {"text_config": CONV},
    "llama4": {
        "vision_config": {"vision_output_dim": WIDTH, "projector_input_dim": WIDTH, "projector_output_dim": WIDTH}
        | {"intermediate_size": 4 * WIDTH, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    },
    **dict.fromkeys(("llava_next", "llava_next_video", "llava_onevision"), PINPOINTS),
    "mllama": {
        "vision_config": {"num_global_layers": 1, "intermediate_layers_indices": [0], "vision_output_dim": 2 * WIDTH},
        "text_config": {"num_hidden_layers": 3, "cross_attention_layers": [1], "bos_token_id": 5},
    },
    "minicpmv4_6": {"insert_layer_id": 0, **HYBRID},
    "molmo2": {
        "image_patch_id": IMAGE,
        "text_config": {"rope_scaling_layers": [0]},
        "vision_config": {"num_position_embeddings": 16},
        "adapter_config": {"vision_feature_layer": [1, 0]},
    },
    "muse_glimmer": {"out_hidden_size": 4 * WIDTH},
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "paddleocr_vl"), MROPE),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe", "qwen4_exp"), HYBRID),
    "shieldgemma2": POOLED,
    "step3p7": {"text_config": {"layer_types": ["full_attention"] * LAYERS, "sliding_window": 64}},
    "t5gemma2": {"encoder": POOLED, "decoder": {"bos_token_id": 5}, "image_token_index": IMAGE},
    "vipllava": {"vision_feature_layers": [-1, -2]},
}


# What a user of a family that works should know.
BEFORE = "reads pictures before the first word: no interleaved history"
AGAIN = "keeps no keys and values to go on from: whole rows are read again"
NOTES: dict[str, str] = {
    **dict.fromkeys(("florence2", "t5gemma2"), f"an encoder reads the prompt, a decoder [LRN]; {BEFORE}"),
    "git": BEFORE,
    "hunyuan_vl": "positions are asked for row by row: its own index counts pictures across a batch",
    **dict.fromkeys(("idefics", "mllama"), f"words look across at pictures; {AGAIN}"),
    "instructblip": "its queries read an empty instruction (they would need a second tokenizer)",
    "minicpmv4_6": "every picture whole, without slices of it",
    "molmo2": "every picture whole and small, without close-ups",
    **dict.fromkeys(("llava_next", "llava_next_video"), "every picture also in tiles: three times the tokens"),
}
TIMM = "its vision tower comes from timm, which needs torchvision: neither is a dependency"
DISCRETE = "its pictures become discrete tokens: no gradient reaches what looks at them"
NO_ADAPTER = "no adapter yet: "
CANNOT: dict[str, str] = {
    "blip": NO_ADAPTER + "takes a single picture, and its language head is two layers",
    "chameleon": DISCRETE,
    "deepseek_vl_hybrid": NO_ADAPTER + "wants every picture in two sizes",
    "diffusion_gemma": "answers by denoising a canvas of tokens: there is no place for [LRN] in it",
    "dots3_note": NO_ADAPTER + "experts of another number in every layer of the tower",
    "emu3": DISCRETE,
    "evolla": "reads proteins, not pictures",
    "fast_vlm": TIMM,
    "gemma3n": TIMM,
    "gemma4_unified": NO_ADAPTER + "has no tower, patches go in as they are",
    "granite4_vision": NO_ADAPTER + "features of several layers go into several layers",
    "granite_docling": NO_ADAPTER + "tiles with a density of their own",
    "inkling2": NO_ADAPTER + "merged patches, channels last",
    "inkling_mm_model": "needs scipy, which is no dependency",
    "instructblipvideo": NO_ADAPTER + "takes films",
    "minicpm_ocr": NO_ADAPTER + "patches of all pictures in one strip",
    "minicpmv4_7": NO_ADAPTER + "an index of positions of its own, over pictures and slices of them",
    "mistral4": "is a language model without a vision tower",
    "muse_spark": NO_ADAPTER + "an audio encoder that cannot be made small by the names of its fields",
    "nemotron_h_omni": NO_ADAPTER + "patches in a layout of its own",
    "perception_lm": TIMM,
    "pi0": "is a robot policy itself, with an action expert that wants states and noisy actions",
    "pix2struct": "reads its instruction from the picture, on which it would have to be drawn",
    "pp_formulanet": "reads formulas from pictures: takes no instruction",
    "qwen2_5_omni_thinker": NO_ADAPTER + "another index of positions than its family's",
    "qwen3_omni_moe_thinker": NO_ADAPTER + "another index of positions than its family's",
    "qwen4_exp": NO_ADAPTER + "an indexer without default sizes",
    "udop": "reads the words of a page with their places on it",
    "unlimited_ocr": NO_ADAPTER + "two towers of fixed sizes",
    "vision-encoder-decoder": NO_ADAPTER + "a single picture, and no prompt but the decoder's beginning",
}


def config(model_type: str) -> PreTrainedConfig:
    kind = CONFIG_MAPPING[model_type]
    return kind(**merge(shrink(kind().to_dict(), iter(range(4, 60))), OVERRIDES.get(model_type, {})))


def shrink(tree: dict[str, Any], free_ids: Any) -> dict[str, Any]:
    small: dict[str, Any] = {}
    for name, value in tree.items():
        if name in DERIVED:
            continue
        if not isinstance(name, str):
            small[name] = value
        elif name.startswith("image_token_i"):
            small[name] = IMAGE
        elif name.endswith(("token_id", "token_index")):
            small[name] = {"pad": PAD, "eos": EOS, "bos": None}.get(name[:3], next(free_ids))
        elif name.startswith("rope"):
            small[name] = turned(value, tree)
        elif isinstance(value, dict):
            small[name] = shrink(value, free_ids)
        elif name in SMALL and isinstance(value, list | tuple):
            small[name] = [SMALL[name]] * LAYERS
        elif name in SMALL and value is not None:
            small[name] = SMALL[name]
        else:
            small[name] = value
    return small


def turned(rope: Any, tree: dict[str, Any]) -> Any:
    """Rotary positions over rows and columns share out half of a head."""
    if not isinstance(rope, dict) or not any(name == "mrope_section" for name in rope):
        return rope
    half = int(SMALL["head_dim"] * rope.get("partial_rotary_factor", 1.0)) // 2
    return {**rope, "mrope_section": [half - 2 * (half // 3), half // 3, half // 3]}


def merge(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `tree`, level by level."""
    both = {n: merge(tree[n], x) for n, x in changes.items() if isinstance(x, dict) and isinstance(tree.get(n), dict)}
    return {**tree, **changes, **both}


def marked_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([*MARKS, *BEYOND], special_tokens=True)
    return tokenizer


def make_family(model_type: str, *, num_readouts: int = 1, resampler: ResamplerConfig | None = None) -> Backbone:
    """In evaluation mode, with random weights that carry signal on every path."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config(model_type)).requires_grad_()
    tokenizer = marked_tokenizer()
    pictures = Pictures(size=(32, 32))
    kind = adapter_for(model)
    adapter, made = with_resampler(
        resampler, model, lambda: kind(tokenizer, model, pictures=pictures, num_readouts=num_readouts)
    )
    backbone = Backbone(model, adapter, resampler=made)
    give_signal(backbone)
    return backbone.eval()


def examine(model_type: str) -> Family:
    """The whole suite over one family."""
    if model_type in CANNOT:
        return Family(how="cannot", why=CANNOT[model_type])
    backbone = make_family(model_type)
    checks, (steps, left) = run_checks(backbone), overfit(backbone)
    plain = type(backbone.adapter) in (Adapter, Grids, TurnedGrids)
    return Family(
        how="default" if plain else "adapter",
        adapter=type(backbone.adapter).__name__,
        why=NOTES.get(model_type, ""),
        modelling=type(backbone.model).__module__.rpartition(".")[2],
        parameters=sum(p.numel() for p in backbone.model.parameters()),
        checks=checks,
        overfit_steps=steps,
        overfit_left=round(left, 3),
    )


def write(chosen: list[str]) -> int:
    """Examine these types, or all, and write what was found; the number that neither work nor are known not to."""
    path = ROOT / "src/volition/backbones" / RESULTS
    families = known()[1] if chosen else {}
    wrong = 0
    for model_type in chosen or MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        families[model_type] = found = examine(model_type)
        bad = {name: why for name, why in found.checks.items() if why}
        if found.works and (bad or found.overfit_left > LEARNT):
            wrong += 1
            sys.stderr.write(f"{model_type}: {bad} overfit {found.overfit_left}\n")
    path.write_text(json.dumps(as_document(transformers.__version__, families), indent=1) + "\n")
    (ROOT / "docs/backbones.md").write_text(page())
    return wrong


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        sys.exit("usage: python -m tests.families --write [MODEL_TYPE ...]")
    sys.exit(write(sys.argv[2:]))
