"""One robot's steps are computed by ours, all others by torch's LSTM: the numbers are the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from volition.heads.lstm import unroll


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unrolled_steps_are_those_of_torch(num_layers: int, rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(6, 10, num_layers, batch_first=True, dtype=dtype)
    features = torch.randn(rows, 5, 6, dtype=dtype)
    with torch.no_grad():
        torch.testing.assert_close(unroll(lstm, features), lstm(features)[0], rtol=1e-5, atol=1e-6)
