from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from frazil.denoiser import Denoiser, ModelConfig, StructureModel
from frazil.errors import InputError
from frazil.features import Features
from frazil.loss import AtomWeights, diffusion_loss
from frazil.noise import KarrasSchedule, Preconditioning
from frazil.sampler import PerSampleNoise, Sampler
from random_features import random_features
from random_model import TINY, random_model


class GaussianNetwork(nn.Module):
    """F of the exact denoiser of N(0, v): D(x, s) = v / (v + s^2) x, solved for F."""

    def __init__(self, variance: float, edm: Preconditioning) -> None:
        super().__init__()
        self.variance, self.edm = variance, edm

    def forward(self, r: Tensor, c_noise: Tensor, conditioning: object) -> Tensor:
        sigma = (self.edm.sigma_data * torch.exp(4 * c_noise))[..., None, None]
        x = r / self.edm.c_in(sigma)
        return (self.variance / (self.variance + sigma**2) - self.edm.c_skip(sigma)) / self.edm.c_out(sigma) * x


@pytest.mark.parametrize("variance", [1.0, 100.0, 256.0])
def test_score_is_the_gradient_of_the_log_density(variance: float) -> None:
    edm = Preconditioning(16.0)
    denoiser = Denoiser(GaussianNetwork(variance, edm), edm)
    # not below 1 A: there the score is a small difference of large numbers
    x, sigma = torch.randn(2, 3, 5, 3).requires_grad_(), torch.rand(2, 3) * 30 + 1
    log_density = (-x.square().sum(dim=(-1, -2)) / (2 * (variance + sigma**2))).sum()
    (expected,) = torch.autograd.grad(log_density, x)
    score = denoiser.score(x, sigma, None)  # type: ignore[arg-type]
    torch.testing.assert_close(score, expected, rtol=2e-4, atol=1e-6)


def test_a_silent_network_denoises_by_scaling_alone() -> None:
    model = StructureModel(TINY)
    torch.nn.init.zeros_(model.denoiser.network.decoder.update.weight)
    features = model.prepare(random_features())
    coords, sigma = torch.randn(1, 2, features.num_atoms, 3), torch.tensor([[0.5, 40.0]])
    denoised = model.denoiser(coords, sigma, model.condition(features))
    expected = 16.0**2 / (16.0**2 + sigma**2)[..., None, None] * coords
    torch.testing.assert_close(denoised, expected)


def test_a_fresh_network_is_of_unit_scale_at_every_noise_level() -> None:
    model = StructureModel(ModelConfig.preset("mini"))
    features = model.prepare(random_features(20))
    coords = torch.randn(1, 5, features.num_atoms, 3)
    c_noise = torch.linspace(-3, 2, 5)[None]
    with torch.no_grad():
        update = model.denoiser.network(coords, c_noise, model.condition(features))
    assert bool((update.square().mean(dim=(-1, -2)).sqrt() < 1.0).all())


def test_padding_and_batch_do_not_change_denoised_atoms() -> None:
    model = random_model()
    one, other = random_features(9), random_features(21, seed=1)
    x = torch.randn(1, 2, one.num_atoms, 3)
    sigma = torch.tensor([[0.5, 40.0]])
    outputs = []
    for features in (model.prepare(one), model.prepare(Features.stack([one, other]))):
        coords = torch.zeros(features.batch_size, 2, features.num_atoms, 3)
        coords[:1, :, : one.num_atoms] = x
        with torch.no_grad():
            denoised = model.denoiser(coords, sigma.expand(len(coords), 2), model.condition(features))
        outputs.append(denoised[:1, :, : one.num_atoms])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)


def test_selecting_structures_of_a_bound_denoiser() -> None:
    model = random_model()
    features = model.prepare(Features.stack([random_features(n, seed=n) for n in (9, 12, 20)]))
    coords = torch.randn(3, 2, features.num_atoms, 3)
    sigma = torch.full((3, 1), 5.0)
    with torch.no_grad():
        denoise = model.denoiser.bind(model.condition(features))
        torch.testing.assert_close(
            denoise.select(slice(1, 3))(coords[1:], sigma[1:]), denoise(coords, sigma)[1:], rtol=1e-5, atol=1e-5
        )


def draw(model: StructureModel, features: Features, samples: list[int], limit: int | None) -> Tensor:
    prepared = model.prepare(features)
    with torch.no_grad():
        denoise = model.denoiser.bind(model.condition(prepared))
        sampler = Sampler(KarrasSchedule(), max_parallel_samples=limit)
        noise = PerSampleNoise(7, ["x"], samples)
        return sampler.sample(denoise, prepared.atom_mask, len(samples), 4, noise).coords[0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tokens", [3, 9, 40])
def test_sample_three_is_bitwise_the_same_however_it_is_drawn(tokens: int, threads: int) -> None:
    model, features = random_model(), random_features(tokens)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        eight = draw(model, features, list(range(8)), None)
        for other in (draw(model, features, list(range(5)), None), draw(model, features, list(range(8)), 1),
                      draw(model, features, list(range(8)), 3)):  # fmt: skip
            assert torch.equal(eight[3], other[3])
        assert torch.equal(eight[3], draw(model, features, [3], None)[0])
    finally:
        torch.set_num_threads(before)


def test_presets_have_the_sizes_they_state() -> None:
    def parameters(model: nn.Module) -> float:
        return sum(p.numel() for p in model.parameters()) / 1e6

    assert 1.5 < parameters(StructureModel(ModelConfig.preset("mini"))) < 3.0
    with torch.device("meta"):
        full = StructureModel(ModelConfig.preset("boltz2"))
    assert abs(parameters(full.conditioner) + parameters(full.denoiser) - 279.6) < 3.0


def test_config_survives_a_round_trip_and_refuses_what_it_does_not_know() -> None:
    for name in ("mini", "boltz2"):
        config = ModelConfig.preset(name)
        assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(InputError, match="token_size"):
        ModelConfig.from_dict({"network": {"token_size": 3}})
    with pytest.raises(InputError, match="token_s"):
        ModelConfig.from_dict({"network": {"token_s": "wide"}})
    with pytest.raises(InputError, match="no preset 'huge'"):
        ModelConfig.preset("huge")


def test_without_alignment_a_turned_truth_costs_what_it_is_off() -> None:
    features = random_features(9)
    target = torch.randn(1, 2, features.num_atoms, 3)
    resolved = torch.ones(1, 2, features.num_atoms, dtype=torch.bool)
    turned = target.flip(-1) * torch.tensor([1.0, -1.0, 1.0])
    arguments = (torch.full((1, 2), 3.0), features, resolved)
    edm, same = Preconditioning(), AtomWeights(0.0, 0.0)
    aligned = diffusion_loss(turned, target, *arguments, preconditioning=edm, weights=same, smooth_lddt=None)
    as_it_lies = diffusion_loss(
        turned, target, *arguments, preconditioning=edm, weights=same, smooth_lddt=None, align=None
    )
    expected = (turned - target).square().mean() * edm.loss_weight(torch.tensor(3.0))
    torch.testing.assert_close(as_it_lies.mse, expected, rtol=1e-4, atol=1e-6)
    assert float(aligned.mse) < 1e-6 < float(as_it_lies.mse)
