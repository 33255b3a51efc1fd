"""`volition export` and what becomes of its folder: signed if it was proved, run by other verbs, refused otherwise."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tests.source_tree import example
from tests.test_cli import volition
from tests.tiny import LSTM, SMALL
from tests.toy import SPEC
from volition.backbones import TinyPaliGemma
from volition.config import Contract, DataConfig, Experiment, WindowConfig, dump
from volition.data.transforms import Chain
from volition.evaluation.batching import rows_are_independent
from volition.evaluation.episodes import Attempt, Command, EpisodeResult, Trial
from volition.export.artefact import HEAD, is_artefact, load_source, size_of, write_artefact
from volition.export.closed_loop import judge
from volition.export.load import load_artefact
from volition.export.names import CODE, TargetName
from volition.export.onnx import Session, in_int4
from volition.export.parity import parity
from volition.export.passes import noise
from volition.export.small import from_int8, in_int8
from volition.export.targets import TARGETS
from volition.records import Start
from volition.serving.config import ServeConfig
from volition.serving.server import background
from volition.studies.serving import load_served
from volition.training import checkpoint as checkpoints
from volition.training.train import LoopConfig, Trainer
from volition.training.writing import save
from volition_client import Client

pytestmark = pytest.mark.slow
WINDOW = WindowConfig(num_obs_steps=3, obs_stride=2, replan_steps=2, action_horizon=4)
RECIPE = Experiment(
    window=WINDOW,
    backbone=TinyPaliGemma(**{**SMALL, "text_layers": 1}),
    head=LSTM,
    data=DataConfig(cameras=("base",)),
)
TOY = ("--env", "tests.toy:ToyConfig", "--workers", "0", "--max-steps", "8")
EPISODES = [list(islice(noise(SPEC, seed), 4)) for seed in range(3)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that does something that depends on what it sees, and now and then the right thing."""
    torch.manual_seed(5)
    policy = RECIPE.build(SPEC)
    for parameter in policy.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    contract = Contract(robot=SPEC, window=WINDOW, transforms=Chain())
    documents = {"config.json": dump(RECIPE), "contract.json": dump(contract)}
    folder = tmp_path_factory.mktemp("run")
    save(folder, Trainer.create(policy.eval(), LoopConfig()), documents, keep_last=1)
    return folder


@pytest.fixture(scope="module")
def signed(run: Path) -> Path:
    """In float32, by the verb."""
    out = run / "onnx"
    starts = ("--starts", "96", "--looks", "3", "--json", str(run / "proof.json"))
    assert volition("export", str(run), "--target", "onnx", "--out", str(out), *TOY, *starts) == 0
    return out


@pytest.fixture
def copied(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "copy"))


def proof_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "proof.json").read_text())


def test_the_verb_proves_and_signs(run: Path, signed: Path) -> None:
    told, kept = json.loads((run / "proof.json").read_text()), proof_of(signed)
    assert told == {"folder": str(signed), "bytes": size_of(signed), **kept}
    assert kept["holds"]
    assert kept["says"][-1] == "signed"
    same, loop = kept["parity"], kept["closed_loop"]
    assert same["observations"] == 6
    assert same["cosine"] > 0.99999
    assert len(same["largest_error"]) == WINDOW.action_horizon
    assert max(same["largest_error"]) < 1e-4
    assert loop["difference"]["count"] == 192
    assert 0 < loop["policy"] == loop["exported"]
    assert loop["enough"] == 189
    assert set(json.loads((signed / "manifest.json").read_text())) > {"export.json", "proof.json", HEAD, "pass0.onnx"}
    graph = (signed / "pass0.onnx").read_bytes()
    assert not any(word in graph for word in (b".py", b"site-packages")), "the exporter's notes tell of this machine"


def test_it_is_evaluated_and_served_as_the_checkpoint_is(run: Path, signed: Path, tmp_path: Path) -> None:
    scores = []
    for path in (run, signed):
        told = tmp_path / f"{path.name}.json"
        assert volition("eval", str(path), *TOY, "--starts", "4", "--json", str(told)) == 0
        scores.append(json.loads(told.read_text()))
    assert [score["success_rate"] for score in scores] == [scores[0]["success_rate"]] * 2
    assert Path(scores[1]["folder"]).parent == signed / "eval"
    load_artefact(signed)  # which the evaluation in its folder did not break
    policy, served = load_source(run).policy, load_served(signed)
    assert (served.name, served.robot) == ("onnx", SPEC)
    with background(served, ServeConfig(port=0)) as running, Client(running.addresses.websocket) as client:
        (state,) = policy.start(1)
        for seen in EPISODES[0]:
            message = {"observation/base": seen.images["base"][0], "observation/state": seen.state[0]}
            given = client.infer({**message, "prompt": seen.instruction})["actions"]
            (chunk,), (state,) = policy.act([seen], [state])
            assert np.abs(given - chunk).max() < 1e-4


def test_the_jetson_example_checks_it_on_this_cpu(
    signed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jetson = example("05_jetson")
    assert jetson.main([str(signed), "--device", "cpu", "--steps", "5"]) == 0
    said = capsys.readouterr().out
    assert "not TensorRT's" not in said
    assert "largest difference of an action, in robot units: 0.0e+00" in said
    assert f"volition serve {signed} --device cpu" in said
    with pytest.raises(ValueError, match="--compile is for checkpoints"):
        load_served(signed, compiled=True)
    answers = iter([(np.full((1, 4, 7), x), np.ones(9)) for x in (0.0, 0.1)])
    monkeypatch.setattr(jetson, "ask", lambda artefact, seen: next(answers))
    assert jetson.main([str(signed), "--device", "cpu", "--steps", "5"]) == 1
    assert "do not serve it" in capsys.readouterr().out


def test_the_jetson_example_keeps_engines_and_names_what_is_missing(
    signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jetson = example("05_jetson")
    monkeypatch.setattr(jetson.os, "environ", {})
    settings = jetson.keep_engines(Path("engines"), half=True)
    assert settings["ORT_TENSORRT_FP16_ENABLE"] == "1"
    assert Path(settings["ORT_TENSORRT_CACHE_PATH"]).is_absolute()
    with pytest.raises(ValueError, match=r"tensorrt.*only with an ONNX Runtime that has it"):
        jetson.main([str(signed)])


def test_operators_of_other_makers_are_named(signed: Path, tmp_path: Path) -> None:
    model = in_int4(next(signed.glob("*.onnx")))
    onnx.save(model, str(tmp_path / "small.onnx"))
    assert example("05_jetson").unsupported([tmp_path / "small.onnx"]) == {"com.microsoft:MatMulNBits"}


def test_int8_is_small_and_near_and_its_rows_are_their_own(run: Path, tmp_path: Path) -> None:
    source, folder = load_source(run), tmp_path / "out"
    words = ("export", str(run), "--target", "onnx-int8", "--out", str(folder), *TOY, "--starts", "0", "--looks", "1")
    assert volition(*words) == 1  # nothing was compared, so it is not signed
    assert proof_of(folder)["says"][-1] == "NOT signed: nothing shows that it does as well (--starts)"
    float32 = 4 * sum(x.numel() for x in checkpoints.weights_of(source.policy).values())
    weights = [*(folder / "weights").iterdir(), folder / HEAD]
    assert sum(path.stat().st_size for path in weights) < 0.6 * float32, "a third of so small a model is a convolution"
    small = load_artefact(folder, unproved=True, threads=1)
    assert small.one_row
    found = parity(source.policy, small.actor, EPISODES, SPEC.action_space)
    assert found.observations == 12
    assert found.cosine > 0.98
    assert 0 < max(found.largest_error) < 0.2
    assert rows_are_independent(small.actor, [episode[0] for episode in EPISODES], 4)
    with pytest.raises(ValueError, match="is not signed"):
        load_artefact(folder)


def test_float8_is_near_and_its_rows_are_their_own(run: Path, tmp_path: Path) -> None:
    source = load_source(run)
    folder = write_artefact(source, "torch-float8", tmp_path / "out")
    small = load_artefact(folder, unproved=True, allow=(CODE,))
    assert not small.one_row
    found = parity(source.policy, small.actor, EPISODES, SPEC.action_space)
    assert found.cosine > 0.98
    assert 1e-4 < max(found.largest_error) < 0.3
    assert rows_are_independent(small.actor, [episode[0] for episode in EPISODES], 4)


def test_weights_in_four_bits_are_near(signed: Path, tmp_path: Path) -> None:
    shutil.copytree(signed / "weights", tmp_path / "weights")
    small = in_int4(signed / "pass0.onnx")
    onnx.save(small, str(tmp_path / "pass0.onnx"))
    assert any(node.op_type == "MatMulNBits" for node in small.graph.node)
    fed = [torch.ones(2, 40, dtype=torch.long) for _ in range(3)] + [torch.ones(2, 32, 32, 3, dtype=torch.uint8)]
    ours, theirs = (Session(x / "pass0.onnx", threads=1, device="cpu")(fed)[0] for x in (signed, tmp_path))
    assert 0 < float((ours - theirs).norm() / ours.norm()) < 0.2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of Inductor about itself
@pytest.mark.parametrize("target", ["openvino", "torch-export", "aoti"])
def test_other_targets_act_as_the_checkpoint(target: TargetName, run: Path, tmp_path: Path) -> None:
    source = load_source(run)
    out = write_artefact(source, target, tmp_path / target)
    found = parity(source.policy, load_artefact(out, unproved=True, allow=(CODE,)).actor, EPISODES, SPEC.action_space)
    assert found.observations == 12
    assert max(found.largest_error) < 1e-4
    with pytest.raises(ValueError, match="is not signed"):
        load_artefact(out, allow=(CODE,))
    if TARGETS[target].runs_code:
        with pytest.raises(ValueError, match="pass --allow native_code"):
            load_artefact(out, unproved=True)
    else:
        load_artefact(out, unproved=True)
    with pytest.raises(ValueError, match="'tpu'"):
        load_artefact(out, unproved=True, allow=(CODE,), device="tpu")


def test_what_was_changed_is_refused(run: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert is_artefact(copied)
    assert not is_artefact(run)
    weights = next((copied / "weights").iterdir())
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert volition("serve", str(copied), "--port", "0") == 2
    assert f"{weights.name} is not what was proved" in capsys.readouterr().err
    weights.unlink()
    with pytest.raises(ValueError, match=f"the files of its manifest and no others: weights/{weights.name}"):
        load_artefact(copied)
    weights.write_bytes(whole)
    (copied / "more.onnx").touch()
    with pytest.raises(ValueError, match=r"and no others: more\.onnx"):
        load_artefact(copied)
    (copied / "manifest.json").unlink()
    assert volition("eval", str(copied), *TOY, "--starts", "1") == 2
    assert "is not signed" in capsys.readouterr().err
    with pytest.raises(ValueError, match="must be empty"):
        write_artefact(load_source(run), "onnx", copied)
    with pytest.raises(ValueError, match="runs on one of cpu, cuda, tensorrt"):
        load_artefact(copied, unproved=True, device="cuda")


def test_parity_sees_what_differs(run: Path) -> None:
    policy, other = load_source(run).policy, load_source(run).policy
    same = parity(policy, policy, EPISODES, SPEC.action_space)
    assert (same.cosine, max(same.largest_error), same.binary_agreement) == (pytest.approx(1.0), 0.0, 1.0)
    assert same.cosines == pytest.approx([1.0] * len(same.largest_error))
    with torch.no_grad():
        for parameter in other.head.parameters():
            parameter.mul_(-0.5)
    assert parity(policy, other, EPISODES, SPEC.action_space).cosine < 0.9


def results(outcomes: str) -> list[EpisodeResult]:
    """A letter an episode: s(uccess), f(ailure), e(rror)."""
    made = []
    for seed, letter in enumerate(outcomes):
        attempt = Attempt(
            task="a", instruction="", success=letter == "s", num_steps=1, num_calls=1, actions=np.zeros((1, 2))
        )
        trial = Trial(start=Start(seed=seed, tasks=("a",)), commands=(Command(task="a"),))
        made.append(EpisodeResult(trial=trial, attempts=(attempt,), error="broke" * (letter == "e")))
    return made


@pytest.mark.parametrize(
    ("ours", "theirs", "not_worse"),
    [
        ("s" * 189, "s" * 189, True),
        ("s" * 188, "s" * 188, False),  # too few to tell, though nothing was lost
        ("s" * 2000, "f" * 10 + "s" * 1990, True),
        ("s" * 2000, "f" * 60 + "s" * 1940, False),
        ("s" * 2000, "e" * 60 + "s" * 1940, False),  # an error of the exported policy alone is a failure
        ("e" * 60 + "s" * 1940, "e" * 60 + "s" * 1940, True),
        ("f" * 2000, "f" * 2000, False),  # neither does anything, which shows nothing
    ],
)
def test_not_worse_means_that_the_interval_lies_above_the_margin(ours: str, theirs: str, not_worse: bool) -> None:
    assert judge(results(ours), results(theirs), 0.02).not_worse == not_worse


def test_enough_is_where_the_interval_first_lies_above_the_margin() -> None:
    ours, theirs = "s" * 100, "f" * 2 + "s" * 98
    enough = judge(results(ours), results("s" * 50 + "f" + "s" * 49), 0.02).enough
    assert enough > 100
    assert judge(results(ours), results(theirs + ""), 0.02).enough == 0  # two points worse stay two points worse


def test_the_heads_weights_come_back_from_int8() -> None:
    weights = {"a": torch.randn(8, 16), "b": torch.randn(8), "c": torch.arange(6).view(2, 3), "d": torch.zeros(4, 4)}
    back = from_int8(in_int8(weights))
    assert back.keys() == weights.keys()
    step = weights["a"].abs().amax(1, keepdim=True) / 127
    assert ((back["a"] - weights["a"]).abs() <= step / 2 + 1e-6).all()
    assert all(torch.equal(back[name], weights[name]) for name in "bcd")
