"""Guidance and particles with each method of stepping: the tilted law, the same step by step, selection."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from analytic import FastNoise, Gaussian, Quadratic, weighted
from torch import Tensor

from frazil.geometry import RigidMotion
from frazil.noise import KarrasSchedule
from frazil.potentials.base import Weighted
from frazil.potentials.schedules import Constant
from frazil.sampler import (
    METHODS,
    DPMSolver2M,
    Estimate,
    Heun,
    NoiseStream,
    PerSampleNoise,
    Sampler,
    SteeringReport,
    StepRecord,
)
from frazil.steering import Guidance, KeepAll, ParticleFilter, Systematic

ATOMS = 12
DETERMINISTIC = ("euler", "heun", "dpm2m")
EVERY = {**METHODS, "heun-churn": Heun(churn=5.0), "between": DPMSolver2M(eta=0.5)}
SCHEDULE = KarrasSchedule(sigma_max=5.0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


GAUSSIAN = Gaussian(4 * random(ATOMS, 3, seed=7))
ALL = torch.ones(1, ATOMS, dtype=torch.bool)


def still(method, schedule: KarrasSchedule = SCHEDULE, steering=None) -> Sampler:
    return Sampler(schedule, method, augmentation=None, align=None, steering=steering)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("method", [DPMSolver2M(eta=1.0), DPMSolver2M(eta=0.5), Heun(churn=25.0)], ids=str)
def test_particle_averages_are_those_of_the_tilted_law(method, guided: bool) -> None:
    """A Gaussian under a quadratic energy: its tilted mean and variance are closed forms, and far from the untilted."""
    pull = Quadratic(torch.full((1, 3), 5.0), torch.full((1, 1), 0.1))
    acting = (Weighted(pull, guidance=Constant(0.5), resampling=Constant(1.0)),)
    guidance = Guidance(acting, num_moves=1, last_step=False) if guided else None
    steering = ParticleFilter(acting, 10_000, 2.0, 2, Systematic(), keep=KeepAll(), guidance=guidance)
    sampler = still(method, KarrasSchedule(sigma_max=2.5, sigma_min=0.01), steering)
    law = Gaussian(torch.zeros(1, 3), std=1.0)
    result = sampler.sample(law, torch.ones(1, 1, dtype=torch.bool), 4, 100, FastNoise(0))
    weights = result.steering.log_weights[0].view(4, -1, 1).exp()
    points = result.coords[0, :, 0].view(4, -1, 3)
    mean = (weights * points).sum(dim=1).mean()
    variance = (weights * (points - mean) ** 2).sum(dim=1).mean()
    assert float(mean) == pytest.approx(2 * 0.1 * 5 / (1 + 2 * 0.1), abs=0.04)
    assert float(variance) == pytest.approx(1 / (1 + 2 * 0.1), abs=0.05)


@pytest.mark.parametrize("name", EVERY)
def test_guidance_moves_by_the_pull_alone(name: str) -> None:
    """What the particle filter's correction relies on."""
    noisy, clean, moved, before = (random(1, 2, ATOMS, 3, seed=k).double() for k in range(4))

    def again(coords: Tensor, sigma: float) -> Tensor:
        return GAUSSIAN(coords, torch.full((1, 1), sigma))

    for step in EVERY[name].plan(SCHEDULE.sigmas(6)):
        memory = (before,) if step.extrapolation else ()
        free, _ = EVERY[name].advance(step, Estimate(noisy, clean, clean, again), memory)
        guided, _ = EVERY[name].advance(step, Estimate(noisy, clean + moved, clean, again), memory)
        torch.testing.assert_close(guided - free, step.pull * moved)


@dataclass(frozen=True)
class Swapping:
    """Exchanges the two particles of each sample at every step."""

    num_particles: int = 2

    def begin(self, atom_mask: Tensor, num_samples: int, noise: NoiseStream) -> None:
        return None

    def move(self, state: None, motion: RigidMotion) -> None:
        return None

    def steer(self, record: StepRecord, state: None) -> tuple[StepRecord, None]:
        return record.select(torch.tensor([[1, 0, 3, 2]])), None

    def report(self, state: None) -> SteeringReport:
        return SteeringReport(0, (), None, torch.zeros(1, 2))


@dataclass(frozen=True)
class ByParticle:
    """The same four streams whether they are samples or particles."""

    def stream(self, atom_mask: Tensor, num_samples: int, num_particles: int) -> NoiseStream:
        return PerSampleNoise(3, ["x"]).stream(atom_mask, num_samples * num_particles, 1)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_what_is_remembered_follows_the_selected_particles(name: str) -> None:
    """Seven exchanges are one."""
    free = still(METHODS[name]).sample(GAUSSIAN, ALL, 4, 7, ByParticle())
    swapped = still(METHODS[name], steering=Swapping()).sample(GAUSSIAN, ALL, 2, 7, ByParticle())
    assert torch.equal(swapped.coords, free.coords[:, [1, 0, 3, 2]])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_method_without_noise_selects_by_energy_at_the_end(name: str) -> None:
    pull = Quadratic(torch.zeros(ATOMS, 3), torch.ones(ATOMS, 1))
    steering = ParticleFilter((weighted(pull),), num_particles=8, strength=100.0)
    noise = PerSampleNoise(0, ["x"])
    kept = still(METHODS[name], steering=steering).sample(GAUSSIAN, ALL, 2, 6, noise)
    every = still(METHODS[name], steering=replace(steering, keep=KeepAll())).sample(GAUSSIAN, ALL, 2, 6, noise)
    energies = pull.energy(every.coords, 0.0).view(1, 2, 8)
    assert torch.equal(pull.energy(kept.coords, 0.0), energies.amin(dim=-1))
    assert [step for step, _ in kept.steering.effective_sizes] == [5]


@pytest.mark.parametrize("name", EVERY)
def test_a_steered_sample_has_the_same_bits_beside_any_others(name: str) -> None:
    pull = (weighted(Quadratic(torch.ones(ATOMS, 3), torch.ones(ATOMS, 1)), guidance=0.02),)
    steering = ParticleFilter(pull, num_particles=3, strength=0.1, interval=2, guidance=Guidance(pull, num_moves=2))

    def drawn(samples: int, limit: int | None = None, indices=None) -> Tensor:
        sampler = Sampler(SCHEDULE, EVERY[name], steering=steering, max_parallel_samples=limit)
        return sampler.sample(GAUSSIAN, ALL, samples, 9, PerSampleNoise(3, ["x"], indices)).coords

    of_four = drawn(4)
    assert torch.equal(of_four[:, :2], drawn(2))
    assert torch.equal(of_four, drawn(4, limit=5))
    assert torch.equal(of_four[:, 2:3], drawn(1, indices=[2]))
