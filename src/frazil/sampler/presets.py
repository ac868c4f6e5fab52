"""Methods of stepping and presets by name: how many steps, by which method, along which noise levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, final

from frazil.errors import InputError
from frazil.noise import KarrasSchedule
from frazil.sampler.euler import StochasticEuler
from frazil.sampler.heun import Heun
from frazil.sampler.loop import Sampler
from frazil.sampler.multistep import DPMSolver2M
from frazil.sampler.stepping import Stepper

METHODS: Final[Mapping[str, Stepper]] = MappingProxyType(
    {
        "stochastic": StochasticEuler(),
        "stochastic-lean": StochasticEuler(gamma_min=0.3, step_scale=1.4),
        "euler": StochasticEuler(gamma_0=0.0, step_scale=1.0),
        "heun": Heun(),
        "dpm2m": DPMSolver2M(),
        "dpm2m-sde": DPMSolver2M(eta=1.0),
    }
)
"""Methods of stepping by name.

`stochastic` is the reference's. `stochastic-lean` is the same for few steps, which by themselves make samples less
varied: noise down to 0.3 A instead of 1 A, step scale 1.4 instead of 1.5. The others draw from the network's own law,
which is wider than what such step scales make of it.
"""

LEAN: Final = KarrasSchedule(sigma_max=80.0, sigma_min=4e-3)
"""A schedule for fewer steps: none above 80 or below 0.004 standard deviations of the data, where little happens."""


@final
@dataclass(frozen=True)
class Preset:
    """A method with a number of steps and the schedule that suits it.

    Raises
    ------
    InputError
        If there is no method of that name, or no step.

    Examples
    --------
    >>> Preset("heun", 10).evaluations
    19
    """

    method: str
    """A name in `METHODS`."""
    steps: int
    """Steps, each of one or two evaluations of the network."""
    schedule: KarrasSchedule = field(default_factory=KarrasSchedule)
    """Noise levels; `sampler` puts in the model's `sigma_data`."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method of stepping {self.method[:40]!r} is unknown: give one of {', '.join(METHODS)}")
        if self.steps < 1:
            raise InputError(f"number of sampling steps is {self.steps}: give at least 1")

    @property
    def stepper(self) -> Stepper:
        """The method itself."""
        return METHODS[self.method]

    @property
    def evaluations(self) -> int:
        """Calls of the network for each sample."""
        return self.stepper.evaluations(self.steps)

    def sampler(self, *, sigma_data: float, turned: bool, max_parallel_samples: int | None = None) -> Sampler:
        """The sampler for a model, to be run with `steps`.

        Parameters
        ----------
        sigma_data : float
            Standard deviation of the model's data, angstrom.
        turned, max_parallel_samples
            As for `Sampler.for_frame`.
        """
        schedule = replace(self.schedule, sigma_data=sigma_data)
        return Sampler.for_frame(
            schedule, turned=turned, stepper=self.stepper, max_parallel_samples=max_parallel_samples
        )


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "reference": Preset("stochastic", 200),
        "balanced": Preset("stochastic", 50, LEAN),
        "fast": Preset("stochastic-lean", 20, KarrasSchedule(sigma_min=2e-3)),
    }
)
"""Presets by name; `benchmarks/results/quality.json` has what each is worth."""

_USUAL: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "stochastic": PRESETS["reference"],
        "stochastic-lean": PRESETS["fast"],
        "euler": Preset("euler", 100, LEAN),
        "heun": Preset("heun", 25, LEAN),
        "dpm2m": Preset("dpm2m", 50, LEAN),
        "dpm2m-sde": Preset("dpm2m-sde", 50, LEAN),
    }
)
"""Each method as it is used if only its name is given."""


def chosen(name: str, steps: int | None = None) -> Preset:
    """The preset or method of that name.

    Parameters
    ----------
    name : str
        A name in `PRESETS` or `METHODS`.
    steps : int, optional
        Steps; the preset's own, or a usual number for the method, by default.

    Raises
    ------
    InputError
        If the name is unknown or there is no step.

    Examples
    --------
    >>> chosen("fast").steps, chosen("heun", 10).evaluations
    (20, 19)
    """
    known = {**_USUAL, **PRESETS}
    if name not in known:
        presets, methods = ", ".join(PRESETS), ", ".join(METHODS)
        raise InputError(f"sampler {name[:40]!r} is unknown: give a preset ({presets}) or a method ({methods})")
    return known[name] if steps is None else replace(known[name], steps=steps)
