"""Rigid motions, alignment and internal coordinates: invariances, closed forms, degenerate input, the reference."""

import math

import numpy as np
import pytest
import torch
from boltz.model.loss.diffusionv2 import weighted_rigid_align
from boltz.model.modules.utils import compute_random_augmentation
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from frazil.geometry import (
    RigidMotion,
    alignment_rotation,
    angle,
    center,
    dihedral,
    distance,
    mean_atoms,
    quaternion_to_matrix,
    random_rotations,
    rigid_align,
    rotation_from_normal,
    sum_atoms,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(*shape: int, seed: int = 0, scale: float = 15.0) -> Tensor:
    return torch.randn(*shape, 3, generator=seeded(seed)) * scale


def assert_proper(rotation: Tensor) -> None:
    eye = torch.eye(3, dtype=rotation.dtype).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.transpose(-1, -2), eye, atol=2e-6, rtol=0)
    torch.testing.assert_close(torch.det(rotation), torch.ones(rotation.shape[:-2], dtype=rotation.dtype))


def misfit(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of squares, float64."""
    return (((x.double() - y.double()) ** 2).sum(-1) * weights).sum(-1)


def best_misfit(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The least misfit any proper rigid motion can reach, from singular values in float64 (Kabsch)."""
    x, y, w = x.double(), y.double(), weights.double()[..., None]
    total = w.sum(-2, keepdim=True)
    x, y = x - (x * w).sum(-2, keepdim=True) / total, y - (y * w).sum(-2, keepdim=True) / total
    u, s, vh = torch.linalg.svd((x * w).transpose(-1, -2) @ y)
    sign = torch.det(u @ vh).sign()
    return ((x**2 + y**2) * w).sum((-1, -2)) - 2 * (s[..., 0] + s[..., 1] + sign * s[..., 2])


# ---------------------------------------------------------------------------------------------- sums and centres


@given(length=st.integers(1, 70), padding=st.integers(0, 70), seed=st.integers(0, 99))
def test_sum_does_not_see_padding(length, padding, seed):
    values = torch.randn(2, length, 4, generator=seeded(seed))
    padded = torch.cat([values, torch.zeros(2, padding, 4)], dim=1)
    assert torch.equal(sum_atoms(values), sum_atoms(padded))
    assert torch.equal(sum_atoms(values)[0], sum_atoms(values[0]))
    torch.testing.assert_close(sum_atoms(values), values.sum(1), atol=1e-5, rtol=1e-5)


def test_center_is_the_masked_mean():
    coords, mask = cloud(2, 7), torch.rand(2, 7, generator=seeded(1)) > 0.4
    centred = center(coords, mask)
    assert (centred * mask[..., None]).sum(-2).abs().max() < 1e-4
    torch.testing.assert_close(centred.diff(dim=-2), coords.diff(dim=-2), atol=1e-5, rtol=1e-5)


def test_center_does_not_read_masked_atoms_and_an_empty_mask_moves_nothing():
    coords = torch.tensor([[1.0, 2, 3], [math.nan, math.inf, 0]])
    assert torch.equal(mean_atoms(coords, torch.tensor([True, False])), coords[0])
    assert torch.equal(center(coords[:1], torch.tensor([False])), coords[:1])


# ---------------------------------------------------------------------------------------------- rotations


def test_quaternions_give_the_rotations_of_scipy():
    quaternions = torch.randn(50, 4, generator=seeded(), dtype=torch.float64)
    expected = Rotation.from_quat(quaternions.numpy(), scalar_first=True).as_matrix()
    np.testing.assert_allclose(quaternion_to_matrix(quaternions).numpy(), expected, atol=1e-12)


def test_quaternion_of_zero_length_is_the_identity():
    assert torch.equal(quaternion_to_matrix(torch.zeros(2, 4)), torch.eye(3).expand(2, 3, 3))
    assert torch.equal(rotation_from_normal(torch.zeros(2, 4)), torch.eye(3).expand(2, 3, 3))


def test_rotations_are_the_references_for_the_same_draws():
    torch.manual_seed(3)
    rotation, translation = compute_random_augmentation(200)
    g = seeded(3)
    motion = RigidMotion(
        rotation_from_normal(torch.randn(200, 4, generator=g)), torch.randn(200, 1, 3, generator=g)[:, 0]
    )
    torch.testing.assert_close(motion.rotation, rotation, atol=3e-7, rtol=0)
    coords = cloud(200, 9)
    theirs = torch.einsum("bmd,bds->bms", coords, rotation) + translation
    torch.testing.assert_close(motion.apply(coords), theirs, atol=2e-5, rtol=0)


def test_random_rotations_are_uniform():
    rotations = random_rotations((40000,), seeded())
    assert_proper(rotations)
    # Over SO(3) the mean matrix is 0, each squared entry averages 1/3, and the density of the angle is (1 - cos)/pi.
    assert rotations.mean(0).abs().max() < 0.015
    assert ((rotations**2).mean(0) - 1 / 3).abs().max() < 0.01
    turn = torch.acos(((rotations.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)).sort().values
    expected = (turn - turn.sin()) / math.pi
    assert (expected - torch.linspace(0, 1, 40000)).abs().max() < 0.01  # Kolmogorov-Smirnov


def test_random_motions_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    RigidMotion.random((3,), seeded())
    assert torch.equal(before, torch.get_rng_state())


# ---------------------------------------------------------------------------------------------- rigid motions


def test_motion_is_rows_times_rotation_plus_translation():
    motion, coords = RigidMotion.random((2, 3), seeded()), cloud(2, 3, 8)
    expected = coords @ motion.rotation + motion.translation[..., None, :]
    torch.testing.assert_close(motion.apply(coords), expected)
    torch.testing.assert_close(motion.rotate(coords), coords @ motion.rotation)


def test_motions_invert_and_compose():
    first, second, coords = RigidMotion.random((2,), seeded(1)), RigidMotion.random((2,), seeded(2)), cloud(2, 8)
    torch.testing.assert_close(first.inverse().apply(first.apply(coords)), coords, atol=2e-5, rtol=0)
    both = first.then(second)
    torch.testing.assert_close(both.apply(coords), second.apply(first.apply(coords)), atol=2e-5, rtol=0)
    nothing = first.then(first.inverse())
    torch.testing.assert_close(nothing.rotation, torch.eye(3).expand(2, 3, 3), atol=1e-6, rtol=0)
    assert torch.equal(RigidMotion.identity((2,)).apply(coords), coords)


def test_motions_preserve_distances_and_handedness():
    coords = cloud(1, 4)
    moved = RigidMotion.random((1,), seeded(5)).apply(coords)
    torch.testing.assert_close(dihedral(*moved[0]), dihedral(*coords[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(distance(moved[0, 0], moved[0, 3]), distance(coords[0, 0], coords[0, 3]))


def test_motion_of_a_sample_does_not_depend_on_its_batch():
    motion, coords = RigidMotion.random((7,), seeded()), cloud(7, 33)
    for k in range(7):
        alone = RigidMotion(motion.rotation[k : k + 1], motion.translation[k : k + 1]).apply(coords[k : k + 1, :20])
        assert torch.equal(alone[0], motion.apply(coords)[k, :20])


# ---------------------------------------------------------------------------------------------- alignment


@pytest.mark.parametrize("atoms", [3, 4, 10, 500])
@pytest.mark.parametrize("scale", [1e-6, 1e-2, 15.0, 1e6])
def test_known_motion_is_recovered(atoms, scale):
    motion, coords = RigidMotion.random((20,), seeded(), translation_scale=scale), cloud(20, atoms, scale=scale)
    target, weights = motion.apply(coords), torch.rand(20, atoms, generator=seeded(2)) + 0.1
    found = alignment_rotation(coords, target, weights)
    torch.testing.assert_close(found.rotation, motion.rotation, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.translation, motion.translation, atol=2e-5 * scale, rtol=0)
    torch.testing.assert_close(rigid_align(coords, target, weights), target, atol=1e-5 * scale, rtol=0)
    assert_proper(found.rotation)


@given(seed=st.integers(0, 10**6), atoms=st.integers(1, 40), noise=st.sampled_from([0.0, 0.1, 5.0, 100.0]))
def test_no_motion_fits_better(seed, atoms, noise):
    x = cloud(3, atoms, seed=seed)
    y = RigidMotion.random((3,), seeded(seed + 1), 10.0).apply(x) + cloud(3, atoms, seed=seed + 2, scale=noise)
    weights = torch.rand(3, atoms, generator=seeded(seed)) + 0.01
    best, size = best_misfit(x, y, weights), (misfit(x, 0 * x, weights) + misfit(y, 0 * y, weights))
    assert (misfit(rigid_align(x, y, weights), y, weights) <= best + 1e-6 * size).all()
    assert_proper(alignment_rotation(x, y, weights).rotation)


@pytest.mark.parametrize("atoms", [4, 12, 100, 1500])
@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 0), (1, 0.1, 0), (1, 0.01, 0), (1, 0.02, 0.01)])
def test_alignment_is_the_references(atoms, noise, shape):
    x = cloud(10, atoms) * torch.tensor(shape)
    y = RigidMotion.random((10,), seeded(1), 10.0).apply(x) + cloud(10, atoms, seed=2, scale=noise) * min(shape[1], 1)
    weights = torch.rand(10, atoms, generator=seeded(3)) + 0.5
    mask = (torch.arange(atoms) != 1).expand(10, atoms) if atoms > 4 else torch.ones(10, atoms, dtype=torch.bool)
    theirs = weighted_rigid_align(x, y, weights, mask.float())
    assert (rigid_align(x, y, weights * mask) - theirs).abs().max() < 2e-4


def test_alignment_is_far_closer_to_the_truth_than_needed():
    x = cloud(30, 300)
    y = RigidMotion.random((30,), seeded(1), 10.0).apply(x) + cloud(30, 300, seed=2, scale=3.0)
    weights = torch.ones(30, 300)
    exact = rigid_align(x.double(), y.double(), weights.double())
    off = (rigid_align(x, y, weights) - exact).square().sum(-1).mean(-1).sqrt()
    assert exact.dtype == torch.float64 and off.max() < 3e-5  # angstrom, of 26 A radius


def test_alignment_does_not_depend_on_where_the_moving_points_are():
    x, y, weights = cloud(6, 50), cloud(6, 50, seed=1), torch.ones(6, 50)
    moved = RigidMotion.random((6,), seeded(3), 30.0).apply(x)
    torch.testing.assert_close(rigid_align(moved, y, weights), rigid_align(x, y, weights), atol=2e-4, rtol=0)


def test_alignment_follows_its_target():
    x, y, weights = cloud(6, 50), cloud(6, 50, seed=1), torch.ones(6, 50)
    motion = RigidMotion.random((6,), seeded(3), 30.0)
    expected = motion.apply(rigid_align(x, y, weights))
    torch.testing.assert_close(rigid_align(x, motion.apply(y), weights), expected, atol=2e-4, rtol=0)


def test_order_of_atoms_and_scale_of_weights_do_not_matter():
    x, y, weights = cloud(6, 50), cloud(6, 50, seed=1), torch.rand(6, 50, generator=seeded(2))
    order = torch.randperm(50, generator=seeded(3))
    base = rigid_align(x, y, weights)
    torch.testing.assert_close(
        rigid_align(x[:, order], y[:, order], weights[:, order]), base[:, order], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(rigid_align(x, y, weights * 1e-12), base, atol=1e-4, rtol=0)


@pytest.mark.parametrize("atoms", [4, 30])
def test_mirrored_input_gets_a_proper_rotation(atoms):
    x = cloud(20, atoms)
    y = x * torch.tensor([1.0, 1.0, -1.0])
    weights = torch.ones(20, atoms)
    assert_proper(alignment_rotation(x, y, weights).rotation)
    aligned = rigid_align(x, y, weights)
    best = best_misfit(x, y, weights)
    assert (misfit(aligned, y, weights) <= best * (1 + 1e-5) + 1e-3).all() and best.median() > 1


def degenerate_sets() -> dict[str, Tensor]:
    line = torch.tensor([[1.0, 2, 3]]) * torch.linspace(-2, 2, 6)[:, None]
    return {
        "one point": torch.tensor([[3.0, 4, 5]]),
        "two points": torch.tensor([[3.0, 4, 5], [1, 0, 2]]),
        "equal points": torch.full((5, 3), 7.0),
        "collinear": line + 4,
        "an axis": torch.tensor([[1.0, 0, 0]]) * torch.arange(4.0)[:, None],
        "coplanar": cloud(6) * torch.tensor([1.0, 1, 0]),
        "a cube": torch.tensor([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)]),
        "all zero": torch.zeros(4, 3),
    }


@pytest.mark.parametrize("name", degenerate_sets())
@pytest.mark.parametrize("half_turn", [False, True])
def test_degenerate_points_get_a_best_proper_rotation(name, half_turn):
    x = degenerate_sets()[name].expand(8, -1, -1)
    motion = RigidMotion.random((8,), seeded(1), 5.0)
    if half_turn:
        motion = RigidMotion(quaternion_to_matrix(torch.eye(4)[[1, 2, 3] * 3][:8]), motion.translation)
    y, weights = motion.apply(x), torch.ones(x.shape[:-1])
    found = alignment_rotation(x, y, weights)
    assert_proper(found.rotation)
    torch.testing.assert_close(rigid_align(x, y, weights), y, atol=2e-5, rtol=0)


def test_one_point_is_only_translated():
    x, y = torch.tensor([[[1.0, 2, 3]]]), torch.tensor([[[-4.0, 0, 9]]])
    motion = alignment_rotation(x, y, torch.ones(1, 1))
    assert torch.equal(motion.rotation, torch.eye(3)[None]) and torch.equal(motion.translation, (y - x)[:, 0])


@pytest.mark.parametrize("direction", [[1.0, 0, 0], [1.0, 2, -3]])
def test_a_line_gets_nearly_the_smallest_turn(direction):
    x = torch.tensor([direction]) * torch.linspace(-3, 3, 7)[:, None]
    y = x @ quaternion_to_matrix(torch.tensor([1.0, 0.3, -0.2, 0.1]))
    rotation = alignment_rotation(x, y, torch.ones(7)).rotation
    turn = torch.acos((rotation.diagonal().sum() - 1) / 2)
    assert turn <= 1.2 * angle(x[-1], torch.zeros(3), y[-1]) + 1e-3


def test_zero_weights_move_nothing():
    x, y = cloud(2, 5), cloud(2, 5, seed=1)
    motion = alignment_rotation(x, y, torch.zeros(2, 5))
    assert torch.equal(motion.rotation, torch.eye(3).expand(2, 3, 3)) and (motion.translation == 0).all()
    assert torch.equal(rigid_align(x, y, torch.zeros(2, 5)), x)


def test_atoms_of_weight_zero_are_not_read_but_moved():
    x, weights = cloud(1, 8), torch.arange(8)[None] < 5
    y = RigidMotion.random((1,), seeded()).apply(x)
    spoiled = torch.where(weights[..., None], y, torch.nan)
    torch.testing.assert_close(rigid_align(x, spoiled, weights), y, atol=2e-5, rtol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["moving", "target"])
def test_a_non_finite_sample_harms_only_itself(bad, side):
    x, y, weights = cloud(5, 20), cloud(5, 20, seed=1), torch.ones(5, 20)
    good = rigid_align(x, y, weights)
    (x if side == "moving" else y)[2, 7, 1] = bad
    spoiled = rigid_align(x, y, weights)
    assert not spoiled[2].isfinite().any()
    rest = [0, 1, 3, 4]
    assert torch.equal(spoiled[rest], good[rest])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_has_the_same_bits_in_any_batch_and_with_any_padding(threads):
    x, y, weights = cloud(6, 4200), cloud(6, 4200, seed=1), torch.rand(6, 4200, generator=seeded(2))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        together = rigid_align(x, y, weights)
        for k in (0, 5):
            assert torch.equal(rigid_align(x[k], y[k], weights[k]), together[k])
        extra = (torch.nn.functional.pad(p, (0, 0, 0, 77)) for p in (x, y))
        padded = rigid_align(*extra, torch.nn.functional.pad(weights, (0, 77)))
        assert torch.equal(padded[:, :4200], together)
        torch.set_num_threads(1)
        assert torch.equal(rigid_align(x, y, weights), together)
    finally:
        torch.set_num_threads(before)


def test_leading_axes_are_broadcast():
    x, y, weights = cloud(2, 1, 9), cloud(2, 4, 9, seed=1), torch.rand(2, 1, 9, generator=seeded())
    expected = rigid_align(x.expand(2, 4, 9, 3), y, weights.expand(2, 4, 9))
    assert torch.equal(rigid_align(x, y, weights), expected)
    assert torch.equal(rigid_align(x[0, 0], y[0, 0], weights.expand(2, 4, 9))[1, 2].isfinite(), torch.ones(9, 3) > 0)


def test_alignment_has_no_gradient_and_takes_low_precision():
    x, y = cloud(1, 9).requires_grad_(), cloud(1, 9, seed=1).requires_grad_()
    assert not rigid_align(x, y, torch.ones(1, 9)).requires_grad
    low = rigid_align(x.bfloat16(), y.bfloat16(), torch.ones(1, 9, dtype=torch.bfloat16))
    assert low.dtype == torch.float32 and low.isfinite().all()


def test_nothing_waits_for_the_device():
    # Tensors without values raise as soon as anything reads one (.item(), nonzero, a branch).
    with FakeTensorMode():
        x, weights = torch.empty(2, 3, 50, 3), torch.empty(2, 3, 50)
        assert rigid_align(x, x, weights).shape == x.shape
        assert center(x, weights > 0).shape == x.shape
        assert dihedral(*x.unbind(-2)[:4]).shape == (2, 3)


# ---------------------------------------------------------------------------------------------- internal coordinates

TRIALS = torch.randn(20, 4, 3, generator=seeded(11), dtype=torch.float64)


def test_internal_coordinates_have_their_closed_forms():
    origin, x, y, z = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()
    assert distance(x, y).item() == pytest.approx(math.sqrt(2))
    assert angle(x, origin, y).item() == pytest.approx(math.pi / 2)
    assert angle(x, origin, x * 3).item() == 0 and angle(x, origin, -x).item() == pytest.approx(math.pi)
    for degrees in (-179, -90, -30, 0, 30, 90, 179):
        turn = math.radians(degrees)
        # Seen along b -> c (here +z) the far bond is turned clockwise from the near one by a positive dihedral.
        end = z + math.cos(turn) * x + math.sin(turn) * y
        assert dihedral(x, origin, z, end).item() == pytest.approx(turn, abs=1e-6)
    assert abs(dihedral(x, origin, z, z - x).item()) == pytest.approx(math.pi)


def test_internal_coordinates_of_a_mirror_image():
    mirrored = TRIALS * torch.tensor([1.0, 1.0, -1.0])
    torch.testing.assert_close(dihedral(*mirrored.unbind(1)), -dihedral(*TRIALS.unbind(1)))
    torch.testing.assert_close(angle(*mirrored.unbind(1)[:3]), angle(*TRIALS.unbind(1)[:3]))
    torch.testing.assert_close(dihedral(*TRIALS.flip(1).unbind(1)), dihedral(*TRIALS.unbind(1)))


@pytest.mark.parametrize(("measure", "points"), [(distance, 2), (angle, 3), (dihedral, 4)])
def test_gradients_are_finite_differences(measure, points):
    torch.autograd.gradcheck(measure, [p.clone().requires_grad_() for p in TRIALS.unbind(1)[:points]])


@pytest.mark.parametrize(("measure", "points"), [(distance, 2), (angle, 3), (dihedral, 4)])
def test_gradients_neither_push_nor_turn_the_whole(measure, points):
    atoms = TRIALS[:, :points].clone().requires_grad_()
    measure(*atoms.unbind(1)).sum().backward()
    assert atoms.grad.sum(1).abs().max() < 1e-9
    assert torch.linalg.cross(atoms.detach(), atoms.grad).sum(1).abs().max() < 1e-9


DEGENERATE = {
    "coincident": torch.zeros(4, 3),
    "pairs": torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0]]),
    "line": torch.tensor([[1.0, 2, 3]]) * torch.arange(4.0)[:, None],
    "folded line": torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]]),
    "three on a line": torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 2, 0], [1, 2, 0]]),
    "nearly coincident": torch.tensor([[0.0, 0, 0], [1e-20, 0, 0], [0, 1e-12, 0], [0, 0, 1e-7]]),
    "nearly a line": torch.tensor([[0.0, 0, 0], [1, 1e-7, 0], [2, 0, 1e-8], [3, 1e-9, 0]]),
    "exact trans": torch.tensor([[1.0, 1, 0], [0, 0, 0], [1, 0, 0], [0, -1, 0]]),
    "huge": torch.tensor([[0.0, 0, 0], [1e6, 0, 0], [1e6, 1e6, 0], [0, 0, 1e6]]),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize(("measure", "points"), [(distance, 2), (angle, 3), (dihedral, 4)])
def test_degenerate_points_have_finite_values_and_gradients(name, measure, points):
    atoms = DEGENERATE[name].clone().requires_grad_()
    value = measure(*atoms[:points])
    value.backward()
    assert value.isfinite() and atoms.grad.isfinite().all()


def test_exact_trans_is_a_straight_angle():
    assert dihedral(*DEGENERATE["exact trans"]).abs().item() == pytest.approx(math.pi)


def test_coincident_atoms_have_distance_zero_and_a_fixed_direction():
    a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    value = distance(a, b)
    value.backward()
    assert value == 0 and a.grad.tolist() == [1, 0, 0] and b.grad.tolist() == [-1, 0, 0]
