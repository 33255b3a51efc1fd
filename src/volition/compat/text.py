"""The words that the reference puts around an instruction, for every model that it names.

    TEXT_STYLES     continuous policies: what is tokenised, and with which options
    prompt          discrete policies and OXE data: a question in the manner of the model's chats
    question        the question itself

Its wrapper and its CALVIN data ask for one step more than are predicted ("What 2 step actions" for one): pass n + 1
for a model that was trained so. Its OXE data ask for n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class TextStyle:
    """`template` has {text}, and may have the tokenizer's {bos} and {eos}."""

    template: str = END_OF_TEXT + "{text}"
    max_length: int = 512
    truncate: bool = True
    add_special_tokens: bool | None = None  # None: the tokenizer's default
    pad_right: bool = True  # else the tokenizer's own side

    def texts(self, instructions: Sequence[str], *, bos: str, eos: str) -> list[str]:
        return [self.template.format(text=text.strip(), bos=bos, eos=eos) for text in instructions]

    def options(self) -> dict[str, Any]:
        """Keyword arguments of the tokenizer's call."""
        options: dict[str, Any] = {"max_length": self.max_length, "padding": "longest", "return_tensors": "pt"}
        if self.truncate:
            options["truncation"] = "only_first"
        if self.add_special_tokens is not None:
            options["add_special_tokens"] = self.add_special_tokens
        return options


_GAP = " " * 13  # the reference's sentence is broken over lines in its source
_CAMERAS = (
    f"You are a helpful language and vision assistant.{_GAP}You are able to understand the visual content that the "
    f"user provides,{_GAP}and assist the user with a variety of tasks using natural language."
    "This is the static camera observation: <image>This is the egocentric girpper camera observation: <image>"
)

DEFAULT_STYLE = TextStyle(add_special_tokens=True)
TEXT_STYLES: dict[str, TextStyle] = {
    "flamingo": TextStyle(template="<image>{text}<|endofchunk|>{eos}", max_length=256),
    "llava": TextStyle(template="{text}", max_length=2048, truncate=False, pad_right=False),
    "llava_orig": TextStyle(template="{bos}" + _CAMERAS + "{text}{eos}", max_length=256),
    "qwen": TextStyle(template="{text}"),
    "kosmos": TextStyle(template="<grounding>An image of a robot {text}"),
    "moondream": DEFAULT_STYLE,
    "uform": TextStyle(template="<image> {text}", add_special_tokens=True),
    "paligemma": TextStyle(template="{eos}{text}\n", add_special_tokens=False),
}

_LLAMA2_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
CHATS: dict[str, str] = {
    "vicuna": _VICUNA_SYSTEM + " USER: {question} ASSISTANT:  </s>",
    "mistral": "[INST] {question} [/INST]  </s>",
    "llama": "[INST] <<SYS>\n" + _LLAMA2_SYSTEM + "\n<</SYS>>\n\n{question} [/INST]  </s>",
    "qwen": "Input: {question}\nOutput:",
}


def question(task: str, steps: int) -> str:
    """What a policy that predicts `steps` actions at once is asked."""
    what = "What action" if steps == 1 else f"What {steps} step actions"
    return f"{what} should the robot take to {task}?"


def prompt(model: str, asked: str, *, bos: str | None, eos: str | None) -> str:
    """The question and the place of its answer; models without a chat of their own use Phi's.

    That one is ended by `eos` (the word None for a tokenizer that has a `bos` only), but not where `bos` is the same.
    """
    if model in CHATS:
        return CHATS[model].format(question=asked)
    if bos is None:
        bos = eos = END_OF_TEXT
    return f"Input: {asked}\nOutput: \n{eos}".replace(bos, "").rstrip()
