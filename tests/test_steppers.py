"""Truths about the methods of stepping: order of convergence, the papers' formulas, laws, invariances, presets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, inf, log, sqrt
from unittest import mock

import pytest
import torch
from torch import Tensor

from frazil.errors import InputError
from frazil.geometry import RigidMotion, alignment_rotation, rigid_align
from frazil.noise import KarrasSchedule
from frazil.sampler import (
    METHODS,
    PRESETS,
    DPMSolver2M,
    Heun,
    Hold,
    PerSampleNoise,
    Preset,
    Sampler,
    Start,
    Stepper,
    StochasticEuler,
    chosen,
)

DETERMINISTIC = {"euler": 1, "heun": 2, "dpm2m": 2}
SCHEDULE = KarrasSchedule(sigma_max=5.0)
ATOMS = 12


def still(stepper: Stepper, schedule: KarrasSchedule = SCHEDULE) -> Sampler:
    return Sampler(schedule, stepper, augmentation=None, align=None)


def mask(batch: int = 1, atoms: int = ATOMS) -> Tensor:
    return torch.ones(batch, atoms, dtype=torch.bool)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise(batch: int = 1, indices=None) -> PerSampleNoise:
    return PerSampleNoise(3, [f"input{b}" for b in range(batch)], indices)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Exact denoiser of K equally likely Gaussians of one standard deviation, means [K, A, 3]."""

    means: Tensor
    std: float = 2.0

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[..., None, None] ** 2
        total = level + self.std**2
        apart = (coords[:, :, None] - self.means).square().sum(dim=(-1, -2))
        share = (-apart / (2 * total[..., 0])).softmax(dim=-1)
        middle = (share[..., None, None] * self.means).sum(dim=2)
        return (coords * self.std**2 + middle * level) / total

    def select(self, rows: slice) -> Mixture:
        return self


GAUSSIAN = Mixture(4 * random(1, ATOMS, 3, seed=7))
PAIR = Mixture(torch.stack([random(3, 3, seed=8), random(3, 3, seed=9)]).double() * 3)


@dataclass(frozen=True, eq=False)
class Rigid:
    """Knows a shape [A, 3] but no frame: part of the way to the shape laid onto its input."""

    shape: Tensor

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[..., None, None] ** 2
        target = self.shape.expand_as(coords)
        target = alignment_rotation(target, coords, torch.ones(coords.shape[:-1])).apply(target)
        return (coords + target * level) / (1 + level)

    def select(self, rows: slice) -> Rigid:
        return self


# --- deterministic methods: order, and the formulas of the papers ---------------------------------------------------


def flow(start: Tensor, sigma: float, denoise: Mixture) -> Tensor:
    """Exact end of the probability-flow ODE of a single Gaussian."""
    return denoise.means + (start - denoise.means) * denoise.std / sqrt(denoise.std**2 + sigma**2)


def orders(stepper: Stepper, denoise: Mixture, exact: Tensor, given: Start, counts: tuple[int, ...]) -> list[float]:
    """Order of convergence between runs of so many steps, by the root mean square error."""
    errors = []
    for steps in counts:
        coords = still(stepper).sample(denoise, mask(1, exact.shape[-2]), 8, steps, noise(), start=given).coords
        errors.append(float((coords - exact).square().mean().sqrt()))
    return [log(a / b) / log(m / n) for (a, b), (n, m) in zip(pairwise(errors), pairwise(counts), strict=True)]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence_on_a_gaussian(name: str) -> None:
    denoise = replace(GAUSSIAN, means=GAUSSIAN.means.double())
    start = 40 * noise().stream(mask(), 8, 1).normal().double()
    found = orders(
        METHODS[name], denoise, flow(start, 40, denoise), Start(torch.zeros(1, ATOMS, 3), 40.0), (100, 200, 400)
    )
    assert found == pytest.approx([DETERMINISTIC[name]] * 2, abs=0.15), found


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence_on_a_mixture(name: str) -> None:
    given = Start(torch.zeros(1, 3, 3, dtype=torch.float64), 40.0)
    fine = still(Heun()).sample(PAIR, mask(1, 3), 8, 1600, noise(), start=given).coords
    found = orders(METHODS[name], PAIR, fine, given, (50, 100, 200))
    assert found == pytest.approx([DETERMINISTIC[name]] * 2, abs=0.15), found


def by_hand(move: Callable[..., Tensor], steps: int, samples: int = 4) -> Tensor:
    """A run in the notation of a paper: `move(x, level, next, draw, index)`; draws in the order of the loop."""
    stream = noise().stream(mask(), samples, 1)
    levels = SCHEDULE.sigmas(steps).tolist()
    x = levels[0] * stream.normal()
    draws = [stream.normal() for _ in range(steps)] + [torch.zeros_like(x)]
    for index, (level, level_next) in enumerate(pairwise(levels)):
        x = move(x, level, level_next, draws, index)
    return x


def denoised(x: Tensor, level: float) -> Tensor:
    return GAUSSIAN(x, torch.full((1, 1), level))


def test_heun_is_algorithm_2_of_karras() -> None:
    def move(x: Tensor, t: float, t_next: float, draws: list[Tensor], index: int) -> Tensor:
        gamma = min(6.0 / 15, sqrt(2) - 1) if 0.05 <= t <= 50 else 0.0
        t_hat = t + gamma * t
        x_hat = x + sqrt(t_hat**2 - t**2) * 1.007 * draws[index]
        d = (x_hat - denoised(x_hat, t_hat)) / t_hat
        x_next = x_hat + (t_next - t_hat) * d
        if t_next == 0:
            return x_next
        d_next = (x_next - denoised(x_next, t_next)) / t_next
        return x_hat + (t_next - t_hat) * (d / 2 + d_next / 2)

    stepper = Heun(churn=6.0, churn_min=0.05, churn_max=50.0, noise_scale=1.007)
    result = still(stepper).sample(GAUSSIAN, mask(), 4, 15, noise())
    torch.testing.assert_close(result.coords, by_hand(move, 15), rtol=0, atol=1e-4)
    assert (result.steps, result.evaluations) == (15, 29)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_dpm_solver_is_that_of_lu_with_noise_after_each_move(eta: float) -> None:
    """The loop adds the same noise before the next evaluation: no approximation."""
    past: list[tuple[Tensor, float]] = []

    def move(x: Tensor, s: float, t: float, draws: list[Tensor], index: int) -> Tensor:
        d = denoised(x, s)
        if t == 0:
            return d
        h = log(s / t)
        target = d
        if past:
            before, h_before = past[-1]
            target = d + (d - before) * h / h_before / 2
        past.append((d, h))
        keep = (t / s) * exp(-eta * h)
        fresh = t * sqrt(1 - exp(-2 * eta * h))
        return keep * x + (1 - exp(-(1 + eta) * h)) * target + fresh * draws[index + 1]

    result = still(DPMSolver2M(eta)).sample(GAUSSIAN, mask(), 4, 15, noise())
    torch.testing.assert_close(result.coords, by_hand(move, 15), rtol=0, atol=1e-4)
    assert result.evaluations == 15


def test_one_and_two_steps() -> None:
    for name in (*DETERMINISTIC, "dpm2m-sde"):
        start = 80 * noise().stream(mask(), 3, 1).normal()
        one = still(METHODS[name]).sample(GAUSSIAN, mask(), 3, 1, noise())
        torch.testing.assert_close(one.coords, denoised(start, 80.0), rtol=0, atol=1e-4)
        assert one.evaluations == 1
    for name, stepper in METHODS.items():
        two = still(stepper).sample(GAUSSIAN, mask(), 3, 2, noise())
        assert two.finite.all() and two.evaluations == stepper.evaluations(2), name


# --- stochastic methods: the law ------------------------------------------------------------------------------------

STOCHASTIC = {
    "heun": Heun(churn=20.0),
    "sde": DPMSolver2M(eta=1.0),
    "between": DPMSolver2M(eta=0.5),
}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_samples_have_the_mean_and_covariance_of_the_data(name: str) -> None:
    """Data with correlated axes; 20,000 points give standard errors of 1 % of a variance."""
    root = torch.tensor([[2.0, 0, 0], [1.5, 1, 0], [0, -0.5, 0.5]])
    values, axes = torch.linalg.eigh(root @ root.T)
    mean = torch.tensor([3.0, -2.0, 1.0])

    def denoise(coords: Tensor, sigma: Tensor) -> Tensor:
        shrink = values / (values + sigma[..., None, None] ** 2)
        return mean + ((coords - mean) @ axes * shrink) @ axes.T

    coords = still(STOCHASTIC[name]).sample(denoise, mask(1, 100), 200, 150, noise()).coords.view(-1, 3)
    assert (coords.mean(dim=0) - mean).abs().max() < 0.08
    assert (coords.T.cov() - root @ root.T).abs().max() < 0.2, coords.T.cov()


# --- what every method keeps ----------------------------------------------------------------------------------------

EVERY = {**METHODS, "heun-churn": Heun(churn=5.0), "between": DPMSolver2M(eta=0.5)}


def drawn(sampler: Sampler, samples: int = 5, batch: int = 1, indices=None, **run) -> Tensor:
    return sampler.sample(GAUSSIAN, mask(batch), samples, 9, noise(batch, indices), **run).coords


@pytest.mark.parametrize("name", EVERY)
def test_a_sample_has_the_same_bits_beside_any_others(name: str) -> None:
    sampler = Sampler(KarrasSchedule(), EVERY[name])
    of_five = drawn(sampler)
    assert torch.equal(of_five[:, :3], drawn(sampler, 3))
    assert torch.equal(of_five[:, 3:4], drawn(sampler, 1, indices=[3]))
    assert torch.equal(of_five, drawn(sampler, batch=2)[:1])
    for limit in (1, 2, 7):
        assert torch.equal(drawn(sampler, batch=2), drawn(replace(sampler, max_parallel_samples=limit), batch=2))
    padded = Mixture(torch.nn.functional.pad(GAUSSIAN.means, (0, 0, 0, 5)))
    atoms = torch.nn.functional.pad(mask(), (0, 5))
    # the mixture's own sum over atoms has no fixed order, but a single Gaussian does not need it
    assert torch.equal(sampler.sample(padded, atoms, 5, 9, noise()).coords[:, :, :ATOMS], of_five)


@pytest.mark.parametrize("name", EVERY)
def test_a_broken_sample_harms_no_other(name: str) -> None:
    class Breaks(Mixture):
        def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
            found = super().__call__(coords, sigma)
            if float(sigma[0, 0]) < 100:
                found[0, 2, 5, 1] = float("nan")
            return found

    sampler = Sampler(KarrasSchedule(), EVERY[name])
    broken = sampler.sample(Breaks(GAUSSIAN.means), mask(), 4, 9, noise())
    assert broken.finite.tolist() == [[True, True, False, True]]
    assert torch.equal(broken.coords[:, [0, 1, 3]], drawn(sampler, 4)[:, [0, 1, 3]])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_turning_the_frame_at_every_step_changes_nothing(name: str) -> None:
    """What is remembered turns along, under augmentation and alignment alike."""
    shape = Rigid(5 * random(ATOMS, 3))
    free = still(METHODS[name]).sample(shape, mask(), 4, 12, noise()).coords
    moved = Sampler(SCHEDULE, METHODS[name]).sample(shape, mask(), 4, 12, noise()).coords
    assert (moved - free).norm(dim=-1).mean() > 1
    # mirror images are met on the way, so the samples are no mere copies of the shape
    assert (rigid_align(moved, free, mask()[:, None]) - free).abs().max() < 2e-3


def test_a_drifting_estimate_is_followed() -> None:
    """A network that gives its estimates in a frame of their own: alignment makes up for it, also of the memory."""

    @dataclass(frozen=True, eq=False)
    class Drifting:
        inner: Rigid

        def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
            generator = torch.Generator().manual_seed(int(1000 * sigma[0, 0]))
            return RigidMotion.random(coords.shape[:2], generator).apply(self.inner(coords, sigma))

    shape = Rigid(5 * random(ATOMS, 3))
    for name in DETERMINISTIC:
        sampler = replace(still(METHODS[name]), align=rigid_align)
        free = sampler.sample(shape, mask(), 4, 12, noise()).coords
        drifting = sampler.sample(Drifting(shape), mask(), 4, 12, noise()).coords
        assert (rigid_align(drifting, free, mask()[:, None]) - free).abs().max() < 2e-3, name


@pytest.mark.parametrize("name", EVERY)
def test_held_atoms_come_back_and_the_rest_finds_its_place(name: str) -> None:
    shape = 5 * random(1, ATOMS, 3)
    held = torch.arange(ATOMS)[None] < 7
    given = RigidMotion.random((1,), torch.Generator().manual_seed(3), 30.0).apply(shape)
    hold = Hold(torch.where(held[..., None], given, float("nan")), held)
    for sampler in (Sampler(KarrasSchedule(), EVERY[name]), Sampler.for_frame(SCHEDULE, turned=False)):
        coords = sampler.sample(Rigid(shape[0]), mask(), 3, 25, noise(), hold=hold).coords
        assert torch.equal(coords[held[:, None].expand(1, 3, ATOMS)], given[held].repeat(3, 1))
        assert (coords - given).norm(dim=-1).max() < 4


@pytest.mark.parametrize("name", [*DETERMINISTIC, "dpm2m-sde"])
def test_partial_diffusion_stays_near_its_start(name: str) -> None:
    given = 4 * random(1, ATOMS, 3, seed=7)
    sampler = Sampler(KarrasSchedule(), METHODS[name], augmentation=None)
    result = sampler.sample(replace(GAUSSIAN, std=0.1), mask(), 2, 8, noise(), start=Start(given, 0.5))
    assert (result.coords - given).norm(dim=-1).max() < 1
    frames = sampler.sample(GAUSSIAN, mask(), 2, 8, noise(), trajectory_every=3).trajectory
    assert [frame.index for frame in frames] == [0, 3, 6, 7]
    torch.testing.assert_close(frames[-1].denoised, sampler.sample(GAUSSIAN, mask(), 2, 8, noise()).coords)


# --- presets, and what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PRESETS, *METHODS])
def test_a_preset_knows_its_evaluations(name: str) -> None:
    preset = chosen(name, 4)
    sampler = preset.sampler(sigma_data=5.0, turned=True, max_parallel_samples=2)
    seen = mock.Mock(side_effect=GAUSSIAN)
    result = sampler.sample(seen, mask(), 2, preset.steps, noise())
    assert result.evaluations == preset.evaluations == seen.call_count
    assert (result.steps, result.samples_at_once) == (4, 2)
    assert float(seen.call_args_list[0].args[1][0, 0]) <= 1.8 * preset.schedule.sigma_max * 5.0 + 1e-3


def test_names_and_numbers_of_presets() -> None:
    assert chosen("reference") == Preset("stochastic", 200) == chosen("stochastic")
    assert chosen("reference").sampler(sigma_data=16.0, turned=True) == Sampler(KarrasSchedule())
    assert chosen("fast").evaluations <= 20 < chosen("balanced").evaluations < 200
    assert chosen("fast", 7).schedule == PRESETS["fast"].schedule
    for name in METHODS:
        assert chosen(name).method == name
    assert METHODS["euler"] == StochasticEuler(gamma_0=0.0, step_scale=1.0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"sampler 'ddim' is unknown: .*reference.*heun"):
        chosen("ddim")
    with pytest.raises(InputError, match="sampling steps is 0"):
        chosen("fast", 0)
    with pytest.raises(InputError, match="'fast' is unknown"):
        Preset("fast", 3)
    for make in (lambda: Heun(churn=-1.0), lambda: Heun(churn_max=float("nan")), lambda: DPMSolver2M(-0.1)):
        with pytest.raises(InputError, match="give at least 0"):
            make()
    assert Heun().churn_max == inf
