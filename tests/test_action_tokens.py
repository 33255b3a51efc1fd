from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volition.action_tokens import ActionTokenizer


def test_the_published_values() -> None:
    """robovlms.md 2.7: a vocabulary of 32,000 with three special tokens."""
    tokens = ActionTokenizer.at_end_of(32000, 3)
    assert (tokens.base, tokens.begin, tokens.end) == (31987, 31730, 31987)
    assert tokens.encode(np.array([-1.0, 0.0, 1.0])).tolist() == [31986, 31859, 31731]
    np.testing.assert_allclose(tokens.decode(np.array([31986, 31859, 31731])), [-254 / 255, 0, 254 / 255], atol=1e-12)


@given(st.integers(2, 300), st.lists(st.floats(-2, 2), min_size=1, max_size=8))
def test_a_value_comes_back_within_half_a_cell(bins: int, values: list[float]) -> None:
    tokens = ActionTokenizer(base=1000, bins=bins, low=-0.5, high=1.5)
    ids = tokens.encode(np.array(values))
    assert ((ids > tokens.begin) & (ids < tokens.end)).all()
    inside = np.clip(values, -0.5, 1.5)
    assert (np.abs(tokens.decode(ids) - inside) <= 1 / (bins - 1) + 1e-12).all()


def test_shapes_stay_and_foreign_ids_count_as_the_nearest() -> None:
    tokens = ActionTokenizer(base=100, bins=5)
    assert tokens.encode(np.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert tokens.decode(np.array([0, 5000])).tolist() == [0.75, -0.75]


def test_what_can_be_no_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="no id is below 0"):
        ActionTokenizer.at_end_of(265, 0)
    with pytest.raises(ValueError, match="low must be below high"):
        ActionTokenizer(base=500, low=1.0, high=-1.0)
    with pytest.raises(ValueError, match="NaN"):
        ActionTokenizer(base=500).encode(np.array([0.0, np.nan]))
