"""What was found, as plain values that go into JSON and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, median
from typing import Any


@dataclass(frozen=True)
class Goal:
    """What a figure should be."""

    value: float
    """The bound."""
    at_least: bool
    """Whether it bounds from below."""

    def shortfall(self, found: float) -> float:
        """By which share of the bound it is missed; 0 where it is met."""
        missed = self.value - found if self.at_least else found - self.value
        return max(0.0, missed / self.value)

    def text(self) -> str:
        """As it stands in the issue."""
        return f"{'>=' if self.at_least else '<='} {self.value:g}"


@dataclass(frozen=True)
class Figure:
    """A number of one program."""

    who: str
    """Contestant."""
    precision: str
    """Of its products."""
    quantity: str
    """What was measured."""
    unit: str
    """Of `values`."""
    values: tuple[float, ...]
    """One a round; empty where it failed."""
    ratio: float | None = None
    """To the reference: times as fast, or times the memory."""
    goal: Goal | None = None
    """For the ratio where there is one, else for the value."""
    deviation: float | None = None
    """Largest difference from the reference's result, angstrom, of probed coordinates."""
    note: str = ""
    """More to know, or why there is no figure."""

    @property
    def value(self) -> float | None:
        """Median over rounds."""
        return median(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        """Whether the goal is met, and else by how much it is not."""
        found = self.value if self.ratio is None else self.ratio
        if self.goal is None:
            return ""
        if found is None:
            return "not measured"
        short = self.goal.shortfall(found)
        return "met" if short == 0 else f"short by {short:.0%}"


@dataclass(frozen=True)
class Finding:
    """All figures of one measurement."""

    name: str
    """Of the measurement."""
    title: str
    """What was measured, for a person."""
    figures: tuple[Figure, ...]
    """One for each program and precision."""
    sizes: dict[str, Any] = field(default_factory=dict)
    """Of the problem."""
    date: str = ""
    """ISO 8601, UTC."""
    seconds: float = 0.0
    """That it took."""
    others: float | None = None
    """Cores that other work kept busy meanwhile."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with medians and verdicts."""
        figures = [asdict(f) | {"median": f.value, "verdict": f.verdict} for f in self.figures]
        return asdict(self) | {"figures": figures}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Finding:
        """Inverse of `to_dict`."""
        figures = []
        for stored in values["figures"]:
            plain = {key: value for key, value in stored.items() if key not in ("median", "verdict")}
            goal = Goal(**plain["goal"]) if plain["goal"] else None
            figures.append(Figure(**plain | {"values": tuple(plain["values"]), "goal": goal}))
        return cls(**values | {"figures": tuple(figures)})


@dataclass(frozen=True)
class Exponent:
    """Growth of a time with the number of tokens: t ~ N^exponent."""

    who: str
    """Contestant and precision."""
    atoms_per_token: int
    """Of the problems."""
    samples: int
    """Of the problems."""
    tokens: tuple[int, ...]
    """Sizes that it was fitted to, by least squares in logarithms."""
    exponent: float
    """The slope."""


def exponents(findings: Sequence[Finding]) -> list[Exponent]:
    """Growth of the calls among the findings, where there are three sizes at least."""
    series: dict[tuple[str, int, int], dict[int, float]] = {}
    for finding in findings:
        if finding.sizes.get("kind") != "denoise" or finding.name != finding.sizes.get("name"):
            continue
        for figure in finding.figures:
            if figure.value is not None:
                key = (f"{figure.who} {figure.precision}", finding.sizes["atoms_per_token"], finding.sizes["samples"])
                series.setdefault(key, {})[finding.sizes["tokens"]] = figure.value
    return [
        Exponent(*key, tokens=tuple(sorted(times)), exponent=slope(times))
        for key, times in sorted(series.items())
        if len(times) >= 3
    ]


def slope(times: dict[int, float]) -> float:
    """Least-squares slope of log time over log size.

    >>> round(slope({10: 3.0, 20: 12.0, 40: 48.0}), 6)
    2.0
    """
    xs, ys = [math.log(x) for x in times], [math.log(y) for y in times.values()]
    x0, y0 = mean(xs), mean(ys)
    return sum((x - x0) * (y - y0) for x, y in zip(xs, ys, strict=True)) / sum((x - x0) ** 2 for x in xs)
