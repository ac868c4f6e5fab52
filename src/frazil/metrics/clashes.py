"""Pairs of atoms that are too close to each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix

from frazil.metrics.neighbours import neighbour_pairs
from frazil.metrics.superposition import Ints

CLASH_FRACTION = 0.75
"""Share of the sum of two van-der-Waals radii below which atoms clash (PoseBusters, Buttenschoen et al. 2024)."""
BONDED_REACH = 3


def clashes(coords: ArrayLike, radii: ArrayLike, bonds: Ints, fraction: float = CLASH_FRACTION) -> Ints:
    """Pairs of atoms closer than `fraction` x the sum of their radii, unless within three bonds of each other.

    Parameters
    ----------
    coords : array
        [A, 3], angstrom; NaN where unresolved, such atoms do not clash.
    radii : array
        [A], van-der-Waals radii in angstrom.
    bonds : array
        [K, 2] int, bonded pairs of atoms; 1-2, 1-3 and 1-4 pairs are left out.

    Returns
    -------
    array
        [C, 2] int64, each pair once with the lower index first, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.array([[0.0, 0, 0], [1.5, 0, 0], [9.0, 0, 0]])
    >>> clashes(line, np.full(3, 1.7), np.empty((0, 2), int)).tolist()
    [[0, 1]]
    >>> clashes(line, np.full(3, 1.7), np.array([[0, 1]])).tolist()
    []
    """
    found = [np.empty((0, 2), dtype=np.int64), *_blocks(coords, radii, bonds, fraction)]
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def count_clashes(coords: ArrayLike, radii: ArrayLike, bonds: Ints, fraction: float = CLASH_FRACTION) -> int:
    """The number of `clashes`, in memory linear in A even if all atoms coincide."""
    return sum(len(pairs) for pairs in _blocks(coords, radii, bonds, fraction))


def _blocks(coords: ArrayLike, radii: ArrayLike, bonds: Ints, fraction: float) -> Iterator[Ints]:
    x, r = np.asarray(coords, dtype=np.float64), np.asarray(radii, dtype=np.float64)
    resolved = np.flatnonzero(np.isfinite(x).all(axis=-1))
    if len(resolved) < 2:
        return
    connected = within_bonds(np.asarray(bonds, dtype=np.int64).reshape(-1, 2), len(x))
    for i, j, distance in neighbour_pairs(x[resolved], 2 * fraction * float(r[resolved].max())):
        i, j = resolved[i], resolved[j]
        close = distance < fraction * (r[i] + r[j])
        i, j = i[close], j[close]
        # scipy answers an empty look-up with another kind of matrix
        if len(i):
            free = ~np.asarray(connected[i, j], dtype=bool).reshape(-1)
            yield np.stack([i[free], j[free]], axis=1)


def within_bonds(bonds: Ints, num_atoms: int) -> csr_matrix:
    """Sparse [A, A] bool, linear in size: pairs that one, two or three bonds join, which no distance makes a clash."""
    ends = np.concatenate([bonds, bonds[:, ::-1]])
    entries = (np.ones(len(ends), dtype=np.int32), (ends[:, 0], ends[:, 1]))
    step = csr_matrix(entries, shape=(num_atoms, num_atoms))
    reach, total = step, step
    for _ in range(BONDED_REACH - 1):
        reach = reach @ step
        total = total + reach
    return total > 0
