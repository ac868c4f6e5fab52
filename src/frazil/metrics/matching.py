"""Which atom of a sample is which atom of the reference, where equal chains and symmetric atoms leave it open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations, product
from math import factorial, prod

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from frazil.metrics.superposition import Floats, Ints, resolved_in_both, superposition

MAX_ASSIGNMENTS = 24
"""Up to so many assignments of equal chains are tried one by one."""
MAX_ROUNDS = 20
MOST_COORDS = 200_000
"""Atoms superposed at once."""
MISSING = 1e6
"""Squared distance for an atom that only the reference has: matching as many atoms as possible comes first."""


class Matcher:
    """Finds the order of a sample's atoms that gives the lowest RMSD to a reference.

    From each start, superpose, choose chains by linear assignment of their squared distances and symmetric atoms
    by least squared distance, and repeat until nothing changes; the best end wins. Starts are all assignments of
    equal chains, up to 24 of them; beyond, each chain of the rarest entity laid on each of its copies, as in
    AlphaFold-Multimer (Evans et al. 2021, section 7.3), with an optimal instead of a greedy assignment. Where a
    single molecule has all the symmetric atoms, the one of its symmetries that superposes best is a start too.

    Parameters
    ----------
    num_atoms : int
        A.
    copies : sequence
        For each entity with copies, [copies, n] int: the atoms of each chain in the same order.
    alternatives : sequence
        For each residue or molecule with symmetric atoms, [P, k] int: atoms in row 0 may be matched to those of
        any row. No atom is in two of these arrays.

    Examples
    --------
    >>> import numpy as np
    >>> arrow = np.array([[0.0, 0, 0], [1, 0, 0], [1, 2, 0], [1, 0, 3]])
    >>> Matcher(4, [], [np.array([[2, 3], [3, 2]])]).match(arrow[[0, 1, 3, 2]], arrow).tolist()
    [0, 1, 3, 2]
    """

    def __init__(self, num_atoms: int, copies: Sequence[Ints], alternatives: Sequence[Ints]) -> None:
        self._identity = np.arange(num_atoms)
        self._copies = [np.asarray(chains) for chains in copies if len(chains) > 1]
        self._alternatives = [np.asarray(rows) for rows in alternatives if len(rows) > 1]
        self._stacks = _stack_by_shape(self._alternatives)

    def match(self, sample: ArrayLike, reference: ArrayLike) -> Ints:
        """The order [A] with which sample[order] lies closest to the reference, atom by atom.

        Parameters
        ----------
        sample, reference : array
            [A, 3], angstrom; NaN where unresolved.

        Raises
        ------
        ValueError
            If no atom is resolved in both.
        """
        x, y = np.asarray(sample, dtype=np.float64), np.asarray(reference, dtype=np.float64)
        if not self._copies and not self._alternatives:
            return self._identity.copy()
        best, best_error = self._identity.copy(), np.inf
        seen: set[bytes] = set()
        for start in self._starts(x, y):
            order, error = self._descend(start, x, y, seen)
            if error < best_error:
                best, best_error = order, error
        return best

    def _descend(self, order: Ints, x: Floats, y: Floats, seen: set[bytes]) -> tuple[Ints, float]:
        best, best_error = order, np.inf
        for _ in range(MAX_ROUNDS):
            if order.tobytes() in seen or not resolved_in_both(x[order], y).any():
                break
            seen.add(order.tobytes())
            motion = superposition(x[order], y)
            error = float(_squared(motion(x[order]), y).sum())
            if error < best_error:
                best, best_error = order, error
            order = self._nearest(motion(x), y)
        return best, best_error

    def _nearest(self, moved: Floats, y: Floats) -> Ints:
        """The best order while the sample stays where it is: chains first, then the atoms within."""
        order = self._identity.copy()
        for chains in self._copies:
            cost = np.stack([_squared(moved[chains], y[row]).sum(axis=-1) for row in chains])
            rows, columns = linear_sum_assignment(cost)
            order[chains[rows]] = chains[columns]
        for stack in self._stacks:
            candidates = order[stack]
            cost = _squared(moved[candidates], y[stack[:, :1]]).sum(axis=-1)
            order[stack[:, 0]] = candidates[np.arange(len(stack)), cost.argmin(axis=-1)]
        return order

    def _starts(self, x: Floats, y: Floats) -> Iterator[Ints]:
        for order in self._chain_starts(x, y):
            yield order
            if len(self._alternatives) == 1:
                yield self._best_turn(order, x, y)

    def _best_turn(self, order: Ints, x: Floats, y: Floats) -> Ints:
        """Of all symmetries of the only molecule that has any, the one that superposes best."""
        [rows] = self._alternatives
        orders = np.repeat(order[None], len(rows), axis=0)
        orders[:, rows[0]] = order[rows]
        size = max(1, MOST_COORDS // len(order))
        errors = [superposed_errors(x[orders[at : at + size]], y) for at in range(0, len(rows), size)]
        best: Ints = orders[int(np.concatenate(errors).argmin())]
        return best

    def _chain_starts(self, x: Floats, y: Floats) -> Iterator[Ints]:
        yield self._identity.copy()
        if prod(factorial(min(len(chains), 20)) for chains in self._copies) <= MAX_ASSIGNMENTS:
            for choice in product(*(permutations(range(len(chains))) for chains in self._copies)):
                order = self._identity.copy()
                for chains, columns in zip(self._copies, choice, strict=True):
                    order[chains] = chains[list(columns)]
                yield order
            return
        anchors = min(self._copies, key=lambda chains: (chains.shape[1] < 3, len(chains), -chains.shape[1]))
        for target, moving in product(anchors, anchors):
            if resolved_in_both(x[moving], y[target]).any():
                yield self._nearest(superposition(x[moving], y[target])(x), y)


def superposed_errors(candidates: Floats, y: Floats) -> Floats:
    """Least sum of squared distances to y [A, 3] of each of the candidates [P, A, 3], after superposition [P].

    Kabsch 1978: from the singular values of the covariance alone. `MISSING` for every atom that only y has.
    """
    known, wanted = np.isfinite(candidates).all(axis=-1), np.isfinite(y).all(axis=-1)
    both = np.expand_dims(known & wanted, -1)
    count = np.maximum(both.sum(axis=1, keepdims=True), 1)
    a, b = np.where(both, candidates, 0.0), np.where(both, y, 0.0)
    a, b = (np.where(both, one - one.sum(axis=1, keepdims=True) / count, 0.0) for one in (a, b))
    covariance = a.transpose(0, 2, 1) @ b
    stretch = np.linalg.svd(covariance, compute_uv=False)
    stretch[:, 2] *= np.where(np.linalg.det(covariance) < 0, -1.0, 1.0)
    squared = (a**2).sum(axis=(1, 2)) + (b**2).sum(axis=(1, 2)) - 2 * stretch.sum(axis=1)
    return np.asarray(np.maximum(squared, 0.0) + MISSING * (wanted & ~known).sum(axis=1))


def _squared(moved: Floats, y: Floats) -> Floats:
    """Squared distances [..., n]; `MISSING` where only the reference is resolved, 0 where it is not."""
    squared = ((moved - y) ** 2).sum(axis=-1)
    absent = np.where(np.isfinite(y).all(axis=-1), MISSING, 0.0)
    return np.where(np.isfinite(squared), squared, absent)


def _stack_by_shape(alternatives: Sequence[Ints]) -> list[Ints]:
    """Alternatives of equal shape as arrays [U, P, k], so that all residues of a kind are handled at once."""
    shapes = sorted({rows.shape for rows in alternatives})
    return [np.stack([rows for rows in alternatives if rows.shape == shape]) for shape in shapes]
