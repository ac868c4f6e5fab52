"""From settings to what steers one structure: its restraints, potentials, particles and held atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frazil.data.restraints import all_restraints, held_atoms, restraints_of, with_requests
from frazil.data.structure import Structure
from frazil.errors import InputError
from frazil.features import Features
from frazil.potentials import POTENTIAL_SETS, Potential, PotentialWeights, Weighted, default_potentials
from frazil.predictor.custom import built
from frazil.predictor.settings import KEEPS, PLAIN_WEIGHTS, RESAMPLERS, SteeringSettings, potential_name
from frazil.restraints import PlaceTerms, Restraints
from frazil.sampler import Steering
from frazil.steering import Guidance, ParticleFilter
from frazil.steering.judge import GIVEN

CONTACTS = "contacts"
"""The set of potentials that enforce restraints."""


@dataclass(frozen=True, eq=False)
class Forces:
    """What acts on the samples of one structure, and what is reported of them."""

    acting: tuple[Weighted, ...]
    """Potentials that steer."""
    sets: tuple[str, ...]
    """The sets that some of them come from."""
    reported: tuple[Potential, ...]
    """Those and all others with terms; their energies are reported."""

    def steering(self, settings: SteeringSettings) -> Steering[Any] | None:
        """Guidance, a particle filter, both in one, or None where nothing acts."""
        if not self.acting:
            return None
        guidance = None
        if settings.moves:
            guidance = Guidance(self.acting, settings.moves, settings.last_step, longest_move=settings.longest_move)
        if settings.particles == 1:
            return guidance
        return ParticleFilter(
            self.acting,
            num_particles=settings.particles,
            strength=settings.strength,
            interval=settings.interval,
            resampler=RESAMPLERS[settings.resampler](),
            ess_threshold=settings.ess_threshold,
            keep=KEEPS[settings.keep](),
            guidance=guidance,
        )


def forces(features: Features, settings: SteeringSettings) -> Forces:
    """Potentials for features that hold their restraints; see `SteeringSettings.sets`.

    Raises
    ------
    InputError
        If one of the user's own potentials cannot be made.
    """
    own = tuple(built(factory, features) for factory in settings.potentials)
    names = [potential_name(factory) for factory in settings.potentials]
    own_weighted = tuple(
        _weighted(potential, settings.weights.get(name, PLAIN_WEIGHTS))
        for name, potential in zip(names, own, strict=True)
    )
    usual = {name: weights for name, weights in settings.weights.items() if name not in names}
    sets = chosen_sets(features.restraints, settings)
    acting = default_potentials(features, sets, usual)
    every = default_potentials(features, tuple(POTENTIAL_SETS))
    return Forces((*acting, *own_weighted), sets, (*(one.potential for one in every), *own))


def chosen_sets(restraints: Restraints, settings: SteeringSettings) -> tuple[str, ...]:
    """Sets of potentials that act: those asked for, by default contacts where somebody gave a restraint."""
    if settings.sets is not None:
        return settings.sets
    return (CONTACTS,) if num_given(restraints) else ()


def num_given(restraints: Restraints) -> int:
    """Terms that somebody asked for and that are to be enforced."""
    lists = [getattr(restraints, kind) for kind in GIVEN]
    terms = [one.terms if isinstance(one, PlaceTerms) else one for one in lists] + [restraints.connections.named()]
    return sum(int((one.weight != 0).sum()) for one in terms)


def restrained(
    structure: Structure, settings: SteeringSettings, stored: Restraints | None = None
) -> tuple[Structure, Restraints]:
    """A structure with the requests of the settings besides its own, and all that its samples are judged by.

    Parameters
    ----------
    structure : Structure
        With its own requests.
    settings : SteeringSettings
        With further ones.
    stored : Restraints, optional
        Take the place of what follows from the structure: its chemistry and its own requests.

    Raises
    ------
    InputError
        If a restraint names no atom, or names it ambiguously, or nothing could steer though steering was asked for.
    """
    if stored is None:
        structure = with_requests(structure, settings.requests)
        restraints = all_restraints(structure)
    else:
        restraints = Restraints.join([stored, restraints_of(structure, settings.requests)])
        structure = with_requests(structure, settings.requests)
    refuse_idle(structure, num_given(restraints), settings)
    return structure, restraints


def refuse_idle(structure: Structure, given: int, settings: SteeringSettings) -> None:
    """Refuse particles or sets that have nothing to act by."""
    physical = bool(settings.sets) and settings.sets != (CONTACTS,)
    if settings.potentials or physical or (given and settings.sets != ()):
        return
    hint = "give --contact, --min-distance, --template or --potential"
    if settings.sets == (CONTACTS,):
        raise InputError(f"{structure.source}: --steering contacts, but there is no restraint to enforce; {hint}")
    if settings.particles > 1:
        raise InputError(
            f"{structure.source}: {settings.particles} particles, but no potential to choose by; {hint}, "
            "or --steering physical"
        )


@dataclass(frozen=True, eq=False)
class Fixed:
    """Atoms that stay where they are."""

    coords: NDArray[np.float32]
    """[A, 3] angstrom; zero where nothing is fixed."""
    mask: NDArray[np.bool_]
    """[A]."""

    @classmethod
    def of(cls, structure: Structure, start: NDArray[np.float32] | None, chains: Sequence[str]) -> Fixed | None:
        """The resolved atoms of some chains of an input; None if no chain is fixed.

        Parameters
        ----------
        structure : Structure
            The input.
        start : array or None
            [A, 3] coordinates of the start, which come before the input's first model; NaN where unresolved.
        chains : sequence of str
            Chains to fix.

        Raises
        ------
        InputError
            If a chain is missing or has no coordinates.
        """
        if not chains:
            return None
        if start is not None:
            resolved = np.asarray(np.isfinite(start).all(axis=-1))
            structure = replace(structure, coords=start[None], resolved=resolved[None])
        mask = held_atoms(structure, chains)
        return cls(np.where(mask[:, None], structure.coords[0], 0).astype(np.float32), mask)


def _weighted(potential: Potential, weights: PotentialWeights) -> Weighted:
    return Weighted(potential, weights.guidance, weights.resampling, weights.interval)
