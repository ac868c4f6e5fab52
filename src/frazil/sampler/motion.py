"""What is done to the frame before each step: the network has no frame of its own, and sees a fresh one each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

from torch import Tensor

from frazil.geometry import RigidMotion, rotation_from_normal
from frazil.sampler.sources import NoiseStream


class Augmentation(Protocol):
    """A rigid motion for each sample, fresh at each step, applied after centring."""

    def motion(self, coords: Tensor, noise: NoiseStream) -> RigidMotion:
        """Motions [B, S] for centred `coords` [B, S, A, 3]; what is random comes from `noise`."""
        ...


@final
@dataclass(frozen=True)
class RandomMotion:
    """Uniform random rotation, then a translation from N(0, `translation`) (AlphaFold 3, Algorithm 19).

    Parameters
    ----------
    translation : float
        Standard deviation along each axis, angstrom.
    """

    translation: float = 1.0

    def motion(self, coords: Tensor, noise: NoiseStream) -> RigidMotion:
        """See `Augmentation.motion`; asks `noise` once."""
        quaternions, translations = noise.motion()
        return RigidMotion(rotation_from_normal(quaternions), translations * self.translation)


@final
@dataclass(frozen=True)
class CenterOnly:
    """Neither rotation nor translation: samples are centred and keep their orientation."""

    def motion(self, coords: Tensor, noise: NoiseStream) -> RigidMotion:
        """See `Augmentation.motion`; takes nothing from `noise`."""
        return RigidMotion.identity(coords.shape[:2], coords.device)
