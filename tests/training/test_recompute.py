"""Recomputing changes what backward keeps and nothing else: every gradient is equal to the bit, on every family."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.families import make_family
from tests.tiny import make_backbone
from tests.toy import SPEC
from tests.training.test_train import EXPERIMENT, Recorded
from volition.backbones import Backbone
from volition.heads import ExpertHeadConfig
from volition.studies.backbone_checks import make_batch
from volition.studies.backbones import known
from volition.studies.training import run_training_on
from volition.training.recompute import RecomputeConfig, Recomputed, set_recompute

WORKING = [name for name, family in known()[1].items() if family.works]
# Without a vision tower, or with layers in it that transformers does not make to be checkpointed.
WITHOUT = {"fuyu": ("vision",), "florence2": ("vision",), "mllama": ("vision",)}
NORMAL = RecomputeConfig()


def gradients(backbone: Backbone) -> dict[str, torch.Tensor]:
    backbone.zero_grad()
    torch.manual_seed(0)  # the same dropout
    backbone.encode(make_batch(backbone)).readout.square().sum().backward()
    return {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", WORKING)
def test_gradients_are_equal_to_the_bit(name: str) -> None:
    backbone = make_family(name).train()
    expected = gradients(backbone)
    for what in ("activations", "layers"):
        for part in ("vision", "language"):
            config = replace(NORMAL, **{part: what})
            if part in WITHOUT.get(name, ()):
                with pytest.raises(ValueError, match=rf"recompute\.{part}"):
                    set_recompute(backbone, config)
                continue
            set_recompute(backbone, config)
            found = gradients(backbone)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[key], expected[key]) for key in expected)


class Counted(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_what_is_computed_again() -> None:
    """`activations`: a nonlinearity twice, no product more. `layers`: products too. Not while acting."""
    backbone = make_backbone("paligemma").train()
    calls: dict[Recomputed, Counter[str]] = {}
    for what in get_args(Recomputed):
        set_recompute(backbone, RecomputeConfig(vision=what, language=what))
        with Counted() as counted:
            gradients(backbone)
        calls[what] = counted.calls
    nothing, activations, layers = calls["nothing"], calls["activations"], calls["layers"]
    assert min(nothing["gelu"], nothing["addmm"]) > 0
    assert activations["gelu"] == layers["gelu"] == 2 * nothing["gelu"]
    assert activations["addmm"] == nothing["addmm"] < layers["addmm"]
    with torch.no_grad(), Counted() as acting:
        assert backbone.eval().encode(make_batch(backbone)).readout.isfinite().all()
    assert acting.calls["gelu"] == nothing["gelu"]


def test_a_recipe_can_ask_for_it(tmp_path) -> None:
    """The weights of a run are the same with it; a head that reads keys and values says why it cannot be."""
    episodes = [Recorded(seed) for seed in range(2)]
    weights = []
    for name, config in (("plain", NORMAL), ("lean", RecomputeConfig(vision="layers", language="activations"))):
        loop = replace(EXPERIMENT.loop, num_steps=4, recompute=config)
        last = run_training_on(replace(EXPERIMENT, loop=loop), episodes, SPEC, tmp_path / name)
        weights.append({file.name: file.read_bytes() for file in last.glob("*.safetensors")})
    assert weights[0]
    assert weights[0] == weights[1]
    experiment = replace(EXPERIMENT, head=ExpertHeadConfig(), loop=loop)
    with pytest.raises(ValueError, match=r"recompute\.language"):
        run_training_on(experiment, episodes, SPEC, tmp_path / "expert")
