"""The engine against the plain network, which is the truth."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.denoiser import BoundDenoiser, Denoiser, ModelConfig, PlainDenoiser, StructureModel
from frazil.features import Features
from frazil.nn.compute import Compute
from frazil.nn.engine import Engine
from frazil.nn.engine.attention import (
    Attend,
    attend_fused,
    attend_in_parts,
    attend_in_products,
    attend_whole,
    windows_at_once,
    windows_by_sample,
    windows_in_cache,
)
from frazil.nn.engine.compiled import CompiledForward, Forward
from frazil.nn.engine.products import PackedProduct, PlainProduct, Product
from frazil.nn.engine.products import product as product_of
from frazil.noise import Preconditioning
from random_features import random_features
from random_model import TINY, random_model

OPTIONS = [
    {},
    {"transformer_post_ln": True},
    {"activation_checkpointing": True},
    {"use_no_atom_char": True},
    {"use_atom_backbone_feat": True, "use_residue_feats_atoms": True},
    {"atoms_per_window_queries": 4, "atoms_per_window_keys": 24},
    {"atoms_per_window_queries": 64, "atoms_per_window_keys": 64},
    {"conditioning_transition_layers": 3, "token_transformer_depth": 1, "atom_encoder_depth": 3},
]


def changed(**options: object) -> ModelConfig:
    return replace(TINY, network=replace(TINY.network, **options))


def tokens_of_one_atom(count: int) -> Features:
    """A structure of `count` tokens of one atom each."""
    features = random_features(60)
    sizes = torch.bincount(features.atom_token_index[0], minlength=60)
    return features.crop((sizes == 1).nonzero()[:count, 0])


def both(
    model: StructureModel, features: Features, sigma: Tensor, samples: int = 3, compute: Compute | None = None
) -> tuple[Tensor, Tensor]:
    """Plain and fast estimates of existing atoms."""
    generator = torch.Generator().manual_seed(5)
    B, A = features.atom_mask.shape
    coords = 15 * torch.randn((B, samples, A, 3), generator=generator)
    with torch.no_grad():
        conditioning = model.condition(features)
        plain = model.denoiser(coords, sigma, conditioning)
    fast = model.denoiser.bind(conditioning, compute)(coords, sigma)
    present = features.atom_mask[:, None].expand(-1, samples, -1)
    return plain[present], fast[present]


SHARED = torch.tensor([[7.0]])
EACH = torch.tensor([[0.01, 3.0, 2000.0]])


@pytest.mark.parametrize("options", OPTIONS, ids=[" ".join(o) or "default" for o in OPTIONS])
@pytest.mark.parametrize("sigma", [SHARED, EACH], ids=["one sigma", "a sigma each"])
def test_the_engine_gives_what_the_plain_network_gives(options: dict[str, object], sigma: Tensor) -> None:
    model = random_model(changed(**options))
    plain, fast = both(model, model.prepare(random_features(23)), sigma)
    assert (plain - fast).abs().max() < 2e-4


@pytest.mark.parametrize("tokens", [1, 2, 5, 16, 17, 33, 64])
def test_sizes_odd_and_even(tokens: int) -> None:
    model = random_model()
    plain, fast = both(model, model.prepare(random_features(tokens)), SHARED)
    assert (plain - fast).abs().max() < 2e-4


def test_atoms_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frazil.nn.engine.network.ATOMS_AT_ONCE", 64)
    model = random_model()
    plain, fast = both(model, model.prepare(random_features(50)), SHARED)
    assert (plain - fast).abs().max() < 2e-4


@pytest.mark.parametrize("count", [1, 2])
def test_tokens_of_one_atom(count: int) -> None:
    model = random_model()
    features = tokens_of_one_atom(count)
    assert features.num_atoms == count
    plain, fast = both(model, model.prepare(features), EACH)
    assert (plain - fast).abs().max() < 2e-4


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_batches_padding_and_absent_windows(precision: str) -> None:
    model = random_model()
    features = Features.stack([model.prepare(random_features(n, seed=n)) for n in (60, 2, 17)])
    assert not bool(features.atom_mask.unflatten(1, (-1, 32)).any(dim=-1).all())
    sigma = torch.tensor([[0.3], [20.0], [800.0]])
    plain, fast = both(model, features, sigma, compute=Compute(precision))
    assert (plain - fast).abs().max() < 2e-4


def test_atoms_that_do_not_exist_do_not_matter() -> None:
    model = random_model()
    features = Features.stack([model.prepare(random_features(n, seed=n)) for n in (40, 9)])
    with torch.no_grad():
        denoise = model.denoiser.bind(model.condition(features))
    coords = torch.randn(2, 2, features.num_atoms, 3)
    other = torch.where(features.atom_mask[:, None, :, None], coords, 100 * torch.randn(coords.shape))
    sigma = torch.full((2, 1), 4.0)
    kept = features.atom_mask[:, None].expand(-1, 2, -1)
    assert torch.equal(denoise(coords, sigma)[kept], denoise(other, sigma)[kept])


def test_bf16_deviates_by_its_rounding_alone() -> None:
    model = random_model(ModelConfig.preset("mini"))
    features = model.prepare(random_features(40))
    plain, fast = both(model, features, SHARED, samples=4, compute=Compute("bf16"))
    deviation = (plain - fast).square().sum(dim=-1).mean().sqrt()
    assert 1e-4 < deviation < 0.15


def test_bf16_keeps_coordinates_at_low_noise() -> None:
    model = random_model()
    plain, fast = both(model, model.prepare(random_features(20)), torch.tensor([[1e-3]]), compute=Compute("bf16"))
    assert (plain - fast).abs().max() < 1e-4


def test_the_engine_changes_none_of_its_inputs() -> None:
    model = random_model()
    features = model.prepare(random_features(12))
    coords, sigma = torch.randn(1, 2, features.num_atoms, 3), torch.tensor([[3.0]])
    with torch.no_grad():
        conditioning = model.condition(features)
        before = copy.deepcopy(conditioning)
        denoise = model.denoiser.bind(conditioning)
    given = coords.clone()
    first = denoise(coords, sigma)
    assert torch.equal(coords, given) and torch.equal(first, denoise(coords, sigma))
    assert torch.equal(conditioning.atom_q, before.atom_q) and torch.equal(conditioning.atom_c, before.atom_c)
    assert all(torch.equal(a, b) for a, b in zip(conditioning.token_bias, before.token_bias, strict=True))


def test_new_weights_make_a_new_engine_and_the_same_ones_do_not() -> None:
    model = random_model()
    features = model.prepare(random_features(12))
    coords = torch.randn(1, 2, features.num_atoms, 3)
    with torch.no_grad():
        conditioning = model.condition(features)
        model.denoiser.bind(conditioning)
        engine = model.denoiser._engines.of(model.denoiser.network, Compute())
        assert model.denoiser._engines.of(model.denoiser.network, Compute()) is engine
        for parameter in model.denoiser.parameters():
            parameter.mul_(0.9)
        plain = model.denoiser(coords, SHARED, conditioning)
    torch.testing.assert_close(model.denoiser.bind(conditioning)(coords, SHARED), plain, rtol=0, atol=2e-4)


def step_of_a_fused_optimiser(network: nn.Module) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()


def change_behind_autograds_back(network: nn.Module) -> None:
    network.decoder.update.weight.data[0, 0] += 1e-3


def loaded(network: nn.Module) -> None:
    network.load_state_dict({name: 0.8 * value for name, value in network.state_dict().items()})


def rows_swapped(network: nn.Module) -> None:
    with torch.no_grad():
        network.encoder.to_token.weight.copy_(network.encoder.to_token.weight.flip(0))


@pytest.mark.parametrize("change", [rows_swapped, step_of_a_fused_optimiser, change_behind_autograds_back, loaded])
def test_no_change_of_weights_goes_unnoticed(change: Callable[[nn.Module], None]) -> None:
    model = random_model()
    features = model.prepare(random_features(12))
    coords = torch.randn(1, 2, features.num_atoms, 3)
    with torch.no_grad():
        conditioning = model.condition(features)
    before = model.denoiser.bind(conditioning)(coords, SHARED)
    change(model.denoiser.network)
    with torch.no_grad():
        plain = model.denoiser(coords, SHARED, conditioning)
    after = model.denoiser.bind(conditioning)(coords, SHARED)
    torch.testing.assert_close(after, plain, rtol=0, atol=2e-4)
    assert not torch.equal(before, after)


def test_a_copy_of_the_denoiser_has_an_engine_of_its_own() -> None:
    model = random_model()
    features = model.prepare(random_features(12))
    with torch.no_grad():
        conditioning = model.condition(features)
        model.denoiser.bind(conditioning)
        twin = copy.deepcopy(model.denoiser)
        twin.network.decoder.update.weight.zero_()
        coords = torch.randn(1, 1, features.num_atoms, 3)
        denoised = twin.bind(conditioning)(coords, torch.tensor([[16.0]]))
    torch.testing.assert_close(denoised, coords / 2)
    assert list(twin.state_dict()) == list(model.denoiser.state_dict())


def test_a_network_of_ones_own_is_called_as_it_is() -> None:
    class Silent(nn.Module):
        def forward(self, r: Tensor, c_noise: Tensor, conditioning: object) -> Tensor:
            return torch.zeros_like(r)

    denoiser = Denoiser(Silent(), Preconditioning(16.0))
    denoise = denoiser.bind(None)  # type: ignore[arg-type]
    assert isinstance(denoise, PlainDenoiser)
    torch.testing.assert_close(denoise(torch.ones(1, 1, 4, 3), torch.tensor([[16.0]])), torch.full((1, 1, 4, 3), 0.5))


def test_autocast_around_the_engine_does_not_reach_it() -> None:
    model = random_model()
    features = model.prepare(random_features(12))
    coords = torch.randn(1, 2, features.num_atoms, 3)
    with torch.no_grad():
        conditioning = model.condition(features)
    alone = model.denoiser.bind(conditioning)(coords, SHARED)
    with torch.autocast("cpu", torch.bfloat16):
        surrounded = model.denoiser.bind(conditioning)(coords, SHARED)
    assert torch.equal(alone, surrounded)


def test_the_engine_gives_no_gradients_and_the_plain_path_does() -> None:
    model = random_model()
    features = model.prepare(random_features(12))
    conditioning = model.condition(features)
    coords = torch.randn(1, 1, features.num_atoms, 3, requires_grad=True)
    fast = model.denoiser.bind(conditioning)
    assert isinstance(fast, BoundDenoiser)
    torch.autograd.grad(model.denoiser.plain(conditioning)(coords, SHARED).sum(), coords)
    update = fast(coords.detach(), SHARED)
    assert not update.requires_grad


@pytest.mark.parametrize("attend", [windows_by_sample, windows_in_cache, windows_at_once])
def test_windowed_attention_is_attention_under_a_mask_of_windows(attend: Attend) -> None:
    g = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 24, 2, 5, generator=g)
    bias = torch.randn(2, 6, 2, 4, 12, generator=g)
    whole = torch.full((2, 2, 24, 24), -torch.inf)
    for block, row, key in product(range(6), range(4), range(12)):
        place = 4 * block + key - 4
        if 0 <= place < 24:
            whole[:, :, 4 * block + row, place] = bias[:, block, :, row, key]
        else:
            bias[:, block, :, row, key] = -1e6
    torch.testing.assert_close(attend(q, k, v, bias), attend_whole(q, k, v, whole[:, None]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 50, 400])
@pytest.mark.parametrize("attend", [attend_in_parts, attend_in_products])
def test_attention_in_parts_is_attention(length: int, attend: Attend) -> None:
    g = torch.Generator().manual_seed(length)
    q, k, v = torch.randn(3, 2, 2, length, 8, 4, generator=g)
    bias = torch.randn(2, 1, 8, length, length, generator=g)
    torch.testing.assert_close(attend(q, k, v, bias), attend_fused(q, k, v, bias), rtol=1e-4, atol=1e-5)


def test_bf16_of_a_long_input_deviates_by_its_rounding_alone() -> None:
    model = random_model()
    features = model.prepare(random_features(210))
    plain, fast = both(model, features, SHARED, samples=2, compute=Compute("bf16"))
    assert 1e-4 < (plain - fast).square().sum(dim=-1).mean().sqrt() < 0.15


def compiled(forward: Forward) -> CompiledForward:
    return CompiledForward(forward, num_tokens=3, worth=lambda r: True)


@pytest.mark.slow
def test_a_compiled_engine_gives_what_the_plain_network_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    compile_with_torch = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: made.append(k["mode"]) or compile_with_torch(*a, **k))
    # as on GPUs, where compiling pays: the packed product is a CPU's
    monkeypatch.setattr("frazil.nn.engine.products._can_be_packed", lambda weight: False)
    model = random_model()
    features = model.prepare(random_features(20))
    with torch.no_grad():
        conditioning = model.condition(features)
        network = model.denoiser.network
        r, c_noise = torch.randn(1, 2, features.num_atoms, 3), torch.tensor([[0.3]])
        run = CompiledForward(Engine(network, Compute()).bind(conditioning), 20, worth=lambda r: True)
        torch.testing.assert_close(run(r, c_noise), network(r, c_noise, conditioning), rtol=1e-4, atol=1e-4)
    assert made == ["reduce-overhead"] and not run._broken


def test_what_cannot_be_compiled_is_run_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", no_compiler)
    run = compiled(lambda r, c_noise: 2 * r)
    for _ in range(2):
        assert torch.equal(run(torch.ones(1, 1, 3, 3), torch.ones(1, 1)), torch.full((1, 1, 3, 3), 2.0))


def test_memory_that_runs_out_is_no_reason_to_give_up_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        compiled(lambda r, c_noise: r)(torch.ones(1, 1, 3, 3), torch.ones(1, 1))


def test_small_calls_become_graphs_and_large_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def note(forward: Forward, mode: str) -> Forward:
        modes.append(mode)
        return forward

    monkeypatch.setattr(torch, "compile", note)
    run = CompiledForward(lambda r, c_noise: r, num_tokens=512, worth=lambda r: True)
    for samples in (1, 2, 3, 3):
        run(torch.ones(1, samples, 3, 3), torch.ones(1, 1))
    assert modes == ["reduce-overhead", "default"]


def test_on_a_cpu_asking_for_compilation_changes_nothing() -> None:
    model = random_model()
    features = model.prepare(random_features(12))
    with torch.no_grad():
        conditioning = model.condition(features)
    coords = torch.randn(1, 2, features.num_atoms, 3)
    asked, plain = (model.denoiser.bind(conditioning, Compute(compile=c))(coords, SHARED) for c in (True, False))
    assert torch.equal(asked, plain)


PRODUCTS = [PlainProduct, PackedProduct]


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("rows", [1, 7, 16, 130])
@pytest.mark.parametrize("has_bias", [True, False])
def test_products_are_linear_layers_with_something_behind(kind: type[Product], rows: int, has_bias: bool) -> None:
    g = torch.Generator().manual_seed(rows)
    x, weight = torch.randn(2, rows, 24, generator=g), torch.randn(40, 24, generator=g)
    bias = torch.randn(40, generator=g) if has_bias else None
    factor = torch.randn(2, rows, 40, generator=g)
    made, expected = kind(weight, bias), F.linear(x, weight, bias)
    for given, truth in (
        (made(x), expected), (made.relu(x), expected.relu()), (made.sigmoid(x), expected.sigmoid()),
        (made.silu(x), F.silu(expected)), (made.times(x, factor), expected * factor),
    ):  # fmt: skip
        torch.testing.assert_close(given, truth, rtol=1e-5, atol=1e-5)


def test_a_machine_without_the_packed_product_uses_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: PackedProduct, weight: Tensor, bias: Tensor | None) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(PackedProduct, "__init__", missing)
    assert isinstance(product_of(torch.ones(16, 16), None, torch.bfloat16), PlainProduct)
    model = random_model()
    plain, fast = both(model, model.prepare(random_features(9)), SHARED)
    assert (plain - fast).abs().max() < 2e-4
