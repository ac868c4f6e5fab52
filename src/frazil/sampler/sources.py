"""Where noise comes from: one generator per sample, or the global one in the reference's order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Generator, Tensor


class NoiseStream(Protocol):
    """The random numbers of one trajectory, in the order in which the loop asks for them."""

    def normal(self) -> Tensor:
        """[B, S, A, 3] standard normal numbers, one for each coordinate."""
        ...

    def motion(self) -> tuple[Tensor, Tensor]:
        """Quaternions [B, S, 4] (not normalised) and translations [B, S, 3], standard normal."""
        ...

    def uniform(self, count: int) -> Tensor:
        """[B, G, `count`] numbers, uniform in [0, 1), for each of the G = `num_samples` groups of particles."""
        ...


class NoiseSource(Protocol):
    """Something that opens a stream of noise for a batch."""

    def stream(self, atom_mask: Tensor, num_samples: int, num_particles: int) -> NoiseStream:
        """The stream for `atom_mask` [B, A] and S = `num_samples * num_particles` samples, on the mask's device."""
        ...


def stable_seed(*key: str | int) -> int:
    """A 63-bit seed from names and numbers, the same on every machine and in every process.

    >>> stable_seed(0, "1as5", 3) == stable_seed(0, "1as5", 3) != stable_seed(0, "1as5", 4)
    True
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@final
@dataclass(frozen=True)
class PerSampleNoise:
    """One generator for each sample, so that a sample does not depend on which others run beside it.

    The generator of a sample is seeded from (seed, name, sample index, particle). It gives, in this order: the start
    noise; then for each step the quaternion (4 numbers) and the translation (3) where the loop moves the sample, and
    the step's noise. Noise is drawn on the CPU for existing atoms only, in atom order: neither padding nor the device
    shifts it. Selection among the particles of a sample draws from a generator of its own, seeded from (seed, name,
    sample index, "resampling"), so that it shifts nothing else. The global generator is not touched.

    Parameters
    ----------
    seed : int
        The run's seed.
    names : sequence of str
        One name for each structure of the batch.
    sample_indices : sequence of int, optional
        Which samples these are; 0, 1, 2, ... by default.
    """

    seed: int
    names: Sequence[str]
    sample_indices: Sequence[int] | None = None

    def stream(self, atom_mask: Tensor, num_samples: int, num_particles: int) -> NoiseStream:
        """See `NoiseSource.stream`.

        Raises
        ------
        ValueError
            If there is not one name a structure and one index a sample.
        """
        indices = range(num_samples) if self.sample_indices is None else self.sample_indices
        if len(self.names) != atom_mask.shape[0] or len(indices) != num_samples:
            raise ValueError(
                f"{len(self.names)} names and {len(indices)} sample indices "
                f"for {atom_mask.shape[0]} structures and {num_samples} samples"
            )
        generators = [
            [
                Generator().manual_seed(stable_seed(self.seed, name, index, particle))
                for index in indices
                for particle in range(num_particles)
            ]
            for name in self.names
        ]
        selecting = [
            [Generator().manual_seed(stable_seed(self.seed, name, index, "resampling")) for index in indices]
            for name in self.names
        ]
        return _PerSampleStream(generators, selecting, atom_mask)


class _PerSampleStream:
    """Draws from one CPU generator a sample and scatters the numbers to the existing atoms."""

    def __init__(
        self, generators: Sequence[Sequence[Generator]], selecting: Sequence[Sequence[Generator]], atom_mask: Tensor
    ) -> None:
        self._generators = generators
        self._selecting = selecting
        self._device = atom_mask.device
        self._pin = atom_mask.is_cuda  # a copy from pinned memory does not wait for the device
        self._num_atoms = atom_mask.shape[1]
        self._atoms = [torch.nonzero(row).squeeze(1) for row in atom_mask.cpu()]

    def normal(self) -> Tensor:
        """See `NoiseStream.normal`; zero at padding."""
        host = self._host(self._num_atoms, 3, fill=0.0)
        for structure, atoms, row in zip(host, self._atoms, self._generators, strict=True):
            for sample, generator in zip(structure, row, strict=True):
                sample[atoms] = torch.randn(len(atoms), 3, generator=generator)
        return host.to(self._device, non_blocking=True)

    def motion(self) -> tuple[Tensor, Tensor]:
        """See `NoiseStream.motion`."""
        host = self._host(7)
        for structure, row in zip(host, self._generators, strict=True):
            for sample, generator in zip(structure, row, strict=True):
                sample[:4] = torch.randn(4, generator=generator)
                sample[4:] = torch.randn(3, generator=generator)
        moved = host.to(self._device, non_blocking=True)
        return moved[..., :4], moved[..., 4:]

    def uniform(self, count: int) -> Tensor:
        """See `NoiseStream.uniform`."""
        rows = [torch.stack([torch.rand(count, generator=group) for group in row]) for row in self._selecting]
        return torch.stack(rows).to(self._device)

    def _host(self, *shape: int, fill: float = 0.0) -> Tensor:
        size = (len(self._generators), len(self._generators[0]), *shape)
        return torch.full(size, fill, pin_memory=self._pin)


@final
@dataclass(frozen=True)
class ReferenceNoise:
    """Noise from torch's global generator in the order of Boltz-2, for parity with it.

    Start noise randn([B * S, A, 3]); for each step quaternions randn([B * S, 4]), translations randn([B * S, 1, 3])
    where the loop moves the samples, and noise randn([B * S, A, 3]); sample s of structure b is row b * S + s. Padding
    atoms get noise as well. Numbers for selection are rand([B * G, count]) (Boltz-2 itself calls torch.multinomial).
    """

    def stream(self, atom_mask: Tensor, num_samples: int, num_particles: int) -> NoiseStream:
        """See `NoiseSource.stream`."""
        return _ReferenceStream(atom_mask, num_samples, num_particles)


class _ReferenceStream:
    """Draws for all samples at once."""

    def __init__(self, atom_mask: Tensor, num_groups: int, num_particles: int) -> None:
        self._batch, self._num_atoms = atom_mask.shape
        self._groups = num_groups
        self._samples = num_groups * num_particles
        self._device = atom_mask.device

    def normal(self) -> Tensor:
        """See `NoiseStream.normal`."""
        return self._draw(self._num_atoms, 3)

    def motion(self) -> tuple[Tensor, Tensor]:
        """See `NoiseStream.motion`."""
        quaternions = self._draw(4)
        return quaternions, self._draw(1, 3).squeeze(-2)

    def uniform(self, count: int) -> Tensor:
        """See `NoiseStream.uniform`."""
        return torch.rand(self._batch * self._groups, count, device=self._device).unflatten(0, (self._batch, -1))

    def _draw(self, *shape: int) -> Tensor:
        flat = torch.randn(self._batch * self._samples, *shape, device=self._device)
        return flat.unflatten(0, (self._batch, self._samples))
