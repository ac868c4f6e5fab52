"""Weighted rigid alignment without singular value decomposition, branches on values or waiting for a device."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import pad

from frazil.geometry.motion import RigidMotion, quaternion_to_matrix
from frazil.geometry.sums import cross, dot, mean_atoms, or_one, rotate_rows, sum_atoms

# 2^20-th power: separates eigenvalues 1e-5 apart, about what float32 coordinates can tell apart.
_SQUARINGS_PER_ROUND, _ROUNDS = 4, 5
# Lines this thin (square of width over length) leave the rotation about them to chance.
_NO_TWIST = 1e-11


Align = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(moving [..., A, 3], target [..., A, 3], weights [..., A]) -> moved; `rigid_align` is one."""


@torch.no_grad()
def alignment_rotation(moving: Tensor, target: Tensor, weights: Tensor) -> RigidMotion:
    """The rigid motion that brings `moving` closest to `target` (AlphaFold 3, Algorithm 28; Horn 1987).

    Minimises sum_a weights_a |x_a @ R + t - y_a|^2 over proper rotations. The rotation is the leading eigenvector of
    Horn's 4 x 4 matrix of the two centred point sets, found by repeated squaring: no singular value decomposition,
    no branch on values, no gradient. Where several rotations are equally good (points on a line), the result is one
    of them, near the smallest; one point is only translated; all weights 0 give the identity. A sample that holds
    non-finite values becomes non-finite itself and leaves the others as they are.

    Parameters
    ----------
    moving, target : Tensor
        [..., A, 3], angstrom, of any scale; leading axes are broadcast.
    weights : Tensor
        [..., A], bool or non-negative numbers; atoms of weight 0 are not read.

    Returns
    -------
    RigidMotion
        Rotations [..., 3, 3] and translations [..., 3]; float64 if both point sets are, else float32.

    See Also
    --------
    rigid_align : the moved coordinates themselves, exact also far from the origin.
    """
    rotation, middle_moving, middle_target = _superpose(moving, target, weights)
    shift = middle_target - rotate_rows(middle_moving, rotation)
    return RigidMotion(rotation, shift[..., 0, :])


@torch.no_grad()
def rigid_align(moving: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """`moving` after the rigid motion of `alignment_rotation`: same parameters, [..., A, 3], no gradient.

    Examples
    --------
    >>> coords = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    >>> turned = coords @ quaternion_to_matrix(torch.tensor([1.0, 2, 3, 4])) + 5
    >>> torch.allclose(rigid_align(coords, turned, torch.ones(4)), turned, atol=1e-5)
    True
    """
    rotation, middle_moving, middle_target = _superpose(moving, target, weights)
    return rotate_rows(moving.to(rotation.dtype) - middle_moving, rotation) + middle_target


def _superpose(moving: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation [..., 3, 3] for rows and the two centres [..., 1, 3]."""
    dtype = torch.float64 if moving.dtype == target.dtype == torch.float64 else torch.float32
    moving, target, mass = torch.broadcast_tensors(moving.to(dtype), target.to(dtype), weights.to(dtype)[..., None])
    mass = mass[..., 0]
    mass = mass / or_one(mass.amax(dim=-1, keepdim=True))
    middle_moving, middle_target = mean_atoms(moving, mass)[..., None, :], mean_atoms(target, mass)[..., None, :]
    x, y = (_unit_scale(p, mass[..., None]) for p in (moving - middle_moving, target - middle_target))
    heavy = (x * mass[..., None])[..., :, None], (y * mass[..., None])[..., :, None]
    products = torch.stack([heavy[0] * y[..., None, :], heavy[1] * y[..., None, :]], dim=-3)
    covariance, spread = sum_atoms(products.flatten(-3)).unflatten(-1, (2, 3, 3)).unbind(-3)
    quaternion, axis = _leading_vectors(_horn_matrix(covariance), pad(spread, (1, 0, 1, 0)))
    rotation = quaternion_to_matrix(quaternion).transpose(-1, -2)
    twist = _twist(rotate_rows(x, rotation), y, mass, axis[..., None, 1:])
    return rotate_rows(rotation, twist), middle_moving, middle_target


def _horn_matrix(covariance: Tensor) -> Tensor:
    """Horn's 4 x 4 matrix of a covariance [..., 3, 3] (sums of x_i y_j), shifted to have no negative eigenvalue."""
    covariance = covariance / or_one(covariance.abs().amax(dim=(-2, -1), keepdim=True))
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in covariance.unbind(-2))
    a, b, c = yz - zy, zx - xz, xy - yx
    d, e, f = xy + yx, zx + xz, yz + zy
    rows = [[xx + yy + zz, a, b, c], [a, xx - yy - zz, d, e], [b, d, yy - xx - zz, f], [c, e, f, zz - xx - yy]]
    # Eigenvalues lie within the nuclear norm of 0, at most sqrt(3) times the Frobenius norm.
    size = torch.sqrt(sum_atoms((covariance * covariance).flatten(-2)[..., None]))[..., None]
    eye = torch.eye(4, dtype=covariance.dtype, device=covariance.device)
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2) + size * sqrt(3) * eye


def _leading_vectors(*matrices: Tensor) -> tuple[Tensor, ...]:
    """Leading eigenvectors [..., 4], of any length, of matrices [..., 4, 4] without negative eigenvalues."""
    power = torch.stack(matrices, dim=0)
    eye = torch.eye(4, dtype=power.dtype, device=power.device)
    power = torch.where(power.abs().amax(dim=(-2, -1), keepdim=True) == 0, eye, power)
    for _ in range(_ROUNDS):
        power = power / _diagonal_sum(power)
        for _ in range(_SQUARINGS_PER_ROUND):
            power = _square(power)
    # Column j is the vector times its own component j: take column 0, which favours no rotation, unless it is small.
    preference = power.diagonal(dim1=-2, dim2=-1) * torch.where(eye[0] > 0, 8, 1)
    column = preference.argmax(dim=-1)[..., None, None].expand(*power.shape[:-1], 1)
    vectors = power.gather(-1, column)[..., 0]
    return (vectors / vectors.abs().amax(dim=-1, keepdim=True)).unbind(0)


def _twist(x: Tensor, y: Tensor, mass: Tensor, axis: Tensor) -> Tensor:
    """Best rotation for rows [..., 3, 3] about the long axis [..., 1, 3] of y.

    For points near a line it is fixed by their small distances from the line alone, which are lost in the rounding
    of the whole covariance. For other point sets it is the identity up to rounding.
    """
    axis = axis / torch.sqrt(or_one(dot(axis, axis)))
    p, q = x - dot(x, axis) * axis, y - dot(y, axis) * axis
    terms = torch.cat([dot(p, q), dot(axis, cross(p, q)), dot(x, x), dot(y, y)], dim=-1)
    cosine, sine, x_size, y_size = sum_atoms(terms * mass[..., None]).unbind(-1)
    length = torch.sqrt(cosine * cosine + sine * sine)
    defined = length > _NO_TWIST * torch.sqrt(x_size * y_size)
    cosine, sine, length = (torch.where(defined, a, b) for a, b in ((cosine, 1), (sine, 0), (length, 1)))
    # Half the angle without cancellation: (1 + cos, sin) while the cosine is positive, else (|sin|, 1 - cos).
    real = torch.where(cosine > 0, length + cosine, sine.abs())
    imaginary = torch.where(cosine > 0, sine, torch.copysign(length - cosine, sine))
    scale = torch.maximum(real, imaginary.abs())
    quaternion = torch.cat([real[..., None], imaginary[..., None] * axis[..., 0, :]], dim=-1) / scale[..., None]
    return quaternion_to_matrix(quaternion).transpose(-1, -2)


def _square(matrix: Tensor) -> Tensor:
    """matrix @ matrix for [..., 4, 4], in a fixed order and full precision."""
    products = matrix[..., :, :, None] * matrix[..., None, :, :]
    pairs = products[..., :2, :] + products[..., 2:, :]
    return pairs[..., 0, :] + pairs[..., 1, :]


def _diagonal_sum(matrix: Tensor) -> Tensor:
    a, b, c, d = matrix.diagonal(dim1=-2, dim2=-1).unbind(-1)
    return ((a + b) + (c + d))[..., None, None]


def _unit_scale(coords: Tensor, mass: Tensor) -> Tensor:
    """Coordinates of the atoms that count, the largest component 1, so that no product leaves float32's range."""
    coords = torch.where(mass > 0, coords, 0)
    return coords / or_one(coords.abs().amax(dim=(-2, -1), keepdim=True))
