"""`loop.compile`: the numbers of uncompiled layers, and no new kernels for every length of text."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from tests.tiny import SPACES, make_batch, make_head, make_target
from volition.backbones import TinyPaliGemma
from volition.data.transforms import Chain
from volition.policy import Collator, Policy
from volition.training.compiled import compile_layers
from volition.training.train import LoopConfig

WORDS = ["push", "the", "red", "block", "to", "the", "left", "side", "of", "the", "drawer", "please", "now"]


def make_policy() -> Policy:
    torch.manual_seed(0)
    config = TinyPaliGemma(width=32, num_heads=2, vision_layers=1, text_layers=1, image_size=32)
    backbone, space = config.build(), SPACES["base-2d"]
    head = make_head("mlp", backbone, space, steps=1)
    return Policy(backbone, head, Collator(Chain(), backbone.adapter, (), ()), 1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.skipif(shutil.which("gcc") is None, reason="kernels need a C compiler")
def test_compiled_layers_compute_the_same_for_any_length_of_text() -> None:
    plain, compiled = make_policy(), make_policy()
    assert compile_layers(compiled.backbone) == 2
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    counters.clear()
    graphs = []
    for length in (3, 5, 12):
        for policy in (plain, compiled):
            batch = make_batch(policy.backbone, [" ".join(WORDS[:length])] * 2, steps=1)
            policy(batch, make_target(batch, SPACES["base-2d"])).total.backward()
        graphs.append(counters["stats"]["unique_graphs"])
    for (name, expected), found in zip(plain.named_parameters(), compiled.parameters()):
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-5, msg=name)
    assert graphs[0] >= 1
    assert graphs[-1] <= graphs[0] + 2, graphs  # lengths are symbols from the beginning


def test_operations_cannot_be_counted_in_compiled_layers() -> None:
    with pytest.raises(ValueError, match="cannot see into compiled layers"):
        LoopConfig(compile=True, count_flops=True)
