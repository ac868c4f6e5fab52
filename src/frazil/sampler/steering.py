"""What steers: the protocol that guidance and particle filters follow, and the records that they read and give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from frazil.geometry import RigidMotion
from frazil.sampler.sources import NoiseStream
from frazil.sampler.stepping import Step

State = TypeVar("State")


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One step after denoising: coordinates in angstrom, [B, S, A, 3], all in the frame of this step."""

    step: Step
    """Index, time, noise levels, noise variance and step scale."""
    atom_mask: Tensor
    """[B, A] bool, atoms that exist."""
    mobile: Tensor
    """[B, A] bool, atoms that exist and are not held: those that steering may move."""
    coords: Tensor
    """Before the fresh noise, at `step.sigma`."""
    noise: Tensor
    """The fresh noise itself, of variance `step.noise_variance`; at held atoms that of the whole level instead."""
    noisy: Tensor
    """`coords + noise`, at `step.sigma_hat`."""
    denoised: Tensor
    """Estimate of the clean coordinates from `noisy`."""
    parents: Tensor | None = None
    """[B, S] int64, the sample that each one was before this step's selection; None if there was no selection."""

    @property
    def finite(self) -> Tensor:
        """[B, S] bool, whether the noisy coordinates and the estimate are finite at all atoms that exist."""
        return finite_samples(self.noisy, self.atom_mask) & finite_samples(self.denoised, self.atom_mask)

    def select(self, parents: Tensor) -> StepRecord:
        """The record of the samples `parents` [B, S'], which may repeat."""
        arrays = (self.coords, self.noise, self.noisy, self.denoised)
        coords, noise, noisy, denoised = (take_samples(values, parents) for values in arrays)
        return replace(self, coords=coords, noise=noise, noisy=noisy, denoised=denoised, parents=parents)


@dataclass(frozen=True, eq=False)
class SteeringReport:
    """What steering did, once sampling is over. G groups are the samples asked for, each of some particles."""

    guided_steps: int
    """Steps at which guidance moved the estimate."""
    effective_sizes: tuple[tuple[int, Tensor], ...]
    """Step and effective number of particles [B, G], for every step that weighed them; before any selection."""
    log_weights: Tensor | None
    """[B, S'] of the particles returned, their exponentials summing to 1 in each group; None if they are equal."""
    lost: Tensor
    """[B, G] int64, step at which every particle of a group had become non-finite; -1 if that never happened."""


class Steering(Protocol[State]):
    """Changes the denoised estimate (guidance), the set of samples (a particle filter), or both.

    State goes in and comes out; the object itself never changes. The S samples of a structure are
    `num_samples * num_particles`, the particles of a sample next to each other. `steer` may return fewer samples at
    the last step (one particle of each group), and exactly as many at every other; where it selects, the record that
    it returns names the `parents`.
    """

    @property
    def num_particles(self) -> int:
        """Particles that are run for each sample asked for; 1 without a particle filter."""
        ...

    def begin(self, atom_mask: Tensor, num_samples: int, noise: NoiseStream) -> State:
        """State before the first step, for `atom_mask` [B, A] and `num_samples` samples, particles not counted.

        `noise` is the stream of this trajectory, for steering that draws.
        """
        ...

    def move(self, state: State, motion: RigidMotion) -> State:
        """State after every sample was moved by `motion`, centring included; directions turn with its rotation."""
        ...

    def steer(self, record: StepRecord, state: State) -> tuple[StepRecord, State]:
        """The step as it should go on: energies of the unguided estimate, then guidance, then resampling."""
        ...

    def report(self, state: State) -> SteeringReport:
        """What was done, from the state after the last step."""
        ...


def take_samples(values: Tensor, parents: Tensor) -> Tensor:
    """The samples `parents` [B, S'] of `values` [B, S, ...], as [B, S', ...].

    >>> take_samples(torch.tensor([[5, 6, 7]]), torch.tensor([[2, 2, 0]]))
    tensor([[7, 7, 5]])
    """
    rows = torch.arange(values.shape[0], device=values.device)[:, None]
    return values[rows, parents]


def finite_samples(coords: Tensor, atom_mask: Tensor) -> Tensor:
    """[B, S] bool, whether `coords` [B, S, A, 3] are finite at the atoms in `atom_mask` [B, A].

    >>> finite_samples(torch.tensor([[[[0.0, 0, 0], [1, float("nan"), 1]]]]), torch.tensor([[True, False]]))
    tensor([[True]])
    """
    return (torch.isfinite(coords) | ~atom_mask[:, None, :, None]).flatten(-2).all(dim=-1)
