"""A policy cut down to some of its decoder's layers: it still runs its own forward, and is a stage of a pipeline.

layers before its own let pass what they are given, the last of them with what was received
its own layers compute
the first layer after them ends the pass (`Done`) with what they gave
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from volition.policy import Policy
from volition.training.parts import decoder_layers
from volition.types import Batch, Target


class Done(Exception):  # noqa: N818  no error: the way out of a forward that is somebody else's
    """This stage's layers are through."""

    def __init__(self, hidden: Tensor):
        super().__init__()
        self.hidden = hidden


@dataclass
class Passage:
    """Hidden states on their way into and out of this stage, for the pass that is under way."""

    received: Tensor | None = None  # what the layer before the first of its own gave, to be taken once
    given: Tensor | None = None  # what the last of its own gave
    random: tuple[Tensor, ...] = ()  # states of the generators before the layers of its own


def leave_stage(
    policy: Policy, index: int, degree: int, example: tuple[Batch, Target]
) -> tuple[frozenset[str], frozenset[str], Passage]:
    """Leave the policy the layers of stage `index` of `degree`, in place. ValueError where they cannot be shared out.

    `example`: a part of a batch, by which it is seen how the policy's loss calls them. Returns the names of the weights
    and buffers of these layers, of those that are gone, and by which way hidden states come and go.
    """
    layers = decoder_layers(policy.backbone)
    model = type(policy.backbone.model).__name__
    if len(layers) < degree:
        raise ValueError(
            f"loop.distributed.pipeline={degree} gives every rank one decoder layer at least, and {model} has "
            f"{len(layers)}"
        )
    calls = _watch(policy, layers, example)
    if wrong := _wrong(calls, layers):
        raise ValueError(f"loop.distributed.pipeline cannot share out the layers of {model}: {wrong}")
    first, end = (len(layers) * i // degree for i in (index, index + 1))
    prefix = next(name for name, module in policy.named_modules() if module is layers)
    before, passage = set(policy.state_dict()), Passage()
    for number, (layer, call) in enumerate(zip(layers, calls)):
        if number < first:
            _empty(layer, partial(_let_pass, passage, call.items, index if number == first - 1 else 0))
        elif number >= end:
            _empty(layer, partial(_end, passage))
    layers[end - 1].register_forward_hook(partial(_remember, passage))
    after = set(policy.state_dict())
    own = frozenset(name for name in after if name.startswith(f"{prefix}."))
    return own, frozenset(before - after), passage


@dataclass(frozen=True, kw_only=True)
class _Call:
    """How a layer was called, and what it gave."""

    layer: nn.Module
    keeps: bool  # its keys and values
    same: bool  # hidden states of the shape and type of those that it was given
    items: int  # of the tuple that they came in; 0: in none
    more: bool  # anything besides, in that tuple or in what is passed from layer to layer


@torch.no_grad()
def _watch(policy: Policy, layers: nn.ModuleList, example: tuple[Batch, Target]) -> list[_Call]:
    calls: list[_Call] = []

    def note(layer: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], given: Any) -> None:
        before, after = _hidden(args, kwargs), given[0] if isinstance(given, tuple) else given
        calls.append(
            _Call(
                layer=layer,
                keeps=kwargs.get("past_key_values") is not None,
                same=(before.shape, before.dtype) == (after.shape, after.dtype),
                items=len(given) if isinstance(given, tuple) else 0,
                more=(isinstance(given, tuple) and any(item is not None for item in given[1:]))
                or any(isinstance(value, Mapping) and len(value) for value in kwargs.values()),
            )
        )

    training, device = policy.training, policy.backbone.device
    hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            policy.eval()(example[0].to(device), example[1].to(device))
    finally:
        policy.train(training)
        for hook in hooks:
            hook.remove()
    return calls


def _wrong(calls: Sequence[_Call], layers: nn.ModuleList) -> str:
    """Why they cannot be shared out; "" if they can."""
    if any(call.keeps for call in calls):
        return "this head reads the keys and values of all of them. Take strategy='shard'"
    if [call.layer for call in calls] != list(layers):
        return (
            f"a loss must call each of the {len(layers)} once, in their order, and there were {len(calls)} calls "
            "(tokens of a head with interleaved history and co-training pass more than once). Take strategy='shard'"
        )
    if any(call.more or not call.same for call in calls):
        return "they hand on more than hidden states. Take strategy='shard'"
    return ""


def _empty(layer: Any, forward: Callable[..., Any]) -> None:
    """Keeps what models read from a layer beside calling it (its kind of attention), and lets go of its weights."""
    for inside in (layer._modules, layer._parameters, layer._buffers):
        inside.clear()
    layer.gradient_checkpointing = False
    layer._compiled_call_impl = None
    layer.forward = forward


def _let_pass(passage: Passage, items: int, stage: int, *args: Any, **kwargs: Any) -> Any:
    """`stage`: where this is the last layer before those of its own; else 0."""
    hidden = _hidden(args, kwargs)
    if stage:
        assert passage.received is not None, "one pass a part: `_watch` has seen to it"
        hidden, passage.received = passage.received, None
        # Else every stage would drop what the first one dropped. What comes after the layers draws as it always does.
        passage.random = _random_states(hidden.device)
        torch.manual_seed((torch.initial_seed() + stage * 0x9E3779B97F4A7C15) % (1 << 63))
    return (hidden, *[None] * (items - 1)) if items else hidden


def _end(passage: Passage, *_: Any, **__: Any) -> Any:
    hidden, passage.given = passage.given, None
    assert hidden is not None
    raise Done(hidden)


def _remember(passage: Passage, _: nn.Module, __: Any, given: Any) -> None:
    passage.given = given[0] if isinstance(given, tuple) else given
    if passage.random:
        torch.set_rng_state(passage.random[0])
        for state in passage.random[1:]:
            torch.cuda.set_rng_state(state, passage.given.device)
        passage.random = ()


def _random_states(device: torch.device) -> tuple[Tensor, ...]:
    return torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def _hidden(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]
