from __future__ import annotations

import torch
from torch import nn

from volition.backbones.base import ExtendedEmbedding


def test_the_gradient_of_new_tokens_is_the_same_in_every_run() -> None:
    """To the bit and with more threads than one: resuming exactly rests on it."""
    embedding = ExtendedEmbedding(nn.Embedding(8, 64), 1)
    ids = torch.randint(8, 9, (64, 256))
    weight = torch.randn(64, 256, 64)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = [torch.autograd.grad((embedding(ids) * weight).sum(), embedding.new)[0] for _ in range(20)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, found[0]) for gradient in found)
