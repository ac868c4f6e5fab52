"""Noise levels of the diffusion (EDM, Karras et al. 2022, arXiv 2206.00364): scalings, sampling and training laws.

Sigmas are standard deviations in angstrom, float32. Each class is a small frozen value with one formula per method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from frazil.errors import InputError

SMALLEST_NOISE_RATIO = 1e-20


@dataclass(frozen=True)
class Preconditioning:
    """Scalings around the network F (EDM, Table 1): D(x, s) = c_skip(s) x + c_out(s) F(c_in(s) x, c_noise(s)).

    The scalings take sigma in angstrom, of any shape, and return a tensor of that shape.

    Parameters
    ----------
    sigma_data : float
        Standard deviation of the data, in angstrom.

    Examples
    --------
    >>> edm = Preconditioning(sigma_data=16.0)
    >>> edm.c_skip(torch.tensor([0.0, 16.0]))
    tensor([1.0000, 0.5000])
    """

    sigma_data: float = 16.0

    def __post_init__(self) -> None:
        _require_positive(self, "sigma_data")

    def c_in(self, sigma: Tensor) -> Tensor:
        """1 / sqrt(s^2 + sd^2): gives the network's input unit variance."""
        return 1 / torch.sqrt(sigma**2 + self.sigma_data**2)

    def c_out(self, sigma: Tensor) -> Tensor:
        """s sd / sqrt(s^2 + sd^2): gives the network's target unit variance at every sigma."""
        return sigma * self.sigma_data / torch.sqrt(self.sigma_data**2 + sigma**2)

    def c_skip(self, sigma: Tensor) -> Tensor:
        """sd^2 / (s^2 + sd^2): the identity at low noise."""
        return (self.sigma_data**2) / (sigma**2 + self.sigma_data**2)

    def c_noise(self, sigma: Tensor) -> Tensor:
        """0.25 log(s / sd), the network's noise signal; the ratio is clamped at 1e-20, so sigma 0 is finite."""
        return torch.log((sigma / self.sigma_data).clamp(min=SMALLEST_NOISE_RATIO)) * 0.25

    def denoise(self, network: Callable[[Tensor, Tensor], Tensor], coords: Tensor, sigma: Tensor) -> Tensor:
        """D(x, s) for F = `network(scaled coordinates, noise signal)`; `coords` [B, S, A, 3], `sigma` [B, S or 1]."""
        level = sigma[..., None, None]
        update = network(self.c_in(level) * coords, self.c_noise(sigma))
        return self.c_skip(level) * coords + self.c_out(level) * update

    def loss_weight(self, sigma: Tensor) -> Tensor:
        """(s^2 + sd^2) / (s sd)^2 = 1 / c_out^2, in 1 / angstrom^2: every sigma has the same initial loss."""
        return (sigma**2 + self.sigma_data**2) / ((sigma * self.sigma_data) ** 2)


@dataclass(frozen=True)
class KarrasSchedule:
    """Sampling sigmas equally spaced in sigma^(1/rho) (EDM, equation 5), in the operation order of Boltz-2.

    Parameters
    ----------
    sigma_max, sigma_min : float
        First and last non-zero sigma, in units of `sigma_data`.
    rho : float
        Exponent: the larger, the more of the steps are spent at low noise.
    sigma_data : float
        Standard deviation of the data, in angstrom.

    Raises
    ------
    InputError
        If a parameter is not a positive number or `sigma_min` exceeds `sigma_max`.

    Examples
    --------
    >>> KarrasSchedule(sigma_max=4.0, sigma_min=1.0, rho=1.0, sigma_data=16.0).sigmas(4)
    tensor([64., 48., 32., 16.,  0.])
    """

    sigma_max: float = 160.0
    sigma_min: float = 1e-4
    rho: float = 7.0
    sigma_data: float = 16.0

    def __post_init__(self) -> None:
        _require_positive(self, "sigma_max", "sigma_min", "rho", "sigma_data")
        if self.sigma_min > self.sigma_max:
            raise InputError(f"sigma_min {self.sigma_min} is above sigma_max {self.sigma_max}: exchange them")

    def sigmas(self, num_steps: int, device: torch.device | str | None = None) -> Tensor:
        """The sigmas that `num_steps` steps of a sampler visit, falling, the last one 0.

        Parameters
        ----------
        num_steps : int
            N, at least 1; with N = 1 the only step goes from the first sigma straight to 0.
        device : torch.device or str, optional
            Where the tensor is wanted; it is computed on the CPU, so that all devices see the same values.

        Returns
        -------
        Tensor
            [N + 1] float32, angstrom.

        Raises
        ------
        InputError
            If `num_steps` is below 1.
        """
        if num_steps < 1:
            raise InputError(f"number of sampling steps is {num_steps}: give at least 1")
        first, last = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        steps = torch.arange(num_steps, dtype=torch.float32)
        # The reference divides by N - 1; for N = 1 only steps[0] = 0 is left, whatever the divisor.
        levels = (first + steps / max(num_steps - 1, 1) * (last - first)) ** self.rho
        return pad(levels * self.sigma_data, (0, 1)).to(device)

    def from_sigma(self, start_sigma: float, num_steps: int, device: torch.device | str | None = None) -> Tensor:
        """The sigmas for partial diffusion: `num_steps` steps from `start_sigma` down to 0, by the same law.

        They are equally spaced in sigma^(1/rho) between `start_sigma` and the schedule's own smallest sigma, that is
        the part below `start_sigma` of a full schedule with proportionally more steps.

        Parameters
        ----------
        start_sigma : float
            Noise put on the given structure, in angstrom (not in units of `sigma_data`).
        num_steps : int
            N, at least 1.
        device : torch.device or str, optional
            Where the tensor is wanted.

        Returns
        -------
        Tensor
            [N + 1] float32, angstrom, from exactly `start_sigma` to 0.

        Raises
        ------
        InputError
            If `start_sigma` is outside the schedule's range or `num_steps` is below 1.
        """
        low, high = self.sigma_min * self.sigma_data, self.sigma_max * self.sigma_data
        if not low <= start_sigma <= high:
            raise InputError(f"start sigma {start_sigma} is outside the schedule: give {low:g} to {high:g} A")
        sigmas = replace(self, sigma_max=start_sigma / self.sigma_data).sigmas(num_steps)
        sigmas[0] = start_sigma
        return sigmas.to(device)


@dataclass(frozen=True)
class LogNormalSigma:
    """The law of training sigmas: s = sd exp(mean + std z), z ~ N(0, 1) (EDM, Table 1; AlphaFold 3, section 3.7.1).

    Parameters
    ----------
    mean, std : float
        Of log(s / sd).
    sigma_data : float
        Standard deviation of the data, in angstrom.

    Examples
    --------
    >>> LogNormalSigma(mean=0.0).from_normal(torch.zeros(2))
    tensor([16., 16.])
    """

    mean: float = -1.2
    std: float = 1.5
    sigma_data: float = 16.0

    def __post_init__(self) -> None:
        _require_positive(self, "sigma_data")
        if not self.std >= 0:
            raise InputError(f"std {self.std} of the noise law is not a number of at least 0: give one")

    def from_normal(self, normal: Tensor) -> Tensor:
        """Sigmas (angstrom) for given standard normal draws, of the same shape."""
        return self.sigma_data * (self.mean + self.std * normal).exp()

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Sigmas (angstrom, float32) of a shape, drawn on the generator's device."""
        return self.from_normal(torch.randn(tuple(shape), generator=generator, device=generator.device))


def _require_positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not 0 < value < float("inf"):
            raise InputError(f"{name} {value} is not a positive number: give one above 0")
