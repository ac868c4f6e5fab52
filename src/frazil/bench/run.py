"""The run of `frazil bench`: peaks, then calls of growing size, as far as the time goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from frazil.bench.counting import count_products
from frazil.bench.machine import Machine, free_memory
from frazil.bench.measuring import Gauge, Stopwatch
from frazil.bench.peaks import Peak, product_peak
from frazil.bench.progress import Progress
from frazil.bench.report import Report, Trial
from frazil.bench.subject import (
    ATOMS_PER_TOKEN,
    Subject,
    random_conditioning,
    random_coords,
    random_subject,
    trained_subject,
)
from frazil.denoiser import MIN_TOKENS, ModelConfig
from frazil.errors import InputError
from frazil.nn.compute import Compute
from frazil.sampler.chunks import is_out_of_memory

SIGMA = 8.0
"""Angstrom; any level costs the same."""
_FULL_SIZE_BYTES = 6 * 2**30
"""Weights of the full network in float32 and bfloat16, packed, and room to work."""
_BUILD_SECONDS = 12.0
_CALLS = 3
"""Calls that a trial should have time for, one of them not timed."""
_LONGEST = 3.0
"""Seconds of timed calls of a trial, unless one call takes longer."""
_FIRST_GUESS = 0.5
"""Share of the peak that the first call is thought to reach."""


@dataclass(frozen=True)
class BenchSettings:
    """Choices of `frazil bench`.

    Raises
    ------
    InputError
        If a number is out of its range, the device is not there, or the file cannot be.
    """

    seconds: float = 60.0
    """Time for all of it, about."""
    checkpoint: Path | None = None
    """RUN folder whose model is measured instead of the presets."""
    tokens: tuple[int, ...] = (64, 256, 512)
    """Sizes."""
    samples: tuple[int, ...] = (1, 5)
    """Samples at once."""
    device: str = "cpu"
    """As torch names it."""
    compile: bool = False
    """Whether compiling is tried; that takes its own time on top."""
    out: Path | None = None
    """JSON file of the figures."""
    presets: tuple[str, ...] = field(default=("mini", "boltz2"))
    """Networks of random weights, unless there is a checkpoint."""

    def __post_init__(self) -> None:
        if not 1 <= self.seconds < float("inf"):
            raise InputError(f"seconds is {self.seconds:g}: give at least 1")
        for name, values in (("tokens", self.tokens), ("samples", self.samples)):
            if not values or min(values) < 1:
                raise InputError(f"{name} is {', '.join(map(str, values)) or 'empty'}: give numbers of at least 1")
        if self.out is not None and (self.out.is_dir() or not self.out.parent.is_dir()):
            raise InputError(f"{self.out}: no file can be written there; give one in a folder that exists")
        try:
            torch.ones(1, device=self.device).tolist()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"device {self.device}: cannot be used ({reason}); leave it out for the CPU") from error


def benchmark(settings: BenchSettings | None = None, *, console: Console | None = None) -> Report:
    """Measure this machine, in about the time that was given.

    Parameters
    ----------
    settings : BenchSettings, optional
        A minute on the CPU by default.
    console : rich.console.Console, optional
        Where progress goes; silent without.

    Raises
    ------
    InputError
        If the checkpoint cannot be used, or the file not be written.
    """
    settings = settings or BenchSettings()
    device = torch.device(settings.device)
    with torch.inference_mode(), Progress(console, settings.seconds) as progress:
        machine = Machine.here(device)
        subjects = _subjects(settings, device, progress)
        first = next(subjects)
        peaks = {}
        for precision in _precisions(device):
            progress.say(f"matrix products in {precision}")
            peaks[precision] = product_peak(Compute(precision).product_dtype, device, 0.05 * settings.seconds)
        bench = _Bench(settings, device, peaks, progress)
        trials = list(bench.trials(first))
        for subject in subjects:
            trials += bench.trials(subject)
    report = Report(machine, peaks, tuple(trials))
    if settings.out is not None:
        report.write(settings.out)
    return report


def _precisions(device: torch.device) -> tuple[str, ...]:
    return ("float32", "bf16") if device.type == "cpu" else ("float32", "tf32", "bf16")


def _subjects(settings: BenchSettings, device: torch.device, progress: Progress) -> Iterator[Subject]:
    """The networks, smallest first, each built when its turn comes, as far as time and memory allow."""
    if settings.checkpoint is not None:
        yield trained_subject(settings.checkpoint, device)
        return
    for position, name in enumerate(settings.presets):
        free = free_memory(device)
        if position and progress.left < _BUILD_SECONDS:
            progress.note(f"{name} is left out for want of time: give more --seconds")
        elif position and free is not None and free < _FULL_SIZE_BYTES:
            progress.note(f"{name} is left out: it wants {_FULL_SIZE_BYTES / 1e9:.0f} GB of free memory")
        else:
            progress.say(f"building {name}")
            yield random_subject(name, ModelConfig.preset(name), device)


class _Bench:
    """What the trials of a run have in common."""

    def __init__(
        self, settings: BenchSettings, device: torch.device, peaks: dict[str, Peak], progress: Progress
    ) -> None:
        self._settings, self._peaks, self._progress = settings, peaks, progress
        self._clock, self._gauge = Stopwatch(device), Gauge.on(device)
        self._sigma = torch.full((1, 1), SIGMA, device=device)
        self._warm: tuple[str, Compute] | None = None

    def trials(self, subject: Subject) -> Iterator[Trial]:
        """Calls of every size and precision; what the time does not allow is estimated from what was measured."""
        computes = [
            Compute(precision, compile=c) for c in sorted({False, self._settings.compile}) for precision in self._peaks
        ]
        rates = {compute: _FIRST_GUESS * self._peaks[compute.precision].flops for compute in computes}
        for tokens in sorted(self._settings.tokens):
            for compute in computes:
                for samples in sorted(self._settings.samples):
                    trial = self._estimate(subject, compute, tokens, samples, rates[compute])
                    if _CALLS * trial.seconds < self._progress.left:
                        self._progress.say(trial.title)
                        trial = self._measured(subject, trial)
                        rates[compute] = trial.flops / trial.seconds
                    yield trial

    def _estimate(self, subject: Subject, compute: Compute, tokens: int, samples: int, rate: float) -> Trial:
        window = subject.network.atoms_per_window_queries
        atoms = -(-tokens * ATOMS_PER_TOKEN // window) * window
        flops = count_products(subject.network, tokens, atoms).of_call(samples)
        share = rate / self._peaks[compute.precision].flops
        return Trial(subject.name, tokens, atoms, samples, compute, flops, flops / rate, share)

    def _measured(self, subject: Subject, trial: Trial) -> Trial:
        """The trial with figures of its own, or as it was if it does not fit into memory."""
        try:
            self._warm_up(subject, trial.compute)
            conditioning = random_conditioning(subject, trial.tokens)
            coords, sigma = random_coords(conditioning, trial.samples), self._sigma
            calls: list[Callable[[], Tensor]] = []

            def first() -> None:
                denoise = subject.denoiser.bind(conditioning, trial.compute)
                calls.append(lambda: denoise(coords, sigma))
                calls[0]()

            memory = self._grown(first)
            seconds = self._clock.median(calls[0], min(_LONGEST, 0.5 * self._progress.left))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._progress.note(f"{trial.title}: does not fit into memory")
            return trial
        share = trial.flops / seconds / self._peaks[trial.compute.precision].flops
        return replace(trial, seconds=seconds, share=share, memory=memory, measured=True)

    def _grown(self, call: Callable[[], None]) -> int | None:
        if self._gauge is not None:
            return self._gauge.peak(call)
        call()
        return None

    def _warm_up(self, subject: Subject, compute: Compute) -> None:
        """A small call first: it loads code and packs weights, which are kept for one way to compute at a time."""
        if self._warm != (subject.name, compute):
            self._warm = (subject.name, compute)
            conditioning = random_conditioning(subject, MIN_TOKENS)
            subject.denoiser.bind(conditioning, compute)(random_coords(conditioning, 1), self._sigma)
