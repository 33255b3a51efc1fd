"""`volition backbones [MODEL]`: the table of known families, or what is found out about one model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import tyro

from volition.studies.output import tell, write


@dataclass(frozen=True, kw_only=True)
class Backbones:
    """Families of models that are known to work; with MODEL, build that one and check it.

    Example:  volition backbones
              volition backbones runs/tiny-llava
              volition backbones HuggingFaceTB/SmolVLM-256M-Instruct --weights
    """

    model: tyro.conf.Positional[str] = ""
    """A folder written by save_pretrained, or a name on the hub."""
    weights: bool = False
    """Read the model's weights; else they are random, which is enough to see whether everything fits."""
    markdown: bool = False
    """The table as docs/backbones.md has it."""
    json: Path | None = None

    def __call__(self) -> None:
        from volition.studies.backbones import known, lines, page, probe

        if self.model:
            found = probe(self.model, weights=self.weights)
            document = dataclasses.asdict(found)
            checks = [
                f"{'FAIL' if why else 'ok  '} {name}{f': {why}' if why else ''}" for name, why in found.checks.items()
            ]
            height, width = found.picture_size
            first = (
                f"{found.model_id}: {found.model_type} with {found.parameters / 1e6:.1f} M parameters, "
                f"adapter {found.adapter}; {height} x {width} pixels make {found.tokens_per_picture} tokens"
            )
            text, fine = "\n".join([first, *checks]), found.fine
        else:
            version, families = known()
            document = {"transformers": version, "families": {n: dataclasses.asdict(f) for n, f in families.items()}}
            text, fine = page() if self.markdown else "\n".join(lines()), True
        tell(text.rstrip("\n"))
        write(self.json, document)
        if not fine:
            raise SystemExit(1)
