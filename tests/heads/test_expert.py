"""Which layers the expert reads, what in them it may see, and what its loss trains."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import make_backbone, make_batch, make_target
from volition.contract import relative_arm_7d
from volition.heads.expert import ExpertHead, ExpertHeadConfig, layer_shapes

ARM = relative_arm_7d()


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("paligemma")


def make(backbone, **config) -> ExpertHead:
    torch.manual_seed(1)
    made = ExpertHeadConfig(width=32, **config).build(backbone, ARM, num_obs_steps=3, horizon=4, state_dim=2)
    assert isinstance(made, ExpertHead)
    return made


@pytest.mark.parametrize(("count", "chosen"), [(1, [1]), (2, [0, 1]), (4, [0, 0, 1, 1])])
def test_layers_are_spread_over_those_of_the_model(backbone, count: int, chosen: list[int]) -> None:
    assert make(backbone, num_layers=count).chosen == chosen


def test_the_models_own_pass_tells_its_shapes(backbone) -> None:
    assert layer_shapes(backbone.train()) == [(2, 16, 16)] * 2
    assert backbone.training
    backbone.eval()
    assert make(backbone, queries_per_key=3).blocks[0].queries.out_features == 2 * 3 * 16


def test_it_sees_what_the_mask_shows_and_nothing_else(backbone) -> None:
    head = make(backbone)
    batch = make_batch(backbone, ["lift red", "push the blue block"], steps=1, state_dim=2)
    noisy, time = torch.randn(2, 1, 4, 7), torch.rand(2, 1)
    with torch.no_grad():
        seen = head.look(backbone.encode(batch), batch.state)
        before = head.denoise(noisy, time, seen)
        hidden = ~seen.mask[:, None, :, None]
        assert hidden[0].any(), "the shorter row is padded"
        scrambled = [(keys + 9 * hidden, values - 9 * hidden) for keys, values in seen.layers]
        assert torch.equal(before, head.denoise(noisy, time, replace(seen, layers=scrambled)))
        for layer in range(len(seen.layers)):
            for kind in range(2):
                changed = [list(pair) for pair in seen.layers]
                changed[layer][kind] = changed[layer][kind] * (1 + 0.5 * torch.rand_like(changed[layer][kind]))
                after = head.denoise(noisy, time, replace(seen, layers=[tuple(pair) for pair in changed]))
                assert not torch.allclose(before, after)


def test_chunks_that_share_a_row_do_not_see_each_other(backbone) -> None:
    head = make(backbone)
    batch = make_batch(backbone, ["lift red", "push the blue block"], steps=1, state_dim=2)
    noisy, time = torch.randn(2, 3, 4, 7), torch.rand(2, 3)
    with torch.no_grad():
        seen = head.look(backbone.encode(batch), batch.state)
        together = head.denoise(noisy, time, seen)
        for i in range(3):
            alone = head.denoise(noisy[:, i : i + 1], time[:, i : i + 1], seen)
            torch.testing.assert_close(together[:, i : i + 1], alone)


def test_actions_of_a_chunk_and_the_state_see_each_other(backbone) -> None:
    head = make(backbone)
    batch = make_batch(backbone, ["lift red"], steps=1, state_dim=2)
    noisy, time = torch.randn(1, 1, 4, 7), torch.rand(1, 1)
    with torch.no_grad():
        seen = head.look(backbone.encode(batch), batch.state)
        before = head.denoise(noisy, time, seen)
        for step in range(4):
            changed = noisy.clone()
            changed[:, :, step] += 1
            after = head.denoise(changed, time, seen)
            assert ((before - after).abs().sum(-1) > 0).all()
        assert not torch.allclose(before, head.denoise(noisy, time, replace(seen, state=seen.state + 1)))
        assert not torch.allclose(before, head.denoise(noisy, time + 0.1, seen))


def test_its_loss_trains_the_model_behind_the_keys() -> None:
    backbone = make_backbone("paligemma")
    head = make(backbone)
    batch = make_batch(backbone, ["lift red"], state_dim=2)
    head.loss(backbone.encode(batch), batch, make_target(batch, ARM)).total.backward()
    moved = [name for name, p in backbone.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    for part in (
        "embed_tokens.new",
        "patch_embedding",
        "multi_modal_projector",
        "layers.0.mlp",
        "layers.1.self_attn.k",
    ):
        assert any(part in name for name in moved), part


def test_layers_that_forget_are_refused(backbone) -> None:
    head = make(backbone)
    batch = make_batch(backbone, ["lift red"], steps=1, state_dim=2)
    encoded = backbone.encode(batch)
    encoded.layers = [(keys[..., 3:, :], values[..., 3:, :]) for keys, values in encoded.layers]
    with pytest.raises(ValueError, match="sliding window"):
        head.look(encoded, batch.state)


def test_a_model_without_keys_is_refused(backbone, monkeypatch) -> None:
    monkeypatch.setattr(type(backbone.encode(make_batch(backbone, ["lift red"]))), "layers", [])
    with pytest.raises(ValueError, match="keeps none"):
        make(backbone)


@pytest.mark.parametrize("name", ["width", "num_layers", "queries_per_key", "num_draws", "num_steps"])
def test_settings_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ExpertHeadConfig(**{name: 0})
