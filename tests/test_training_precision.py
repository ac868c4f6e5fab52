"""Training in bf16 and with shared noise levels: the gradients are those of plain float32 training, up to rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from frazil.allocator import keep_freed_memory
from frazil.checkpoint import load_tensors
from frazil.denoiser import StructureModel
from frazil.errors import InputError
from frazil.features import Features
from frazil.nn.compute import Compute
from frazil.trainer import TrainSettings
from frazil.trainer.precision import float32_products, forward_products
from random_features import random_features
from tiny_run import TINY, loss_columns, run_quietly, tiny_settings, write_ensemble

COPIES = 3
CPU = torch.device("cpu")


def random_model(recompute: bool = False) -> StructureModel:
    """A model in which every weight matters."""
    config = replace(TINY, network=replace(TINY.network, activation_checkpointing=recompute))
    model, generator = StructureModel(config), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            fan = parameter.shape[-1] if parameter.dim() > 1 else 25
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
    return model


def gradients(
    features: Features, precision: str = "float32", *, repeat_sigma: bool = False, recompute: bool = False
) -> dict[str, Tensor]:
    """Gradients of a sum over denoised atoms, by parameter, and the denoised coordinates as `denoised`."""
    model, generator = random_model(recompute), torch.Generator().manual_seed(1)
    prepared = model.prepare(features)
    shape = (features.batch_size, COPIES, prepared.num_atoms, 3)
    coords, upstream = torch.randn(2, *shape, generator=generator) * prepared.atom_mask[:, None, :, None]
    sigma = torch.linspace(0.5, 20, features.batch_size)[:, None]
    with forward_products(Compute(precision), CPU):
        denoise = model.denoiser.plain(model.condition(prepared))
        denoised = denoise(10 * coords, sigma.expand(-1, COPIES) if repeat_sigma else sigma)
    assert denoised.dtype == torch.float32
    (denoised * upstream).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    return found | {"denoised": (denoised * prepared.atom_mask[:, None, :, None]).detach()}


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest relative difference of a tensor; of tensors that hardly matter, relative to what does."""
    assert found.keys() == expected.keys()
    floor = 1e-2 * max(float(x.norm()) for name, x in expected.items() if name != "denoised")
    return max(float((found[n] - x).norm()) / max(float(x.norm()), floor) for n, x in expected.items())


def inputs() -> dict[str, Features]:
    no_bonds = {"token_bonds": torch.full((1, 1, 2), -1), "token_bond_type": torch.ones(1, 1).long()}
    one_token = replace(random_features(1), **no_bonds)
    first = torch.arange(one_token.num_atoms)[None] < 1
    return {
        "two structures": Features.stack([random_features(9), random_features(21, seed=1)]),
        "odd": random_features(17),
        "one token": one_token,
        "one atom": replace(one_token, atom_mask=first),
    }


@pytest.mark.parametrize("name", inputs())
def test_a_shared_sigma_has_the_gradients_of_one_repeated(name: str) -> None:
    features = inputs()[name]
    assert difference(gradients(features), gradients(features, repeat_sigma=True)) < 1e-4


@pytest.mark.parametrize("name", inputs())
def test_gradients_in_bf16_are_those_of_float32_up_to_its_rounding(name: str) -> None:
    features = inputs()[name]
    assert 1e-4 < difference(gradients(features, "bf16"), gradients(features)) < 0.1


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_recomputed_activations_give_the_same_gradients(precision: str) -> None:
    features = inputs()["two structures"]
    kept, recomputed = (gradients(features, precision, recompute=recompute) for recompute in (False, True))
    assert difference(recomputed, kept) < 1e-6


def test_noise_levels_and_coordinates_do_not_pass_through_bf16() -> None:
    network = random_model().denoiser.network
    x = 100 + torch.rand(5, 3)
    with forward_products(Compute("bf16"), CPU):
        inside = network.encoder.position(x), network.single.fourier(x[:, 0])
    assert torch.equal(inside[0], network.encoder.position(x))
    assert torch.equal(inside[1], network.single.fourier(x[:, 0]))


def test_tf32_holds_inside_its_context_only() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    for name in ("tf32", "float32"):
        with float32_products(Compute(name)):
            assert matmul.allow_tf32 == (name == "tf32")
        assert matmul.allow_tf32 == before


def test_a_run_in_bf16_learns_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    data = write_ensemble(tmp_path)
    settings = tiny_settings(precision="bf16", decay_fraction=0.0, max_steps=6)
    run_quietly(data, tmp_path / "one", settings)
    run_quietly(data, tmp_path / "two", replace(settings, max_steps=4))
    with pytest.raises(InputError, match="precision was bf16, now float32"):
        run_quietly(data, tmp_path / "two", replace(settings, precision="float32"), resume=True)
    run_quietly(data, tmp_path / "two", settings, resume=True)
    assert loss_columns(tmp_path / "one") == loss_columns(tmp_path / "two")
    one, two = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) and one[name].dtype == torch.float32 for name in one)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="'half'"):
        TrainSettings(precision="half")


def test_keeping_freed_memory_can_be_asked_for_twice() -> None:
    assert keep_freed_memory() == keep_freed_memory()
