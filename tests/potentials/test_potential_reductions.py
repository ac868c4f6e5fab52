"""Groups of terms: sums in a fixed order and the soft minimum, which neither underflows nor pushes away."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.potentials.reductions import AllOf, AnyOf
from frazil.potentials.schedules import Constant
from frazil.potentials.segments import Segments

ENERGIES = st.lists(st.floats(0, 500, width=32), min_size=1, max_size=20)
SHARPNESS = st.floats(0, 8) | st.floats(0, 1e-6) | st.just(0.0)


def group(energies):
    return torch.tensor(energies, dtype=torch.float32)[:, None], Segments(torch.zeros(len(energies)).long(), 1)


def soft_minimum(energies, sharpness):
    """In float64, by way of logsumexp; its Taylor series where that cancels."""
    e = energies[:, 0].double()
    if sharpness * float(e.max()) < 1e-6:
        return float(e.mean() - sharpness * e.var(correction=0) / 2)
    return float(-(torch.logsumexp(-sharpness * e, 0) - torch.tensor(len(e)).double().log()) / sharpness)


@given(ENERGIES, SHARPNESS)
def test_the_soft_minimum_is_its_formula_and_lies_between_minimum_and_mean(energies, sharpness):
    e, one = group(energies)
    soft = float(AnyOf(Constant(sharpness)).energy(e, one, 0.5))
    assert soft == pytest.approx(soft_minimum(e, sharpness), rel=1e-5, abs=1e-5)
    assert float(e.min()) * (1 - 1e-6) - 1e-6 <= soft <= float(e.double().mean()) * (1 + 1e-6) + 1e-6


@given(ENERGIES, SHARPNESS)
def test_its_shares_are_its_derivatives_and_never_negative(energies, sharpness):
    e, one = group(energies)
    shares = AnyOf(Constant(sharpness)).shares(e, one, 0.5)
    assert (shares >= 0).all() and float(shares.sum()) == pytest.approx(1, abs=1e-5)
    moved = e.double().requires_grad_()
    AnyOf(Constant(sharpness)).energy(moved, one, 0.5).sum().backward()
    if sharpness:  # at exactly 0, ties of the minimum aside, both are 1 / n
        torch.testing.assert_close(shares.double(), moved.grad / moved.grad.sum(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("sharpness", [0.0, 1e-30, 1e-12, 1e-3, 8.0, 1e4])
def test_far_groups_neither_vanish_nor_overflow(sharpness):
    for energy in (1e-3, 40.0, 500.0, 1e18):
        e, one = group([energy, energy * 1.5])
        soft = AnyOf(Constant(sharpness))
        assert energy * 0.999 <= float(soft.energy(e, one, 0.5)) <= energy * 1.251
        assert soft.shares(e, one, 0.5)[0] > 0.49


def test_all_of_is_the_sum():
    e, one = group([1.0, 2.0, 4.0])
    assert AllOf().energy(e, one, 0.5) == 7 and AllOf().shares(e, one, 0.5) == 1


@given(st.lists(st.integers(0, 4), max_size=300), st.integers(0, 1000))
def test_segments_sum_and_find_the_least_of_their_own_rows(owner, seed):
    owners = torch.tensor(owner, dtype=torch.int64)
    rows = torch.randn(len(owner), 3, generator=torch.Generator().manual_seed(seed))
    segments = Segments(owners, 6)
    expected = torch.zeros(6, 3, dtype=torch.float64).index_add(0, owners, rows.double())
    torch.testing.assert_close(segments.sum(rows).double(), expected, rtol=0, atol=1e-4)
    for number in range(6):
        own = rows[owners == number]
        least = own.amin(dim=0) if len(own) else torch.full((3,), float("inf"))
        assert torch.equal(segments.min(rows)[number], least)


def test_a_segment_has_the_same_bits_in_any_company():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(1000, 4, generator=g) * 10 ** torch.randn(1000, 4, generator=g)
    owner = torch.randint(3, (1000,), generator=g)
    together = Segments(owner, 3).sum(rows)
    for number in range(3):
        own = rows[owner == number][:, :1]
        assert torch.equal(Segments(torch.zeros(len(own)).long(), 1).sum(own)[0], together[number, :1])
