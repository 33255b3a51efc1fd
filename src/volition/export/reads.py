"""What an artefact is read with and does not hold: the model's tokenizer, picture settings and config.

They come from the model's folder or an installed package, as they did for the checkpoint, so what was proved was proved
with them. `export.json` keeps a SHA-256 of each, and another one is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from volition.backbones.adapter import Adapter

logger = logging.getLogger(__name__)
READS = "reads"
PACKAGES = ("volition", "torch", "transformers")  # whose versions are kept
# Whatever a tokenizer of any make does with words shows here, also what it keeps in none of its settings.
SAMPLES = (
    *("open the drawer", "Slide the RED block 10 cm to the left, then stop!", "  put it\tdown  ", "café — naïve"),
    *("pick_up-the (blue) cube's lid?", "<image>", "0123456789", "UPPER lower", ""),
)
# Of a config: where it came from and who wrote it, not what the model is.
FOREIGN = ("transformers_version", "dtype", "torch_dtype", "name_or_path")


def reads(adapter: Adapter) -> dict[str, str]:
    """What is read -> its SHA-256: the same on every machine that has the same files and packages."""
    documents = {
        "tokenizer": _tokenizer(adapter),
        "picture settings": {**asdict(adapter.pictures), "tokens": adapter.picture_ids},
        "model config": _model(json.loads(adapter.config.to_json_string())),
    }
    return {
        name: hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
        for name, document in documents.items()
    }


def require_same(adapter: Adapter, about: Mapping[str, Any], folder: Path) -> None:
    """ValueError where `adapter` is not of what `folder` was proved with; `about`: its export.json."""
    if READS not in about:
        logger.warning(
            "%s was exported before artefacts said with which tokenizer, picture settings and model config they were "
            "proved, so a change of those is not seen; export again to have it seen",
            folder,
        )
        return
    found, kept = reads(adapter), about[READS]
    if differs := [name for name in {**found, **kept} if found.get(name) != kept.get(name)]:
        raise ValueError(
            f"{folder} must be read with what it was proved with, and here differs the model's "
            f"{', '.join(differs)}{_versions(about)}. Bring back the model's files (config.json names them) and the "
            "packages as they were, or export again"
        )


def _tokenizer(adapter: Adapter) -> dict[str, Any]:
    tokenizer = adapter.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)  # only those that the package `tokenizers` runs have one
    settings = {} if backend is None else json.loads(backend.to_str())
    return {
        # Truncation and padding are what the last call asked for.
        "settings": {name: x for name, x in settings.items() if name not in ("truncation", "padding")},
        "vocabulary": tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else None,  # adapters need `encode` only
        "beginning": adapter.beginning(),
        "samples": [adapter.words(text) for text in SAMPLES],
    }


def _model(config: Any) -> Any:
    """Without what differs between machines; of nested configs as well."""
    if isinstance(config, list):
        return [_model(x) for x in config]
    if not isinstance(config, dict):
        return config
    return {name: _model(x) for name, x in config.items() if not (name.startswith("_") or name in FOREIGN)}


def _versions(about: Mapping[str, Any]) -> str:
    """Packages that are others than at export, which may be why."""
    then = about.get("versions", {})
    changed = [f"{name} {then[name]} then, {version(name)} now" for name in then if then[name] != version(name)]
    return f" ({'; '.join(changed)})" if changed else ""
