"""The figure of merit of particles: averages equal those of the law p(x) exp(-lambda E(x)), known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from analytic import Dumbbell, FastNoise, Length, Mixture, Quadratic
from torch import Tensor

from frazil.noise import KarrasSchedule
from frazil.potentials.base import Potential, Weighted
from frazil.potentials.schedules import Constant
from frazil.sampler import Sampler, StochasticEuler
from frazil.steering import Guidance, KeepAll, Multinomial, ParticleFilter, ResamplingStepsOnly, Systematic

STEPS, PARTICLES, SEEDS, LAMBDA = 200, 2000, 20, 2.0
# Noise at every step, and steps so short that Euler's error in the averages (0.01 A) is below the standard errors.
SCHEDULE = KarrasSchedule(sigma_max=40 / 16, sigma_min=0.03 / 16)
STILL = Sampler(SCHEDULE, StochasticEuler(0.01, -1.0, 1.0, 1.0), augmentation=None, align=None)
MEANS = torch.tensor([[[3.0, 0, 0], [0, 2, 0]], [[-2, 2, 0], [0, -2, 1]], [[0, -3, 1], [1, 0, -2]]])
MIXTURE = Mixture(torch.tensor([0.5, 0.3, 0.2]), MEANS, std=0.5)
PULL = Quadratic(torch.tensor([[-2.0, 1, 0], [0, -1, 1]]), torch.tensor([[0.1], [0.06]]))
DUMBBELL = Dumbbell(torch.tensor([0.7, 0.3]), torch.tensor([3.0, 6.0]), std=0.5)
STRETCH = Length(target=7.0, force=0.1)


@dataclass(frozen=True)
class Vanishing:
    """A guidance weight that falls as the square of sigma once that is below 0.5 A, as the exact guidance would."""

    def at(self, t: float) -> float:
        level = float(SCHEDULE.sigmas(STEPS)[round((1 - t) * STEPS)]) ** 2
        return LAMBDA / 4 * level / (level + 0.25)


def particles(potential: Potential, guided: bool, **options) -> ParticleFilter:
    pull = Weighted(potential, Vanishing(), Constant(1.0))
    guidance = Guidance((pull,), num_moves=1, last_step=False) if guided else None
    filters = ParticleFilter((pull,), PARTICLES, LAMBDA, interval=3, resampler=Systematic(), keep=KeepAll())
    return replace(filters, guidance=guidance, **options)


def averages(
    sampler: Sampler, denoise, observe: Callable[[Tensor], Tensor], seeds: int = SEEDS
) -> tuple[Tensor, Tensor]:
    """Mean over seeds of the particles' weighted averages of `observe`, and its standard error; a group is a seed."""
    result = sampler.sample(denoise, torch.ones(1, 2, dtype=torch.bool), seeds, STEPS, FastNoise(0))
    weights = result.steering.log_weights.view(seeds, PARTICLES, 1).double().exp()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(seeds, 1).double(), rtol=0, atol=1e-3)
    each = (weights * observe(result.coords[0]).view(seeds, PARTICLES, -1)).sum(dim=1) / weights.sum(dim=1)
    return each.mean(dim=0), each.std(dim=0) / seeds**0.5


def tell(name: str, found: Tensor, error: Tensor, exact: Tensor) -> Tensor:
    rounded = [[round(v, 3) for v in values.reshape(-1).tolist()] for values in (exact, found, error)]
    deviation = (found - exact.reshape(-1)) / error
    print(f"\n{name}: exact {rounded[0]} found {rounded[1]} standard error {rounded[2]} z {deviation.tolist()}")
    return deviation


def length(coords: Tensor) -> Tensor:
    return (coords[:, 0] - coords[:, 1]).norm(dim=-1, keepdim=True)


def unsteered(sampler: Sampler, denoise, seeds: int = SEEDS) -> Tensor:
    atom_mask = torch.ones(1, 2, dtype=torch.bool)
    return sampler.sample(denoise, atom_mask, seeds * PARTICLES, STEPS, FastNoise(0)).coords[0]


def reweighted(sampler: Sampler, denoise, seeds: int = SEEDS) -> tuple[Tensor, Tensor]:
    """Lengths [seed, particle] of unsteered samples, and the weights that tilt the sampler's own law."""
    coords = unsteered(sampler, denoise, seeds)
    weights = (-LAMBDA * STRETCH.energy(coords[None], 0.0)).view(seeds, PARTICLES).double().softmax(dim=-1)
    return length(coords).view(seeds, PARTICLES), weights


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("options", [{}, {"resampler": Multinomial()}, {"ess_threshold": 0.5}], ids=str)
def test_particle_averages_are_those_of_the_tilted_law(guided: bool, options: dict) -> None:
    sampler = replace(STILL, steering=particles(PULL, guided, **options))
    found, error = averages(sampler, MIXTURE, lambda coords: coords.flatten(1))
    exact = MIXTURE.tilted(PULL, LAMBDA).mean()
    assert tell(f"mixture guided={guided} {options}", found, error, exact).abs().max() < 3
    assert (exact - MIXTURE.mean()).abs().max() > 50 * error.min()  # the tilt is much larger than what is tested


@pytest.mark.slow
def test_the_sampler_itself_has_the_untilted_mean() -> None:
    coords = unsteered(STILL, MIXTURE).view(SEEDS, PARTICLES, 6).mean(dim=1)
    error = coords.std(dim=0) / SEEDS**0.5
    assert tell("mixture unsteered", coords.mean(dim=0), error, MIXTURE.mean()).abs().max() < 3


@pytest.mark.slow
def test_correcting_some_noisy_steps_only_is_biased() -> None:
    """Row 6d: why every noisy step counts."""
    sampler = replace(STILL, steering=particles(PULL, guided=True, correction=ResamplingStepsOnly()))
    found, error = averages(sampler, MIXTURE, lambda coords: coords.flatten(1))
    exact = MIXTURE.tilted(PULL, LAMBDA).mean()
    assert tell("mixture, corrected at resampling steps only", found, error, exact).abs().max() > 4


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
def test_moving_the_samples_keeps_the_law(guided: bool) -> None:
    """The shift of the proposal turns with the frame.

    Judged against reweighted samples of the same sampler, whose own error is 0.04 A here.
    """
    moved = Sampler(SCHEDULE, STILL.stepper, align=None)
    free, weights = reweighted(moved, DUMBBELL)
    each = (weights * free).sum(dim=-1)
    found, error = averages(replace(moved, steering=particles(STRETCH, guided)), DUMBBELL, length)
    both = (error**2 + each.var() / SEEDS).sqrt()
    closed = [DUMBBELL.tilted_length(STRETCH, strength) for strength in (0.0, LAMBDA)]
    print(f"\nclosed forms: untilted {closed[0]:.3f}, tilted {closed[1]:.3f}; unsteered {free.mean():.3f}")
    assert tell(f"dumbbell guided={guided}", found, both, each.mean()).abs().max() < 3
    assert abs(float(found) - closed[1]) < 0.1 < (closed[1] - closed[0]) / 10


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
def test_the_bias_of_the_default_settings_is_stated(guided: bool) -> None:
    """Step scale 1.5, alignment, no noise below 1 A, guidance to the last step, KarrasSchedule's range."""
    pull = Weighted(STRETCH, Constant(0.1), Constant(1.0))
    steering = particles(STRETCH, guided=False, resampler=Multinomial())
    steering = replace(steering, potentials=(pull,), guidance=Guidance((pull,), num_moves=5) if guided else None)
    plain, seeds = Sampler(KarrasSchedule()), 4
    free, weights = reweighted(plain, DUMBBELL, seeds)
    found, error = averages(replace(plain, steering=steering), DUMBBELL, length, seeds)
    exact = torch.tensor([DUMBBELL.tilted_length(STRETCH, LAMBDA)])
    tell(f"defaults guided={guided}", found, error, exact)
    own = float((weights * free).sum() / seeds)
    untilted = DUMBBELL.tilted_length(STRETCH, 0.0)
    print(f"unsteered {free.mean():.3f}, exact {untilted:.3f}; the sampler's own law reweighted {own:.3f}")
    assert float(found) > float(free.mean()) + 3 * float(error)
