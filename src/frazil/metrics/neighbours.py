"""Pairs of atoms within a radius, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial import cKDTree

from frazil.metrics.superposition import Floats, Ints

BLOCK = 512


def neighbour_pairs(points: Floats, radius: float, block: int = BLOCK) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Every pair i < j closer than `radius`, as (i, j, distance), `block` atoms i at a time.

    Parameters
    ----------
    points : array
        [A, 3], angstrom, finite.
    radius : float
        Angstrom.
    block : int
        Rows per block; even if all atoms coincide, a block holds no more than `block` x A pairs.
    """
    tree = cKDTree(points)
    for start in range(0, len(points), block):
        rows = cKDTree(points[start : start + block])
        found = rows.sparse_distance_matrix(tree, radius, output_type="ndarray")
        i, j = found["i"].astype(np.int64) + start, found["j"].astype(np.int64)
        upper = i < j
        yield i[upper], j[upper], found["v"][upper]
