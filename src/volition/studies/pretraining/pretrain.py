"""Train the tiny VLM to answer questions about pictures of a simulator; its weights then ship with the package.

    python -m volition.studies.pretraining.pretrain draw  --out runs/pretrain --world desk --num-moments 120000
    python -m volition.studies.pretraining.pretrain train --out runs/pretrain --world desk --num-steps 12000

A row is [pictures][question][LRN][answer]<eos>[question][LRN][answer]<eos>...: the first question is read in both
directions with the pictures, as an instruction will be; the others follow causally and cost little. The loss is the
cross-entropy of the answers, with location tokens smoothed over their neighbours, and the L1 distance of a linear map
of the hidden state at [LRN] from all coordinates of the thing asked about: so that one token carries them at once, as
a policy head will want them. The map is thrown away; [LRN] is what a policy starts from.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn

from volition.backbones import Backbone, TinyPaliGemma
from volition.backbones.images import Augmentation
from volition.backbones.tiny import NUM_LOCATIONS, SPECIAL
from volition.studies.pretraining.worlds import WORLDS, WorldName

logger = logging.getLogger(__name__)
FIRST_LOCATION, EOS = SPECIAL.index("<loc00>"), SPECIAL.index("<eos>")


@dataclass(frozen=True, kw_only=True)
class DrawConfig:
    """Draw moments and write down the facts about them."""

    out: Path
    world: WorldName = "desk"
    num_moments: int = 120_000
    seed: int = 7_000_000  # far from every seed that demonstrations and evaluations use
    workers: int = 2

    def run(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        world = WORLDS[self.world]
        ((height, width),) = set(world.image_sizes.values())
        shape = (self.num_moments, len(world.image_sizes), height, width, 3)
        np.lib.format.open_memmap(self.out / "images.npy", "w+", np.uint8, shape)
        np.lib.format.open_memmap(self.out / "facts.npy", "w+", np.float32, (self.num_moments, world.width))
        bounds = np.linspace(0, self.num_moments, self.workers + 1).astype(int)
        context = multiprocessing.get_context("spawn")
        jobs = [context.Process(target=_draw, args=(self, a, b)) for a, b in pairwise(bounds)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        if any(job.exitcode for job in jobs):
            raise RuntimeError("a drawing process failed; its traceback stands above")


def _draw(config: DrawConfig, first: int, last: int) -> None:
    images = np.load(config.out / "images.npy", mmap_mode="r+")
    facts = np.load(config.out / "facts.npy", mmap_mode="r+")
    draw = WORLDS[config.world].drawer()
    for i in range(first, last):
        images[i], facts[i] = draw(np.random.default_rng((config.seed, i)))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train on drawn moments; every step asks new questions about them."""

    out: Path
    world: WorldName = "desk"
    name: str = "vlm"
    num_steps: int = 12_000
    batch_size: int = 64
    questions: int = 3
    lr: float = 1e-3
    warmup_steps: int = 300
    weight_decay: float = 0.05
    smoothing: float = 0.7  # bins, standard deviation of a location's target
    coordinate_weight: float = 4.0
    seed: int = 0
    threads: int = 1
    held_out: int = 2000
    backbone: TinyPaliGemma = field(
        default_factory=lambda: TinyPaliGemma(vision_layers=4, text_layers=4, bfloat16=True)
    )
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(brightness=0.1, contrast=0.15, colour=0.1))

    def run(self) -> None:
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        backbone = self.backbone.build()
        pointer = nn.Linear(backbone.width, WORLDS[self.world].num_coordinates)
        parameters = [*backbone.parameters(), *pointer.parameters()]
        decayed = [p for p in parameters if p.ndim > 1 and p is not backbone.embedding.base.weight]
        others = [p for p in parameters if not any(p is d for d in decayed)]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98), fused=True)
        data = Questions(self, backbone)
        started = time.perf_counter()
        for step in range(1, self.num_steps + 1):
            warm = min(1.0, step / self.warmup_steps)
            scale = warm * (0.02 + 0.98 * (1 + np.cos(np.pi * step / self.num_steps)) / 2)
            for group in optimizer.param_groups:
                group["lr"] = self.lr * scale
            says, points, right = losses(backbone, pointer, data.batch(step), self.smoothing)
            (says + self.coordinate_weight * points).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if step % 100 == 0 or step == self.num_steps:
                seconds = round(time.perf_counter() - started)
                line = {"step": step, "loss": says.item(), "coordinates": points.item(), "accuracy": right}
                self._log({**line, "seconds": seconds})
            if step % 2000 == 0 or step == self.num_steps:
                self._log({"step": step, **evaluate(backbone, pointer, data, self)})
                save_weights(backbone, self.out / f"{self.name}.safetensors")

    def _log(self, line: dict[str, Any]) -> None:
        logger.info("%s", line)
        with (self.out / f"{self.name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def save_weights(backbone: Backbone, path: Path) -> None:
    """The model under Hugging Face's own names, and the token that begins an answer as `new_tokens`."""
    tensors = {name: p.detach() for name, p in backbone.hub_state().items()}
    save_file({"new_tokens": backbone.embedding.new.detach(), **tensors}, path)


class Questions:
    """Batches of pictures with questions and answers: a pure function of the step."""

    def __init__(self, config: TrainConfig, backbone: Backbone) -> None:
        self._config, self._adapter = config, backbone.adapter
        self._world, self._words = WORLDS[config.world], dict[str, list[int]]()
        self._images = np.load(config.out / "images.npy", mmap_mode="r")
        self._facts = np.load(config.out / "facts.npy", mmap_mode="r")

    def batch(self, step: int) -> dict[str, Tensor]:
        config = self._config
        rng = np.random.default_rng((config.seed, step))
        chosen = rng.integers(config.held_out, len(self._images), config.batch_size)
        return self._rows(np.sort(chosen), rng, config.augmentation, step)

    def held_out(self, number: int) -> dict[str, Tensor]:
        size = self._config.batch_size
        chosen = np.arange(number * size, (number + 1) * size)
        return self._rows(chosen, np.random.default_rng(number), Augmentation(), number)

    def _rows(
        self, chosen: np.ndarray, rng: np.random.Generator, augment: Augmentation, seed: int
    ) -> dict[str, Tensor]:
        rows, kinds, answers, places = zip(*(self._row(int(i), rng) for i in chosen))
        length = max(map(len, rows))
        pad = lambda values, fill: torch.tensor([[*row, *[fill] * (length - len(row))] for row in values])
        pictures = torch.from_numpy(self._images[chosen])
        by_camera = {camera: pictures[:, c : c + 1] for c, camera in enumerate(self._world.image_sizes)}
        by_camera = augment(by_camera, torch.Generator().manual_seed(seed))
        return {
            "input_ids": pad(rows, 0),
            "attention_mask": pad([[1] * len(row) for row in rows], 0),
            "token_type_ids": pad(kinds, 0),
            "answers": pad(answers, -1),
            "coordinates": torch.from_numpy(np.stack(places)),
            **{f"picture_{c}": x[:, 0] for c, x in enumerate(by_camera.values())},
        }

    def _row(self, index: int, rng: np.random.Generator) -> tuple[list[int], list[int], list[int], np.ndarray]:
        """Ids; 0 for the part that is read in both directions and 1 after it; the token to say next, or -1;
        coordinates float32[questions, C] of what each question is about."""
        ids: list[int] = []
        kinds: list[int] = []
        answers: list[int] = []
        places: list[np.ndarray] = []
        for number, question in enumerate(self._world.ask(self._facts[index], rng, self._config.questions)):
            pictures = self._adapter.shown(len(self._world.image_sizes)) if number == 0 else []
            asked = [*pictures, *self._encode(question.question)]
            said = [*self._encode(question.answer), EOS]
            ids += [*asked, *self._adapter.readout_ids, *said]
            kinds += [int(number > 0)] * len(asked) + [1] * (1 + len(said))
            answers += [-1] * len(asked) + [*said, -1]
            places.append(question.coordinates)
        return ids, kinds, answers, np.stack(places)

    def _encode(self, text: str) -> list[int]:
        """Every word is looked up once: the tokenizer itself would cost more than the model's forward."""
        for word in text.split():
            if word not in self._words:
                self._words[word] = self._adapter.tokenizer(word, add_special_tokens=False)["input_ids"]
        return [token for word in text.split() for token in self._words[word]]


def losses(
    backbone: Backbone, pointer: nn.Linear, batch: dict[str, Tensor], smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], float]:
    """Cross-entropy over answer tokens, L1 over coordinates, and the share of answer tokens that are right."""
    hidden = hidden_states(backbone, batch)
    logits, wanted = answer_logits(backbone, batch, hidden)
    targets = F.one_hot(wanted, logits.shape[-1]).float()
    places = wanted - FIRST_LOCATION
    is_place = (places >= 0) & (places < NUM_LOCATIONS)
    distance = torch.arange(NUM_LOCATIONS)[None] - places[is_place][:, None]
    near = torch.softmax(-(distance.float() ** 2) / (2 * smoothing**2), dim=-1)
    targets[is_place, FIRST_LOCATION : FIRST_LOCATION + NUM_LOCATIONS] = near
    right = (logits.argmax(-1) == wanted).float().mean().item()
    return F.cross_entropy(logits, targets), coordinate_error(backbone, pointer, batch, hidden).mean(), right


def hidden_states(backbone: Backbone, batch: dict[str, Tensor]) -> Float[Tensor, "N L D"]:
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    pictures = [batch[name] for name in sorted(batch) if name.startswith("picture_")]
    return backbone.run(inputs, pictures).float()


def answer_logits(
    backbone: Backbone, batch: dict[str, Tensor], hidden: Float[Tensor, "N L D"]
) -> tuple[Float[Tensor, "M V"], Int[Tensor, " M"]]:
    """Logits where an answer token is to be said next, and that token."""
    chosen = batch["answers"] >= 0
    return F.linear(hidden[chosen], backbone.embedding.base.weight), batch["answers"][chosen]


def coordinate_error(
    backbone: Backbone, pointer: nn.Linear, batch: dict[str, Tensor], hidden: Float[Tensor, "N L D"]
) -> Float[Tensor, " C"]:
    """Absolute errors of all coordinates that exist, read off at the [LRN] tokens."""
    at_readout = batch["input_ids"] == backbone.adapter.readout_ids[0]
    wanted = batch["coordinates"].flatten(0, 1)
    exists = ~wanted.isnan()
    return (pointer(hidden[at_readout]) - wanted)[exists].abs()


@torch.inference_mode()
def evaluate(backbone: Backbone, pointer: nn.Linear, data: Questions, config: TrainConfig) -> dict[str, float]:
    """On moments never trained on: accuracy of words, distance of locations in bins, error of coordinates."""
    words, bins, errors = [], [], []
    for number in range(config.held_out // config.batch_size):
        batch = data.held_out(number)
        hidden = hidden_states(backbone, batch)
        logits, wanted = answer_logits(backbone, batch, hidden)
        places = wanted - FIRST_LOCATION
        is_place = (places >= 0) & (places < NUM_LOCATIONS)
        said = logits[:, FIRST_LOCATION : FIRST_LOCATION + NUM_LOCATIONS].argmax(-1)
        bins.append((said - places)[is_place].abs().float())
        words.append((logits.argmax(-1) == wanted)[~is_place].float())
        errors.append(coordinate_error(backbone, pointer, batch, hidden))
    error = torch.cat(bins)
    return {
        "held_out_word_accuracy": torch.cat(words).mean().item(),
        "held_out_location_error_bins": error.mean().item(),
        "held_out_location_within_1": (error <= 1).float().mean().item(),
        "held_out_coordinate_error": torch.cat(errors).mean().item(),
    }


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    tyro.extras.subcommand_cli_from_dict({"draw": DrawConfig, "train": TrainConfig}).run()


if __name__ == "__main__":
    main()
