"""b_action_tokenizer and c_discrete_process_token_sequence: actions as the last ids of a vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from tests.golden_check.fixture import Fixture
from volition.action_tokens import ActionTokenizer


def action_tokenizer(fixture: Fixture) -> None:
    document = fixture.json(fixture.name)
    for index, case in enumerate(document["cases"]):
        tokens = ActionTokenizer.at_end_of(
            case["vocab_size"], case["special"], bins=case["bins"], low=float(case["min"]), high=float(case["max"])
        )
        low, zero, high = tokens.encode(np.array([-1.0, 0.0, 1.0])).tolist()
        found = {"orig_size": tokens.base, "begin": tokens.begin, "end": tokens.end, "vocab_size_prop": tokens.bins}
        found |= {"max_id": low, "min_id": high}
        if case["call_1d"] is not None:  # a stand-in for a tokenizer wrote the ids down
            found["call_1d"] = f"{low} {zero} {high}"
        for key, value in found.items():
            fixture.compare_value(fixture.name, ("cases", index, key), value)
        if fixture.keys(f"{case['name']}/"):
            arrays(fixture, case["name"], tokens)
    if "tiny_tok" in document:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(fixture.folder / "tiny_tokenizer")
        found = {
            "vocab_size": tokenizer.vocab_size,
            "len": len(tokenizer),
            "special_map": tokenizer.special_tokens_map,
        }
        fixture.compare_value(fixture.name, ("tiny_tok",), found)


def arrays(fixture: Fixture, case: str, tokens: ActionTokenizer) -> None:
    ids = tokens.encode(fixture.input(f"{case}/x"))
    table = fixture.input(f"{case}/x2d")
    fixture.compare(f"{case}/ids", ids)
    fixture.compare(f"{case}/decoded", tokens.decode(ids))
    fixture.compare(f"{case}/all_decoded", tokens.decode(fixture.input(f"{case}/all_ids")))
    fixture.compare(f"{case}/bins", tokens.edges)
    fixture.compare(f"{case}/centers", tokens.centres)
    fixture.compare(f"{case}/ids2d", tokens.encode(table))
    fixture.compare(f"{case}/ids_from_torch_flat", tokens.encode(torch.from_numpy(table).flatten().numpy()))


def token_sequence(fixture: Fixture) -> None:
    """[B, W, tokens, D] as the discrete head lays it out for each kind of action space."""
    given = fixture.input("in")
    fixture.compare("continuous", given.reshape(*given.shape[:-2], -1))
    fixture.compare("down_sample", np.swapaxes(given, -1, -2))
    fixture.compare("discrete", given)


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (re.compile(r"b_action_tokenizer.*"), action_tokenizer),
    (re.compile(r"c_discrete_process_token_sequence.*"), token_sequence),
]
