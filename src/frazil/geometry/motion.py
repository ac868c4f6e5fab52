"""Rotations and rigid motions of coordinates that are rows: x @ R + t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frazil.geometry.sums import rotate_rows


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices of quaternions (real part first, of any length; 0 is the identity).

    Parameters
    ----------
    quaternion : Tensor
        [..., 4].

    Returns
    -------
    Tensor
        [..., 3, 3], R with v' = R v for column vectors; coordinates here are rows and are rotated as x @ R.

    Examples
    --------
    >>> quaternion_to_matrix(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    tensor([[ 0., -1.,  0.],
            [ 1.,  0.,  0.],
            [ 0.,  0.,  1.]])
    """
    w, x, y, z = quaternion.unbind(-1)
    length = w * w + x * x + y * y + z * z
    scale = 2 / torch.where(length > 0, length, 1)
    rows = [
        [1 - scale * (y * y + z * z), scale * (x * y - z * w), scale * (x * z + y * w)],
        [scale * (x * y + z * w), 1 - scale * (x * x + z * z), scale * (y * z - x * w)],
        [scale * (x * z - y * w), scale * (y * z + x * w), 1 - scale * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rotation_from_normal(normal: Tensor) -> Tensor:
    """Uniform random rotations from four standard normal draws each, as Boltz-2 makes them of the same draws.

    Parameters
    ----------
    normal : Tensor
        [..., 4] draws from N(0, 1); normalised, they are a uniform unit quaternion, real part first.

    Returns
    -------
    Tensor
        [..., 3, 3], uniform over SO(3).
    """
    w, x, y, z = (normal * normal).unbind(-1)
    length = torch.sqrt(w + x + y + z)[..., None]
    return quaternion_to_matrix(normal / torch.where(length > 0, length, 1))


def random_rotations(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Uniform random rotation matrices, float32 on the generator's device.

    Parameters
    ----------
    shape : sequence of int
        Leading axes.
    generator : torch.Generator
        Source of the draws.

    Returns
    -------
    Tensor
        [*shape, 3, 3].

    Examples
    --------
    >>> random_rotations((2, 5), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 5, 3, 3])
    """
    return rotation_from_normal(torch.randn((*shape, 4), generator=generator, device=generator.device))


@dataclass(frozen=True, eq=False)
class RigidMotion:
    """A proper rotation, then a translation: x -> x @ rotation + translation, one per leading index.

    Examples
    --------
    >>> motion = RigidMotion.random((2,), torch.Generator().manual_seed(0))
    >>> coords = torch.ones(2, 4, 3)
    >>> torch.allclose(motion.inverse().apply(motion.apply(coords)), coords, atol=1e-6)
    True
    """

    rotation: Tensor
    """[..., 3, 3]."""
    translation: Tensor
    """[..., 3], angstrom."""

    @classmethod
    def random(cls, shape: Sequence[int], generator: torch.Generator, translation_scale: float = 1.0) -> RigidMotion:
        """Uniform rotations and translations from N(0, `translation_scale` A) (AlphaFold 3, Algorithm 19)."""
        rotation = random_rotations(shape, generator)
        shift = torch.randn((*shape, 3), generator=generator, device=generator.device)
        return cls(rotation, shift * translation_scale)

    @classmethod
    def identity(cls, shape: Sequence[int], device: torch.device | str | None = None) -> RigidMotion:
        """Motions that leave everything in place."""
        eye = torch.eye(3, device=device).expand(*shape, 3, 3)
        return cls(eye, torch.zeros(*shape, 3, device=device))

    def apply(self, coords: Tensor) -> Tensor:
        """Points [..., A, 3], rotated and translated."""
        return self.rotate(coords) + self.translation[..., None, :]

    def rotate(self, vectors: Tensor) -> Tensor:
        """Vectors [..., A, 3] (forces, differences), rotated only."""
        return rotate_rows(vectors, self.rotation)

    def inverse(self) -> RigidMotion:
        """The motion that undoes this one."""
        back = self.rotation.transpose(-1, -2)
        return RigidMotion(back, -rotate_rows(self.translation[..., None, :], back)[..., 0, :])

    def then(self, following: RigidMotion) -> RigidMotion:
        """The motion that does this one first and `following` after it."""
        shift = following.apply(self.translation[..., None, :])[..., 0, :]
        return RigidMotion(rotate_rows(self.rotation, following.rotation), shift)

    def to(self, device: torch.device | str) -> RigidMotion:
        """The motions on another device."""
        return RigidMotion(self.rotation.to(device), self.translation.to(device))
