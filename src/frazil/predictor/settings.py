"""What a run of prediction is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from frazil.errors import InputError


@dataclass(frozen=True)
class PredictSettings:
    """How many samples, how they are drawn, and what is written.

    Raises
    ------
    InputError
        If a number is out of its range, or only one of `start` and `start_sigma` is given.

    Examples
    --------
    >>> PredictSettings(num_samples=8).steps
    200
    """

    num_samples: int = 5
    """Samples of each input."""
    steps: int = 200
    """Steps of the sampling schedule."""
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

    def __post_init__(self) -> None:
        for name in ("num_samples", "steps", "max_parallel_samples", "trajectory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} is {value}: give at least 1")
        if (self.start is None) != (self.start_sigma is None):
            raise InputError("--start and --start-sigma belong together: give both or neither")
        if self.start_sigma is not None and not (isfinite(self.start_sigma) and self.start_sigma > 0):
            raise InputError(f"--start-sigma is {self.start_sigma}: give the noise in angstrom, above 0")
