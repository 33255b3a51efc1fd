"""Plain products in float8: which they are, and how near."""

from __future__ import annotations

import pytest
import torch

from volition.export.float8 import Float8Linear, in_float8, require_float8


def test_which_products_become_float8() -> None:
    given = torch.nn.ModuleDict(
        {"plain": torch.nn.Linear(32, 16), "odd": torch.nn.Linear(20, 16), "other": torch.nn.MultiheadAttention(32, 2)}
    )
    found = in_float8(given)
    assert [name for name, module in found.named_modules() if isinstance(module, Float8Linear)] == ["plain"]
    assert isinstance(given["plain"], torch.nn.Linear)
    x = torch.randn(2, 3, 32)
    with torch.no_grad():
        near, exact = found["plain"](x), given["plain"](x)
    assert near.shape == exact.shape
    assert near.dtype == x.dtype
    assert 0 < float((near - exact).norm() / exact.norm()) < 0.06


def test_a_gpu_without_such_products_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_float8("cpu")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an older one")
    with pytest.raises(ValueError, match=r"capability 8\.9 or newer, and an older one has less"):
        require_float8("cuda")
