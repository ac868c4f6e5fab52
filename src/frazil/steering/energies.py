"""Energies of finished samples, for reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from torch import Tensor

from frazil.potentials import Potential
from frazil.steering.checked import ATOMS_AT_ONCE, by_samples, weighted_energy


def energies(potentials: Sequence[Potential], coords: Tensor, atom_mask: Tensor) -> dict[str, tuple[float, ...]]:
    """Energy of each potential in each of S finished samples, without weights; NaN where a sample is not finite.

    Parameters
    ----------
    potentials : sequence of Potential
        Two of equal name are told apart by a number.
    coords : Tensor
        [1, S, A, 3], angstrom.
    atom_mask : Tensor
        [1, A] bool.

    Raises
    ------
    InputError
        If a potential fails, gives another shape, or NaN for finite coordinates.
    """
    found = {}
    for name, potential in zip(_told_apart([one.name for one in potentials]), potentials, strict=True):
        values = by_samples(partial(_energy, potential, atom_mask), coords, ATOMS_AT_ONCE)
        found[name] = tuple(values[0].tolist())
    return found


def _energy(potential: Potential, atom_mask: Tensor, coords: Tensor) -> Tensor:
    return weighted_energy([(1.0, potential)], coords, atom_mask, t=0.0)


def _told_apart(names: Sequence[str]) -> list[str]:
    counts = Counter[str]()
    told = []
    for name in names:
        counts[name] += 1
        told.append(name if counts[name] == 1 else f"{name} {counts[name]}")
    return told
