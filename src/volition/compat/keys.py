"""What became of the reference's config keys that are not fields of our configs: every one is named here.

DEAD        the reference reads them nowhere, or overwrites them
ELSEWHERE   they have an effect there, and Volition has its own way to say it
REFUSED     whoever sets them asks for what the reference itself cannot run
"""

from __future__ import annotations

NEVER_READ = "the reference never reads it"
NO_SUCH_LOSS = "the loss that it weighs does not exist"
TRAINER = "Volition has its own training loop (volition train --loop.*)"
DATASET = "datasets are chosen and read by Volition itself (--data.*)"
PATHS = "a run is a folder of its own (--run)"

DEAD: dict[str, str] = {
    **dict.fromkeys(
        (
            *("model_config", "image_mean", "image_std", "data_scale", "optimizer", "warmup_ratio", "act_encoder"),
            *("use_time_causal_attn", "use_mim_obs_loss", "use_pixel_loss", "use_obs_queries", "use_act_queries"),
            *("vision_masked_ratio", "use_tube_mask", "discrete_action_history", "pretrain", "decoder_type"),
            *("act_head.with_history", "vlm.residual", "tokenizer.max_text_len", "tokenizer.tokenizer_type"),
            *(f"train_setup.{name}" for name in ("predict_forward", "predict_forward_hand", "predict_caption")),
            *(f"train_setup.{name}" for name in ("precision", "bits", "freeze_mm_mlp_adapter", "tune_mm_mlp_adapter")),
            *(f"train_setup.{name}" for name in ("mm_use_im_start_end", "mm_use_im_patch_token", "mm_projector_lr")),
            "train_setup.gradient_checkpointing",
        ),
        NEVER_READ,
    ),
    "seq_len": "it only enters a printed batch size, which is always 0",
    "cap_loss_ratio": NO_SUCH_LOSS,
    "fwd_loss_ratio": NO_SUCH_LOSS,
    "kl_div_ratio": NO_SUCH_LOSS,
    "vision_resampler": "the resampler is always made with 6 layers and 64 latents",
    "act_head.fwd_pred_next_n": "the top-level fwd_pred_next_n is used",
    "act_head.window_size": "the top-level window_size is used",
    "trainer.gradient_clip_val": "it is overwritten by the top-level gradient_clip_val, or by 0: nothing is clipped",
    "train_setup.load_vl_param": "of Flamingo alone",
    "train_setup.train_resampler": "of Flamingo alone",
    "train_setup.train_full_decoder": "of Flamingo alone",
    "vision_encoder": "of Flamingo alone",
}

ELSEWHERE: dict[str, str] = {
    "parent": "its keys are merged in",
    "task_name": PATHS,
    "exp_name": PATHS,
    "output_root": PATHS,
    "log_root": PATHS,
    "cache_root": PATHS,
    "model_url": "nothing is downloaded: put the model's files where vlm.pretrained_model_name_or_path says",
    "model_path": "vlm.pretrained_model_name_or_path is used",
    "vlm.type": "the model's own config.json says it",
    "vlm.name": "robovlm_name says it",
    "tokenizer.type": "the tokenizer's own files say it",
    "tokenizer.use_local_files": "files are always local",
    "num_workers": "the next batch is read beside the step",
    "model_load_path": "pass the checkpoint to load_checkpoint",
    "model_load_source": "the file itself says it",
    "resume": "volition train --resume",
    "train_setup.predict_action": "a policy always predicts actions",
    "train_setup.reinit": "volition train --from-scratch",
    "train_weights": DATASET,
    "train_dataset": DATASET,
    "val_dataset": DATASET,
    **dict.fromkeys(
        (
            *(f"trainer.{name}" for name in ("accelerator", "strategy", "precision", "logger", "log_every_n_steps")),
            *(f"trainer.{name}" for name in ("use_distributed_sampler", "val_check_interval", "limit_val_batches")),
            *(
                f"trainer.{name}"
                for name in ("check_val_every_n_epoch", "devices", "num_nodes", "num_sanity_val_steps")
            ),
            *("gpus", "num_nodes"),
        ),
        TRAINER,
    ),
}

REFUSED: dict[str, str] = {
    "fwd_head": "the module of future images does not exist in the reference",
    "use_state": "the reference misspells this key and its state input fails: no checkpoint can have it",
    "use_state, False": "this is a misspelling inside the reference, not a key",
}

# Sections whose entries are all covered by the section's own line above.
WHOLE = ("vision_resampler", "vision_encoder", "train_dataset", "val_dataset", "act_encoder", "fwd_head")
