"""Distances and dihedrals of a few points: closed forms, derivatives, invariance, degenerate points."""

from math import pi

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from frazil.geometry import RigidMotion, dihedral, distance
from frazil.potentials.intervals import Periodic, Straight
from frazil.potentials.variables import AbsoluteDihedral, Dihedral, Distance, Variable

VARIABLES = (Distance(), Dihedral(), AbsoluteDihedral())


def points_for(variable: Variable, *shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return torch.randn(variable.num_points, 3, *shape, generator=torch.Generator().manual_seed(seed)) * scale


def rows(points: Tensor) -> Tensor:
    """[k, ..., 3]."""
    return points.movedim(1, -1)


def four(angle: float) -> Tensor:
    """Points [4, 3] of a given dihedral."""
    turned = torch.tensor([torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle)), 1.0])
    return torch.stack([torch.tensor([1.0, 0, 0]), torch.zeros(3), torch.tensor([0.0, 0, 1]), turned])


def test_values_are_those_of_geometry():
    pair, quad = points_for(Distance(), 5, 40), points_for(Dihedral(), 5, 40)
    torch.testing.assert_close(Distance().value(pair), distance(*rows(pair)))
    torch.testing.assert_close(Dihedral().value(quad), dihedral(*rows(quad)), atol=2e-6, rtol=0)
    torch.testing.assert_close(AbsoluteDihedral().value(quad), dihedral(*rows(quad)).abs(), atol=2e-6, rtol=0)


@given(st.floats(-3.1, 3.1))
def test_a_dihedral_is_the_angle_it_was_built_with(angle):
    assert float(Dihedral().value(four(angle))) == pytest.approx(angle, abs=2e-6)
    assert float(AbsoluteDihedral().value(four(angle))) == pytest.approx(abs(angle), abs=2e-6)


def test_flat_dihedrals_are_exact_and_have_a_way_out():
    trans = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 0], [-1, 0, 0]])
    cis = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert float(AbsoluteDihedral().value(trans)) == pytest.approx(pi)
    assert float(AbsoluteDihedral().value(cis)) == 0
    assert AbsoluteDihedral().value_and_jacobian(cis)[1].abs().sum() > 0


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: type(v).__name__)
def test_jacobians_equal_finite_differences_in_float64(variable):
    points, step = points_for(variable, 200).double(), 1e-6
    value, jacobian = variable.value_and_jacobian(points)
    assert torch.equal(value, variable.value(points))
    for k in range(variable.num_points):
        for axis in range(3):
            shift = torch.zeros_like(points)
            shift[k, axis] = step
            change = (variable.value(points + shift) - variable.value(points - shift)) / (2 * step)
            torch.testing.assert_close(jacobian[k, axis], change, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: type(v).__name__)
@given(seed=st.integers(0, 10_000))
def test_rigid_motions_change_no_value_and_exert_neither_force_nor_torque(variable, seed):
    points = points_for(variable, 4, seed=seed)
    motion = RigidMotion.random((4,), torch.Generator().manual_seed(seed), translation_scale=20.0)
    moved = motion.apply(rows(points).transpose(0, 1)).transpose(0, 1).movedim(-1, 1)
    (value, jacobian), other = variable.value_and_jacobian(points), variable.value(moved)
    size = jacobian.abs().amax(dim=(0, 1))
    turn = 2 * pi if variable.num_points == 4 else float("inf")
    difference = (value - other).abs()
    assert (torch.minimum(difference, (turn - difference).abs()) < 1e-4 * (1 + size)).all()
    assert (jacobian.sum(dim=0).abs() <= 1e-5 * size).all()
    assert (torch.linalg.cross(points, jacobian, dim=1).sum(dim=0).abs() <= 1e-3 * (1 + size)).all()


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12, 1e-5, 1e5, 1e12, 1e25])
def test_no_place_of_points_gives_anything_but_finite_numbers(variable, scale):
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0, 2.0])] * variable.num_points).T[:, None]
    line = corners * torch.tensor([1.0, 0.0, 0.0])[:, None] * scale
    value, jacobian = variable.value_and_jacobian(line)
    assert value.isfinite().all() and jacobian.isfinite().all()
    value, jacobian = variable.value_and_jacobian(points_for(variable, 50, scale=scale))
    assert value.isfinite().all() and jacobian.isfinite().all()


def test_coincident_points_have_a_fixed_direction():
    value, jacobian = Distance().value_and_jacobian(torch.ones(2, 3))
    assert value == 0 and jacobian.tolist() == [[1, 0, 0], [-1, 0, 0]]


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: type(v).__name__)
def test_missing_points_are_not_taken_for_good_ones(variable):
    points = points_for(variable)
    points[-1] = float("nan")
    assert variable.value(points).isnan()


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: type(v).__name__)
def test_a_value_has_the_same_bits_in_any_company(variable):
    points = points_for(variable, 1003)
    value, jacobian = variable.value_and_jacobian(points)
    for part in (slice(0, 1), slice(5, 12), slice(17, 1003, 3)):
        alone = variable.value_and_jacobian(points[..., part].contiguous())
        assert torch.equal(alone[0], value[part]) and torch.equal(alone[1], jacobian[..., part])


@given(value=st.floats(-20, 20), lower=st.floats(-8, 8), width=st.floats(0, 8))
def test_a_periodic_window_is_left_by_the_nearer_side(value, lower, width):
    outside, slope = Periodic().outside(*(torch.tensor(x, dtype=torch.float64) for x in (value, lower, lower + width)))
    turned = (value - lower) % (2 * pi)
    expected = 0 if turned <= width else min(turned - width, 2 * pi - turned)
    assert float(outside) == pytest.approx(expected, abs=1e-9)
    assert float(slope) in ((0,) if outside == 0 else (-1, 1))


@given(value=st.floats(-20, 20), lower=st.floats(-20, 20) | st.just(-torch.inf), width=st.floats(0, torch.inf))
def test_a_straight_interval_is_left_by_its_overshoot(value, lower, width):
    upper = torch.inf if lower == -torch.inf and width == torch.inf else lower + width
    outside, slope = Straight().outside(*(torch.tensor(x, dtype=torch.float64) for x in (value, lower, upper)))
    assert float(outside) == max(0, lower - value, value - upper)
    assert float(slope) == (value > upper) - (value < lower)
