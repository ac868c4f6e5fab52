"""Truths about coverage and matching, and the TM-score: closed forms, bounds, invariances."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial.transform import Rotation

from frazil import data
from frazil.errors import InputError
from frazil.metrics import coverage, superposition, tm_score

tables = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(0.0, 3.0))


def walk(seed, length):
    return np.random.default_rng(seed).normal(size=(length, 3)).cumsum(axis=0) * 3.8


def moved(points, seed):
    return points @ Rotation.random(random_state=seed).as_matrix().T + 30.0


@given(tables)
def test_recall_of_one_set_is_precision_of_the_other(distances):
    found, turned = coverage(distances), coverage(distances.T)
    assert found.cov_r == turned.cov_p and found.mat_r == turned.mat_p


@given(tables, st.floats(0.0, 3.0))
def test_one_more_sample_never_lowers_recall(distances, more):
    wider = coverage(np.vstack([distances, np.full(distances.shape[1], more)]))
    found = coverage(distances)
    assert wider.mat_r <= found.mat_r and all(np.greater_equal(wider.cov_r, found.cov_r))


def test_coverage_grows_with_the_threshold_and_excludes_it():
    found = coverage([[0.5, 1.0]], thresholds=(0.5, 0.6, 1.0, 1.1))
    assert found.cov_r == (0.0, 0.5, 0.5, 1.0) and found.cov_p == (0.0, 1.0, 1.0, 1.0)
    assert (found.mat_r, found.mat_p) == (0.75, 0.5)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_nothing_covers_nothing(shape):
    with pytest.raises(ValueError, match="needs a sample and a reference"):
        coverage(np.zeros(shape))


def test_tm_score_of_a_moved_copy_is_one():
    trace = walk(0, 40)
    assert tm_score(moved(trace, 1), trace) == pytest.approx(1.0, abs=1e-6)


def test_tm_score_is_at_least_that_of_the_least_squares_superposition():
    for seed in range(5):
        trace = walk(seed, 90)
        other = moved(trace + np.random.default_rng(seed).normal(size=trace.shape) * 3, seed)
        scale = 1.24 * (90 - 15) ** (1 / 3) - 1.8
        apart = np.linalg.norm(superposition(other, trace)(other) - trace, axis=1)
        assert 1.0 > tm_score(other, trace) >= (1 / (1 + (apart / scale) ** 2)).mean() - 1e-6


def test_residues_that_the_sample_lacks_count_as_wrong_and_those_of_the_reference_not_at_all():
    trace = walk(3, 60)
    part = moved(trace, 2)
    part[45:] = np.nan
    assert tm_score(part, trace) == pytest.approx(0.75, abs=1e-6)
    assert tm_score(trace, part) == pytest.approx(1.0, abs=1e-6)


def test_tm_score_goes_by_residue_and_not_by_shape():
    """TM-align would find the strand in itself shifted by a residue; the TM-score asks where each residue is."""
    trace = walk(5, 80)
    assert tm_score(np.roll(trace, 20, axis=0), trace) < 0.6
    assert tm_score(trace[::-1], trace) < 0.6


def test_four_residues_have_no_fold():
    assert tm_score(walk(0, 4), walk(1, 4)) is None
    assert tm_score(np.full((50, 3), np.nan), walk(1, 50)) is None


def test_models_of_an_ensemble_are_one_fold():
    peptide = data.read(Path(data.__file__).parents[1] / "assets" / "1as5.cif.gz")
    trace = peptide.coords[:, peptide.atoms.atom_name == "CA"]
    assert 0.3 < tm_score(trace[0], trace[1]) < 1.0


def test_without_tmtools_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tmtools", None)
    with pytest.raises(InputError, match=r"pip install 'frazil\[eval\]'"):
        tm_score(walk(0, 30), walk(0, 30))
