"""What `frazil bench` found, and what to expect from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from frazil.atomic import write_text
from frazil.bench.machine import Machine
from frazil.bench.peaks import Peak
from frazil.nn.compute import Compute

STEPS = (200, 20)
"""Evaluations of the network a sample: the reference's, and those of a fast method."""
WORTH = 1.15
"""A way to compute is recommended if it is faster by this factor."""


@dataclass(frozen=True)
class Trial:
    """One call of the denoiser."""

    subject: str
    """Name of the network."""
    tokens: int
    """N."""
    atoms: int
    """A, padding included."""
    samples: int
    """S."""
    compute: Compute
    """How it is computed."""
    flops: int
    """Operations of its matrix products."""
    seconds: float
    """Of the call."""
    share: float
    """Of the machine's own product peak in that precision."""
    memory: int | None = None
    """Bytes that binding to an input and calling take beyond weights and input; None if not measured."""
    measured: bool = False
    """Whether the call was made, or `seconds` is estimated from the one before it."""

    @property
    def title(self) -> str:
        """Which call, for a person."""
        samples = f"{self.samples} sample{'s' if self.samples > 1 else ''}"
        return f"{self.subject}, {self.tokens} tokens, {samples}, {_way(self.compute)}"

    def sample_seconds(self, steps: int) -> float:
        """Of one sample of so many evaluations, among as many as this call has."""
        return steps * self.seconds / self.samples


@dataclass(frozen=True)
class Report:
    """All figures of a run."""

    machine: Machine
    """Where and when."""
    peaks: Mapping[str, Peak]
    """Of matrix products, by precision."""
    trials: tuple[Trial, ...]
    """Calls of the network."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "machine": asdict(self.machine),
            "product_peaks": {name: asdict(peak) for name, peak in self.peaks.items()},
            "calls": [
                asdict(trial) | {f"sample_seconds_{steps}": trial.sample_seconds(steps) for steps in STEPS}
                for trial in self.trials
            ],
            "advice": self.advice(),
        }

    def write(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, whole or not at all.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    def table(self) -> Table:
        """One row a call; times in brackets are estimates."""
        table = Table(title=self.machine.text(), title_justify="left", box=None)
        heads = ("s/call", "of peak", *(f"s/sample, {steps} steps" for steps in STEPS), "MB/sample")
        for head in ("network", "tokens", "at once", "precision", *heads):
            table.add_column(head, justify="left" if head in ("network", "precision") else "right")
        for trial in self.trials:
            shown: Callable[[float], str] = _seconds if trial.measured else _estimate
            table.add_row(
                trial.subject, f"{trial.tokens:,}", str(trial.samples), _way(trial.compute), shown(trial.seconds),
                f"{trial.share:.0%}" if trial.measured else "",
                *(shown(trial.sample_seconds(steps)) for steps in STEPS),
                "" if trial.memory is None else f"{trial.memory / trial.samples / 1e6:,.0f}",
            )  # fmt: skip
        return table

    def advice(self) -> list[str]:
        """What to choose on this machine, a line each."""
        lines = [
            f"matrix products: {peak.flops / 1e9:,.0f} GFLOP/s in {name} ({peak.product})"
            for name, peak in self.peaks.items()
        ]
        lines += [
            line for name in dict.fromkeys(trial.subject for trial in self.trials) for line in self._choices(name)
        ]
        if self.machine.is_busy:
            lines.append(f"warning: other work runs (load {self.machine.load:.1f}): times are too long")
        return lines

    def _choices(self, subject: str) -> list[str]:
        """Which precision, and whether to compile, by the largest calls that were made both ways."""
        made = {(t.tokens, t.samples, t.compute): t for t in self.trials if t.subject == subject and t.measured}
        eager = [Compute(precision) for precision in self.peaks]
        compiled = [replace(compute, compile=True) for compute in eager]
        lines = []
        for plain, other in [(eager[0], compute) for compute in eager[1:]] + list(zip(eager, compiled, strict=True)):
            both = [(n, s) for n, s, compute in made if compute == plain and (n, s, other) in made]
            lines += [_choice(made[n, s, plain], made[n, s, other]) for n, s in both[-1:]]
        return lines


def _choice(slow: Trial, fast: Trial) -> str:
    gain = slow.seconds / fast.seconds
    flag = "--compile" if fast.compute.compile else f"--precision {fast.compute.precision}"
    advice = f"use {flag}" if gain >= WORTH else f"{flag} is not worth it"
    return f"{fast.title}: {gain:.1f} times as fast as {_way(slow.compute)}; {advice}"


def _way(compute: Compute) -> str:
    return f"{compute.precision}, compiled" if compute.compile else compute.precision


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _estimate(value: float) -> str:
    return f"({_seconds(value)})"
