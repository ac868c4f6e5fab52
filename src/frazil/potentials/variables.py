"""Variables: numbers made of a few points, with hand-written derivatives that are finite everywhere.

Points are component first, [k, 3, ...], the memory order in which elementwise operations are fastest. Only sums,
products, quotients, square roots and the arc tangent of one number are used: these have the same bits whatever the
shape of a tensor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import pi
from typing import ClassVar, final

import torch
from torch import Tensor

# Squares below this are taken for 0: the distance of coincident points has no direction.
_NO_DISTANCE = 1e-36
FARTHEST = 1e18
"""Angstrom; lengths above it count as this, so that energies of exploded coordinates can still be compared."""
# Lengths (angstrom) and sines below it are rounding noise and leave a dihedral undefined.
_NO_LENGTH = 1e-6


class Variable(ABC):
    """A number made of `num_points` points."""

    num_points: ClassVar[int]

    @abstractmethod
    def value(self, points: Tensor) -> Tensor:
        """Values [...] of `points` [k, 3, ...], angstrom."""

    @abstractmethod
    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Values [...] and their derivatives [k, 3, ...] with respect to the points."""


@final
class Distance(Variable):
    """Distance of two points, angstrom; for coincident points its derivative is the fixed direction +x.

    >>> Distance().value(torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]]))
    tensor(5.)
    """

    num_points = 2

    def value(self, points: Tensor) -> Tensor:
        """See `Variable.value`."""
        return length(points[0] - points[1])

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See `Variable.value_and_jacobian`."""
        size, direction = length_and_direction(points[0] - points[1])
        return size, torch.stack([direction, -direction])


@final
class Dihedral(Variable):
    """Dihedral of four points about the line from the second to the third, radians, -pi to pi (IUPAC sign).

    Where three consecutive points lie on a line or coincide it is undefined: 0 with the derivative 0. Derivatives:
    Blondel and Karplus, J. Comput. Chem. 17 (1996) 1132.

    >>> points = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]])
    >>> torch.rad2deg(Dihedral().value(points))
    tensor(90.)
    """

    num_points = 4

    def value(self, points: Tensor) -> Tensor:
        """See `Variable.value`."""
        u, v, w = (_unit(points[i + 1] - points[i])[0] for i in range(3))
        return _signed_angle(u, _cross(u, v), _cross(v, w))

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See `Variable.value_and_jacobian`."""
        (u, f), (v, g), (w, h) = (_unit(points[i + 1] - points[i]) for i in range(3))
        m, n = _cross(u, v), _cross(v, w)
        undefined = _undefined(m, n)
        first = -m / torch.where(undefined, float("inf"), f * _dot(m, m))
        last = n / torch.where(undefined, float("inf"), h * _dot(n, n))
        # Shares of the inner points: no force and no torque in all.
        a, b = -_dot(u, v) * f / g, -_dot(w, v) * h / g
        second = (a - 1) * first - b * last
        third = (b - 1) * last - a * first
        return _signed_angle(u, m, n), torch.stack([first, second, third, last])


@final
class AbsoluteDihedral(Variable):
    """Size of a dihedral, radians, 0 to pi; at 0 its derivative is that of the dihedral.

    >>> points = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [0, -1, 1]])
    >>> torch.rad2deg(AbsoluteDihedral().value(points))
    tensor(90.)
    """

    num_points = 4

    def value(self, points: Tensor) -> Tensor:
        """See `Variable.value`."""
        return Dihedral().value(points).abs()

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See `Variable.value_and_jacobian`."""
        signed, jacobian = Dihedral().value_and_jacobian(points)
        return signed.abs(), jacobian * torch.where(signed < 0, -1, 1)


def length(vector: Tensor) -> Tensor:
    """Lengths [...] of vectors [3, ...], with finite automatic derivatives."""
    square = _dot(vector, vector)
    none = square < _NO_DISTANCE
    return torch.where(none, 0, torch.sqrt(torch.where(none, 1, square))).clamp(max=FARTHEST)


def length_and_direction(vector: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths [...] and unit vectors [3, ...]; a vector of no length has the direction +x."""
    square = _dot(vector, vector)
    none = square < _NO_DISTANCE
    size = torch.sqrt(torch.where(none, 1, square))
    return torch.where(none, 0, size).clamp(max=FARTHEST), torch.where(none, _first_axis(vector), vector / size)


def _unit(vector: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors, zero where there is no direction, and lengths, 1 where there is no direction."""
    square = _dot(vector, vector)
    none = (square < _NO_LENGTH**2) | (square == float("inf"))
    size = torch.sqrt(torch.where(none, 1, square))
    return torch.where(none, 0, vector / size), size


def _signed_angle(u: Tensor, m: Tensor, n: Tensor) -> Tensor:
    sine, cosine = _dot(u, n), _dot(m, n)
    undefined = _undefined(m, n) | ((sine == 0) & (cosine == 0))
    sine, cosine = torch.where(undefined, 0, sine), torch.where(undefined, 1, cosine)
    # atan2 by way of atan: the two-argument function rounds differently in and out of a vector loop.
    steep = sine.abs() > cosine.abs()
    arc = torch.atan(torch.where(steep, -cosine, sine) / torch.where(steep, sine, cosine))
    beyond = torch.copysign(torch.where(steep, pi / 2, torch.where(cosine < 0, pi, 0)), sine)
    return beyond + arc


def _undefined(m: Tensor, n: Tensor) -> Tensor:
    # False for NaN, which has to reach the value.
    return torch.minimum(_dot(m, m), _dot(n, n)) <= _NO_LENGTH**2


def _dot(a: Tensor, b: Tensor) -> Tensor:
    x, y, z = (a * b).unbind(0)
    return x + y + z


def _cross(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, az), (bx, by, bz) = a.unbind(0), b.unbind(0)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _first_axis(like: Tensor) -> Tensor:
    axis = torch.arange(3, device=like.device) == 0
    return axis.to(like.dtype).view(3, *[1] * (like.dim() - 1))
