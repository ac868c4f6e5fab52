"""`Guidance`: every estimate of the clean coordinates is moved down the gradients of potentials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import final

import torch
from torch import Tensor

from frazil.errors import InputError
from frazil.geometry import RigidMotion, sum_atoms
from frazil.potentials.base import Potential, Weighted
from frazil.sampler import NoiseStream, SteeringReport, StepRecord, take_samples
from frazil.steering.checked import ATOMS_AT_ONCE, by_samples, weighted_gradient


@dataclass(frozen=True, eq=False)
class GuidanceState:
    """What guidance remembers from step to step."""

    lost: Tensor
    """[B, G] int64, see `SteeringReport.lost`."""
    shift: Tensor | None = None
    """[B, S, A, 3] angstrom, how far the last step's guidance displaced the coordinates; None if it did not."""
    guided_steps: int = 0
    """Steps at which the estimate was moved."""

    def select(self, parents: Tensor) -> GuidanceState:
        """The state of the samples `parents` [B, S']."""
        return self if self.shift is None else replace(self, shift=take_samples(self.shift, parents))

    def log_ratio(self, record: StepRecord) -> Tensor | float:
        """log(unguided / guided proposal) [B, S] of the fresh noise in `record` (Singhal 2025, arXiv 2501.06848).

        The noisy coordinates are those of the unguided sampler plus noise e and the shift g of the step before, so
        this is (|e|^2 - |e + g|^2) / (2 variance); 0 without shift or noise.
        """
        variance = record.step.noise_variance
        if self.shift is None or variance == 0:
            return 0.0
        # The difference of squares multiplied out, for large squares would cancel.
        work = self.shift * (record.noise + self.shift / 2)
        x, y, z = sum_atoms(work).unbind(-1)
        return -((x + y) + z) / variance


@final
@dataclass(frozen=True)
class Guidance:
    """Moves the denoised estimate down the weighted gradients of potentials, some moves at each step.

    Follows Boltz-2, but acts at the last step too. Held atoms stay. A sample that is not finite is left alone. Without
    a potential that has terms nothing is computed.

    Parameters
    ----------
    potentials : tuple of Weighted
        What acts, how strongly at which time, and in every how-many-th move.
    num_moves : int
        Moves at each step; each is minus the sum of weight times gradient, angstrom.
    last_step : bool
        Whether to act at the last step.
    proposal_step_scale : float or None
        Step scale in the proposal's shift; None for the step's own, which is right.
    atoms_at_once : int
        Most atoms (structures x samples x atoms) in one call of a potential, as far as whole samples allow.
    longest_move : float
        Angstrom, how far an atom goes in one move at most; where atoms lie on a line a gradient has no bound.

    Raises
    ------
    InputError
        If `num_moves` or `atoms_at_once` is below 1, or `longest_move` is not above 0; while running,
        if a potential fails, gives another shape or NaN.

    Examples
    --------
    >>> from frazil.noise import KarrasSchedule
    >>> from frazil.potentials.base import Potential, Weighted
    >>> from frazil.potentials.schedules import Constant
    >>> from frazil.sampler import PerSampleNoise, Sampler
    >>> class PullToOrigin(Potential):
    ...     def energy(self, coords, t):
    ...         return coords.square().sum(dim=(-1, -2))
    >>> guidance = Guidance((Weighted(PullToOrigin(), guidance=Constant(0.1), resampling=Constant(1.0)),))
    >>> sampler = Sampler(KarrasSchedule(), steering=guidance)
    >>> result = sampler.sample(lambda x, sigma: x + 1, torch.ones(1, 4).bool(), 2, 5, PerSampleNoise(0, ["x"]))
    >>> result.steering.guided_steps
    5
    """

    potentials: tuple[Weighted, ...]
    num_moves: int = 20
    last_step: bool = True
    proposal_step_scale: float | None = None
    atoms_at_once: int = ATOMS_AT_ONCE
    longest_move: float = inf

    def __post_init__(self) -> None:
        if self.num_moves < 1:
            raise InputError(f"number of guidance moves is {self.num_moves}: give at least 1")
        if self.atoms_at_once < 1:
            raise InputError(f"atoms_at_once is {self.atoms_at_once}: give at least 1")
        if not self.longest_move > 0:
            raise InputError(f"longest_move is {self.longest_move}: give a distance above 0")

    @property
    def num_particles(self) -> int:
        """See `Steering.num_particles`: one."""
        return 1

    def begin(self, atom_mask: Tensor, num_samples: int, noise: NoiseStream) -> GuidanceState:
        """See `Steering.begin`."""
        return GuidanceState(never_lost(atom_mask, num_samples))

    def move(self, state: GuidanceState, motion: RigidMotion) -> GuidanceState:
        """See `Steering.move`: the shift is a direction and turns."""
        return state if state.shift is None else replace(state, shift=motion.rotate(state.shift))

    def steer(self, record: StepRecord, state: GuidanceState) -> tuple[StepRecord, GuidanceState]:
        """See `Steering.steer`."""
        state = replace(state, lost=lose(state.lost, record))
        step = record.step
        active = self._active(step.t)
        if not active or (step.is_last and not self.last_step):
            return record, replace(state, shift=None)
        moved = self._moved(record, active)
        scale = step.step_scale if self.proposal_step_scale is None else self.proposal_step_scale
        shift = -scale * (step.sigma_next - step.sigma_hat) / step.sigma_hat * moved
        guided = replace(record, denoised=record.denoised + moved)
        return guided, replace(state, shift=shift, guided_steps=state.guided_steps + 1)

    def report(self, state: GuidanceState) -> SteeringReport:
        """See `Steering.report`."""
        return SteeringReport(state.guided_steps, (), None, state.lost)

    def _active(self, t: float) -> list[tuple[float, Weighted]]:
        weighted = [(entry.guidance.at(t), entry) for entry in self.potentials]
        return [(weight, entry) for weight, entry in weighted if weight != 0 and entry.potential.num_terms > 0]

    def _moved(self, record: StepRecord, active: list[tuple[float, Weighted]]) -> Tensor:
        """The sum of all moves, [B, S, A, 3]."""
        turns: list[list[tuple[float, Potential]]] = [
            [(weight, entry.potential) for weight, entry in active if index % entry.interval == 0]
            for index in range(self.num_moves)
        ]

        def moves(denoised: Tensor) -> Tensor:
            moved = torch.zeros_like(denoised)
            for acting in filter(None, turns):
                gradient = weighted_gradient(acting, denoised + moved, record.atom_mask, record.step.t)
                moved = moved - torch.where(record.mobile[:, None, :, None], self._bounded(gradient), 0)
            return moved

        return by_samples(moves, record.denoised, self.atoms_at_once)

    def _bounded(self, gradient: Tensor) -> Tensor:
        """Each atom's [..., 3] shortened to the longest move; none at all where it has overflown."""
        if self.longest_move == inf:
            return gradient
        size = gradient.norm(dim=-1, keepdim=True)
        share = (self.longest_move / size.clamp(min=self.longest_move)).nan_to_num(nan=0.0)
        return torch.where(torch.isfinite(size), gradient * share, 0)


def never_lost(atom_mask: Tensor, num_groups: int) -> Tensor:
    """`SteeringReport.lost` before the first step."""
    return torch.full((atom_mask.shape[0], num_groups), -1, dtype=torch.int64, device=atom_mask.device)


def lose(lost: Tensor, record: StepRecord) -> Tensor:
    """`SteeringReport.lost` after this step: groups without any finite sample are lost, if they were not before."""
    gone = ~record.finite.unflatten(1, (lost.shape[1], -1)).any(dim=-1)
    return torch.where((lost < 0) & gone, record.step.index, lost)
