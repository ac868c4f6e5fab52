"""Truths about the neighbour search: exactly the pairs that comparing all with all gives, for any points."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.potentials.exclusions import PairSet, within_bonds
from frazil.potentials.neighbours import neighbour_pairs

RADIUS = 2.8


def all_pairs(points, group, radius, label=None):
    d = points[:, None] - points
    distance = (d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2]).sqrt()
    near = (distance < radius) & (group[:, None] == group)
    if label is not None:
        near &= label[:, None] != label
    return {(i, j) for i, j in near.triu(1).nonzero().tolist()}


def found_pairs(points, group, radius, **options):
    found = neighbour_pairs(points, group, radius, **options)
    return [pair for pairs in found for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]


def assert_exact(points, group=None, radius=RADIUS, **options):
    group = torch.zeros(len(points), dtype=torch.int64) if group is None else group
    found = [(min(pair), max(pair)) for pair in found_pairs(points, group, radius, **options)]
    assert len(found) == len(set(found))
    assert set(found) == all_pairs(points, group, radius, options.get("label"))


def cloud(size, spread, seed=0):
    return spread * torch.randn(size, 3, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 80), spread=st.sampled_from([0.0, 0.5, 3.0, 12.0, 200.0, 1e4, 1e6, 1e38]),
    groups=st.integers(1, 4), labels=st.none() | st.integers(1, 3), radius=st.floats(0.1, 20.0),
    block=st.sampled_from([1, 7, 500, 10**6]), seed=st.integers(0, 10**6), copies=st.integers(0, 40),
)  # fmt: skip
def test_pairs_are_those_of_all_against_all(size, spread, groups, labels, radius, block, seed, copies):
    points = cloud(size, spread, seed)
    points[: min(copies, size)] = points[:1]
    generator = torch.Generator().manual_seed(seed)
    group = torch.randint(groups, (size,), generator=generator)
    label = None if labels is None else torch.randint(labels, (size,), generator=generator)
    assert_exact(points, group, radius, label=label, block=block)


@settings(max_examples=30, deadline=None)
@given(coordinates=st.lists(st.tuples(*[st.floats(width=32)] * 3), max_size=30), radius=st.floats(0.01, 1e3))
def test_hostile_coordinates(coordinates, radius):
    assert_exact(torch.tensor(coordinates, dtype=torch.float32).reshape(-1, 3), radius=radius)


@pytest.mark.parametrize("offset", [0.0, 90.0, 3e3, 1.1e4, 1.2e4, 1e5, 1e7])
def test_pairs_at_the_very_radius_wherever_they_lie(offset):
    radius = torch.tensor(RADIUS)
    apart = torch.stack([torch.nextafter(radius, torch.tensor(0.0)), radius, 0.5 * radius])
    chain = (offset + torch.cat([torch.zeros(1), apart.repeat(40).cumsum(0)])).float()
    for axis in range(3):
        points = torch.zeros(len(chain), 3)
        points[:, axis] = chain
        assert_exact(points)


def test_points_on_the_corners_of_cells_and_on_repeating_layers():
    side = torch.arange(-2, 3) * RADIUS
    corners = torch.cartesian_prod(side, side, side)
    layers = torch.arange(-200, 200)[:, None] * torch.tensor([0.0, 0.0, RADIUS * 1.01 / 2])
    assert_exact(corners)
    assert_exact(torch.cat([corners, layers, layers + torch.tensor([2.7, 0.0, 0.0])]))


def test_points_that_are_not_finite_have_no_neighbours():
    points = torch.zeros(5, 3)
    points[1, 0], points[2, 1], points[3, 2] = float("nan"), float("inf"), float("-inf")
    assert found_pairs(points, torch.zeros(5, dtype=torch.int64), RADIUS) == [(0, 4)]


def test_distance_and_difference_belong_to_the_pair():
    points = cloud(50, 2.0)
    for pairs in neighbour_pairs(points, torch.zeros(50, dtype=torch.int64), RADIUS):
        difference = points[pairs.first] - points[pairs.second]
        torch.testing.assert_close(torch.stack(pairs.difference, -1), difference, rtol=0, atol=0)
        torch.testing.assert_close(pairs.distance, difference.norm(dim=-1))


def test_order_of_a_groups_pairs_depends_on_nothing_else():
    points = cloud(300, 6.0)
    alone = found_pairs(points, torch.zeros(300, dtype=torch.int64), RADIUS)
    beside = torch.cat([cloud(200, 30.0, seed=1), points, cloud(400, 4.0, seed=2)])
    group = torch.arange(3).repeat_interleave(torch.tensor([200, 300, 400]))
    for block in (1, 64, 10**6):
        found = found_pairs(beside, group, RADIUS, block=block)
        assert [(i - 200, j - 200) for i, j in found if group[i] == 1] == alone


def test_a_collapsed_structure_comes_in_small_blocks():
    size, block = 1500, 20_000
    found = [len(p.first) for p in neighbour_pairs(torch.zeros(size, 3), torch.zeros(size).long(), RADIUS, block=block)]
    assert sum(found) == size * (size - 1) // 2
    assert max(found) <= block


@pytest.mark.parametrize("radius", [0.0, -1.0])
def test_nothing_is_closer_than_nothing(radius):
    assert found_pairs(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), radius) == []


@settings(max_examples=40, deadline=None)
@given(bonds=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=25), reach=st.integers(1, 4))
def test_pairs_within_bonds_are_those_of_matrix_powers(bonds, reach):
    ends = torch.tensor(bonds, dtype=torch.int64).reshape(-1, 2)
    step = torch.eye(15)
    step[ends[:, 0], ends[:, 1]] = step[ends[:, 1], ends[:, 0]] = 1
    expected = (torch.matrix_power(step, reach) > 0).triu(1)
    reached = within_bonds(ends, 15, reach)
    assert torch.stack(reached.ends, -1).tolist() == expected.nonzero().tolist()
    i, j = torch.cartesian_prod(torch.arange(15), torch.arange(15)).unbind(-1)
    assert torch.equal(reached.contains(i, j), (expected | expected.T)[i, j])


def test_an_empty_set_contains_nothing():
    none = PairSet.of(torch.zeros(0).long(), torch.zeros(0).long(), 5)
    assert not none.contains(torch.tensor([0, 1]), torch.tensor([1, 1])).any()
