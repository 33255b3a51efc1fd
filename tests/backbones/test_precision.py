"""bfloat16 where a device has instructions for it, float32 where it would only be imitated."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from tests.tiny import make_backbone
from volition.backbones import precision
from volition.backbones.precision import autocast_type, computes_in_bfloat16
from volition.studies.backbone_checks import make_batch

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Says what the machine can do."""

    def says(*, native: bool) -> None:
        precision._say_so.cache_clear()
        monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device: native)

    return says


def test_what_a_machine_imitates_is_computed_in_float32_and_said_once(machine, caplog) -> None:
    machine(native=False)
    with caplog.at_level(logging.WARNING):
        assert [autocast_type(torch.bfloat16, CPU) for _ in range(3)] == [None] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "this machine's cpu has no instructions for bfloat16: computing in float32, which is faster"
    ]
    machine(native=True)
    assert autocast_type(torch.bfloat16, CPU) == torch.bfloat16


@pytest.mark.parametrize("asked", [None, torch.float16])
def test_other_types_are_as_asked(machine, asked: torch.dtype | None) -> None:
    machine(native=False)
    assert autocast_type(asked, CPU) == asked


def test_a_cpu_without_the_instructions_computes_nothing_in_it(machine) -> None:
    backbone = make_backbone("paligemma").eval()
    batch = make_batch(backbone)
    with torch.inference_mode():
        plain = backbone.encode(batch).readout
        backbone.autocast = torch.bfloat16
        machine(native=False)
        backbone.prepare_to_act()
        assert torch.equal(backbone.encode(batch).readout, plain)
        machine(native=True)
        assert not torch.equal(backbone.encode(batch).readout, plain)


def test_this_machine_is_asked() -> None:
    """The answer itself depends on the machine; what /proc says of its processor must agree."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        pytest.skip("needs Linux: /proc/cpuinfo tells what the processor can do")
    if "flags" not in flags:
        pytest.skip("needs an x86 processor, which lists its flags")
    assert computes_in_bfloat16("cpu") == ("avx512_bf16" in flags or "amx_tile" in flags)
    assert not computes_in_bfloat16("mps")
