"""Which families of models work, and whether yours does: `volition backbones [MODEL]`.

The table is what the conformance suite found when it last ran over a tiny model of every family; a model of yours is
built from its config, with random weights unless asked otherwise, and put through the same checks.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

import torch

from volition.backbones import Backbone, HubBackbone
from volition.studies.backbone_checks import CHECKS

RESULTS = "families.json"
HOW = {"default": "works", "adapter": "works with an adapter", "cannot": "cannot"}


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the conformance suite found out about a `model_type`."""

    how: str  # a key of HOW
    adapter: str = ""
    why: str = ""  # it cannot, or what to know if it can
    modelling: str = ""  # file of transformers; types that share one are one family
    parameters: int = 0  # of the tiny model
    checks: dict[str, str] = field(default_factory=dict)  # name -> "" or what is wrong
    overfit_steps: int = 0  # until 16 samples were learnt whose action depends on picture and word
    overfit_left: float = 1.0  # share of the actions' variance

    @property
    def works(self) -> bool:
        return self.how != "cannot"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What was found out about one model."""

    model_id: str
    model_type: str
    adapter: str
    parameters: int
    picture_size: tuple[int, int]
    tokens_per_picture: int
    checks: dict[str, str]

    @property
    def fine(self) -> bool:
        return not any(self.checks.values())


def known() -> tuple[str, dict[str, Family]]:
    """The version of transformers that the suite ran with, and its findings by `model_type`."""
    found = json.loads(files("volition.backbones").joinpath(RESULTS).read_text(encoding="utf-8"))
    return found["transformers"], {name: Family(**entry) for name, entry in found["families"].items()}


def as_document(version: str, families: dict[str, Family]) -> dict[str, Any]:
    """The inverse of `known`."""
    return {"transformers": version, "families": {name: asdict(families[name]) for name in sorted(families)}}


def summary(families: dict[str, Family]) -> str:
    working = [family for family in families.values() if family.works]
    count = len({family.modelling for family in working})
    return f"{len(working)} of {len(families)} types work ({count} families, types that share a modelling file once)"


def lines() -> list[str]:
    """The table for a terminal."""
    version, families = known()
    wide = max(map(len, families))
    rows = [
        f"{name:{wide}}  {HOW[f.how]}{f' ({f.adapter})' if f.how == 'adapter' else ''}{f': {f.why}' if f.why else ''}"
        for name, f in families.items()
    ]
    return [f"transformers {version}: {summary(families)}", "", *rows]


def probe(model_id: str, *, weights: bool = False) -> Probe:
    """Build the model and check it. Raises ValueError with the reason if that cannot be done."""
    torch.manual_seed(0)
    backbone = HubBackbone(model_id=model_id, bfloat16=False).build(pretrained=weights).eval()
    if not weights:
        give_signal(backbone)
    checks = run_checks(backbone)
    adapter = backbone.adapter
    return Probe(
        model_id=model_id,
        model_type=adapter.config.model_type,
        adapter=type(adapter).__name__,
        parameters=sum(p.numel() for p in backbone.model.parameters()),
        picture_size=adapter.pictures.size,
        tokens_per_picture=len(adapter.picture_ids),
        checks=checks,
    )


def run_checks(backbone: Backbone) -> dict[str, str]:
    """Every check's complaint. One that breaks down inside the model is a finding as well, not the end."""
    found = {}
    for name, check in CHECKS.items():
        try:
            found[name] = check(backbone)
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def give_signal(backbone: Backbone) -> None:
    """Random weights with signal on every path: fresh gates and projectors may start at zero or tiny."""
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            elif not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)


def page() -> str:
    """docs/backbones.md"""
    version, families = known()
    rows = [
        f"| `{name}` | {HOW[f.how]} | {f.adapter if f.how == 'adapter' else ''} | "
        f"{f'{f.overfit_steps}' if f.works else ''} | {f.why} |"
        for name, f in families.items()
    ]
    return "\n".join([TOP.format(version=version, summary=summary(families)), *rows, ""])


TOP = """# Backbones

Every type of model that `AutoModelForImageTextToText` of transformers {version} knows was tried, as a tiny model with
random weights: {summary}.

"Works" means that nothing was written for it; "with an adapter", that its prompts, pictures or forward differ, and that
the named class in `src/volition/backbones` says how. Both pass all of `tests/conformance/test_backbones.py`:

- every camera and every word changes the read-out, and gradient reaches [LRN], the words and the pixels;
- [LRN] does not see what comes after it, and a row of a padded batch equals the row alone;
- the read-out is what the language head gets in the model's own forward on the same inputs;
- decoding and streaming with kept keys and values (or read again, where a family has none) equal the whole row;
- weights keep Hugging Face's names;
- 16 samples whose action depends on the picture and on a word are learnt, in the number of steps that the table gives.

A tiny random model shows that everything fits. It says nothing about how good a pretrained one is as a policy.

```bash
volition backbones                            # this table
volition backbones path/to/model              # the same checks for a model of yours, with random weights
volition backbones path/to/model --weights    # with its own
```

`python -m tests.families --write` puts all families to the test again, and writes the results and this page.

| `model_type` | how | adapter | steps to learn | what to know |
| --- | --- | --- | --- | --- |"""
