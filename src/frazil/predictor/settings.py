"""What a run of prediction is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Final

from frazil.data.restraints import Request as RestraintRequest
from frazil.errors import InputError
from frazil.features import Features
from frazil.nn.compute import Compute
from frazil.potentials import POTENTIAL_SETS, Constant, Potential, PotentialWeights
from frazil.sampler.presets import Preset, chosen
from frazil.steering import Keep, KeepAll, KeepOne, Multinomial, Resampler, Stratified, Systematic

RESAMPLERS: Final[Mapping[str, type[Resampler]]] = {
    "multinomial": Multinomial,
    "systematic": Systematic,
    "stratified": Stratified,
}
"""How particles are drawn, by name."""
KEEPS: Final[Mapping[str, type[Keep]]] = {"one": KeepOne, "all": KeepAll}
"""What is left of each sample's particles, by name."""

PotentialFactory = Callable[[Features], Potential]
"""Makes a potential for a batch of structures; a potential's class whose constructor takes `Features` is one."""
PLAIN_WEIGHTS: Final = PotentialWeights(Constant(1.0), Constant(1.0))
"""Weights of a potential of the user's own, unless told otherwise."""


def potential_name(factory: PotentialFactory) -> str:
    """What settings and errors call a user's own potential: its class."""
    return getattr(factory, "__name__", type(factory).__name__)


@dataclass(frozen=True)
class SteeringSettings:
    """What samples are held to, and by what means.

    Raises
    ------
    InputError
        If a number is out of its range, or a name is unknown.

    Examples
    --------
    >>> SteeringSettings(sets=("physical",), particles=3).resampler
    'multinomial'
    """

    sets: tuple[str, ...] | None = None
    """Sets of potentials that act, of physical and contacts; () for none; None: contacts where there are restraints."""
    particles: int = 1
    """Particles of each sample; 1 is guidance alone."""
    moves: int = 20
    """Moves of guidance at each step; 0 leaves it to the particle filter."""
    longest_move: float = 2.0
    """Angstrom, how far guidance takes an atom in one move at most."""
    last_step: bool = True
    """Whether guidance acts at the last step."""
    strength: float = 4.0
    """Inverse temperature lambda of the particles' weights; `lambda` in a settings file."""
    interval: int = 3
    """Particles are weighed at every so many-th step."""
    resampler: str = "multinomial"
    """multinomial, systematic or stratified."""
    ess_threshold: float = 1.0
    """Share of the particles that the effective number has to fall below for a selection; 1 always selects."""
    keep: str = "one"
    """one particle of each sample, or all of them with their weights."""
    fix: tuple[str, ...] = ()
    """Chains that keep the coordinates of the start, or else of the input."""
    requests: tuple[RestraintRequest, ...] = ()
    """Restraints for every input, besides those that it brings along."""
    potentials: tuple[PotentialFactory, ...] = ()
    """Potentials of the user's own."""
    weights: Mapping[str, PotentialWeights] = field(default_factory=dict)
    """Weights over time that differ from the usual ones, by potential."""

    def __post_init__(self) -> None:
        for name, least in (("particles", 1), ("moves", 0), ("interval", 1)):
            if getattr(self, name) < least:
                raise InputError(f"steering: {name} is {getattr(self, name)}; give at least {least}")
        if self.moves == 0 and self.particles == 1:
            raise InputError("steering: moves is 0 with a single particle; give moves, or particles to choose among")
        if not self.longest_move > 0:
            raise InputError(f"steering: longest_move is {self.longest_move}; give a distance above 0")
        if not (isfinite(self.strength) and self.strength >= 0):
            raise InputError(f"steering: lambda is {self.strength}; give a number of at least 0")
        if not 0 <= self.ess_threshold <= 1:
            raise InputError(f"steering: ess_threshold is {self.ess_threshold}; give a share from 0 to 1")
        for what, name, known in (("resampler", self.resampler, RESAMPLERS), ("keep", self.keep, KEEPS)):
            if name not in known:
                raise InputError(f"steering: {what} is {name!r}; give one of {', '.join(known)}")
        for name in self.sets or ():
            if name not in POTENTIAL_SETS:
                raise InputError(f"--steering {name[:40]!r}: no such set; give {', '.join(POTENTIAL_SETS)}, or none")


@dataclass(frozen=True)
class PredictSettings:
    """How many samples, how they are drawn, and what is written.

    Raises
    ------
    InputError
        If a number is out of its range, a name is unknown, or only one of `start` and `start_sigma` is given.

    Examples
    --------
    >>> PredictSettings(num_samples=8).preset.steps
    200
    """

    num_samples: int = 5
    """Samples of each input."""
    sampler: str = "reference"
    """A preset or a method of stepping, by its name in `frazil.sampler.presets`."""
    steps: int | None = None
    """Steps of the sampling schedule; None for as many as the sampler's name stands for."""
    precision: str = "float32"
    """Of the network's matrix products, by its name in `frazil.nn.compute`."""
    compile: bool = False
    """Whether the network is compiled where that pays."""
    seed: int = 0
    """Decides every random number, together with an input's name and a sample's index."""
    max_parallel_samples: int | None = None
    """Hard bound on samples in one call of the network; None for no bound."""
    start: Path | None = None
    """Structure to start from instead of noise (partial diffusion)."""
    start_sigma: float | None = None
    """Noise put on `start`, angstrom."""
    trajectory: int | None = None
    """Write every so many-th step as well."""
    overwrite: bool = False
    """Replace earlier results in the output folder."""
    device: str | None = None
    """Where to compute, in torch's words; None for where the model is."""
    steering: SteeringSettings = field(default_factory=SteeringSettings)
    """Restraints, potentials and particles."""

    def __post_init__(self) -> None:
        for name in ("num_samples", "steps", "max_parallel_samples", "trajectory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} is {value}: give at least 1")
        if (self.start is None) != (self.start_sigma is None):
            raise InputError("--start and --start-sigma belong together: give both or neither")
        if self.start_sigma is not None and not (isfinite(self.start_sigma) and self.start_sigma > 0):
            raise InputError(f"--start-sigma is {self.start_sigma}: give the noise in angstrom, above 0")
        # these refuse names that they do not know
        chosen(self.sampler, self.steps)
        Compute(self.precision)

    @property
    def preset(self) -> Preset:
        """Method of stepping and number of steps."""
        return chosen(self.sampler, self.steps)

    @property
    def compute(self) -> Compute:
        """How the network is computed."""
        return Compute(self.precision, self.compile)

    def text(self) -> str:
        """How samples are drawn, in one line for a person.

        >>> print(PredictSettings(sampler="heun", steps=10).text())
        sampler heun: 10 steps, 19 evaluations of the network, float32
        """
        preset = self.preset
        method = "" if self.sampler == preset.method else f" ({preset.method})"
        calls = f"{preset.steps} steps, {preset.evaluations} evaluations of the network"
        return f"sampler {self.sampler}{method}: {calls}, {self.precision}{', compiled' * self.compile}"
