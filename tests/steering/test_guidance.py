"""Truths about guidance: closed forms of its moves, bounds, independence of samples, potentials that misbehave."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from analytic import Gaussian, Quadratic, weighted
from torch import Tensor

from frazil.errors import FrazilError, InputError
from frazil.geometry import RigidMotion
from frazil.noise import KarrasSchedule
from frazil.potentials.base import Potential, Weighted
from frazil.potentials.schedules import Constant, Steps
from frazil.sampler import PerSampleNoise, Sampler, Step, StepRecord
from frazil.steering import Guidance
from frazil.steering.guidance import GuidanceState

PULL = Quadratic(torch.zeros(1, 3), torch.ones(1, 1))
STEP = Step(index=3, num_steps=10, sigma=4.0, sigma_hat=5.0, sigma_next=2.0, noise_variance=9.0, step_scale=1.5)


def record(coords: Tensor, step: Step = STEP, mobile: Tensor | None = None) -> StepRecord:
    atoms = torch.ones(coords.shape[0], coords.shape[2], dtype=torch.bool)
    return StepRecord(step, atoms, atoms if mobile is None else mobile, coords, coords, coords, coords)


def fresh(batch: int, groups: int) -> GuidanceState:
    return GuidanceState(torch.full((batch, groups), -1))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_moves_descend_at_their_interval_and_the_shift_is_the_step_s() -> None:
    """A quadratic shrinks by (1 - w) each move it acts in: in 7 moves at interval 3 there are three."""
    coords = random(2, 3, 4, 3)
    guidance = Guidance((weighted(PULL, 0.1, interval=3), weighted(PULL, 0.2, interval=7)), num_moves=7)
    guided, state = guidance.steer(record(coords), fresh(2, 3))
    factor = (1 - 0.3) * (1 - 0.1) ** 2
    torch.testing.assert_close(guided.denoised, coords * factor)
    torch.testing.assert_close(state.shift, -1.5 * (2.0 - 5.0) / 5.0 * coords * (factor - 1))
    assert state.guided_steps == 1
    for kept in ("coords", "noise", "noisy"):
        assert getattr(guided, kept) is coords
    other = replace(guidance, proposal_step_scale=3.0).steer(record(coords), fresh(2, 3))[1]
    torch.testing.assert_close(other.shift, 2 * state.shift)


def test_weights_are_those_of_the_time() -> None:
    coords = random(1, 2, 4, 3)
    early = Guidance((Weighted(PULL, Steps((0.5,), (0.0, 0.1)), Constant(1.0)),), num_moves=1)
    torch.testing.assert_close(early.steer(record(coords), fresh(1, 2))[0].denoised, 0.9 * coords)
    late = record(coords, replace(STEP, index=8))
    guided, state = early.steer(late, replace(fresh(1, 2), shift=coords))
    assert guided is late and state.shift is None and state.guided_steps == 0


@pytest.mark.parametrize("last_step", [True, False])
def test_the_last_step_is_guided_unless_told_otherwise(last_step: bool) -> None:
    guidance = Guidance((weighted(PULL),), last_step=last_step)
    last = record(random(1, 2, 4, 3), replace(STEP, index=9, sigma_next=0.0))
    assert (guidance.steer(last, fresh(1, 2))[0] is last) is not last_step


def test_nothing_to_do_leaves_the_record_untouched() -> None:
    class Empty(Potential):
        num_terms = 0

        def energy(self, coords: Tensor, t: float) -> Tensor:
            raise AssertionError("called in spite of having no term")

    given = record(random(1, 2, 4, 3))
    for potentials in ((), (weighted(Empty()),), (weighted(PULL, 0.0),)):
        assert Guidance(potentials).steer(given, fresh(1, 2))[0] is given


def test_the_shift_turns_with_the_frame_and_the_ratio_is_that_of_two_gaussians() -> None:
    shift, noise = random(1, 2, 4, 3), 3 * random(1, 2, 4, 3, seed=1)
    motion = RigidMotion.random((1, 2), torch.Generator().manual_seed(2))
    state = replace(fresh(1, 2), shift=shift)
    turned = Guidance(()).move(state, motion)
    given = replace(record(noise), noise=noise)
    normal = torch.distributions.Normal(0.0, 3.0)
    expected = (normal.log_prob(noise + shift) - normal.log_prob(noise)).sum(dim=(-1, -2))
    torch.testing.assert_close(state.log_ratio(given), expected, rtol=0, atol=1e-4)
    along = turned.log_ratio(replace(given, noise=motion.rotate(noise)))
    torch.testing.assert_close(along, expected, rtol=0, atol=1e-4)
    assert state.log_ratio(replace(given, step=replace(STEP, noise_variance=0.0))) == 0.0


def test_held_atoms_stay() -> None:
    coords = random(2, 3, 4, 3)
    mobile = torch.tensor([[True, False, True, True], [False, False, True, True]])
    guided, state = Guidance((weighted(PULL),)).steer(record(coords, mobile=mobile), fresh(2, 3))
    still = ~mobile[:, None, :, None].expand_as(coords)
    assert torch.equal(guided.denoised[still], coords[still])
    assert (state.shift[still] == 0).all() and (state.shift[~still] != 0).all()


# --- independence of samples ----------------------------------------------------------------------------------------

GAUSSIAN = Gaussian(4 * random(9, 3, seed=7))


def sampled(guidance: Guidance, samples: int, batch: int = 1, indices=None, limit: int | None = None) -> Tensor:
    atoms = torch.ones(batch, 9, dtype=torch.bool)
    noise = PerSampleNoise(3, [f"input{b}" for b in range(batch)], indices)
    sampler = Sampler(KarrasSchedule(), steering=guidance, max_parallel_samples=limit)
    return sampler.sample(GAUSSIAN, atoms, samples, 8, noise).coords


def test_a_guided_sample_has_the_same_bits_beside_any_others_and_in_any_chunk() -> None:
    guidance = Guidance((weighted(Quadratic(torch.ones(9, 3), torch.ones(9, 1))),), num_moves=4)
    of_six = sampled(guidance, 6)[:, 4]
    assert not torch.equal(of_six, sampled(Guidance(()), 6)[:, 4])
    for bound in (1, 9, 20, 30, 54):
        chunked = replace(guidance, atoms_at_once=bound)
        assert torch.equal(sampled(chunked, 6)[:, 4], of_six)
        assert torch.equal(sampled(chunked, 6, batch=2)[:1, 4], of_six)
    assert torch.equal(sampled(guidance, 1, indices=[4])[:, 0], of_six)
    assert torch.equal(sampled(guidance, 6, limit=2)[:, 4], of_six)


def test_calls_are_bounded_as_far_as_whole_samples_allow() -> None:
    sizes = []

    class Counting(Potential):
        def energy(self, coords: Tensor, t: float) -> Tensor:
            sizes.append(coords.shape[:3].numel())
            return coords.square().sum(dim=(-1, -2))

    for bound, largest in ((1, 18), (18, 18), (50, 36), (10**6, 108)):
        sizes.clear()
        Guidance((weighted(Counting()),), num_moves=2, atoms_at_once=bound).steer(
            record(random(2, 6, 9, 3)), fresh(2, 6)
        )
        assert max(sizes) == largest and sum(sizes) == 2 * 108


def test_a_broken_sample_is_left_alone_and_harms_no_other() -> None:
    coords = random(1, 4, 5, 3)
    broken = coords.clone()
    broken[0, 2, 1, 0] = float("nan")
    broken[0, 3, 4, 2] = float("inf")
    guidance = Guidance((weighted(PULL),), num_moves=3)
    good, _ = guidance.steer(record(coords), fresh(1, 4))
    bad, state = guidance.steer(record(broken), fresh(1, 4))
    assert torch.equal(bad.denoised[:, :2], good.denoised[:, :2])
    assert torch.equal(bad.denoised[:, 2:].nan_to_num(1.0, 2.0), broken[:, 2:].nan_to_num(1.0, 2.0))
    assert state.lost.tolist() == [[-1, -1, 3, 3]]
    padded = replace(record(broken), atom_mask=torch.tensor([[True, False, True, True, False]]))
    kept = guidance.steer(padded, fresh(1, 4))[0].denoised[..., [0, 2, 3], :]
    torch.testing.assert_close(kept, good.denoised[..., [0, 2, 3], :])


# --- potentials that misbehave --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Wrong(Potential):
    """Gives what it is told to, or raises it."""

    given: object

    def energy(self, coords: Tensor, t: float) -> Tensor:
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given

    gradient = energy


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (ValueError("no such atom\nand more"), "its gradient failed: ValueError: no such atom"),
        (torch.full((1, 2, 4, 3), float("nan")), r"its gradient is NaN for finite coordinates at t = 0.7"),
        (torch.zeros(1, 2, 4), r"its gradient is \(1, 2, 4\), give a tensor \(1, 2, 4, 3\)"),
        (None, "its gradient is NoneType"),
        (torch.zeros(1, 2, 4, 3, dtype=torch.complex64), "its gradient is complex"),
        (SystemExit("enough"), "its gradient failed: SystemExit: enough"),
    ],
)
def test_a_potential_that_misbehaves_is_named(given: object, told: str) -> None:
    with pytest.raises(InputError, match=f"potential Wrong: {told}") as caught:
        Guidance((weighted(Wrong(given)),)).steer(record(random(1, 2, 4, 3)), fresh(1, 2))
    assert "\n" not in str(caught.value)


@dataclass(frozen=True, eq=False)
class Scalar(Potential):
    """One energy for all samples, with a gradient of the right shape all the same."""

    def energy(self, coords: Tensor, t: float) -> Tensor:
        return coords.sum()


def test_a_wrong_shape_is_found_at_the_first_move_and_not_at_the_end() -> None:
    with pytest.raises(InputError, match=r"potential Scalar: its energy is \(\), give a tensor \(1, 2\)"):
        Guidance((weighted(Scalar()),)).steer(record(random(1, 2, 4, 3)), fresh(1, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_a_gradient_of_another_type_leaves_the_coordinates_theirs(dtype: torch.dtype) -> None:
    given = torch.ones(1, 2, 4, 3, dtype=dtype)
    before = record(random(1, 2, 4, 3))
    after, _ = Guidance((weighted(Wrong(given)),), num_moves=1).steer(before, fresh(1, 2))
    assert after.denoised.dtype == torch.float32
    assert not torch.equal(after.denoised, before.denoised)


@pytest.mark.parametrize("error", [MemoryError(), FrazilError("mine"), KeyboardInterrupt()])
def test_errors_with_a_meaning_of_their_own_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        Guidance((weighted(Wrong(error)),)).steer(record(random(1, 2, 4, 3)), fresh(1, 2))
    assert caught.value is error


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="guidance moves is 0"):
        Guidance((), num_moves=0)
    with pytest.raises(InputError, match="atoms_at_once is 0"):
        Guidance((), atoms_at_once=0)
    with pytest.raises(InputError, match="longest_move is 0"):
        Guidance((), longest_move=0)


@pytest.mark.parametrize("force", [1.0, 1e6, 1e38])
def test_no_atom_goes_further_than_the_longest_move_and_short_moves_are_as_they_were(force: float) -> None:
    coords = torch.tensor([[[[1e-3, 0, 0], [3.0, 4.0, 0.0]]]])
    pull = weighted(Quadratic(torch.zeros(2, 3), torch.tensor([[1.0], [force]])), 1.0)
    guided, _ = Guidance((pull,), num_moves=1, longest_move=0.5).steer(record(coords), fresh(1, 1))
    assert torch.equal(guided.denoised[0, 0, 0], torch.zeros(3))
    moved = guided.denoised[0, 0, 1] - coords[0, 0, 1]
    # a gradient whose length has overflown has no direction to go by
    expected = torch.zeros(3) if force > 1e30 else torch.tensor([-0.3, -0.4, 0.0])
    torch.testing.assert_close(moved, expected)
