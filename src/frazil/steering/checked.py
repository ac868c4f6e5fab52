"""Calls of potentials: what they get is finite, what they give is checked, and memory is bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from frazil.errors import FrazilError, InputError
from frazil.potentials.base import Potential
from frazil.sampler import finite_samples, is_out_of_memory

ATOMS_AT_ONCE = 65_536
"""Most atoms (structures x samples x atoms) that potentials are given in one call, by default."""

_SPACING = 10.0


def by_samples(function: Callable[[Tensor], Tensor], coords: Tensor, atoms_at_once: int) -> Tensor:
    """`function` of `coords` [B, S, A, 3], called on so many samples at once that the atoms stay within the bound.

    A single sample of all structures is the least that is given.
    """
    batch, samples, atoms = coords.shape[:3]
    at_once = max(1, atoms_at_once // max(batch * atoms, 1))
    if at_once >= samples:
        return function(coords)
    return torch.cat([function(part.contiguous()) for part in coords.split(at_once, dim=1)], dim=1)


def tame(coords: Tensor, atom_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates that any potential can read, and [B, S] bool: the samples that are finite.

    The atoms of a sample that is not finite stand on a line, far apart; padding is at the origin.
    """
    finite = finite_samples(coords, atom_mask)
    line = torch.zeros_like(coords[:1, :1])
    line[..., 0] = torch.arange(coords.shape[2], device=coords.device) * _SPACING
    safe = torch.where(finite[..., None, None], coords, line)
    return torch.where(atom_mask[:, None, :, None], safe, 0), finite


def weighted_energy(active: Sequence[tuple[float, Potential]], coords: Tensor, atom_mask: Tensor, t: float) -> Tensor:
    """Sum of weight times energy [B, S]; NaN for samples that are not finite.

    Raises
    ------
    InputError
        If a potential fails, gives another shape, or NaN for finite coordinates.
    """
    safe, finite = tame(coords, atom_mask)
    total = coords.new_zeros(coords.shape[:2])
    for weight, potential in active:
        total = total + weight * _called(potential, "energy", potential.energy, safe, t, coords.shape[:2])
    return torch.where(finite, total, torch.nan)


def weighted_gradient(active: Sequence[tuple[float, Potential]], coords: Tensor, atom_mask: Tensor, t: float) -> Tensor:
    """Sum of weight times gradient [B, S, A, 3]; 0 for samples that are not finite. Errors as `weighted_energy`."""
    safe, finite = tame(coords, atom_mask)
    total = torch.zeros_like(coords)
    for weight, potential in active:
        total = total + weight * _called(potential, "gradient", potential.gradient, safe, t, coords.shape)
    return torch.where(finite[..., None, None], total, 0)


def _called(
    potential: Potential, what: str, function: Callable[[Tensor, float], Tensor], coords: Tensor, t: float,
    shape: tuple[int, ...],
) -> Tensor:  # fmt: skip
    try:
        value = function(coords, t)
    except FrazilError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error) or "no message").splitlines()[0]
        raise InputError(f"potential {potential.name}: its {what} failed: {type(error).__name__}: {reason}") from error
    found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if found != tuple(shape):
        raise InputError(f"potential {potential.name}: its {what} is {found}, give a tensor {tuple(shape)}")
    if value.is_complex():
        raise InputError(f"potential {potential.name}: its {what} is complex, give real numbers")
    # the sum alone is cheap, and NaN wherever an element is
    if bool(torch.isnan(value.sum())) and bool(torch.isnan(value).any()):
        raise InputError(f"potential {potential.name}: its {what} is NaN for finite coordinates at t = {t:.3g}")
    return value.detach().to(torch.promote_types(torch.float32, coords.dtype))
