from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition.data.codecs import GROUP, PackConfig


def test_a_still_background_takes_next_to_nothing() -> None:
    """The reason for differences: pictures of a group differ in one pixel only."""
    pictures = np.random.default_rng(0).integers(0, 256, (GROUP, 64, 64, 3), np.uint8)
    pictures[:] = pictures[0]
    pictures[:, 5, 5] = np.arange(GROUP)[:, None]
    records = list(PackConfig(encoding="zstd").codec().encode(pictures))
    assert len(records[0]) > 64 * 64 * 3
    assert max(map(len, records[1:])) < 100


@settings(max_examples=60)
@given(data=st.data())
def test_every_kind_decodes_any_steps_as_it_decodes_all(data: st.DataObject) -> None:
    config = PackConfig(encoding=data.draw(st.sampled_from(("raw", "zstd", "jpeg", "webp"))))
    count, side = data.draw(st.integers(1, 3 * GROUP)), data.draw(st.integers(1, 20))
    draw = np.random.default_rng(data.draw(st.integers(0, 9)))
    pictures = draw.integers(0, 256, (count, side, side + 1, 3), np.uint8)
    pictures[:, : side // 2] = pictures[0, : side // 2]
    records = [memoryview(record) for record in config.codec().encode(pictures)]
    assert len(records) == count
    steps = data.draw(st.lists(st.integers(0, count - 1), max_size=12))
    into, whole = np.empty((len(steps), *pictures.shape[1:]), np.uint8), np.empty_like(pictures)
    codec = config.codec()
    codec.decode(records.__getitem__, steps, into)
    codec.decode(records.__getitem__, range(count), whole)
    np.testing.assert_array_equal(into, whole[steps])
    if config.encoding in ("raw", "zstd"):
        np.testing.assert_array_equal(whole, pictures)


def test_a_quality_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"quality must be in 1\.\.100"):
        PackConfig(encoding="jpeg", quality=0)
