"""Truths about the particle filter: weights, groups, ancestry, broken particles, bounds, independence of samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from analytic import Gaussian, Quadratic, weighted
from torch import Tensor

from frazil.errors import InputError
from frazil.geometry import sum_atoms
from frazil.noise import KarrasSchedule
from frazil.potentials.base import Potential
from frazil.sampler import (
    Estimate,
    PerSampleNoise,
    ReferenceNoise,
    Sampler,
    SampleResult,
    Step,
    StepRecord,
    StochasticEuler,
)
from frazil.steering import Guidance, KeepAll, Multinomial, ParticleFilter, Stratified, Systematic
from frazil.steering.particles import FilterState

INF, NAN = float("inf"), float("nan")
ATOMS = 9


@dataclass(frozen=True, eq=False)
class Height(Potential):
    """`scale` times the sum of x coordinates, in a fixed order."""

    scale: float = 1.0

    def energy(self, coords: Tensor, t: float) -> Tensor:
        return self.scale * sum_atoms(coords)[..., 0]

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        return torch.zeros_like(coords) + self.scale * torch.tensor([1.0, 0, 0])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


GAUSSIAN = Gaussian(4 * random(ATOMS, 3, seed=7))
FILTER = ParticleFilter((weighted(Height()),), num_particles=3, strength=0.3, interval=2)
BOTH = replace(FILTER, guidance=Guidance((weighted(Height(), 0.02),), num_moves=3))


def sampled(
    steering,
    samples: int = 4,
    batch: int = 1,
    indices=None,
    atoms: int = ATOMS,
    denoise=GAUSSIAN,
    steps: int = 12,
    **run,
) -> SampleResult:
    mask = (torch.arange(atoms) < ATOMS).expand(batch, atoms)
    noise = PerSampleNoise(3, [f"input{b}" for b in range(batch)], indices)
    limit = run.pop("limit", None)
    sampler = Sampler(KarrasSchedule(), steering=steering, max_parallel_samples=limit)
    return sampler.sample(denoise, mask, samples, steps, noise, **run)


# --- one step -------------------------------------------------------------------------------------------------------


def step(index: int = 0, num_steps: int = 10, variance: float = 9.0) -> Step:
    return Step(index, num_steps, 4.0, 5.0, 2.0, variance, 1.5)


def record(energies: list[list[float]], at: Step) -> StepRecord:
    """Samples of one atom whose x is the energy of `Height`."""
    coords = torch.zeros(len(energies), len(energies[0]), 1, 3)
    coords[..., 0, 0] = torch.tensor(energies)
    atoms = torch.ones(len(energies), 1, dtype=torch.bool)
    label = torch.arange(coords[..., 0, 0].numel(), dtype=torch.float32).view(*coords.shape[:2], 1, 1).expand_as(coords)
    return StepRecord(at, atoms, atoms, label, label, label, coords)


def begun(steering: ParticleFilter, batch: int, groups: int) -> FilterState:
    stream = PerSampleNoise(0, [f"input{b}" for b in range(batch)]).stream(
        torch.ones(batch, 1, dtype=torch.bool), groups, steering.num_particles
    )
    return steering.begin(torch.ones(batch, 1, dtype=torch.bool), groups, stream)


ONCE = ParticleFilter((weighted(Height()),), num_particles=2, strength=2.0, interval=1, keep=KeepAll())


def weigh(steering: ParticleFilter, *steps: tuple[Step, list[float]]) -> FilterState:
    state = begun(steering, 1, len(steps[0][1]) // steering.num_particles)
    for at, energies in steps:
        _, state = steering.steer(record([energies], at), state)
    return state


def test_weights_are_the_exponentials_of_strength_times_energy() -> None:
    state = weigh(ONCE, (step(9), [1.0, 1.5, 40.0, 40.25]))
    expected = torch.tensor([[[2 * 0.5, 0.0], [2 * 0.25, 0.0]]]).log_softmax(dim=-1)
    torch.testing.assert_close(state.final, expected)
    torch.testing.assert_close(ONCE.report(state).log_weights, expected.flatten(1))
    ((index, size),) = ONCE.report(state).effective_sizes
    torch.testing.assert_close((index, size), (9, 1 / expected.exp().square().sum(dim=-1)))


def test_without_resampling_the_weights_are_those_of_the_last_energy_alone() -> None:
    """Differences of energy telescope."""
    never = replace(ONCE, ess_threshold=0.0)
    state = weigh(never, *[(step(k), [k + 1.0, -0.5 * k]) for k in range(9)], (step(9), [3.0, 3.5]))
    torch.testing.assert_close(state.final, torch.tensor([[[1.0, 0.0]]]).log_softmax(dim=-1), rtol=0, atol=1e-4)


def test_steps_that_weigh_are_the_noisy_ones_of_the_interval_and_the_last() -> None:
    three = replace(ONCE, interval=3)
    quiet = [(step(k, variance=9.0 if k < 5 else 0.0), [1.0, 2.0]) for k in range(10)]
    assert [index for index, _ in weigh(three, *quiet).effective_sizes] == [0, 3, 9]


def test_a_filter_that_never_sees_noise_selects_at_the_end() -> None:
    """Row 6e."""
    steering = replace(FILTER, num_particles=8, strength=100.0)
    euler = StochasticEuler(gamma_0=0.0, step_scale=1.0)
    run = Sampler(KarrasSchedule(), euler, augmentation=None, align=None, steering=steering)
    noise, atoms = PerSampleNoise(0, ["a"]), torch.ones(1, ATOMS, dtype=torch.bool)
    kept = run.sample(GAUSSIAN, atoms, 2, 10, noise)
    all_kept = replace(run, steering=replace(steering, keep=KeepAll())).sample(GAUSSIAN, atoms, 2, 10, noise)
    lowest = Height().energy(all_kept.coords, 0.0).view(1, 2, 8).amin(dim=-1)
    assert torch.equal(Height().energy(kept.coords, 0.0), lowest)
    assert [index for index, _ in kept.steering.effective_sizes] == [9]


@pytest.mark.parametrize(("threshold", "resampled"), [(1.0, [True, True]), (0.6, [True, False]), (0.0, [False, False])])
def test_a_group_is_resampled_where_its_effective_size_is_below_the_threshold(threshold, resampled) -> None:
    steering = replace(ONCE, ess_threshold=threshold, num_particles=4)
    given = record([[0.0, 9.0, 9.0, 9.0, 1.0, 1.01, 1.02, 1.03]], step(0))
    chosen, state = steering.steer(given, begun(steering, 1, 2))
    groups = chosen.parents.view(2, 4)
    assert groups[0].eq(0).all().item() is resampled[0]
    assert torch.equal(groups[1], torch.arange(4, 8)) is not resampled[1]
    assert state.log_weights[0].eq(0).all(dim=-1).tolist() == resampled
    assert torch.equal(chosen.noisy[..., 0, 0], chosen.parents.float())


@pytest.mark.parametrize("resampler", [Multinomial(), Systematic(), Stratified()])
@pytest.mark.parametrize(
    ("energies", "possible"),
    [
        ([INF, 5.0, INF], {1}),
        ([1e30, 3e29, 1e30], {1}),
        ([3e38, 3e38, 3e38], {0, 1, 2}),
        ([-INF, 0.0, 1e36], {1}),
        ([NAN, 700.0, 700.0], {1, 2}),
        ([NAN, NAN, NAN], {0, 1, 2}),
    ],
)
def test_any_energy_is_safe(resampler, energies: list[float], possible: set[int]) -> None:
    """x = NaN or inf makes the particle non-finite, so that it is impossible; large ones compare as they should."""
    steering = ParticleFilter((weighted(Height()),), 3, strength=4.0, interval=1, resampler=resampler)
    state = begun(steering, 1, 1)
    for index in range(5):
        chosen, state = steering.steer(record([energies], step(index)), state)
        assert set(chosen.parents[0].tolist()) <= possible
        assert not state.log_weights.isnan().any()
        _, calm = steering.steer(record([[3.0, 2.0, 50.0]], step(index + 1)), state)
        assert not calm.log_weights.isnan().any()
    lost = steering.report(state).lost.tolist()
    assert lost == [[0]] if all(e != e for e in energies) else lost == [[-1]]


def test_a_group_of_huge_energies_still_tells_small_ones_apart() -> None:
    """Row "log-weights safe for any energy": what was 1e30 for all must not swallow the differences that follow."""
    state = weigh(replace(ONCE, ess_threshold=0.0), (step(0), [1e30, 1e30]), (step(9), [3.0, 3.5]))
    torch.testing.assert_close(state.final, torch.tensor([[[1.0, 0.0]]]).log_softmax(dim=-1), rtol=0, atol=1e-4)


# --- whole runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_all", [False, True])
@pytest.mark.parametrize("resampler", [Multinomial(), Systematic(), Stratified()])
def test_a_sample_has_the_same_bits_beside_any_others(resampler, keep_all: bool) -> None:
    steering = replace(BOTH, resampler=resampler, ess_threshold=0.9 if keep_all else 1.0)
    steering = replace(steering, keep=KeepAll()) if keep_all else steering

    def of(result: SampleResult, sample: int = 3) -> Tensor:
        return result.coords[0].view(-1, 3 if keep_all else 1, *result.coords.shape[2:])[sample, ..., :ATOMS, :]

    alone = of(sampled(steering, 1, indices=[3]), 0)
    for limit in (None, 1, 2, 5):
        assert torch.equal(of(sampled(steering, 4, limit=limit)), alone)
    assert torch.equal(of(sampled(steering, 7, batch=3, limit=4)), alone)
    assert torch.equal(of(sampled(replace(steering, atoms_at_once=20), 4)), alone)
    padded = Gaussian(torch.cat([GAUSSIAN.mean, torch.zeros(5, 3)]))
    assert torch.equal(of(sampled(steering, 4, atoms=ATOMS + 5, denoise=padded)), alone)


def test_selection_does_not_shift_the_noise() -> None:
    """With strength 0 and systematic draws every particle keeps itself: the run is the unsteered one."""
    idle = replace(FILTER, strength=0.0, resampler=Systematic(), keep=KeepAll())
    noise = PerSampleNoise(3, ["input0"])
    atoms = torch.ones(1, ATOMS, dtype=torch.bool)
    steered = sampled(idle, 2)
    stream = noise.stream(atoms, 2, 3)
    assert torch.equal(stream.normal(), noise.stream(atoms, 2, 3).normal())
    drawn = noise.stream(atoms, 2, 3)
    drawn.uniform(5)
    assert torch.equal(drawn.normal(), noise.stream(atoms, 2, 3).normal())
    torch.testing.assert_close(steered.steering.log_weights.exp(), torch.full((1, 6), 1 / 3))
    assert not torch.equal(drawn.uniform(5), drawn.uniform(5))


def test_energies_fall_with_strength() -> None:
    heights = [
        float(Height().energy(sampled(replace(FILTER, strength=s, num_particles=20), 16).coords, 0.0).mean())
        for s in (0.0, 0.05, 1.0)
    ]
    assert heights[0] > heights[1] + 1 > heights[2] + 2


def test_the_bound_holds_with_particles() -> None:
    largest = []

    class Metered(Gaussian):
        def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
            largest.append(coords.shape[0] * coords.shape[1])
            return super().__call__(coords, sigma)

    result = sampled(BOTH, 3, batch=2, limit=4, denoise=Metered(GAUSSIAN.mean))
    assert max(largest) == result.samples_at_once == 4
    assert sum(largest) == 12 * 2 * 3 * 3
    assert result.coords.shape == (2, 3, ATOMS, 3)


def test_ancestry_leads_back_to_the_start_and_groups_never_mix() -> None:
    """Without noise to tell them apart a particle's path is followed by what the denoiser saw and gave."""
    steering = replace(BOTH, strength=2.0)
    full = sampled(steering, 3, batch=2, trajectory_every=1)
    coarse = sampled(steering, 3, batch=2, trajectory_every=5)
    frames = full.trajectory
    assert [f.parents is None for f in frames] == [index not in (0, 2, 4, 6, 11) for index in range(12)]
    lineage = torch.arange(9).expand(2, 9)
    at_start = {}
    for frame in frames:
        lineage = lineage if frame.parents is None else lineage.gather(1, frame.parents)
        at_start[frame.index] = lineage
        particles = lineage.shape[1] // 3
        assert torch.equal(lineage // 3, torch.arange(3).repeat_interleave(particles).expand_as(lineage))
    assert frames[-1].parents.shape == (2, 3)
    together = torch.arange(9).expand(2, 9)
    for frame in coarse.trajectory:
        together = together if frame.parents is None else together.gather(1, frame.parents)
        assert torch.equal(together, at_start[frame.index])
    assert any(len(set(row.tolist())) < 9 for row in at_start[6])  # something was selected


def test_frames_hold_the_children_of_their_parents() -> None:
    """Nothing happens between two noiseless frames but the step: a child starts where its parent ended."""
    steering = replace(FILTER, strength=2.0, interval=1)
    stepper = StochasticEuler(gamma_0=1e-7, gamma_min=-1.0, noise_scale=1e-4)  # noisy enough to be weighed
    run = Sampler(KarrasSchedule(), stepper, augmentation=None, align=None, steering=steering)
    atoms = torch.ones(1, ATOMS, dtype=torch.bool)
    result = run.sample(GAUSSIAN, atoms, 2, 12, PerSampleNoise(0, ["a"]), trajectory_every=1)
    plan = stepper.plan(KarrasSchedule().sigmas(12))
    for before, after in zip(result.trajectory[:-1], result.trajectory[1:], strict=True):
        estimate = Estimate(before.noisy, before.denoised, before.denoised, GAUSSIAN)
        ended, _ = stepper.advance(plan[before.index], estimate, ())
        torch.testing.assert_close(after.noisy, ended[:, after.parents[0]], rtol=1e-5, atol=1e-2)


@dataclass(frozen=True, eq=False)
class Breaking(Gaussian):
    """Loses the samples whose first atom starts on one side."""

    everything: bool = False

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        bad = (coords[..., :1, :1] > 0) | torch.tensor(self.everything)
        return torch.where(bad & (sigma < 1000)[..., None, None], NAN, super().__call__(coords, sigma))


def test_broken_particles_die_out_and_lost_groups_are_told() -> None:
    steering = replace(BOTH, num_particles=12, interval=1)
    some = sampled(steering, 4, denoise=Breaking(GAUSSIAN.mean), steps=4)
    assert some.steering.lost.tolist() == [[-1] * 4] and some.finite.all()
    sizes = dict(some.steering.effective_sizes)
    assert (sizes[1] < 12).all()
    every = sampled(steering, 2, batch=2, denoise=Breaking(GAUSSIAN.mean, everything=True), steps=4)
    assert every.steering.lost.tolist() == [[1, 1], [1, 1]] and not every.finite.any()
    assert dict(every.steering.effective_sizes)[3].eq(0).all()


def test_a_lost_group_harms_no_other() -> None:
    class OneGroup(Gaussian):
        def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
            denoised = super().__call__(coords, sigma)
            denoised[:, 3:6] = NAN
            return denoised

    good = sampled(BOTH, 3)
    bad = sampled(BOTH, 3, denoise=OneGroup(GAUSSIAN.mean))
    assert bad.steering.lost.tolist() == [[-1, 0, -1]]
    assert bad.finite.tolist() == [[True, False, True]]
    assert torch.equal(bad.coords[:, [0, 2]], good.coords[:, [0, 2]])


def test_the_global_generator_is_drawn_from_once_for_all_groups_with_reference_noise() -> None:
    """What parity needs: start, then each step's motion and noise, then one draw for the selection."""
    asked = []

    class Spy:
        def choose(self, weights: Tensor, count: int, uniform) -> Tensor:
            asked.append((tuple(weights.shape), count))
            return torch.multinomial(weights.flatten(0, 1), count, replacement=True).view(*weights.shape[:2], count)

    steering = replace(FILTER, resampler=Spy(), interval=5)
    atoms = torch.ones(2, ATOMS, dtype=torch.bool)
    torch.manual_seed(1)
    result = Sampler(KarrasSchedule(), steering=steering).sample(GAUSSIAN, atoms, 4, 12, ReferenceNoise())
    assert asked == [((2, 4, 3), 3), ((2, 4, 3), 3), ((2, 4, 3), 1)]
    assert result.coords.shape == (2, 4, ATOMS, 3)
    torch.manual_seed(1)
    stream = ReferenceNoise().stream(atoms, 4, 3)
    assert stream.normal().shape == (2, 12, ATOMS, 3)
    assert stream.uniform(5).shape == (2, 4, 5)


def test_guidance_and_particles_go_together() -> None:
    both, alone = sampled(BOTH).steering, sampled(BOTH.guidance).steering
    assert both.guided_steps == alone.guided_steps == 12
    assert sampled(FILTER).steering.guided_steps == 0
    assert alone.effective_sizes == () and alone.log_weights is None
    assert both.log_weights is None and both.lost.tolist() == [[-1] * 4]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"potentials": ()}, "without potentials"),
        ({"num_particles": 0}, "num_particles of the particle filter is 0"),
        ({"interval": 0}, "interval of the particle filter is 0"),
        ({"atoms_at_once": 0}, "atoms_at_once"),
        ({"strength": -1.0}, r"strength \(lambda\) of the particle filter is -1.0"),
        ({"strength": NAN}, "strength"),
        ({"strength": INF}, "strength"),
        ({"ess_threshold": 1.5}, "ess_threshold of the particle filter is 1.5"),
    ],
)
def test_bad_numbers_are_refused(change: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        replace(FILTER, **change)


def test_a_potential_that_scores_wrongly_is_named() -> None:
    class Broken(Potential):
        name = "mine"

        def energy(self, coords: Tensor, t: float) -> Tensor:
            return torch.full(coords.shape[:2], NAN)

    with pytest.raises(InputError, match="potential mine: its energy is NaN"):
        sampled(
            replace(FILTER, potentials=(weighted(Broken()), weighted(Quadratic(torch.zeros(1, 3), torch.ones(1, 1)))))
        )
