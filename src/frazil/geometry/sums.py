"""Sums, centres and small products of atom coordinates, each in one fixed order of operations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def sum_atoms(values: Tensor) -> Tensor:
    """Sum over the atom axis, pairwise in a fixed order that trailing zeros do not change.

    Parameters
    ----------
    values : Tensor
        [..., A, C].

    Returns
    -------
    Tensor
        [..., C], bitwise the same for any batch, padding with zeros and number of threads.

    Examples
    --------
    >>> sum_atoms(torch.ones(5, 2))
    tensor([5., 5.])
    """
    length = 1 << max(values.shape[-2] - 1, 0).bit_length()
    values = pad(values, (0, 0, 0, length - values.shape[-2]))
    while length > 1:
        length //= 2
        values = values[..., :length, :] + values[..., length:, :]
    return values[..., 0, :]


def mean_atoms(coords: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the atom axis; atoms of weight 0 are not read, and all weights 0 give the origin.

    Parameters
    ----------
    coords : Tensor
        [..., A, 3].
    weights : Tensor
        [..., A], bool or non-negative numbers.

    Returns
    -------
    Tensor
        [..., 3].
    """
    counted = weights.to(coords.dtype)[..., None]
    sums = sum_atoms(torch.cat(torch.broadcast_tensors(_weighted(coords, counted), counted), dim=-1))
    total = sums[..., 3:4]
    return sums[..., :3] / torch.where(total > 0, total, 1)


def center(coords: Tensor, mask: Tensor) -> Tensor:
    """Coordinates minus their mean over the atoms in `mask` (weights are allowed); every atom is moved.

    Parameters
    ----------
    coords : Tensor
        [..., A, 3].
    mask : Tensor
        [..., A], bool or non-negative numbers.

    Examples
    --------
    >>> center(torch.tensor([[0.0, 0, 0], [2, 0, 0], [9, 9, 9]]), torch.tensor([True, True, False]))
    tensor([[-1.,  0.,  0.],
            [ 1.,  0.,  0.],
            [ 8.,  9.,  9.]])
    """
    return coords - mean_atoms(coords, mask)[..., None, :]


def rotate_rows(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows [..., n, 3] @ matrix [..., 3, 3] in a fixed order of operations and full precision."""
    x, y, z = rows[..., 0:1], rows[..., 1:2], rows[..., 2:3]
    return x * matrix[..., 0:1, :] + y * matrix[..., 1:2, :] + z * matrix[..., 2:3, :]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products [..., 1] in a fixed order."""
    x, y, z = (a * b).split(1, dim=-1)
    return x + y + z


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Vector products, of one order of operations for every shape."""
    return a.roll(-1, -1) * b.roll(-2, -1) - a.roll(-2, -1) * b.roll(-1, -1)


def or_one(divisor: Tensor) -> Tensor:
    """The divisor, 1 where it is 0."""
    return torch.where(divisor == 0, 1, divisor)


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    return torch.where(weights > 0, values * weights, 0)
