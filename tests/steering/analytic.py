"""Models with closed forms for the tests of steering: a Gaussian mixture, a quadratic energy, fast noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from frazil.potentials.base import Potential, Weighted
from frazil.potentials.schedules import Constant


@dataclass(frozen=True, eq=False)
class Mixture:
    """K Gaussians of one standard deviation: weights [K], means [K, A, 3]; its exact posterior mean is the denoiser."""

    weights: Tensor
    means: Tensor
    std: float

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[..., None, None] ** 2
        total = level + self.std**2
        apart = (coords[:, :, None] - self.means).square().sum(dim=(-1, -2))
        share = (self.weights.log() - apart / (2 * total[..., 0])).softmax(dim=-1)
        middle = torch.einsum("bsk,kad->bsad", share, self.means)
        return (coords * self.std**2 + middle * level) / total

    def select(self, rows: slice) -> Mixture:
        return self

    def mean(self) -> Tensor:
        return torch.einsum("k,kad->ad", self.weights, self.means)

    def tilted(self, energy: Quadratic, strength: float) -> Mixture:
        """Density times exp(-strength x energy): again a mixture, of narrower Gaussians along what the energy sees."""
        force = strength * energy.force
        shrink = 1 / (1 + self.std**2 * force)  # [A, 1], by product of Gaussians
        means = (self.means + self.std**2 * force * energy.target) * shrink
        apart = ((self.means - energy.target).square() * force * shrink).sum(dim=(-1, -2))
        return replace(self, weights=(self.weights.log() - apart / 2).softmax(dim=0), means=means)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Atoms at N(mean, std^2), mean [A, 3]: elementwise, so a sample has the same bits in any batch."""

    mean: Tensor
    std: float = 2.0

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[..., None, None] ** 2
        return (coords * self.std**2 + self.mean * level) / (level + self.std**2)

    def select(self, rows: slice) -> Gaussian:
        return self


@dataclass(frozen=True, eq=False)
class Quadratic(Potential):
    """Half of force times squared distance of each atom to its target; force [A, 1], target [A, 3]."""

    target: Tensor
    force: Tensor

    def energy(self, coords: Tensor, t: float) -> Tensor:
        each = (coords - self.target).square() * self.force / 2
        return each.sum(dim=-1).sum(dim=-1)

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        return (coords - self.target) * self.force


def weighted(potential: Potential, guidance: float = 0.1, resampling: float = 1.0, interval: int = 1) -> Weighted:
    return Weighted(potential, Constant(guidance), Constant(resampling), interval)


@dataclass(frozen=True)
class FastNoise:
    """One generator for all samples: for runs of thousands, whose samples nobody wants to have again."""

    seed: int

    def stream(self, atom_mask: Tensor, num_samples: int, num_particles: int) -> FastStream:
        return FastStream(Generator().manual_seed(self.seed), atom_mask.shape, num_samples, num_particles)


@dataclass(frozen=True)
class FastStream:
    generator: Generator
    shape: torch.Size
    groups: int
    particles: int

    def normal(self) -> Tensor:
        batch, atoms = self.shape
        return torch.randn(batch, self.groups * self.particles, atoms, 3, generator=self.generator)

    def motion(self) -> tuple[Tensor, Tensor]:
        shape = (self.shape[0], self.groups * self.particles)
        return torch.randn(*shape, 4, generator=self.generator), torch.randn(*shape, 3, generator=self.generator)

    def uniform(self, count: int) -> Tensor:
        return torch.rand(self.shape[0], self.groups, count, generator=self.generator)


@dataclass(frozen=True, eq=False)
class Dumbbell:
    """Two atoms about the origin, in every orientation alike: a mixture of shells of `lengths` [K], blurred by `std`.

    The difference of the atoms is a uniform direction times a length, plus N(0, std^2) noise; their centre is N(0, 1).
    """

    weights: Tensor
    lengths: Tensor
    std: float

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[..., None] ** 2
        middle = coords.mean(dim=-2) / (1 + level / 2)
        apart = coords[..., 0, :] - coords[..., 1, :]
        total = self.std**2 + 2 * level
        size = apart.norm(dim=-1, keepdim=True)
        sharp = self.lengths * size / total  # concentration of the direction, von Mises and Fisher
        share = (self.weights.log() - self.lengths**2 / (2 * total) + log_sinhc(sharp)).softmax(dim=-1)
        cosine = torch.where(sharp < 1e-2, sharp / 3, 1 / sharp.double().tanh() - 1 / sharp.double()).float()
        along = (share * self.lengths * cosine).sum(dim=-1, keepdim=True) * apart / size.clamp(min=1e-9)
        clean = along + self.std**2 / total * (apart - along)
        return torch.stack((middle + clean / 2, middle - clean / 2), dim=-2)

    def tilted_length(self, potential: Length, strength: float) -> float:
        """Mean distance under density times exp(-strength x energy), by quadrature."""
        size = torch.linspace(1e-3, 30, 30_000, dtype=torch.float64)
        shells = self.weights.log() - self.lengths**2 / (2 * self.std**2)
        shells = shells + log_sinhc(self.lengths * size[:, None] / self.std**2)
        logs = 2 * size.log() - size**2 / (2 * self.std**2) + shells.logsumexp(dim=-1)
        weights = (logs - strength * potential.force / 2 * (size - potential.target) ** 2).softmax(dim=0)
        return float((weights * size).sum())


@dataclass(frozen=True)
class Length(Potential):
    """Half of force times squared deviation of a dumbbell's length from the target."""

    target: float
    force: float

    def energy(self, coords: Tensor, t: float) -> Tensor:
        return self.force / 2 * (self._apart(coords).norm(dim=-1) - self.target) ** 2

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        apart = self._apart(coords)
        size = apart.norm(dim=-1, keepdim=True)
        pull = self.force * (size - self.target) * apart / size.clamp(min=1e-9)
        return torch.stack((pull, -pull), dim=-2)

    @staticmethod
    def _apart(coords: Tensor) -> Tensor:
        return coords[..., 0, :] - coords[..., 1, :]


def log_sinhc(x: Tensor) -> Tensor:
    """log(sinh(x) / x)."""
    large = x.clamp(min=1e-2)
    return torch.where(x < 1e-2, x * x / 6, large + torch.log1p(-torch.exp(-2 * large)) - torch.log(2 * large))
