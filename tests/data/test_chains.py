"""Sequences laid over each other, and grouping of rows."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from frazil.chemistry import DNA, NONPOLYMER, PROTEIN, RNA
from frazil.data.chains import embed_sequence, polymer_type
from frazil.data.table import group_ids

NAMES = st.lists(st.sampled_from(["ALA", "GLY", "SER"]), min_size=1, max_size=20)


@given(full=NAMES, data=st.data())
def test_a_subset_with_true_numbers_is_found_where_it_was(full, data):
    kept = sorted(data.draw(st.sets(st.integers(0, len(full) - 1), min_size=1)))
    offset = data.draw(st.integers(-3, 200))
    observed = [(full[k], k + 1 + offset) for k in kept]
    places = embed_sequence(observed, full)
    assert places is not None and all(a < b for a, b in itertools.pairwise(places))
    assert [full[k] for k in places] == [full[k] for k in kept]
    if offset == 0:
        assert places == kept
    surprises = sum(b - a != n - m for a, b, m, n in zip(places, places[1:], kept, kept[1:], strict=False))
    assert surprises == 0


@given(full=NAMES, observed=NAMES)
def test_an_embedding_exists_exactly_if_it_is_a_subsequence(full, observed):
    rest = iter(full)
    possible = all(name in rest for name in observed)
    places = embed_sequence([(name, k) for k, name in enumerate(observed)], full)
    assert (places is not None) == possible
    if places is not None:
        assert [full[k] for k in places] == observed and places == sorted(set(places))


def test_nothing_and_too_much():
    assert embed_sequence([], ["ALA"]) is None
    assert embed_sequence([("ALA", 1), ("ALA", 2)], ["ALA"]) is None


def test_polymer_type_is_the_majority():
    assert polymer_type(["ALA", "GLY", "DA"]) == PROTEIN
    assert polymer_type(["DA", "DG", "ATP"]) == DNA
    assert polymer_type(["A", "PSU", "GTP"]) == RNA
    assert polymer_type(["ATP", "NH2", "NOSUCH"]) == NONPOLYMER


@given(rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(-1, 1)), min_size=1, max_size=30))
def test_groups_are_equal_rows(rows):
    ids = group_ids(*(np.array(column) for column in zip(*rows, strict=True)))
    for i, first in enumerate(rows):
        for j, second in enumerate(rows):
            assert (ids[i] == ids[j]) == (first == second)
