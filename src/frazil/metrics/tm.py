"""The TM-score of proteins (Zhang & Skolnick 2004), residue by residue."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import ArrayLike

from frazil.errors import InputError
from frazil.metrics.superposition import resolved_in_both

HAS_TMTOOLS = find_spec("tmtools") is not None
"""Whether the extra `eval` is there, which the TM-score needs."""
MIN_RESIDUES = 5
"""Fewer have no fold to speak of."""


def tm_score(trace: ArrayLike, reference: ArrayLike) -> float | None:
    """TM-score in 0..1 of a C-alpha trace, normalised by the residues resolved in the reference.

    Which residue is which is known, so that this is the TM-score proper, not TM-align's: the superposition that
    maximises sum 1 / (1 + (d / d0)^2), by tmtools, d0 = 1.24 (L - 15)^(1/3) - 1.8 angstrom.

    Parameters
    ----------
    trace, reference : array
        [L, 3], angstrom, one atom a residue; NaN where unresolved.

    Returns
    -------
    float or None
        None if fewer than `MIN_RESIDUES` residues are resolved in both.

    Raises
    ------
    InputError
        If tmtools is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> helix = np.array([[2.3 * np.cos(1.745 * i), 2.3 * np.sin(1.745 * i), 1.5 * i] for i in range(30)])
    >>> round(tm_score(helix + 5.0, helix), 6)
    1.0
    """
    try:
        from tmtools import tm_align
    except ImportError:
        raise InputError("tmtools is not installed; pip install 'frazil[eval]' for the TM-score") from None
    x, y = np.asarray(trace, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    both, known = resolved_in_both(x, y), np.isfinite(y).all(axis=-1)
    if both.sum() < MIN_RESIDUES:
        return None
    # tmtools takes the correspondence as an alignment; the letters themselves do not count
    whole, part = "A" * int(known.sum()), "A" * int(both.sum())
    aligned = "".join("A" if here else "-" for here in both[known])
    found = tm_align(np.ascontiguousarray(x[both]), np.ascontiguousarray(y[known]), part, whole, [aligned, whole])
    return float(found.tm_norm_chain2)
