"""Distances, angles and dihedrals with finite values and gradients for any points."""

from __future__ import annotations

import torch
from torch import Tensor

from frazil.geometry.sums import cross

# Vectors shorter than this (angstrom) have no direction; sines below it are rounding noise.
_NO_LENGTH = 1e-6
_NUDGE = 1e-18


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Distances |a - b| (angstrom) of points [..., 3]; coincident points have the fixed gradient direction +x.

    Examples
    --------
    >>> distance(torch.tensor([3.0, 4.0, 0.0]), torch.zeros(3))
    tensor(5.)
    """
    return _length(a - b)


def angle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Angles at b (radians, 0 to pi) of points [..., 3]; finite with finite gradients for any points.

    Coincident points count as lying in the direction +x.

    Examples
    --------
    >>> torch.rad2deg(angle(torch.tensor([1.0, 0, 0]), torch.zeros(3), torch.tensor([0, 1.0, 0])))
    tensor(90.)
    """
    u, v = _direction(a - b), _direction(c - b)
    return torch.atan2(_length(cross(u, v)), (u * v).sum(-1))


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Dihedral angles (radians, -pi to pi, IUPAC sign) about b-c of points [..., 3].

    Finite with finite gradients for any points: where three consecutive points lie on a line (sine below 1e-6) or
    coincide, the dihedral is undefined and is 0 with gradient 0.

    Examples
    --------
    >>> a, b, c = torch.tensor([1.0, 0, 0]), torch.zeros(3), torch.tensor([0, 0, 1.0])
    >>> torch.rad2deg(dihedral(a, b, c, torch.tensor([-1.0, 0, 1.0]))).abs()
    tensor(180.)
    """
    u, v, w = _direction(b - a), _direction(c - b), _direction(d - c)
    m, n = cross(u, v), cross(v, w)
    sine, cosine = (u * n).sum(-1), (m * n).sum(-1)
    defined = sine**2 + cosine**2 > _NO_LENGTH**2
    return torch.atan2(torch.where(defined, sine, 0), torch.where(defined, cosine, 1))


def _length(vector: Tensor) -> Tensor:
    """Norm over the last axis; a zero vector has length 0 and gradient (1, 0, 0)."""
    zero = (vector * vector).sum(-1, keepdim=True) == 0
    nudge = torch.where(zero, _NUDGE * _first_axis(vector), 0)
    moved = torch.where(zero, nudge + (vector - vector.detach()), vector)
    return torch.sqrt((moved * moved).sum(-1)) - nudge[..., 0]


def _direction(vector: Tensor) -> Tensor:
    """Unit vectors; +x, with gradient 0, where there is no direction."""
    square = (vector * vector).sum(-1, keepdim=True)
    short = square < _NO_LENGTH**2
    unit = vector / torch.sqrt(torch.where(short, 1, square))
    return torch.where(short, _first_axis(vector), unit)


def _first_axis(like: Tensor) -> Tensor:
    return (torch.arange(3, device=like.device) == 0).to(like.dtype)
