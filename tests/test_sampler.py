"""Truths about the sampling loop: closed forms for Gaussian data, parity with Boltz-2, independence of samples."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from unittest import mock

import pytest
import torch
from torch import Tensor

from frazil.errors import FrazilError, InputError
from frazil.geometry import RigidMotion, alignment_rotation
from frazil.noise import KarrasSchedule
from frazil.sampler import (
    CenterOnly,
    Estimate,
    PerSampleNoise,
    ReferenceNoise,
    Sampler,
    Start,
    StochasticEuler,
    is_out_of_memory,
    stable_seed,
)

SCHEDULE = KarrasSchedule()
DETERMINISTIC = StochasticEuler(gamma_0=0.0, step_scale=1.0)
ODE = Sampler(SCHEDULE, DETERMINISTIC, augmentation=None, align=None)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Exact denoiser of atoms at N(mean, std^2), each coordinate on its own; mean [B, 1, A, 3]."""

    mean: Tensor
    std: float = 2.0

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        noise = sigma[..., None, None] ** 2
        return (coords * self.std**2 + self.mean * noise) / (noise + self.std**2)

    def select(self, rows: slice) -> Gaussian:
        return replace(self, mean=self.mean[rows])


def rigid_denoise(template: Tensor):
    """A denoiser that turns with its input: part of the way to `template` [B, 1, A, 3] laid onto the input."""

    def denoise(coords: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[..., None, None] ** 2
        weights = torch.ones(coords.shape[:-1])
        target = alignment_rotation(template.expand_as(coords), coords, weights).apply(template.expand_as(coords))
        return (coords * 4 + target * level) / (4 + level)

    return denoise


def names(batch: int) -> list[str]:
    return [f"input{b}" for b in range(batch)]


def mask(batch: int, atoms: int) -> Tensor:
    return torch.ones(batch, atoms, dtype=torch.bool)


def template(batch: int, atoms: int, scale: float = 5.0) -> Tensor:
    """A structure of its own for each row, the same in any batch."""
    rows = [torch.randn(1, atoms, 3, generator=torch.Generator().manual_seed(7 + b)) for b in range(batch)]
    return scale * torch.stack(rows)


# --- closed forms ---------------------------------------------------------------------------------------------------


def flow(start: Tensor, sigma: float, sigma_next: float, denoise: Gaussian) -> Tensor:
    """Exact probability-flow ODE of Gaussian data: the distance from the mean shrinks with the total deviation."""
    ratio = sqrt((denoise.std**2 + sigma_next**2) / (denoise.std**2 + sigma**2))
    return denoise.mean + (start - denoise.mean) * ratio


def test_a_deterministic_run_follows_the_exact_flow_with_order_one() -> None:
    denoise = Gaussian(template(1, 9).double(), std=2.0)
    first = float(SCHEDULE.sigmas(2)[0])
    noise = PerSampleNoise(3, names(1))
    start = first * noise.stream(mask(1, 9), 4, 1).normal()
    exact = flow(start.double(), first, 0.0, denoise)
    errors = []
    for steps in (100, 200, 400, 800):
        result = ODE.sample(denoise, mask(1, 9), 4, steps, noise)
        errors.append(float((result.coords.double() - exact).abs().max()))
    ratios = [a / b for a, b in pairwise(errors)]
    assert all(1.8 < ratio < 2.2 for ratio in ratios), ratios
    assert errors[-1] < 0.2


def test_samples_have_the_mean_and_variance_of_the_data() -> None:
    denoise = Gaussian(template(1, 50), std=2.0)
    coords = ODE.sample(denoise, mask(1, 50), 200, 200, PerSampleNoise(0, names(1))).coords
    spread = coords - denoise.mean
    # 30000 numbers: standard error of the mean 0.012, of the deviation 0.008; the method's own bias is below 4 %.
    assert abs(float(spread.mean())) < 0.05
    assert abs(float(spread.std()) - 2.0) < 0.1


@pytest.mark.parametrize(
    "stepper",
    [StochasticEuler(), StochasticEuler(0.3, 0.01, 1.0, 1.0), StochasticEuler(gamma_0=0.1, noise_scale=1.2)],
)
def test_the_variance_obeys_its_exact_recursion(stepper: StochasticEuler) -> None:
    """A Gaussian denoiser is linear, so each step maps variance v to a^2 (v + fresh), whatever the parameters."""
    denoise = Gaussian(template(1, 50), std=2.0)
    variance = 0.0
    for step in stepper.plan(SCHEDULE.sigmas(50)):
        variance = step.sigma**2 if step.index == 0 else variance
        removed = step.sigma_hat / (step.sigma_hat**2 + denoise.std**2)
        factor = 1 + step.step_scale * (step.sigma_next - step.sigma_hat) * removed
        variance = factor**2 * (variance + step.noise_variance)
    coords = replace(ODE, stepper=stepper).sample(denoise, mask(1, 50), 400, 50, PerSampleNoise(0, names(1))).coords
    spread = coords - denoise.mean
    assert abs(float(spread.mean())) < 0.02 * sqrt(variance)
    assert abs(float(spread.std()) / sqrt(variance) - 1) < 0.015


def test_one_step_gives_the_denoised_start() -> None:
    denoise = Gaussian(template(2, 6))
    noise = PerSampleNoise(1, names(2))
    first = float(SCHEDULE.sigmas(1)[0])
    start = first * noise.stream(mask(2, 6), 3, 1).normal()
    result = ODE.sample(denoise, mask(2, 6), 3, 1, noise)
    expected = denoise(start, torch.full((2, 1), first))
    torch.testing.assert_close(result.coords, expected, rtol=0, atol=1e-3)  # float32 at 2560 A
    assert result.steps == 1


def test_step_numbers_follow_the_next_sigma() -> None:
    plan = StochasticEuler(gamma_0=0.5, gamma_min=1.0, noise_scale=2.0).plan(torch.tensor([4.0, 2.0, 1.0, 0.5, 0.0]))
    assert [step.sigma_hat for step in plan] == [6.0, 2.0, 1.0, 0.5]
    assert [step.noise_variance for step in plan] == [4 * (36 - 16), 0.0, 0.0, 0.0]
    assert [step.t for step in plan] == [1.0, 0.75, 0.5, 0.25]
    assert [step.is_last for step in plan] == [False, False, False, True]


def test_partial_diffusion_starts_at_the_structure_and_follows_the_flow() -> None:
    denoise = Gaussian(template(1, 20).double(), std=2.0)
    given = denoise.mean[:, 0].float() + 1.5
    noise = PerSampleNoise(3, names(1))
    x = given[:, None] + 3.0 * noise.stream(mask(1, 20), 2, 1).normal()
    result = ODE.sample(denoise, mask(1, 20), 2, 800, noise, start=Start(given, 3.0))
    torch.testing.assert_close(result.coords.double(), flow(x.double(), 3.0, 0.0, denoise), rtol=0, atol=0.02)
    near = Sampler(SCHEDULE, augmentation=None).sample(
        Gaussian(given[:, None], std=1e-3), mask(1, 20), 1, 20, noise, start=Start(given, 0.05)
    )
    assert float((near.coords - given).norm(dim=-1).max()) < 0.3


def test_each_sample_may_have_its_own_start() -> None:
    given = template(1, 5).expand(1, 2, 5, 3) + torch.tensor([0.0, 30.0])[None, :, None, None]
    noise = PerSampleNoise(0, names(1))
    coords = ODE.sample(Gaussian(given, 0.1), mask(1, 5), 2, 10, noise, start=Start(given, 0.01)).coords
    assert float((coords - given).abs().max()) < 0.1


def test_orientations_are_uniform_under_augmentation() -> None:
    """The mean of uniform rotation matrices is 0, and that of each squared entry is 1/3."""
    shape = template(1, 8)
    sampler = Sampler(SCHEDULE, DETERMINISTIC)
    coords = sampler.sample(rigid_denoise(shape), mask(1, 8), 600, 3, PerSampleNoise(0, names(1))).coords
    rotations = alignment_rotation(shape.expand_as(coords), coords, torch.ones(1, 600, 8)).rotation[0]
    assert float(rotations.mean(dim=0).abs().max()) < 0.1
    assert float((rotations.square().mean(dim=0) - 1 / 3).abs().max()) < 0.06


def test_a_rotation_of_the_whole_run_is_no_change() -> None:
    """With an equivariant denoiser a moved start gives the moved sample."""
    shape, steps = template(1, 8), 30
    motion = RigidMotion.random((1, 2), torch.Generator().manual_seed(5))
    given = shape.expand(1, 2, 8, 3)
    silent = mock.Mock(**{"stream.return_value.normal.side_effect": lambda: torch.zeros(1, 2, 8, 3)})
    run = replace(ODE, stepper=StochasticEuler(step_scale=1.2))
    denoise = rigid_denoise(shape * 1.1)
    plain = run.sample(denoise, mask(1, 8), 2, steps, silent, start=Start(given, 4.0)).coords
    moved = run.sample(denoise, mask(1, 8), 2, steps, silent, start=Start(motion.apply(given), 4.0)).coords
    torch.testing.assert_close(moved, motion.apply(plain), rtol=0, atol=1e-3)


def test_without_augmentation_nothing_moves_and_centering_only_centres() -> None:
    def stay(coords: Tensor, sigma: Tensor) -> Tensor:
        return coords

    given = template(1, 5)[:, 0] + 10
    noise = PerSampleNoise(0, names(1))
    still = replace(ODE, stepper=StochasticEuler(gamma_0=0.0))
    start = Start(given, 0.002)
    kept = still.sample(stay, mask(1, 5), 1, 3, noise, start=start).coords[0, 0]
    assert float((kept - given[0]).abs().max()) < 0.02
    centred = replace(still, augmentation=CenterOnly()).sample(stay, mask(1, 5), 1, 3, noise, start=start).coords[0, 0]
    torch.testing.assert_close(centred, kept - kept.mean(dim=0), rtol=0, atol=1e-5)


def test_the_centre_is_that_of_the_atoms_that_exist() -> None:
    atoms = torch.tensor([[True, True, False]])
    given = torch.tensor([[[1.0, 0, 0], [3, 0, 0], [1000, 0, 0]]])

    def stay(coords: Tensor, sigma: Tensor) -> Tensor:
        return coords

    centre = replace(ODE, augmentation=CenterOnly())
    noise = PerSampleNoise(0, names(1))
    ours = centre.sample(stay, atoms, 1, 1, noise, start=Start(given, 0.002)).coords[0, 0]
    assert abs(float(ours[:2].mean(dim=0)[0])) < 1e-4
    full = centre.sample(
        stay, atoms, 1, 1, noise, center_mask=torch.ones_like(atoms), start=Start(given, 0.002)
    ).coords[0, 0]
    assert abs(float(full.mean(dim=0)[0])) < 1e-3


# --- independence of samples ----------------------------------------------------------------------------------------


def bits(sampler: Sampler, samples: int, indices=None, batch: int = 1, atoms: int = 37, steps: int = 12) -> Tensor:
    noise = PerSampleNoise(11, names(batch), indices)
    return sampler.sample(Gaussian(template(batch, atoms)), mask(batch, atoms), samples, steps, noise).coords


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_has_the_same_bits_beside_any_others(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sampler = Sampler(SCHEDULE)
        of_eight = bits(sampler, 8)[:, 3]
        assert torch.equal(of_eight, bits(sampler, 5)[:, 3])
        for limit in (1, 2, 3, 7, 100):
            assert torch.equal(of_eight, bits(replace(sampler, max_parallel_samples=limit), 8)[:, 3])
        assert torch.equal(of_eight, bits(sampler, 1, indices=[3])[:, 0])
        assert torch.equal(of_eight[0], bits(sampler, 5, batch=3)[0, 3])
        assert torch.equal(bits(sampler, 5, batch=3), bits(replace(sampler, max_parallel_samples=2), 5, batch=3))
    finally:
        torch.set_num_threads(before)


def test_many_atoms_on_two_threads_give_the_bits_of_one() -> None:
    """Above 32768 numbers torch splits work among threads."""
    results = []
    before = torch.get_num_threads()
    for threads, samples in ((1, 1), (2, 1), (2, 6)):
        torch.set_num_threads(threads)
        results.append(bits(Sampler(SCHEDULE), samples, atoms=6000, steps=3)[0, 0])
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_padding_does_not_shift_the_noise() -> None:
    full = bits(Sampler(SCHEDULE), 2, atoms=10)
    padded_mask = torch.cat([mask(1, 10), torch.zeros(1, 7, dtype=torch.bool)], dim=1)
    denoise = Gaussian(torch.cat([template(1, 10), torch.zeros(1, 1, 7, 3)], dim=2))
    padded = Sampler(SCHEDULE).sample(denoise, padded_mask, 2, 12, PerSampleNoise(11, names(1))).coords
    assert torch.equal(padded[:, :, :10], full)


def test_global_generator_is_left_alone_and_seeds_and_names_matter() -> None:
    state = torch.random.get_rng_state()
    first = bits(Sampler(SCHEDULE), 2)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first[:, 0], first[:, 1])
    other = Sampler(SCHEDULE).sample(Gaussian(template(1, 37)), mask(1, 37), 2, 12, PerSampleNoise(11, ["other"]))
    assert not torch.equal(first, other.coords)


def test_stable_seed_is_the_same_everywhere() -> None:
    assert stable_seed(0, "1as5", 3) == 869267165528664400
    assert len({stable_seed(seed, name, k) for seed in (0, 1) for name in ("a", "b") for k in range(50)}) == 200
    assert all(0 <= stable_seed(k) < 2**63 for k in range(100))
    assert stable_seed("1", 1) != stable_seed(1, "1")


def test_noise_source_refuses_wrong_counts() -> None:
    with pytest.raises(ValueError, match="2 names"):
        PerSampleNoise(0, ["a", "b"]).stream(mask(1, 3), 2, 1)
    with pytest.raises(ValueError, match="1 sample indices"):
        PerSampleNoise(0, ["a"], [4]).stream(mask(1, 3), 2, 1)


def test_a_broken_sample_is_flagged_and_harms_no_other() -> None:
    class Breaks(Gaussian):
        def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
            denoised = super().__call__(coords, sigma)
            if coords.shape[1] == 4 and float(sigma[0, 0]) < 100:
                denoised[0, 2, 5, 1] = float("nan")
            return denoised

    noise = PerSampleNoise(11, names(1))
    good = Sampler(SCHEDULE).sample(Gaussian(template(1, 37)), mask(1, 37), 4, 12, noise)
    broken = Sampler(SCHEDULE).sample(Breaks(template(1, 37)), mask(1, 37), 4, 12, noise)
    assert good.finite.tolist() == [[True] * 4]
    assert broken.finite.tolist() == [[True, True, False, True]]
    assert torch.equal(good.coords[:, [0, 1, 3]], broken.coords[:, [0, 1, 3]])


def test_non_finite_padding_is_no_fault() -> None:
    atoms = torch.tensor([[True, True, True, True, False]])

    def denoise(coords: Tensor, sigma: Tensor) -> Tensor:
        return torch.where(atoms[:, None, :, None], coords * 0.1, float("inf"))

    result = Sampler(SCHEDULE).sample(denoise, atoms, 2, 5, PerSampleNoise(0, names(1)))
    assert result.finite.all()


# --- the bound and memory -------------------------------------------------------------------------------------------


class Meter:
    """Counts the samples in flight, and fails above what `room` says it can hold."""

    def __init__(self, inner: Gaussian, room: int = 10**9, error: Exception | None = None, sizes=None) -> None:
        self.inner, self.room, self.error = inner, room, error
        self.sizes: list[int] = [] if sizes is None else sizes

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        size = coords.shape[0] * coords.shape[1]
        if size > self.room:
            raise self.error or RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
            )
        self.sizes.append(size)
        assert sigma.shape == (coords.shape[0], 1)
        return self.inner(coords, sigma)

    def select(self, rows: slice) -> Meter:
        return Meter(self.inner.select(rows), self.room, self.error, self.sizes)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("samples", [1, 4, 5])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 50])
def test_the_bound_is_never_passed_and_all_samples_are_done(batch: int, samples: int, limit: int) -> None:
    meter = Meter(Gaussian(template(batch, 6)))
    noise = PerSampleNoise(0, names(batch))
    result = replace(ODE, max_parallel_samples=limit).sample(meter, mask(batch, 6), samples, 2, noise)
    assert max(meter.sizes) == result.samples_at_once <= limit
    assert sum(meter.sizes) == 2 * batch * samples
    free = ODE.sample(Gaussian(template(batch, 6)), mask(batch, 6), samples, 2, noise)
    assert torch.equal(result.coords, free.coords)
    assert free.samples_at_once == batch * samples


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_halves_the_chunk_and_goes_on(error: Exception) -> None:
    meter = Meter(Gaussian(template(2, 6)), room=3, error=error)
    noise = PerSampleNoise(0, names(2))
    result = ODE.sample(meter, mask(2, 6), 7, 3, noise)
    assert (result.samples_at_once, result.halvings) == (3, 2)  # 14, 7, 3
    assert max(meter.sizes) <= 3
    assert torch.equal(result.coords, ODE.sample(Gaussian(template(2, 6)), mask(2, 6), 7, 3, noise).coords)


def test_one_sample_too_large_is_one_clear_line() -> None:
    meter = Meter(Gaussian(template(1, 6)), room=0)
    with pytest.raises(FrazilError, match="one sample of 6 atoms does not fit") as caught:
        ODE.sample(meter, mask(1, 6), 4, 3, PerSampleNoise(0, names(1)))
    assert "\n" not in str(caught.value)


def test_other_errors_pass() -> None:
    for error in (RuntimeError("shapes cannot be multiplied"), KeyboardInterrupt()):

        def denoise(coords: Tensor, sigma: Tensor, error: BaseException = error) -> Tensor:
            raise error

        with pytest.raises(type(error)):
            ODE.sample(denoise, mask(1, 6), 4, 3, PerSampleNoise(0, names(1)))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_a_bound_below_the_batch_needs_a_denoiser_that_can_be_split() -> None:
    def denoise(coords: Tensor, sigma: Tensor) -> Tensor:
        return coords

    with pytest.raises(FrazilError, match="cannot hold 3 structures"):
        replace(ODE, max_parallel_samples=2).sample(denoise, mask(3, 6), 1, 1, PerSampleNoise(0, names(3)))


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="max_parallel_samples is 0"):
        Sampler(SCHEDULE, max_parallel_samples=0)
    with pytest.raises(InputError, match="number of samples is 0"):
        ODE.sample(Gaussian(template(1, 6)), mask(1, 6), 0, 3, PerSampleNoise(0, names(1)))
    with pytest.raises(InputError, match="steps is 0"):
        ODE.sample(Gaussian(template(1, 6)), mask(1, 6), 1, 0, PerSampleNoise(0, names(1)))


def test_a_real_memory_limit_halves_the_chunk() -> None:
    """Under RLIMIT_AS the denoiser's 256 MB a sample fit for some samples, not for all."""
    script = """
        import resource, torch
        from frazil.noise import KarrasSchedule
        from frazil.sampler import PerSampleNoise, Sampler
        torch.set_num_threads(1)
        def denoise(coords, sigma):
            torch.zeros(coords.shape[1], 64 * 2**20)
            return coords * 0.5
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 900 * 2**20, resource.RLIM_INFINITY))
        result = Sampler(KarrasSchedule()).sample(
            denoise, torch.ones(1, 50, dtype=torch.bool), 8, 2, PerSampleNoise(0, ["a"]))
        print(result.samples_at_once, result.halvings, bool(result.finite.all()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "2", "True"]


def test_nothing_waits_for_the_device() -> None:
    """Tensors of the meta device hold no values: whatever asked for one would raise."""
    shape = template(2, 6).to("meta")
    result = Sampler(SCHEDULE, max_parallel_samples=3).sample(
        Gaussian(shape), mask(2, 6).to("meta"), 5, 4, ReferenceNoise(), start=Start(shape[:, 0], 30.0)
    )
    assert result.coords.shape == (2, 5, 6, 3)
    assert result.coords.is_meta and result.finite.is_meta


# --- trajectory and progress ----------------------------------------------------------------------------------------


def test_trajectory_holds_every_kth_step_and_the_last() -> None:
    denoise = Gaussian(template(1, 6))
    noise, sampler = PerSampleNoise(0, names(1)), Sampler(SCHEDULE)
    result = sampler.sample(denoise, mask(1, 6), 2, 10, noise, trajectory_every=4)
    assert [frame.index for frame in result.trajectory] == [0, 4, 8, 9]
    levels = [frame.sigma for frame in result.trajectory]
    assert levels == sorted(levels, reverse=True)
    for frame in result.trajectory:
        assert frame.noisy.shape == frame.denoised.shape == (1, 2, 6, 3)
    last = result.trajectory[-1]
    step = sampler.stepper.plan(SCHEDULE.sigmas(10))[-1]
    estimate = Estimate(last.noisy, last.denoised, last.denoised, mock.Mock())
    assert torch.equal(sampler.stepper.advance(step, estimate, ())[0], result.coords)
    plain = sampler.sample(denoise, mask(1, 6), 2, 10, noise)
    assert plain.trajectory == ()
    assert torch.equal(plain.coords, result.coords)


def test_progress_counts_the_steps() -> None:
    seen: list[tuple[int, int]] = []
    ODE.sample(
        Gaussian(template(1, 3)), mask(1, 3), 1, 3, PerSampleNoise(0, names(1)), on_step=lambda *c: seen.append(c)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
