"""Truths about the metrics: closed forms, invariances, and brute force where that is feasible."""

import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from frazil.metrics import (
    Matcher,
    agreement,
    chirality_errors,
    clashes,
    count_clashes,
    handedness,
    lddt,
    rmsd,
    superposition,
)
from frazil.metrics.matching import MAX_ASSIGNMENTS, MISSING, superposed_errors
from frazil.metrics.neighbours import neighbour_pairs

TETRAHEDRON = np.array([[0.0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
MIRROR = np.array([-1.0, 1, 1])


def cloud(seed, size, spread=8.0):
    return np.random.default_rng(seed).normal(scale=spread, size=(size, 3))


def moved(points, seed):
    rng = np.random.default_rng(seed)
    return points @ Rotation.random(random_state=seed).as_matrix().T + rng.normal(scale=30, size=3)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 50])
def test_rmsd_of_a_moved_copy_is_zero(size):
    points = cloud(1, size)
    assert rmsd(moved(points, 2), points) < 1e-9


def test_rmsd_of_a_known_displacement():
    # stretching a centred cloud by 1 + e moves each atom by e times its radius, and no rotation can undo that
    points = cloud(3, 40)
    points -= points.mean(axis=0)
    expected = 0.1 * np.sqrt((points**2).sum(axis=1).mean())
    assert rmsd(1.1 * points, points) == pytest.approx(expected, rel=1e-9)


def test_rmsd_never_uses_a_reflection():
    points = cloud(4, 30)
    assert rmsd(points * MIRROR, points) > 1.0
    motion = superposition(points * MIRROR, points)
    assert np.linalg.det(motion.rotation) == pytest.approx(1.0)


def test_rmsd_is_least_among_rotations():
    a, b = cloud(5, 20), cloud(6, 20)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    best = rmsd(a, b)
    for turn in Rotation.random(200, random_state=0).as_matrix():
        assert best <= np.sqrt(((a @ turn.T - b) ** 2).sum(axis=1).mean()) + 1e-9


def test_unresolved_atoms_do_not_count():
    points = cloud(7, 20)
    target = points.copy()
    target[3] = np.nan
    other = moved(points, 8)
    other[3] += 100
    other[11] = np.nan
    assert rmsd(other, target) < 1e-9
    with pytest.raises(ValueError, match="no atom"):
        rmsd(np.full((4, 3), np.nan), cloud(0, 4))


@pytest.mark.parametrize("points", [np.zeros((5, 3)), np.outer(np.arange(5.0), [1, 2, 3]), cloud(1, 5) * [1, 1, 0]])
def test_coincident_collinear_and_coplanar_points_superpose(points):
    assert rmsd(moved(points, 3), points) < 1e-6


def test_equal_chains_are_matched_whatever_their_order():
    chain = cloud(9, 12, 3.0)
    places = [moved(chain, seed) for seed in range(4)]
    reference = np.concatenate(places)
    copies = [np.arange(48).reshape(4, 12)]
    for order in permutations(range(4)):
        sample = moved(np.concatenate([places[i] for i in order]), 77)
        found = Matcher(48, copies, []).match(sample, reference)
        assert rmsd(sample[found], reference) < 1e-6
        assert sorted(found) == list(range(48))


def test_many_equal_chains_are_matched_without_trying_all_orders():
    chain = cloud(10, 6, 3.0)
    places = [moved(chain, seed) for seed in range(12)]
    order = np.random.default_rng(0).permutation(12)
    reference, sample = np.concatenate(places), moved(np.concatenate([places[i] for i in order]), 5)
    assert MAX_ASSIGNMENTS < 12 * 11 * 10
    sample = sample + np.random.default_rng(1).normal(scale=0.1, size=sample.shape)
    found = Matcher(72, [np.arange(72).reshape(12, 6)], []).match(sample, reference)
    assert (found.reshape(12, 6)[:, 0] // 6 == np.argsort(order)).all()


def test_two_entities_with_copies_and_an_unresolved_chain():
    a, b = cloud(11, 9, 3.0), cloud(12, 4, 2.0)
    reference = np.concatenate([moved(a, 1), moved(a, 2), moved(b, 3), moved(b, 4)])
    copies = [np.arange(18).reshape(2, 9), 18 + np.arange(8).reshape(2, 4)]
    sample = moved(reference[np.r_[9:18, 0:9, 22:26, 18:22]], 6)
    sample[18:22] = np.nan
    found = Matcher(26, copies, []).match(sample, reference)
    assert rmsd(sample[found], reference) < 1e-6
    assert np.isnan(sample[found][22:26]).all()


def test_a_flipped_ring_is_the_same_ring():
    points = cloud(13, 30)
    alternatives = [np.array([[4, 5, 6, 7], [5, 4, 7, 6]]), np.array([[20, 21], [21, 20]])]
    sample = points.copy()
    sample[[4, 5, 6, 7]] = points[[5, 4, 7, 6]]
    sample = moved(sample, 1)
    assert rmsd(sample, points) > 1.0
    found = Matcher(30, [], alternatives).match(sample, points)
    assert rmsd(sample[found], points) < 1e-6
    assert found[20] == 20


def test_a_lone_symmetric_molecule_gets_the_best_of_its_symmetries():
    # a bent hexagon turned by 60 degrees: only one of the twelve symmetries fits
    turns = np.arange(6)
    rows = np.array([(shift + sign * turns) % 6 for sign in (1, -1) for shift in range(6)])
    ring = np.stack([np.cos(turns * np.pi / 3), np.sin(turns * np.pi / 3), [0, 0, 0.5, 0, 0.1, 0.2]], axis=1)
    for row in rows:
        sample = moved(ring[row], 3)
        found = Matcher(6, [], [rows]).match(sample, ring)
        assert rmsd(sample[found], ring) < 1e-6


def test_matching_is_never_worse_than_the_given_order():
    reference, sample = cloud(14, 24), cloud(15, 24)
    matcher = Matcher(24, [np.arange(18).reshape(3, 6)], [np.array([[19, 20], [20, 19]])])
    assert rmsd(sample[matcher.match(sample, reference)], reference) <= rmsd(sample, reference) + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_lddt_of_itself_is_one_and_rigid_motion_changes_nothing(seed, size):
    points = cloud(seed, size, 4.0)
    other = points + np.random.default_rng(seed).normal(scale=1.0, size=points.shape)
    assert lddt(points, points, radius=50) == 1.0
    assert lddt(moved(other, seed), points, radius=50) == pytest.approx(lddt(other, points, radius=50), abs=1e-9)


def test_lddt_equals_brute_force():
    reference = cloud(16, 150, 10.0)
    sample = reference + np.random.default_rng(2).normal(scale=0.8, size=reference.shape)
    reference[5], sample[9] = np.nan, np.nan
    residue = np.arange(150) // 5
    kept = []
    for i in range(150):
        for j in range(i + 1, 150):
            true = np.linalg.norm(reference[i] - reference[j])
            if residue[i] != residue[j] and true < 15:
                change = abs(np.linalg.norm(sample[i] - sample[j]) - true)
                if np.isfinite(change):
                    kept.append(np.mean([change < threshold for threshold in (0.5, 1, 2, 4)]))
    assert lddt(sample, reference, residue) == pytest.approx(np.mean(kept), abs=1e-12)


def test_lddt_without_pairs_is_nan():
    assert np.isnan(lddt(cloud(0, 4), cloud(0, 4), np.zeros(4, dtype=int)))


def test_neighbours_are_all_pairs_once_for_any_block():
    points = cloud(17, 90, 6.0)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    expected = {(i, j) for i, j in np.argwhere(distance <= 7.0).tolist() if i < j}
    for block in (1, 7, 512):
        found = [
            pair for i, j, _ in neighbour_pairs(points, 7.0, block) for pair in zip(i.tolist(), j.tolist(), strict=True)
        ]
        assert len(found) == len(expected) and set(found) == expected


def test_clashes_equal_all_pairs():
    points = cloud(18, 120, 4.0)
    points[7] = np.nan
    radii = np.random.default_rng(3).choice([1.5, 1.7, 1.8], size=120)
    bonds = np.stack([np.arange(0, 100), np.arange(1, 101)], axis=1)
    expected = []
    for i in range(120):
        for j in range(i + 1, 120):
            near_in_chain = j - i <= 3 and j <= 100
            if not near_in_chain and np.linalg.norm(points[i] - points[j]) < 0.75 * (radii[i] + radii[j]):
                expected.append([i, j])
    assert expected
    assert clashes(points, radii, bonds).tolist() == expected
    assert count_clashes(points, radii, bonds) == len(expected)


def test_bonded_neighbours_up_to_three_bonds_do_not_clash():
    points = np.zeros((6, 3))
    chain = np.stack([np.arange(5), np.arange(1, 6)], axis=1)
    assert clashes(points, np.full(6, 1.7), chain).tolist() == [[0, 4], [0, 5], [1, 5]]
    ring = np.vstack([chain, [[5, 0]]])
    assert clashes(points, np.full(6, 1.7), ring).tolist() == []


def test_atoms_that_all_coincide_clash_in_bounded_memory():
    size = 2000
    tracemalloc.start()
    found = count_clashes(np.zeros((size, 3)), np.full(size, 1.7), np.empty((0, 2), dtype=int))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == size * (size - 1) // 2
    assert peak < 100 * 512 * size


def test_few_or_unresolved_atoms_do_not_clash():
    none = np.empty((0, 2), dtype=int)
    assert len(clashes(np.zeros((1, 3)), np.ones(1), none)) == 0
    assert len(clashes(np.full((5, 3), np.nan), np.ones(5), none)) == 0


def test_handedness_of_an_ideal_tetrahedron_and_its_image():
    centre = np.array([[0, 1, 2, 3]])
    ideal = np.sqrt(16 / 27)
    assert abs(handedness(TETRAHEDRON, centre)[0]) == pytest.approx(ideal)
    assert handedness(TETRAHEDRON * MIRROR, centre)[0] == pytest.approx(-handedness(TETRAHEDRON, centre)[0])
    assert handedness(moved(5 * TETRAHEDRON, 3), centre)[0] == pytest.approx(handedness(TETRAHEDRON, centre)[0])


def test_wrong_and_flat_centres_are_errors_and_unresolved_ones_are_not():
    centres = np.array([[0, 1, 2, 3], [0, 1, 2, 4]])
    expected = handedness(TETRAHEDRON, centres)
    assert len(chirality_errors(TETRAHEDRON, centres, expected)) == 0
    assert chirality_errors(TETRAHEDRON * MIRROR, centres, expected).tolist() == [0, 1]
    assert chirality_errors(TETRAHEDRON * [1, 1, 0.01], centres, expected).size == 2
    hidden = TETRAHEDRON * MIRROR
    hidden[4] = np.nan
    assert chirality_errors(hidden, centres, expected).tolist() == [0]
    assert chirality_errors(TETRAHEDRON * MIRROR, centres, np.array([np.nan, 0.0])).size == 0


@pytest.mark.parametrize("residue", [None, np.arange(30) // 4])
def test_agreement_is_the_mean_lddt_to_the_others(residue):
    samples = cloud(5, 30)[None] + np.random.default_rng(6).normal(size=(4, 30, 3))
    others = [[lddt(samples[i], samples[j], residue) for j in range(4) if j != i] for i in range(4)]
    assert agreement(samples, residue) == pytest.approx(np.mean(others, axis=1), abs=1e-12)


def test_agreement_of_one_or_of_nothing_in_common_is_nan():
    assert np.isnan(agreement(cloud(7, 9)[None])).all()
    assert np.isnan(agreement(np.full((3, 9, 3), np.nan))).all()
    gap = np.stack([cloud(7, 9)] * 3)
    gap[1, 4] = np.nan
    assert agreement(gap).tolist() == [1.0, 1.0, 1.0]


def test_agreement_of_many_samples_is_that_of_some():
    samples = cloud(8, 12)[None] + np.random.default_rng(9).normal(size=(450, 12, 3))
    found = agreement(samples)
    shown = samples[::4]
    assert found[1] == pytest.approx(np.mean([lddt(samples[1], one) for one in shown]), abs=1e-12)
    assert np.isfinite(found).all()


def test_errors_of_many_superpositions_are_those_of_each():
    target = cloud(21, 12)
    candidates = np.stack([moved(target + cloud(seed, 12, 1.0), seed) for seed in range(6)])
    candidates[1] *= MIRROR
    candidates[2, 3] = np.nan
    target[5] = np.nan
    found = superposed_errors(candidates, target)
    resolved = np.isfinite(target).all(axis=1)
    for number, (one, error) in enumerate(zip(candidates, found, strict=True)):
        count = resolved.sum() - (number == 2)
        assert error - MISSING * (number == 2) == pytest.approx(count * rmsd(one, target) ** 2, rel=1e-6)


def test_a_dendrimer_with_a_thousand_symmetries_is_matched_at_once():
    """Each of nine pairs may be swapped by itself: 512 symmetries, all of which superpose in one go."""
    points = cloud(22, 24)
    swaps = np.array([[pair ^ (number >> (pair // 2) & 1) for pair in range(18)] for number in range(512)])
    matcher = Matcher(24, [], [swaps])
    for number in (1, 77, 511):
        sample = points.copy()
        sample[:18] = points[swaps[number]]
        sample = moved(sample, number)
        order = matcher.match(sample, points)
        assert rmsd(sample[order], points) < 1e-6
