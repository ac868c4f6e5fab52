"""The local distance difference test (Mariani et al. 2013)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from frazil.metrics.neighbours import neighbour_pairs
from frazil.metrics.superposition import Floats, Ints, resolved_in_both

INCLUSION_RADIUS = 15.0
THRESHOLDS = (0.5, 1.0, 2.0, 4.0)
MOST_OTHERS = 100


def lddt(
    coords: ArrayLike, reference: ArrayLike, residue: Ints | None = None, radius: float = INCLUSION_RADIUS
) -> float:
    """All-heavy-atom lDDT in 0..1, without superposition (Mariani et al. 2013, Bioinformatics 29, 2722).

    Of all pairs of atoms closer than `radius` in the reference, the share whose distance is kept within 0.5, 1, 2 and
    4 angstrom, averaged over the four. Unlike the training loss it is not smooth and has one radius for all atoms.

    Parameters
    ----------
    coords, reference : array
        [A, 3], angstrom, atom by atom the same; NaN where unresolved, such atoms do not count.
    residue : array, optional
        [A] int, the residue of each atom: pairs inside a residue are left out, as in the paper. None keeps them.
    radius : float
        Inclusion radius in angstrom.

    Returns
    -------
    float
        NaN if the reference has no pair to compare.

    Examples
    --------
    >>> import numpy as np
    >>> pair = np.array([[0.0, 0, 0], [3, 0, 0]])
    >>> lddt(pair, pair), lddt(pair * 1.5, pair)
    (1.0, 0.5)
    """
    x, y = np.asarray(coords, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    both = resolved_in_both(x, y)
    where = None if residue is None else np.asarray(residue)[both]
    kept, pairs = _kept_of_pairs(x[both][None], y[both], where, radius)
    return float(kept[0]) / (len(THRESHOLDS) * pairs) if pairs else float("nan")


def agreement(samples: ArrayLike, residue: Ints | None = None) -> Floats:
    """Mean lDDT of each sample to the others, each other in turn as the reference.

    Of more than 200 samples each is compared with 100 to 200, evenly spread, so that time grows linearly.

    Parameters
    ----------
    samples : array
        [S, A, 3], angstrom, atom by atom the same; atoms that are not finite in every sample do not count.
    residue : array, optional
        As for `lddt`.

    Returns
    -------
    array
        [S] in 0..1; NaN where there is no other sample or no pair to compare.

    Examples
    --------
    >>> import numpy as np
    >>> pair = np.array([[0.0, 0, 0], [3, 0, 0]])
    >>> agreement([pair, pair, pair * 1.5]).tolist()
    [0.75, 0.75, 0.5]
    """
    x = np.asarray(samples, dtype=np.float64)
    everywhere = np.isfinite(x).all(axis=(0, 2))
    x, where = x[:, everywhere], None if residue is None else np.asarray(residue)[everywhere]
    total, others = np.zeros(len(x)), np.zeros(len(x))
    for index in range(0, len(x), max(1, (len(x) - 1) // MOST_OTHERS)):
        kept, pairs = _kept_of_pairs(x, x[index], where, INCLUSION_RADIUS)
        other = (np.arange(len(x)) != index) & (pairs > 0)
        total += np.where(other, kept / max(len(THRESHOLDS) * pairs, 1), 0.0)
        others += other
    return np.where(others > 0, total / np.maximum(others, 1), np.nan)


def _kept_of_pairs(x: Floats, y: Floats, residue: Ints | None, radius: float) -> tuple[Floats, int]:
    """[S] pairs of y [A, 3] that each of x [S, A, 3] keeps, counted once for each threshold; and how many there are."""
    kept, pairs = np.zeros(len(x)), 0
    for i, j, distance in _pairs_between(y, residue, radius):
        for row, coords in enumerate(x):
            change = np.abs(np.linalg.norm(coords[i] - coords[j], axis=-1) - distance)
            kept[row] += sum(int(np.count_nonzero(change < threshold)) for threshold in THRESHOLDS)
        pairs += len(distance)
    return kept, pairs


def _pairs_between(y: Floats, residue: Ints | None, radius: float) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Pairs of atoms closer than the radius, those inside a residue left out."""
    for i, j, distance in neighbour_pairs(y, radius):
        between = np.ones(len(i), dtype=bool) if residue is None else residue[i] != residue[j]
        yield i[between], j[between], distance[between]
