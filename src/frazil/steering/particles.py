"""`ParticleFilter`: several particles for each sample, of which those of low energy live on (Feynman-Kac steering)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Protocol, final

import torch
from torch import Tensor

from frazil.errors import InputError
from frazil.geometry import RigidMotion
from frazil.potentials.base import Weighted
from frazil.sampler import NoiseStream, SteeringReport, StepRecord
from frazil.steering.checked import ATOMS_AT_ONCE, by_samples, weighted_energy
from frazil.steering.guidance import Guidance, GuidanceState, lose, never_lost
from frazil.steering.resampling import Multinomial, Resampler, Uniform, Weights

# Far beyond any energy that means something, and still far from the end of float32.
_LARGEST = 1e37


class Correction(Protocol):
    """The noisy steps whose proposals are corrected for guidance."""

    def counts(self, weighing: bool) -> bool:
        """Whether a step counts; `weighing`: particles are weighed at it."""
        ...


@final
@dataclass(frozen=True)
class EveryStep:
    """Every noisy step since the last resampling counts: exact for any interval."""

    def counts(self, weighing: bool) -> bool:
        """See `Correction.counts`."""
        return True


@final
@dataclass(frozen=True)
class ResamplingStepsOnly:
    """Only steps at which particles are weighed count, as in Boltz-2: biased for an interval above 1."""

    def counts(self, weighing: bool) -> bool:
        """See `Correction.counts`."""
        return weighing


class Keep(Protocol):
    """What is left of each group at the end."""

    def last(self, weights: Weights, resampler: Resampler, uniform: Uniform) -> tuple[Tensor, Tensor | None]:
        """Particles [B, G, K] to return, and their log weights [B, G, K] where these are not equal."""
        ...


@final
@dataclass(frozen=True)
class KeepOne:
    """One particle of each group, drawn by weight."""

    def last(self, weights: Weights, resampler: Resampler, uniform: Uniform) -> tuple[Tensor, Tensor | None]:
        """See `Keep.last`."""
        return resampler.choose(weights.values, 1, uniform), None


@final
@dataclass(frozen=True)
class KeepAll:
    """All particles with their weights, for averages: nothing is drawn at the last step."""

    def last(self, weights: Weights, resampler: Resampler, uniform: Uniform) -> tuple[Tensor, Tensor | None]:
        """See `Keep.last`."""
        return _same(weights.values), weights.logs


@dataclass(frozen=True, eq=False)
class FilterState:
    """What a particle filter remembers from step to step; P particles in each of G groups."""

    noise: NoiseStream
    """Where draws come from."""
    lost: Tensor
    """[B, G] int64, see `SteeringReport.lost`."""
    log_weights: Tensor
    """[B, G, P] since the last resampling."""
    energy: Tensor | None = None
    """[B, G, P] strength times energy when particles were last weighed."""
    guided: GuidanceState | None = None
    """What guidance remembers."""
    effective_sizes: tuple[tuple[int, Tensor], ...] = ()
    """See `SteeringReport.effective_sizes`."""
    final: Tensor | None = None
    """[B, G, K] log weights of the particles returned, where they are not equal."""


@final
@dataclass(frozen=True)
class ParticleFilter:
    """Draws from the sampler's law times exp(-strength x energy), given enough particles (Feynman-Kac steering).

    The particles of a sample are a group. At every `interval`-th noisy step, and at the last, each is weighed by
    exp(strength (E before - E now)) of its unguided estimate, times the ratio of the unguided to the guided proposal
    over all noisy steps since the last resampling; then particles are drawn by weight within the group (Singhal 2025,
    arXiv 2501.06848, difference potential). A particle that is not finite has weight 0.

    With guidance the ratio is exact as long as noise is added; guidance of later steps is not corrected for. The
    energy is that of the estimate before the last step's guidance.

    Parameters
    ----------
    potentials : tuple of Weighted
        What is scored, and how strongly at which time.
    num_particles : int
        Particles of each sample.
    strength : float
        The target's inverse temperature, lambda.
    interval : int
        Particles are weighed at every so many-th step.
    resampler : Resampler
        `Multinomial()`, `Systematic()` or `Stratified()`.
    ess_threshold : float
        A group is resampled where its effective number of particles is below this share of them; 1 always resamples.
    keep : Keep
        `KeepOne()` or `KeepAll()` at the end.
    guidance : Guidance or None
        What moves the particles.
    correction : Correction
        `EveryStep()`, or `ResamplingStepsOnly()` for parity with Boltz-2.
    atoms_at_once : int
        Most atoms (structures x samples x atoms) in one call of a potential, as far as whole samples allow.

    Raises
    ------
    InputError
        If there is no potential, or a number is out of its range.

    Examples
    --------
    >>> from frazil.noise import KarrasSchedule
    >>> from frazil.potentials.base import Potential, Weighted
    >>> from frazil.potentials.schedules import Constant
    >>> from frazil.sampler import PerSampleNoise, Sampler
    >>> class PullToOrigin(Potential):
    ...     def energy(self, coords, t):
    ...         return coords.square().sum(dim=(-1, -2))
    >>> pull = Weighted(PullToOrigin(), guidance=Constant(0.1), resampling=Constant(1.0))
    >>> sampler = Sampler(KarrasSchedule(), steering=ParticleFilter((pull,), guidance=Guidance((pull,))))
    >>> result = sampler.sample(lambda x, sigma: x / 2, torch.ones(1, 4).bool(), 2, 9, PerSampleNoise(0, ["x"]))
    >>> result.coords.shape, [step for step, size in result.steering.effective_sizes]
    (torch.Size([1, 2, 4, 3]), [0, 3, 8])
    """

    potentials: tuple[Weighted, ...]
    num_particles: int = 3
    strength: float = 4.0
    interval: int = 3
    resampler: Resampler = field(default_factory=Multinomial)
    ess_threshold: float = 1.0
    keep: Keep = field(default_factory=KeepOne)
    guidance: Guidance | None = None
    correction: Correction = field(default_factory=EveryStep)
    atoms_at_once: int = ATOMS_AT_ONCE

    def __post_init__(self) -> None:
        if not self.potentials:
            raise InputError("a particle filter without potentials has nothing to score: give one, or no particles")
        for name in ("num_particles", "interval", "atoms_at_once"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} of the particle filter is {getattr(self, name)}: give at least 1")
        if not (isfinite(self.strength) and self.strength >= 0):
            raise InputError(
                f"strength (lambda) of the particle filter is {self.strength}: give a number of at least 0"
            )
        if not 0 <= self.ess_threshold <= 1:
            raise InputError(f"ess_threshold of the particle filter is {self.ess_threshold}: give 0 to 1")

    def begin(self, atom_mask: Tensor, num_samples: int, noise: NoiseStream) -> FilterState:
        """See `Steering.begin`."""
        lost = never_lost(atom_mask, num_samples)
        even = torch.zeros(*lost.shape, self.num_particles, device=lost.device)
        guided = None if self.guidance is None else self.guidance.begin(atom_mask, num_samples, noise)
        return FilterState(noise, lost, even, guided=guided)

    def move(self, state: FilterState, motion: RigidMotion) -> FilterState:
        """See `Steering.move`."""
        if self.guidance is None or state.guided is None:
            return state
        return replace(state, guided=self.guidance.move(state.guided, motion))

    def steer(self, record: StepRecord, state: FilterState) -> tuple[StepRecord, FilterState]:
        """See `Steering.steer`."""
        step = record.step
        due = step.is_last or (step.index % self.interval == 0 and step.noise_variance > 0)
        state = replace(state, lost=lose(state.lost, record))
        if state.guided is not None and self.correction.counts(due):
            ratio = torch.as_tensor(state.guided.log_ratio(record), device=state.lost.device)
            ratio = ratio.expand(record.coords.shape[:2]).unflatten(1, (-1, self.num_particles))
            state = replace(state, log_weights=state.log_weights + ratio)
        state = self._weigh(record, state) if due else state
        if self.guidance is not None and state.guided is not None:
            record, guided = self.guidance.steer(record, state.guided)
            state = replace(state, guided=guided)
        return self._select(record, state) if due else (record, state)

    def report(self, state: FilterState) -> SteeringReport:
        """See `Steering.report`."""
        guided = 0 if state.guided is None else state.guided.guided_steps
        final = None if state.final is None else state.final.flatten(1)
        return SteeringReport(guided, state.effective_sizes, final, state.lost)

    def _weigh(self, record: StepRecord, state: FilterState) -> FilterState:
        """Log weights with the energies of this step's estimates, normalised in each group."""
        energy = self._energy(record)
        change = _centred(energy) if state.energy is None else _centred(energy) - _centred(state.energy)
        log_weights = state.log_weights - change
        finite = record.finite.unflatten(1, (-1, self.num_particles)) & ~log_weights.isnan()
        weights = Weights.of(torch.where(finite, log_weights, -torch.inf))
        sizes = (*state.effective_sizes, (record.step.index, weights.effective_size))
        return replace(state, energy=energy, log_weights=weights.logs, effective_sizes=sizes)

    def _energy(self, record: StepRecord) -> Tensor:
        """Strength times energy [B, G, P], within +-1e37."""
        t = record.step.t
        weighted = [(entry.resampling.at(t), entry.potential) for entry in self.potentials]
        active = [(weight, potential) for weight, potential in weighted if weight != 0 and potential.num_terms > 0]
        energy = by_samples(
            lambda coords: weighted_energy(active, coords, record.atom_mask, t), record.denoised, self.atoms_at_once
        )
        scaled = (self.strength * energy).nan_to_num(_LARGEST, _LARGEST, -_LARGEST).clamp(-_LARGEST, _LARGEST)
        return scaled.unflatten(1, (-1, self.num_particles))

    def _select(self, record: StepRecord, state: FilterState) -> tuple[StepRecord, FilterState]:
        """Draw particles by weight, and everything of theirs with them."""
        weights = Weights.of(state.log_weights)
        if record.step.is_last:
            picked, final = self.keep.last(weights, self.resampler, state.noise.uniform)
            state = replace(state, final=final)
        else:
            drawn = self.resampler.choose(weights.values, self.num_particles, state.noise.uniform)
            resampled = self._uneven(weights)[..., None]
            picked = torch.where(resampled, drawn, _same(drawn))
            state = replace(state, log_weights=torch.where(resampled, 0, weights.logs))
        groups = torch.arange(picked.shape[1], device=picked.device)[:, None]
        parents = (picked + self.num_particles * groups).flatten(1)
        assert state.energy is not None  # it was weighed at this step
        guided = None if state.guided is None else state.guided.select(parents)
        return record.select(parents), replace(state, energy=state.energy.gather(-1, picked), guided=guided)

    def _uneven(self, weights: Weights) -> Tensor:
        """[B, G] bool, groups to resample."""
        if self.ess_threshold == 1:
            return torch.ones_like(weights.effective_size, dtype=torch.bool)
        return weights.effective_size < self.ess_threshold * self.num_particles


def _centred(energy: Tensor) -> Tensor:
    """Energies from the least of each group, whose common size would swallow their differences."""
    return energy - energy.amin(dim=-1, keepdim=True)


def _same(particles: Tensor) -> Tensor:
    """Every particle its own parent, [B, G, P]."""
    return torch.arange(particles.shape[-1], device=particles.device).expand(particles.shape)
