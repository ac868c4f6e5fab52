"""Truths about samples laid on each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from folders import ligand_folder

from frazil.metrics import lddt
from frazil.page.overlay import alike_together, local_agreement, overlay
from frazil.page.samples import read_samples


def test_the_mean_of_local_lddt_over_the_pairs_is_the_lddt() -> None:
    rng = np.random.default_rng(0)
    # all atoms are within the radius of each other, so the plain mean is the whole
    pair = rng.normal(size=(2, 30, 3)) * 2
    local = local_agreement(pair)
    assert local[0].mean() == pytest.approx(lddt(pair[0], pair[1]))
    assert local[1].mean() == pytest.approx(lddt(pair[1], pair[0]))


def test_equal_samples_agree_everywhere_and_a_lone_one_is_not_judged() -> None:
    points = np.random.default_rng(1).normal(size=(9, 3)) * 3
    assert (local_agreement(np.stack([points, points])) == 1).all()
    assert np.isnan(local_agreement(points[None])).all()


def test_agreement_is_lost_where_a_sample_moves_and_nowhere_else() -> None:
    rod = np.arange(30)[:, None] * np.array([3.8, 0, 0])
    bent = rod.copy()
    bent[25:, 1] += 30.0
    local = local_agreement(np.stack([rod, rod, bent]))
    assert (local[:, :20] == 1).all() and local[0, 26] == 1
    assert local[2, 26] < 0.9


def test_a_turned_copy_lies_on_the_first_and_symmetric_atoms_do_not_count(tmp_path: Path) -> None:
    samples = read_samples(ligand_folder(tmp_path / "tolyl", "Cc1ccc(C)cc1", 2))
    first = samples.drawable.coords[0]
    [symmetries] = samples.drawable.topology.alternatives
    flipped = first.copy()
    flipped[symmetries[0]] = first[symmetries[-1]]
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    twins = type(samples.drawable)(**{**vars(samples.drawable), "coords": np.stack([first, flipped @ turn + 5.0])})
    laid = overlay(twins)
    assert np.abs(flipped - first).max() > 1
    np.testing.assert_allclose(laid.coords[1][symmetries[0]], laid.coords[0][symmetries[-1]], atol=1e-6)
    assert laid.rmsd[0, 1] < 1e-6 and laid.spread.max() < 1e-6


def test_the_picture_keeps_the_handedness_and_lies_across_the_screen(tmp_path: Path) -> None:
    drawable = read_samples(ligand_folder(tmp_path / "ibuprofen")).drawable
    laid = overlay(drawable)
    before, after = drawable.coords[0], laid.coords[0]
    volume = [np.linalg.det(x[[1, 5, 9]] - x[12]) for x in (before, after)]
    assert volume[1] == pytest.approx(volume[0], rel=1e-6)
    extent = after.std(axis=0)
    assert extent[0] > extent[1] > extent[2]


def test_alike_samples_stand_together() -> None:
    kinds = np.array([0, 1, 0, 1, 0, 1])
    apart = np.where(kinds[:, None] == kinds, 0.1, 2.0)
    np.fill_diagonal(apart, 0)
    order = kinds[alike_together(apart)]
    assert np.count_nonzero(np.diff(order)) == 1
