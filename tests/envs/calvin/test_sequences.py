"""The official 1,000 sequences, and fresh ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envs.calvin.tools import protocol_file
from volition.envs.calvin import sequences
from volition.envs.calvin.situations import TASKS, feasible, initial_situations, kind


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_bulk_draws_are_those_of_numpys_choice(seed: int) -> None:
    random = np.random.RandomState(seed)
    wanted = [random.choice(len(TASKS), size=5, replace=False).tolist() for _ in range(20)]
    last = np.arange(len(TASKS) - 1, 0, -1)
    swaps = np.random.RandomState(seed).randint(0, last + 1, size=(20, len(last)), dtype=np.int32)
    rows = np.ascontiguousarray(swaps.astype(np.int8).T)
    found = np.stack([sequences._entry_after_shuffle(place, last, rows) for place in range(5)], axis=1)
    assert found.tolist() == wanted


def test_the_official_list_begins_as_the_protocols() -> None:
    wanted = json.loads(protocol_file("eval_sequences.json").read_text())[:12]
    for found, (initial, tasks) in zip(sequences.official(12), wanted, strict=True):
        assert list(found.tasks) == tasks
        assert found.initial.values == list(initial.values())


@pytest.mark.slow
def test_the_official_list_is_the_protocols_in_all_its_thousand_places() -> None:
    wanted = json.loads(protocol_file("eval_sequences.json").read_text())
    found = [[list(one.initial.values), list(one.tasks)] for one in sequences.official()]
    assert found == [[list(initial.values()), tasks] for initial, tasks in wanted]


def test_what_a_sequence_begins_in_is_known_without_a_search() -> None:
    assert [sequences.official_initial(i) for i in range(3)] == [one.initial for one in sequences.official(3)]
    counts = [sequences.official_initial(i) for i in range(sequences.NUM_OFFICIAL)]
    assert {counts.count(situation) for situation in initial_situations()} == {5, 6}


def test_there_are_a_thousand_and_no_more() -> None:
    with pytest.raises(ValueError, match="count=1001; pass a seed"):
        sequences.official(1001)


def test_fresh_sequences_can_be_done_and_differ_from_seed_to_seed() -> None:
    found = sequences.fresh(8, seed=3)
    assert found[:3] == sequences.fresh(3, seed=3)
    assert found != sequences.fresh(8, seed=4)
    for one in found:
        assert len({kind(task) for task in one.tasks}) == 5
        assert feasible(one.initial, one.tasks)
