"""Truths about judging: bounds by hand, hard minima of groups, invariance of aligned places, unresolved atoms."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan, pi, radians

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.geometry import quaternion_to_matrix
from frazil.restraints import PlaceTerms, Restraints, Terms
from frazil.steering.judge import TOLERANCE, Outcome, judge, verdict

LINE = torch.tensor([[0.0, 0, 0], [3, 0, 0], [10, 0, 0], [40, 0, 0]])


def only(coords: torch.Tensor = LINE, **lists: Terms | PlaceTerms) -> list[Outcome]:
    """Outcomes of all groups of one kind in one sample."""
    [found] = judge(replace(Restraints.none(), **lists), coords[None])
    return [found.outcome(group, 0) for group in range(len(found.labels))]


def pairs(*atoms: tuple[int, int], **options) -> Terms:
    return Terms.of(torch.tensor(atoms), **options)


def test_nothing_to_judge() -> None:
    assert judge(Restraints.none(), LINE[None]) == ()
    assert verdict((), 0).total == 0


@pytest.mark.parametrize(
    ("lower", "upper", "kept"),
    [(-torch.inf, 3.0, True), (-torch.inf, 2.9985, False), (-torch.inf, 2.9995, True), (3.5, torch.inf, False),
     (3.0005, torch.inf, True), (2.0, 4.0, True), (4.0, 5.0, False)],
)  # fmt: skip
def test_a_distance_against_its_bounds(lower: float, upper: float, kept: bool) -> None:
    [outcome] = only(distances=pairs((0, 1), lower=lower, upper=upper, labels=["d"]))
    assert outcome.value == 3.0 and outcome.satisfied is kept
    assert (outcome.excess <= TOLERANCE) is kept


def test_a_group_is_judged_by_its_best_alternative_however_soft_the_rest() -> None:
    far = pairs((0, 3), (0, 2), (0, 1), (1, 2), upper=5.0, group=torch.tensor([0, 0, 0, 1]), labels=["any", "other"])
    first, second = only(contacts=far)
    assert (first.value, first.satisfied, first.label) == (3.0, True, "any")
    assert (second.value, second.satisfied, second.label) == (7.0, False, "other")


def test_alternatives_with_bounds_of_their_own_keep_them() -> None:
    mixed = pairs((0, 2), (0, 3), upper=torch.tensor([4.0, 39.0]), group=torch.tensor([0, 0]))
    [outcome] = only(contacts=mixed)
    assert (outcome.value, outcome.upper) == (40.0, 39.0)


def test_a_restraint_without_weight_is_judged_and_said_to_be_so() -> None:
    free, held = only(contacts=pairs((0, 1), (0, 2), upper=5.0, weight=torch.tensor([0.0, 1.0])))
    assert (free.enforced, held.enforced) == (False, True)
    assert (free.satisfied, held.satisfied) == (True, False)


@given(angle=st.floats(-pi + 1e-3, pi - 1e-3), turns=st.integers(-2, 2))
def test_a_dihedral_window_is_taken_modulo_one_turn(angle: float, turns: int) -> None:
    # the last atom is turned by `angle` from the half-plane of the first
    turned = torch.tensor(angle)
    coords = torch.stack([torch.tensor([1.0, 0, 0]), torch.zeros(3), torch.tensor([0, 0, 1.0]),
                          torch.stack([turned.cos(), turned.sin(), torch.tensor(1.0)])])  # fmt: skip
    [found] = only(coords, dihedrals=Terms.of(torch.arange(4)[None], angle - 0.1, angle + 0.1))
    sign = 1 if found.satisfied else -1
    window = sign * angle + 2 * pi * turns
    [shifted] = only(coords, dihedrals=Terms.of(torch.arange(4)[None], window - 0.1, window + 0.1))
    assert shifted.satisfied
    [opposite] = only(coords, dihedrals=Terms.of(torch.arange(4)[None], window + pi - 0.1, window + pi + 0.1))
    assert not opposite.satisfied and opposite.excess == pytest.approx(180 - 5.73, abs=0.1)


def test_double_bonds_and_planes_have_no_sign_but_centres_do() -> None:
    coords = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [-1, 1e-3, 1]])
    for mirrored in (coords, coords * torch.tensor([1.0, -1, 1])):
        [trans] = only(mirrored, stereo_bonds=Terms.of(torch.arange(4)[None], lower=radians(150)))
        assert trans.satisfied and trans.value == pytest.approx(179.94, abs=0.01) and trans.unit == "degree"
    centre = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    hand = Terms.of(torch.arange(4)[None], lower=radians(30))
    kept = [only(x, chirality=hand)[0].satisfied for x in (centre, -centre)]
    assert sorted(kept) == [False, True]


@pytest.mark.parametrize(("angle", "kept"), [(35, True), (29, True), (16, True), (14, False), (0, False), (-35, False)])
def test_a_strained_centre_is_right_and_a_planar_one_is_not(angle: float, kept: bool) -> None:
    turned = torch.tensor(radians(angle))
    coords = torch.stack([torch.tensor([1.0, 0, 0]), torch.zeros(3), torch.tensor([0, 0, 1.0]),
                          torch.stack([turned.cos(), turned.sin(), torch.tensor(1.0)])])  # fmt: skip
    both = [only(x, chirality=Terms.of(torch.arange(4)[None], lower=radians(30)))[0]
            for x in (coords, coords * torch.tensor([1.0, -1, 1]))]  # fmt: skip
    [found, *_] = (one for one in both if one.value == pytest.approx(angle, abs=1e-3))
    assert found.satisfied is kept


def test_aligned_places_are_kept_by_any_rigid_motion_and_others_by_none() -> None:
    places = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 5, 0], [0, 0, 6]])
    turned = places @ quaternion_to_matrix(torch.tensor([1.0, 2, 3, 4])) + 30
    terms = Terms.of(torch.arange(4)[:, None], upper=0.5, group=torch.zeros(4, dtype=torch.int64), labels=["t"])
    [aligned] = only(turned, templates=PlaceTerms(terms, places, torch.tensor([True])))
    assert aligned.satisfied and aligned.value < 1e-4
    [fixed] = only(turned, positions=PlaceTerms(terms, places, torch.tensor([False])))
    assert not fixed.satisfied and fixed.value > 20
    [worst] = only(places + torch.tensor([0.0, 0, 0.6]), positions=PlaceTerms(terms, places, torch.tensor([False])))
    assert worst.value == pytest.approx(0.6) and not worst.satisfied
    bent = turned.clone()
    bent[0] += 3
    [broken] = only(bent, templates=PlaceTerms(terms, places, torch.tensor([True])))
    assert not broken.satisfied


def test_gyration_is_the_spread_of_its_atoms() -> None:
    terms = Terms.of(torch.tensor([[0], [1], [1], [2]]), upper=1.6, group=torch.tensor([0, 0, 1, 1]), labels=["a", "b"])
    first, second = only(gyration=terms)
    assert (first.value, first.satisfied) == (1.5, True)
    assert (second.value, second.satisfied) == (3.5, False)


def test_samples_are_judged_one_by_one() -> None:
    coords = torch.stack([LINE, LINE * 2, LINE * nan])
    [found] = judge(replace(Restraints.none(), contacts=pairs((0, 1), upper=4.0, labels=["x"])), coords)
    assert found.value[0, :2].tolist() == [3.0, 6.0]
    assert found.satisfied[0].tolist() == [True, False, False]
    assert found.judged[0].tolist() == [True, True, False]
    assert [verdict([found], s).total for s in range(3)] == [1, 1, 0]
    assert verdict([found], 2).unsatisfied == ()


def test_an_unresolved_alternative_does_not_hide_a_resolved_one() -> None:
    coords = LINE.clone()
    coords[1] = nan
    group = torch.tensor([0, 0])
    [outcome] = only(coords, contacts=pairs((0, 1), (0, 2), upper=12.0, group=group))
    assert outcome.value == 10.0 and outcome.satisfied
    [flat] = only(coords, dihedrals=Terms.of(torch.arange(4)[None], lower=-1.0, upper=1.0))
    assert not flat.judged and not flat.satisfied
    assert json.loads(json.dumps(flat.to_dict(), allow_nan=False))["value"] is None


def test_a_verdict_counts_what_follows_and_lists_what_was_asked_for() -> None:
    bounds = pairs(*[(0, 2)] * 30, (0, 1), upper=torch.tensor([9.0 - i / 10 for i in range(30)] + [4.0]))
    bonds = pairs((0, 1), (0, 3), upper=2.0, labels=["", "A:1:SG-B:1:C1"])
    asked = pairs((0, 1), (0, 3), (0, 2), upper=5.0, labels=["near", "farther", "far"])
    restraints = replace(Restraints.none(), distance_bounds=bounds, contacts=asked, connections=bonds)
    found = verdict(judge(restraints, LINE[None]), 0)
    assert [one.label for one in found.given] == ["near", "farther", "far", "A:1:SG-B:1:C1"]
    assert (found.satisfied, found.total, found.stereo_violations) == (1, 4, 0)
    assert [one.label for one in found.unsatisfied] == ["A:1:SG-B:1:C1", "farther", "far"]
    counts = {one.kind: one for one in found.physical}
    assert (counts["distance_bounds"].satisfied, counts["distance_bounds"].total) == (1, 31)
    assert len(counts["distance_bounds"].violated) == 20
    assert counts["distance_bounds"].violated[0].upper == pytest.approx(6.1)
    assert (counts["connections"].total, counts["connections"].violated[0].label) == (1, "0,1")
    assert found.unsatisfied[1].text() == "contact farther: 40.00 Å, at most 5 Å"


def test_wrong_centres_are_stereo_violations() -> None:
    centre = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    both = Terms.of(
        torch.arange(4).repeat(2, 1), torch.tensor([radians(30), -torch.inf]), torch.tensor([torch.inf, -radians(30)])
    )
    found = verdict(judge(replace(Restraints.none(), chirality=both), centre[None]), 0)
    assert found.stereo_violations == 1 and found.given == ()


def test_groups_of_one_label_are_one_restraint_that_the_worst_of_them_decides() -> None:
    apart = pairs((0, 1), (0, 2), (0, 3), (1, 2), lower=5.0, labels=["far", "far", "far", "other"])
    far, other = only(distances=apart)
    assert (far.label, far.value, far.satisfied) == ("far", 3.0, False)
    assert (other.label, other.value, other.satisfied) == ("other", 7.0, True)
    unnamed = only(distances=pairs((0, 1), (0, 2), lower=5.0))
    assert [one.value for one in unnamed] == [3.0, 10.0]


def test_atoms_without_a_label_are_called_by_name() -> None:
    bonds = replace(Restraints.none(), connections=pairs((0, 3), upper=2.0))
    [found] = judge(bonds, LINE[None], ["A:1:C", "x", "y", "A:2:N"])
    assert found.outcome(0, 0).label == "A:1:C,A:2:N"


def test_rows_read_back_as_they_were_written() -> None:
    [outcome] = only(distances=pairs((0, 1), lower=2.0, labels=["d"]))
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome
    for broken in ({}, {"kind": "x"}, outcome.to_dict() | {"value": "3"}, outcome.to_dict() | {"satisfied": 1}):
        with pytest.raises(ValueError):
            Outcome.from_dict(broken)
