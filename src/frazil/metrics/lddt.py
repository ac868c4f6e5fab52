"""The local distance difference test (Mariani et al. 2013)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from frazil.metrics.neighbours import neighbour_pairs
from frazil.metrics.superposition import Ints, resolved_in_both

INCLUSION_RADIUS = 15.0
THRESHOLDS = (0.5, 1.0, 2.0, 4.0)


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
    x, y = x[both], y[both]
    where = None if residue is None else np.asarray(residue)[both]
    kept, pairs = 0, 0
    for i, j, distance in neighbour_pairs(y, radius):
        if where is not None:
            between = where[i] != where[j]
            i, j, distance = i[between], j[between], distance[between]
        change = np.abs(np.linalg.norm(x[i] - x[j], axis=-1) - distance)
        kept += sum(int(np.count_nonzero(change < threshold)) for threshold in THRESHOLDS)
        pairs += len(distance)
    return kept / (len(THRESHOLDS) * pairs) if pairs else float("nan")
