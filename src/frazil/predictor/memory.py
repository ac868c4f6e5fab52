"""How much memory an input needs, told before it starts, and how many samples at once that leaves room for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from frazil.denoiser import StructureModel
from frazil.features import Features
from frazil.nn.footprint import Footprint
from frazil.predictor.settings import PredictSettings
from frazil.steering.checked import ATOMS_AT_ONCE

_COORDINATES: Final = 4 * 3
"""Bytes of an atom's coordinates."""
_HELD_BY_LOOP: Final = 16
"""Copies of all samples' coordinates at once in the sampler: noise, noisy, denoised, guided, aligned, remembered."""
_HELD_BY_FRAME: Final = 8
"""The same for each frame of a trajectory: noisy and denoised, stacked, turned, and joined to be checked."""
_OF_POTENTIALS: Final = 1024
"""Bytes for each atom that potentials are given at once; `python -m benchmarks.steering` measures 600 to 800."""


@dataclass(frozen=True)
class MemoryPlan:
    """What one input needs, what there is, and how many samples at once follow from it.

    Examples
    --------
    >>> plan = MemoryPlan("x", 300, 2400, Footprint(1 << 30, 400 << 20, 200 << 20), free=2 << 30, wanted=40)
    >>> plan.samples_at_once
    8
    >>> print(plan.text())
    x: 300 tokens, 2,400 atoms: needs about 2.0 GiB for 8 of 40 samples at once (200 MiB each), 2.0 GiB free
    """

    name: str
    """Of the input."""
    num_tokens: int
    num_atoms: int
    footprint: Footprint
    """Bytes needed."""
    free: int | None
    """Bytes that there are; None where nothing tells."""
    wanted: int
    """Samples to be drawn at once, particles counted, if memory allows."""

    @property
    def fits(self) -> bool:
        """Whether at least one sample does."""
        return self.free is None or self.footprint.peak(1) <= self.free

    @property
    def samples_at_once(self) -> int:
        """At least 1, which is tried even where it does not seem to fit."""
        if self.free is None:
            return self.wanted
        return min(self.wanted, max(1, (self.free - self.footprint.kept) // self.footprint.sample))

    def text(self) -> str:
        """One line for a person."""
        number, needed = self.samples_at_once, self.footprint.peak(self.samples_at_once)
        samples = (
            f"{number} of {self.wanted} samples" if number < self.wanted else f"{number} sample{'s'[: number - 1]}"
        )
        each = f" ({_size(self.footprint.sample)} each)" if number > 1 else ""
        free = "" if self.free is None else f", {_size(self.free)} free"
        size = f"{self.num_tokens:,} tokens, {self.num_atoms:,} atoms"
        line = f"{self.name}: {size}: needs about {_size(needed)} for {samples} at once{each}{free}"
        if self.fits:
            return line
        return f"warning: {line}: it is tried, but may be ended by the system; take a larger machine or fewer tokens"


def memory_plan(
    name: str, model: StructureModel, features: Features, settings: PredictSettings, free: int | None
) -> MemoryPlan:
    """The plan for one input.

    Parameters
    ----------
    name : str
        Of the input, or of all of them.
    model : StructureModel
        Loaded already: its weights are not counted, but the engine's copies of them are.
    features : Features
        Of structures of like size, padded as the model wants them.
    settings : PredictSettings
        Samples, particles, bound, precision, trajectory.
    free : int or None
        Bytes that there are, see `available_memory`.
    """
    weights = sum(parameter.numel() for parameter in model.parameters())
    network = _for_structures(
        features.batch_size,
        Footprint.of(model.config.network, weights, features.num_tokens, features.num_atoms, settings.compute),
        Footprint.of(model.config.network, weights, 0, 0, settings.compute),
    )
    drawn = features.batch_size * settings.num_samples * settings.steering.particles
    frames = 0 if settings.trajectory is None else settings.preset.steps // settings.trajectory + 2
    atoms = drawn * features.num_atoms
    held = (_HELD_BY_LOOP + _HELD_BY_FRAME * frames) * atoms * _COORDINATES
    held += min(atoms, max(features.num_atoms, ATOMS_AT_ONCE)) * _OF_POTENTIALS
    return MemoryPlan(
        name,
        num_tokens=int(features.token_mask.sum()),
        num_atoms=int(features.atom_mask.sum()),
        footprint=replace(network, kept=network.kept + held),
        free=free,
        wanted=min(drawn, settings.max_parallel_samples or drawn),
    )


def _for_structures(count: int, one: Footprint, none: Footprint) -> Footprint:
    """What so many structures need together, if weights and libraries take `none` and each takes `one` with them."""
    conditioning = none.conditioning + count * (one.conditioning - none.conditioning)
    return Footprint(conditioning, none.kept + count * (one.kept - none.kept), one.sample)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, count >> 20):,} MiB"
