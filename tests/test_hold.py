"""Truths about holding atoms: given coordinates come back bit for bit, the rest finds its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from frazil.errors import InputError
from frazil.geometry import RigidMotion, alignment_rotation, sum_atoms
from frazil.noise import KarrasSchedule
from frazil.potentials.base import Potential, Weighted
from frazil.potentials.schedules import Constant
from frazil.sampler import Hold, PerSampleNoise, Sampler, Start, StochasticEuler
from frazil.steering import Guidance, ParticleFilter, Systematic

ATOMS = 12
SCHEDULE = KarrasSchedule()
HELD = torch.arange(ATOMS)[None] < torch.tensor([[5], [8]])
ALL = torch.ones(2, ATOMS, dtype=torch.bool)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


SHAPE = 5 * random(2, ATOMS, 3)
MOTION = RigidMotion.random((2,), torch.Generator().manual_seed(3), translation_scale=30.0)
GIVEN = torch.where(HELD[..., None], MOTION.apply(SHAPE), float("nan"))  # in a frame of its own, unknown elsewhere


@dataclass(frozen=True, eq=False)
class Rigid:
    """Knows a shape [B, A, 3] but no frame: part of the way to the shape laid onto its input."""

    shape: Tensor = SHAPE
    framed: bool = False
    seen: list | None = None

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        if self.seen is not None:
            self.seen.append((coords, float(sigma[0, 0])))
        level = sigma[..., None, None] ** 2
        target = self.shape[:, None].expand_as(coords)
        if not self.framed:
            target = alignment_rotation(target, coords, torch.ones(coords.shape[:-1])).apply(target)
        return (coords * 0.04 + target * level) / (0.04 + level)

    def select(self, rows: slice) -> Rigid:
        return replace(self, shape=self.shape[rows])


@dataclass(frozen=True, eq=False)
class Height(Potential):
    def energy(self, coords: Tensor, t: float) -> Tensor:
        return sum_atoms(coords)[..., 0]

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        return torch.zeros_like(coords) + torch.tensor([1.0, 0, 0])


PULL = (Weighted(Height(), Constant(0.01), Constant(0.1)),)
SAMPLERS = {
    "plain": Sampler(SCHEDULE),
    "data frame": Sampler.for_frame(SCHEDULE, turned=False),
    "not moved": Sampler(SCHEDULE, augmentation=None, align=None),
    "guided": Sampler(SCHEDULE, steering=Guidance(PULL, num_moves=3)),
    "particles": Sampler(SCHEDULE, steering=ParticleFilter(PULL, guidance=Guidance(PULL, num_moves=3))),
    "bounded": Sampler(SCHEDULE, steering=ParticleFilter(PULL), max_parallel_samples=5),
}


def drawn(sampler: Sampler, hold: Hold | None, samples: int = 3, steps: int = 60, denoise=None, **run):
    noise = PerSampleNoise(1, ["a", "b"], run.pop("indices", None))
    return sampler.sample(denoise or Rigid(), ALL, samples, steps, noise, hold=hold, **run)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_held_atoms_come_back_bit_for_bit_and_the_rest_in_its_place(name: str, partial: bool) -> None:
    start = Start(SHAPE + random(2, ATOMS, 3, seed=4), 8.0) if partial else None
    result = drawn(SAMPLERS[name], Hold(GIVEN, HELD), start=start)
    held = HELD[:, None].expand(2, 3, ATOMS)
    assert result.coords.shape == (2, 3, ATOMS, 3) and result.finite.all()
    assert torch.equal(result.coords[held], GIVEN[:, None].expand(2, 3, ATOMS, 3)[held])
    expected = MOTION.apply(SHAPE)[:, None]
    spread = (result.coords - expected).norm(dim=-1)
    # The law allows 0.2 A along each axis; the pull of guidance adds to it.
    assert float(spread.max()) < (1.5 if "guided" in name or "particles" in name else 1.0)


def test_held_atoms_are_seen_at_the_level_of_every_step_with_fresh_noise() -> None:
    seen: list = []
    sampler = Sampler(SCHEDULE, augmentation=None, align=None)
    one = Hold(SHAPE[:1], HELD[:1], align=None)
    many = PerSampleNoise(0, ["a"])
    sampler.sample(Rigid(SHAPE[:1], framed=True, seen=seen), ALL[:1], 300, 12, many, hold=one)
    deviations = [(coords - SHAPE[:1, None])[:, :, :5] / level for coords, level in seen]
    for deviation in deviations:
        assert abs(float(deviation.std()) - 1) < 0.05 and abs(float(deviation.mean())) < 0.06
    products = [(a * b).mean() for a, b in pairwise(deviations)]
    assert float(torch.stack(products).abs().max()) < 0.06  # drawn anew, for noise that stays is no noise


def test_the_estimate_that_goes_on_holds_the_given_shape() -> None:
    frames = drawn(Sampler(SCHEDULE), Hold(GIVEN, HELD), trajectory_every=1, steps=20).trajectory
    given = GIVEN[:, None].nan_to_num()
    for frame in frames:
        laid = alignment_rotation(given, frame.denoised, HELD[:, None]).apply(given.expand_as(frame.denoised))
        assert float((laid - frame.denoised)[HELD[:, None].expand(2, 3, ATOMS)].abs().max()) < 2e-3


def test_atoms_that_are_not_held_keep_their_law() -> None:
    """Independent atoms are drawn as without a hold, noise for noise."""
    mean = SHAPE[:1]

    def independent(coords: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[..., None, None] ** 2
        return (coords * 4 + mean * level) / (level + 4)

    sampler = Sampler(SCHEDULE, StochasticEuler(step_scale=1.0), augmentation=None, align=None)
    hold = Hold(mean + 40, HELD[:1], align=None)
    noise = PerSampleNoise(1, ["a"])
    free = sampler.sample(independent, ALL[:1], 4, 30, noise).coords
    held = sampler.sample(independent, ALL[:1], 4, 30, noise, hold=hold).coords
    torch.testing.assert_close(held[:, :, 5:], free[:, :, 5:], rtol=0, atol=1e-4)
    assert torch.equal(held[:, :, :5], (mean + 40)[:, None, :5].expand(1, 4, 5, 3))


def test_holding_nothing_is_no_change() -> None:
    nothing = Hold(torch.full((2, ATOMS, 3), float("nan")), torch.zeros_like(ALL))
    for sampler in (SAMPLERS["plain"], SAMPLERS["particles"]):
        assert torch.equal(drawn(sampler, nothing).coords, drawn(sampler, None).coords)


def test_a_held_sample_has_the_same_bits_beside_any_others() -> None:
    def elementwise(coords: Tensor, sigma: Tensor) -> Tensor:
        return (coords * 4 + sigma[..., None, None] ** 2) / (4 + sigma[..., None, None] ** 2)

    sampler = replace(SAMPLERS["particles"], steering=ParticleFilter(PULL, resampler=Systematic()))
    hold = Hold(GIVEN, HELD)
    of_five = drawn(sampler, hold, 5, steps=12, denoise=elementwise).coords[:, 3]
    assert torch.equal(drawn(sampler, hold, 1, steps=12, denoise=elementwise, indices=[3]).coords[:, 0], of_five)
    bounded = replace(sampler, max_parallel_samples=4)
    assert torch.equal(drawn(bounded, hold, 4, steps=12, denoise=elementwise).coords[:, 3], of_five)


@pytest.mark.parametrize("count", [1, 2, 3, ATOMS])
def test_any_number_of_atoms_can_be_held(count: int) -> None:
    few = torch.arange(ATOMS).expand(2, ATOMS) < count
    result = drawn(Sampler(SCHEDULE), Hold(MOTION.apply(SHAPE), few))
    assert result.finite.all()
    assert torch.equal(result.coords[:, :, :count], MOTION.apply(SHAPE)[:, None, :count].expand(2, 3, count, 3))


def test_a_broken_sample_is_flagged_and_harms_no_other() -> None:
    class Breaks(Rigid):
        def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
            denoised = super().__call__(coords, sigma)
            denoised[0, 1, 7] = float("nan")
            return denoised

    good = drawn(Sampler(SCHEDULE), Hold(GIVEN, HELD))
    bad = drawn(Sampler(SCHEDULE), Hold(GIVEN, HELD), denoise=Breaks())
    assert bad.finite.tolist() == [[True, False, True], [True] * 3]
    assert torch.equal(bad.coords[:, [0, 2]], good.coords[:, [0, 2]])


def test_what_cannot_be_held_is_refused() -> None:
    with pytest.raises(InputError, match="no finite coordinates"):
        Hold(GIVEN, ALL)
    with pytest.raises(InputError, match=r"coordinates \(2, 12, 3\) for a mask \(2, 11\)"):
        Hold(GIVEN, HELD[:, 1:])
    with pytest.raises(InputError, match=r"mask \(1, 12\) for structures \(2, 12\)"):
        drawn(Sampler(SCHEDULE), Hold(GIVEN[:1], HELD[:1]))
    with pytest.raises(InputError, match="atoms that do not exist"):
        Hold(GIVEN, HELD).mobile(~HELD)
    with pytest.raises(InputError, match="need a sampler without augmentation"):
        drawn(Sampler(SCHEDULE), Hold(GIVEN, HELD, align=None))
