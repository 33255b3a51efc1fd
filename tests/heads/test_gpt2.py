"""The decoder is GPT-2's own, and looks back only."""

import pytest
import torch
from transformers import GPT2Config, GPT2Model

from volition.heads import GPT2HeadConfig
from volition.heads.gpt2 import GPT2

# Ours -> theirs, whose linear layers keep their weights transposed.
LAYERS = {
    "attention_norm": "ln_1",
    "queries_keys_values": "attn.c_attn",
    "attended": "attn.c_proj",
    "mlp_norm": "ln_2",
    "widen": "mlp.c_fc",
    "narrow": "mlp.c_proj",
}


def test_it_computes_what_gpt2_computes() -> None:
    torch.manual_seed(0)
    ours = GPT2(width=32, num_layers=2, num_heads=4, max_steps=6)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs = GPT2Model(GPT2Config(vocab_size=1, n_positions=6, n_embd=32, n_layer=2, n_head=4)).eval()
    state = {"wte.weight": torch.zeros(1, 32), "wpe.weight": ours.positions}
    state |= {"ln_f.weight": ours.norm.weight, "ln_f.bias": ours.norm.bias}
    for i, block in enumerate(ours.blocks):
        for mine, name in LAYERS.items():
            layer = getattr(block, mine)
            weight = layer.weight.T if isinstance(layer, torch.nn.Linear) else layer.weight
            state |= {f"h.{i}.{name}.weight": weight, f"h.{i}.{name}.bias": layer.bias}
    theirs.load_state_dict(state, strict=True)
    x = torch.randn(3, 5, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(inputs_embeds=x).last_hidden_state, rtol=1e-5, atol=1e-5)


def test_no_step_sees_a_later_one() -> None:
    torch.manual_seed(0)
    decoder = GPT2(width=16, num_layers=2, num_heads=2, max_steps=4)
    x = torch.randn(2, 4, 16)
    changed = x.clone()
    changed[:, 2] += torch.randn(16)
    with torch.no_grad():
        before, after = decoder(x), decoder(changed)
    assert torch.equal(before[:, :2], after[:, :2])
    assert (before[:, 2:] - after[:, 2:]).abs().amin(dim=(0, 2)).min() > 0


def test_every_attention_head_gets_an_equal_share() -> None:
    with pytest.raises(ValueError, match="width=100 must be a multiple of num_heads=8"):
        GPT2HeadConfig(width=100)
