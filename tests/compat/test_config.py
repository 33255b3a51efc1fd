"""Configs of the reference: every key has a fate."""

import json
from pathlib import Path
from typing import Any

import pytest

from volition.compat import read_config

# The keys of a published CALVIN config (window 16, both cameras), in its order.
CALVIN: dict[str, Any] = {
    "robovlm_name": "RoboKosMos",
    "parent": None,
    "task_name": "calvin_finetune",
    "model": "kosmos",
    "model_url": "https://example.org/kosmos",
    "image_size": 224,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
    "window_size": 16,
    "fwd_pred_next_n": 10,
    "arm_gripper_loss_ratio": 0.01,
    "cap_loss_ratio": 0.05,
    "fwd_loss_ratio": 0,
    "seed": 123,
    "batch_size": 4,
    "num_workers": 16,
    "data_scale": 1,
    "optimizer": "adam",
    "learning_rate": 2e-5,
    "min_lr_scale": 1e-2,
    "weight_decay": 0,
    "warmup_epochs": 0.25,
    "warmup_steps": 0,
    "use_hand_rgb": True,
    "use_time_causal_attn": False,
    "use_vision_resampler": False,
    "vision_resampler": {"vis_dim": 1024, "depth": 8, "num_latents": 64},
    "output_root": "runs/checkpoints",
    "model_load_path": None,
    "train_setup": {
        "precision": "bf16",
        "predict_action": True,
        "predict_forward": False,
        "train_vision": True,
        "bits": -1,
        "freeze_backbone": False,
        "lora_enable": False,
        "lora_r": 64,
        "train_decoder_layers": -1,
        "train_text_embedding": True,
    },
    "act_encoder": None,
    "act_head": {
        "type": "LSTMDecoder",
        "hidden_size": 1024,
        "action_dim": 7,
        "down_sample": "none",
        "latent": 1,
        "fwd_pred_next_n": 1,
        "window_size": 1,
        "action_space": "continuous",
        "with_history": True,
        "history_type": "post",
    },
    "fwd_head": None,
    "tokenizer": {"type": "AutoProcessor", "pretrained_model_name_or_path": "vlms/kosmos", "max_text_len": 256},
    "vlm": {"type": "AutoModelForVision2Seq", "name": "kosmos", "pretrained_model_name_or_path": "vlms/kosmos"},
    "trainer": {"accelerator": "gpu", "strategy": "deepspeed_stage_2", "precision": "16", "gradient_clip_val": 1.0},
    "train_dataset": {"type": "DiskCalvinDataset", "data_dir": "calvin/training", "rgb_pad": 10},
    "val_dataset": {"type": "DiskCalvinDataset", "data_dir": "calvin/validation"},
    "norm_action": True,
    "norm_min": -0.65,
    "norm_max": 0.65,
}


def written(folder: Path, tree: dict[str, Any], name: str = "config.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(tree))
    return path


def test_what_is_used_becomes_typed_fields(tmp_path: Path) -> None:
    config, _ = read_config(written(tmp_path, CALVIN))
    assert (config.window_size, config.fwd_pred_next_n, config.use_hand_rgb) == (16, 10, True)
    assert config.act_head.hidden_size == 1024
    assert config.scaling.normal == (-0.65, 0.65)
    assert config.scaling.regular is None
    assert config.scaling.mu is None
    assert config.optim.learning_rate == 2e-5
    assert config.optim.warmup_epochs == 0.25
    assert config.vlm_path == "vlms/kosmos"


def test_every_key_has_a_fate(tmp_path: Path) -> None:
    _, report = read_config(written(tmp_path, CALVIN))
    fates = [*report.honoured, *report.dead, *report.elsewhere]
    assert len(fates) == len(set(fates))
    assert "act_head.fwd_pred_next_n" in report.dead, "the top level decides"
    assert "vision_resampler" in report.dead
    assert "train_dataset" in report.elsewhere
    assert set(CALVIN) - {"parent", "model_load_path", "act_encoder", "fwd_head"} <= {f.split(".")[0] for f in fates}


# Beside those of the file above, all that the reference or one of its published files knows.
OTHERS: dict[str, Any] = {
    **dict.fromkeys(("model_path", "model_config", "exp_name", "log_root", "cache_root", "model_load_source"), "x"),
    **dict.fromkeys(("kl_div_ratio", "clip_norm_ratio", "vl_cotrain_ratio", "warmup_ratio", "mu_val"), 0.1),
    **dict.fromkeys(("regular_action", "use_mu_law", "tcp_rel", "use_clip_norm", "discrete_action_history"), False),
    **dict.fromkeys(("use_mim_obs_loss", "use_pixel_loss", "use_obs_queries", "use_tube_mask", "use_state"), False),
    "vision_masked_ratio": 0.9,
    "scheduler": "half-cosine",
    "gradient_clip_val": 1.0,
    "resume": "x",
    "x_mean": 0,
    "x_std": 1,
    "train_weights": [1],
    "vision_encoder": {"clip_vision_encoder_path": "x", "clip_vision_encoder_pretrained": "x"},
    "train_setup": {
        **dict.fromkeys(("freeze_resampler", "reinit", "load_vl_param", "train_resampler"), False),
        **dict.fromkeys(("train_full_decoder", "predict_forward_hand", "predict_caption"), False),
        **dict.fromkeys(("freeze_mm_mlp_adapter", "tune_mm_mlp_adapter", "gradient_checkpointing"), False),
        **dict.fromkeys(("mm_use_im_start_end", "mm_use_im_patch_token"), False),
        **{"lora_alpha": 16, "lora_dropout": 0.05, "lora_bias": "none", "mm_projector_lr": 1e-4},
    },
    "act_head": {
        **{"token_source": "all", "fill_zero": False, "num_layers": 4, "policy_rnn_dropout_p": 0},
        **{"n_bin": 256, "min_action": -1, "max_action": 1},
    },
    "tokenizer": {"additional_special_tokens": ["<x>"], "use_local_files": True, "tokenizer_type": "x"},
    "vlm": {"residual": False},
    "trainer": {
        **dict.fromkeys(("logger", "use_distributed_sampler", "log_every_n_steps", "val_check_interval"), 1),
        **dict.fromkeys(("max_epochs", "max_steps", "accumulate_grad_batches"), 1),
        **dict.fromkeys(("check_val_every_n_epoch", "limit_val_batches"), 1),
    },
}


def test_no_key_of_the_reference_is_unknown(tmp_path: Path) -> None:
    _, report = read_config(written(tmp_path, OTHERS))
    fates = {*report.honoured, *report.dead, *report.elsewhere}
    flat = {
        f"{name}.{key}" if isinstance(value, dict) and name != "vision_encoder" else name
        for name, value in OTHERS.items()
        for key in (value if isinstance(value, dict) else (name,))
    }
    assert fates == flat - {"use_state"}, "which may be there as long as it asks for nothing"


def test_clipping_in_the_trainer_is_dead_as_in_the_reference(tmp_path: Path) -> None:
    """Its configs ask for clipping there and none is done; we say so, and do not clip either."""
    config, report = read_config(written(tmp_path, CALVIN))
    assert config.optim.gradient_clip_val == 0.0
    assert "overwritten" in report.dead["trainer.gradient_clip_val"]
    assert read_config(written(tmp_path, CALVIN | {"gradient_clip_val": 1.0}))[0].optim.gradient_clip_val == 1.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"windows_size": 8}, "did you mean 'window_size'"),
        ({"act_head": {"histroy_type": "pre"}}, "did you mean 'act_head.history_type'"),
        ({"act_head": {"history_type": "interleaved"}}, "must be one of 'post', 'pre', 'video'"),
        ({"act_head": {"down_sample": "resampler"}}, "must be one of 'none', 'pooling'"),
        ({"act_head": {"type": "DiscreteDecoder"}}, "must go together"),
        ({"act_head": {"type": "LSTMDecoder", "history_type": "video"}}, "FCDecoder"),
        ({"act_head": {"latent": 0}}, "act_head.latent must be at least 1"),
        ({"window_size": "8"}, "must be of type int"),
        ({"use_hand_rgb": 1}, "must be of type bool"),
        ({"fwd_head": {"type": "x"}}, "does not exist"),
        ({"use_state": True}, "misspells"),
        ({"robovlm_name": "RoboLLaVA", "llava": {"version": "v1"}}, "must be one of RoboKosMos, RoboPaligemma"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_config(written(tmp_path, change))


def test_a_parent_is_merged_below(tmp_path: Path) -> None:
    written(tmp_path, CALVIN, "base.json")
    child = {"parent": "base.json", "window_size": 8, "act_head": {"history_type": "pre"}}
    config, _ = read_config(written(tmp_path, child))
    assert (config.window_size, config.act_head.history_type, config.act_head.hidden_size) == (8, "pre", 1024)


def test_a_circle_of_parents_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {"parent": "b.json"}, "a.json")
    path = written(tmp_path, {"parent": "a.json"}, "b.json")
    with pytest.raises(ValueError, match="its own parent"):
        read_config(path)


def test_a_file_that_is_no_config_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(ValueError, match="no such file"):
        read_config(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="must be JSON"):
        read_config(path)
