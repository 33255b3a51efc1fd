"""What test_pipeline runs on four processes: two copies of a pipeline of two stages, for every family of models.

torchrun --standalone --nproc-per-node 4 -m tests.training.pipeline_program FILE
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.families import make_family
from tests.tiny import SPACES, make_target
from volition.backbones import Backbone
from volition.data.transforms import Chain
from volition.heads import MLPHeadConfig
from volition.policy import Collator, Policy
from volition.studies.backbone_checks import make_batch
from volition.studies.backbones import known
from volition.training.pipeline import Pipeline
from volition.training.ranks import Ranks, joined
from volition.types import Batch, Target

WORKING = [name for name, family in known()[1].items() if family.works]
Part = tuple[Batch, Target]


def make_policy(backbone: Backbone, batch: Batch) -> Policy:
    head = MLPHeadConfig(hidden=8).build(
        backbone, SPACES["base-2d"], num_obs_steps=batch.shape[1], horizon=2, state_dim=0
    )
    return Policy(backbone, head, Collator(Chain(), backbone.adapter, tuple(batch.images), ())).train()


def make_parts(backbone: Backbone) -> list[Part]:
    """Two for each copy of the pipeline."""
    batch = make_batch(backbone)
    batches = [batch.with_images({name: x ^ mask for name, x in batch.images.items()}) for mask in (0, 255, 15, 240)]
    return [(batch, make_target(batch, SPACES["base-2d"], horizon=2)) for batch in batches]


def seeded(parts: Sequence[Part], i: int) -> Part:
    torch.manual_seed(i)  # the same dropout
    return parts[i]


def check(name: str, ranks: Ranks) -> dict[str, float | str | list[str]]:
    """Of a pipeline from one process: how far off a loss is, and a gradient for the largest gradient there is."""
    policies = []
    for _ in range(2):
        backbone = make_family(name).train()
        parts = make_parts(backbone)
        torch.manual_seed(5)
        policies.append(make_policy(backbone, parts[0][0]))
    whole, own = policies
    expected = []
    for i in range(4):
        loss = whole(*seeded(parts, i)).total
        (loss / 2).backward()  # the mean of two copies
        expected.append(loss.item())
    try:
        pipeline = Pipeline(own, ranks, parts[0])
    except ValueError as error:
        return {"refused": str(error)}
    found = pipeline.learn(lambda i: seeded(parts, 2 * ranks.index + i), [None, None], 1.0)
    with torch.no_grad():
        validated = pipeline(*seeded(parts, 2 * ranks.index))
    gradients = {name: p.grad for name, p in whole.named_parameters() if p.grad is not None}
    here = {name: p.grad for name, p in own.named_parameters() if p.grad is not None}
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    return {
        "loss": max(abs(one.total.item() - other) for one, other in zip(found, expected[2 * ranks.index :])),
        "gradient": max((here[name] - gradients[name]).abs().max().item() for name in here) / largest,
        "validated": abs(validated.total.item() - expected[2 * ranks.index]),
        "terms": [term.name for term in validated.terms],
        "missing": sorted(gradients.keys() - here.keys() - pipeline.elsewhere),
        "unknown": sorted(here.keys() - gradients.keys()),
        "own": len(pipeline.own),
        "elsewhere": len(pipeline.elsewhere),
    }


def main(file: Path, names: Sequence[str]) -> None:
    with joined(pipeline=2) as (ranks, _):
        for name in names:
            found = check(name, ranks)
            with file.with_suffix(f".{ranks.rank}").open("a") as lines:
                lines.write(json.dumps({"family": name, **found}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or WORKING)
