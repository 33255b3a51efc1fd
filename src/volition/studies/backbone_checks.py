"""What every backbone must do, whatever its model looks like inside: one function a check, "" or what is wrong.

The conformance suite runs them over tiny models of every family; `volition backbones MODEL` over yours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from volition.backbones.base import Backbone
from volition.backbones.images import normalise
from volition.types import Batch

CAMERAS = ("static", "gripper")
TEXTS = ("lift red", "push the blue block to the left, please")
CLOSE = 1e-4  # of the largest number in a readout: what float32 may differ by when the same is computed otherwise


def make_batch(backbone: Backbone, texts: tuple[str, ...] = TEXTS, *, steps: int = 2) -> Batch:
    """Noise from two cameras for every text."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(texts), steps, *backbone.adapter.pictures.size, 3)
    images = {c: torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for c in CAMERAS}
    inputs = backbone.adapter.collate([text for text in texts for _ in range(steps)], len(CAMERAS))
    batch = Batch(inputs=inputs, images=images, state=torch.zeros(len(texts), steps, 0))
    return batch.to(backbone.device)


def readout_is_sound(backbone: Backbone) -> str:
    readout = backbone.encode(make_batch(backbone)).readout
    expected = (2, 2, backbone.num_readouts, backbone.width)
    if readout.shape != expected or readout.dtype != torch.float32:
        return f"the readout must be float32{list(expected)} and is {readout.dtype}{list(readout.shape)}"
    return "" if readout.isfinite().all() else "the readout is not finite"


def cameras_change_it(backbone: Backbone) -> str:
    """A patch of one picture changes the readout of its own step and of no other."""
    batch = make_batch(backbone)
    before = backbone.encode(batch).readout
    for camera in CAMERAS:
        changed = batch.images[camera].clone()
        height, width = changed.shape[2] // 2, changed.shape[3] // 2
        changed[0, 1, :height, :width] = 255 - changed[0, 1, :height, :width]
        after = backbone.encode(batch.with_images(batch.images | {camera: changed})).readout
        if apart(before[0, 1], after[0, 1]) < CLOSE:
            return f"the readout does not see camera {camera!r}"
        if max(apart(before[0, 0], after[0, 0]), apart(before[1], after[1])) > CLOSE:
            return f"a picture of camera {camera!r} changes the readout of another step or row"
    return ""


def words_change_it(backbone: Backbone) -> str:
    batch = make_batch(backbone, ("lift red",) * 2)
    same = batch.with_images({name: x[:1].expand(2, -1, -1, -1, -1) for name, x in batch.images.items()})
    for other in ("lift blue", "push red"):
        inputs = make_batch(backbone, ("lift red", other)).inputs
        readout = backbone.encode(replace(same, inputs=inputs)).readout
        if apart(readout[0], readout[1]) < CLOSE:
            return f"'lift red' and {other!r} have the same readout"
    return ""


def padding_changes_nothing(backbone: Backbone) -> str:
    together = backbone.encode(make_batch(backbone)).readout
    batch = make_batch(backbone)
    for i, text in enumerate(TEXTS):
        images = {name: x[i : i + 1] for name, x in batch.images.items()}
        alone = backbone.encode(make_batch(backbone, (text,)).with_images(images)).readout
        if (found := apart(together[i : i + 1], alone)) > CLOSE:
            return f"a row of a padded batch differs from the row alone by {found:.1e} of its size"
    return ""


def readout_tokens_are_causal(backbone: Backbone) -> str:
    """What stands after a token must not change it."""
    batch = make_batch(backbone, ("lift red",))
    end = int(batch.inputs["readout_positions"][0, -1])
    shape = batch.inputs["input_ids"].shape
    longer = {
        name: torch.cat([x, x[:, end : end + 1]], dim=1) if x.shape == shape else x for name, x in batch.inputs.items()
    }
    before = backbone.encode(batch).readout
    after = backbone.encode(replace(batch, inputs=longer)).readout
    return "" if (found := apart(before, after)) < CLOSE else f"[LRN] sees what comes after it ({found:.1e})"


def gradient_reaches_everything(backbone: Backbone) -> str:
    """[LRN], the words, and the pictures through the whole vision tower."""
    batch = make_batch(backbone)
    pictures = [normalise(x.flatten(0, 1), backbone.adapter.pictures).requires_grad_() for x in batch.images.values()]
    inputs = {name: x for name, x in batch.inputs.items() if name != "readout_positions"}
    tokens = backbone.adapter.hidden(backbone.model, inputs | backbone.adapter.pixels(pictures))
    positions = batch.inputs["readout_positions"]
    backbone.zero_grad()
    tokens[torch.arange(len(positions))[:, None], positions].float().square().sum().backward()
    gradients = {"every [LRN]": backbone.embedding.new.grad, "the words": backbone.embedding.base.weight.grad}
    gradients |= {f"camera {name!r}": x.grad for name, x in zip(CAMERAS, pictures)}
    backbone.zero_grad()
    for name, gradient in gradients.items():
        size = torch.zeros(1) if gradient is None else gradient.flatten(1).abs().amax(1)
        if (size.max() if name == "the words" else size.min()) == 0:  # the prompt has few of all words
            return f"no gradient reaches {name}"
    return ""


def it_is_the_own_forward(backbone: Backbone) -> str:
    """The hidden states at [LRN] are what the language head gets in the model's whole forward on the same inputs."""
    batch = make_batch(backbone)
    positions = batch.inputs["readout_positions"]
    inputs = {name: x for name, x in batch.inputs.items() if name != "readout_positions"}
    cameras = [normalise(x.flatten(0, 1), backbone.adapter.pictures) for x in batch.images.values()]
    given = backbone.adapter.arguments(backbone.model, inputs | backbone.adapter.pixels(cameras))
    seen: list[Tensor] = []
    hook = backbone.model.get_output_embeddings().register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    backbone.model(**given, use_cache=False)
    hook.remove()
    length = inputs["input_ids"].shape[1]
    if seen[0].shape[1] < length:  # a decoder that reads its own beginning and [LRN] only
        positions = positions - positions[:, :1] + 1
    theirs = seen[0][:, -length:][torch.arange(len(positions))[:, None], positions]
    found = apart(backbone.encode(batch).readout.flatten(0, 1), theirs)
    return "" if found < CLOSE else f"the readout differs from the model's own forward by {found:.1e} of its size"


def weights_have_their_own_names(backbone: Backbone) -> str:
    """Under which plain `transformers` would save and load them."""
    with torch.device("meta"):
        plain = type(backbone.model)(backbone.model.config)
    names, ours = set(plain.state_dict()), set(backbone.hub_state())
    missing = names - ours - set(getattr(plain, "all_tied_weights_keys", {}))
    return "" if not (ours - names or missing) else f"names differ: ours {ours - names}, missing {missing}"


def decoding_equals_the_row(backbone: Backbone) -> str:
    """Tokens put after [LRN] one by one, with kept keys and values, are read as in one pass over all of them."""
    batch = make_batch(backbone, steps=1)
    ids = backbone.adapter.words("lift red")[:2]
    whole = backbone.encode(batch).extend(torch.tensor([[ids]] * 2, device=backbone.device))[:, 0]
    decoder = backbone.encode(batch).decoder()
    for i, token in enumerate(ids):
        decoder.push(torch.tensor([token] * 2, device=backbone.device))
        if (found := apart(whole[:, i], decoder.hidden)) > CLOSE:
            return f"token {i + 1} decoded after [LRN] differs by {found:.1e} of its size"
    return ""


def streaming_equals_the_window(backbone: Backbone) -> str:
    """Two steps in one row: the second, read after kept keys and values of the first, is the second of the window."""
    adapter = backbone.adapter
    if not adapter.interleaves:
        return ""
    window = adapter.collate(["lift red"], len(CAMERAS), steps=2, causal=True)
    generator = torch.Generator().manual_seed(0)
    shape = (1, *adapter.pictures.size, 3)
    images = [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(4)]
    images = [x.to(backbone.device) for x in images]
    window = {name: x.to(backbone.device) for name, x in window.items() if name != "readout_positions"}
    whole = backbone.run(window, images)
    if not adapter.streams:
        return ""
    half, cache = whole.shape[1] // 2, backbone.new_cache()
    first = {name: x[:, :half] for name, x in window.items()}
    second = {name: x if name == "attention_mask" else x[:, half:] for name, x in window.items()}
    parts = [backbone.run(first, images[:2], cache), backbone.run(second, images[2:], cache)]
    found = apart(whole[:, -1], parts[1][:, -1])
    return "" if found < CLOSE else f"a streamed step differs from the step in its window by {found:.1e} of its size"


CHECKS: dict[str, Callable[[Backbone], str]] = {
    "readout": readout_is_sound,
    "cameras": cameras_change_it,
    "words": words_change_it,
    "padding": padding_changes_nothing,
    "causal": readout_tokens_are_causal,
    "gradient": gradient_reaches_everything,
    "own forward": it_is_the_own_forward,
    "decoding": decoding_equals_the_row,
    "streaming": streaming_equals_the_window,
    "names": weights_have_their_own_names,
}


def apart(left: Tensor, right: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    return ((left - right).abs().max() / left.abs().max().clamp(min=1e-12)).item()
