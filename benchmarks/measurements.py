"""What can be measured: each kind takes the crew through a problem and gives a finding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any, final

from benchmarks.crew import Contestant, Crew, PeerFailed
from benchmarks.findings import Figure, Finding, Goal
from benchmarks.problems import NETWORKS, Problem
from frazil.bench.counting import count_products
from frazil.nn.config import NetworkConfig

Side = tuple[Contestant, str]
"""A contestant and a precision."""
Goals = dict[str, Goal]
"""By precision; they are for the first contestant."""

CEILING_SECONDS = 2.0
SIGMAS = (8.0, 0.1, 1.0, 16.0, 64.0, 2560.0)
"""Angstrom. At the first, noisy coordinates of 15 A rms are noise nearly (8 sqrt(3) = 14); then all."""
MIB = 2**20


class Measurement(ABC):
    """Something to find out."""

    problem: Problem

    @property
    @abstractmethod
    def name(self) -> str:
        """Short and unique."""

    @property
    @abstractmethod
    def title(self) -> str:
        """For a person."""

    @abstractmethod
    def figures(self, crew: Crew, rounds: int) -> Iterator[Figure]:
        """Measure."""

    def run(self, crew: Crew, rounds: int) -> Finding:
        """Measure, and put the figures together."""
        sizes = asdict(self.problem) | {"atoms": self.problem.atoms, "name": self.problem.name}
        figures: list[Figure] = []
        try:
            figures.extend(self.figures(crew, rounds))
        except PeerFailed as error:
            figures.append(Figure(crew.ours.name, "", "all", "", (), note=str(error)))
        return Finding(self.name, self.title, tuple(figures), sizes)

    def on(self, network: str) -> Measurement:
        """The same of another network, to try things out; without goals."""
        problems = {name: value for name, value in vars(self).items() if isinstance(value, Problem)}
        changed: dict[str, Any] = {name: replace(value, network=network) for name, value in problems.items()}
        return replace(self, **changed | ({"goals": {}} if "goals" in vars(self) else {}))  # type: ignore[type-var]

    def sides(self, crew: Crew) -> list[Side]:
        """All who take part, ours first."""
        return [(who, precision) for who in crew.contestants for precision in who.precisions]


@final
@dataclass(frozen=True)
class Times(Measurement):
    """Seconds of a solution, all sides taking turns; each round begins with another side."""

    problem: Problem
    goals: Goals = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.problem.name

    @property
    def title(self) -> str:
        return f"{self.problem.kind}, {sizes_text(self.problem)}"

    def figures(self, crew: Crew, rounds: int) -> Iterator[Figure]:
        notes: dict[Side, str] = {}
        times: dict[Side, list[float]] = {side: [] for side in self.sides(crew)}
        for side in times:
            with _noted(notes, side):
                crew.link(side[0]).ask("prepare", problem=self.problem, precision=side[1])
        for turn in range(rounds):
            order = list(times)[turn % len(times) :] + list(times)[: turn % len(times)]
            for side in order:
                if side not in notes:
                    with _noted(notes, side):
                        times[side].append(crew.link(side[0]).ask("call", precision=side[1])["seconds"])
        probes = self._probes(crew, [side for side in times if side not in notes])
        base = next((side for side in times if side[0].program == "reference"), None)
        for side, values in times.items():
            who, precision = side
            ratio = median(times[base]) / median(values) if values and base and times[base] and side != base else None
            yield Figure(
                who.name, precision, "time", "s", tuple(values), ratio=ratio,
                goal=self.goals.get(precision) if who == crew.ours else None,
                deviation=_furthest(probes.get(side), probes.get(base)) if side != base else None,
                note=notes.get(side, ""),
            )  # fmt: skip

    def _probes(self, crew: Crew, sides: list[Side]) -> dict[Side | None, list[float]]:
        """Coordinates of each side, where the problem has no draws of its own."""
        if self.problem.kind != "denoise":
            return {}
        return {side: crew.link(side[0]).ask("probe", precision=side[1])["values"] for side in sides}


@final
@dataclass(frozen=True)
class PeakMemory(Measurement):
    """Memory above weights and inputs, each side in a fresh process."""

    problem: Problem
    goals: Goals = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"memory-{self.problem.name}"

    @property
    def title(self) -> str:
        return f"peak memory above weights and inputs, {self.problem.kind}, {sizes_text(self.problem)}"

    def figures(self, crew: Crew, rounds: int) -> Iterator[Figure]:
        crew.rest()
        small = replace(self.problem, tokens=min(32, self.problem.tokens), samples=1)
        found: dict[Side, dict[str, Any]] = {}
        notes: dict[Side, str] = {}
        for who, precision in self.sides(crew):
            with _noted(notes, (who, precision)), crew.fresh(who) as link:
                found[who, precision] = link.ask("peak", problem=self.problem, small=small, precision=precision)
        base = next((found[side]["peak"] for side in found if side[0].program == "reference"), None)
        for side in self.sides(crew):
            who, precision = side
            told = found.get(side)
            if told is None:
                yield Figure(who.name, precision, "peak memory", "MiB", (), note=notes[side])
                continue
            is_base = who.program == "reference" and told["peak"] == base
            yield Figure(
                who.name, precision, "peak memory", "MiB", (told["peak"] / MIB,),
                ratio=told["peak"] / base if base and not is_base else None,
                goal=self.goals.get(precision) if who == crew.ours else None,
                note=f"a second call {told['again'] / MIB:.0f} MiB; copies of weights {told['packed'] / MIB:.0f} MiB",
            )  # fmt: skip


@final
@dataclass(frozen=True)
class Growth(Measurement):
    """Time and memory of ours on a larger problem, as a multiple of a smaller one's."""

    small: Problem
    problem: Problem
    goals: Goals = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"growth-{self.small.tokens}-to-{self.problem.name}"

    @property
    def title(self) -> str:
        return f"growth from {self.small.atoms:,} to {self.problem.atoms:,} atoms, {self.problem.network} part alone"

    def figures(self, crew: Crew, rounds: int) -> Iterator[Figure]:
        for precision in crew.ours.precisions:
            times: list[list[float]] = [[], []]
            peaks = [self._peak(crew, problem, precision) for problem in (self.small, self.problem)]
            for _ in range(rounds):
                for problem, values in zip((self.small, self.problem), times, strict=True):
                    crew.link(crew.ours).ask("prepare", problem=problem, precision=precision)
                    values.append(crew.link(crew.ours).ask("call", precision=precision)["seconds"])
            note = f"{median(times[0]):.3g} s to {median(times[1]):.3g} s"
            grown = tuple(large / small for small, large in zip(*times, strict=True))
            goal = self.goals.get(precision)
            yield Figure(crew.ours.name, precision, "growth of time", "x", grown, goal=goal, note=note)
            note = f"{peaks[0] / MIB:.0f} MiB to {peaks[1] / MIB:.0f} MiB"
            memory = (peaks[1] / peaks[0],)
            yield Figure(crew.ours.name, precision, "growth of memory", "x", memory, goal=goal, note=note)

    def _peak(self, crew: Crew, problem: Problem, precision: str) -> int:
        small = replace(problem, tokens=1)
        with crew.fresh(crew.ours) as link:
            return int(link.ask("peak", problem=problem, small=small, precision=precision)["peak"])


@final
@dataclass(frozen=True)
class Share(Measurement):
    """Products a second of ours, as a share of the machine's own peak, which is measured in turns with it.

    Counted is what a call has to multiply: `s` once for all samples, and nothing that is known of the input.
    """

    problem: Problem
    goals: Goals = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"share-{self.problem.name}"

    @property
    def title(self) -> str:
        return f"share of the product peak, {sizes_text(self.problem)}"

    def figures(self, crew: Crew, rounds: int) -> Iterator[Figure]:
        sizes = NetworkConfig(**NETWORKS[self.problem.network])
        flops = count_products(sizes, self.problem.tokens, self.problem.atoms).of_call(self.problem.samples)
        for precision in crew.ours.precisions:
            link = crew.link(crew.ours)
            link.ask("prepare", problem=self.problem, precision=precision)
            ceilings, times = [], []
            for _ in range(rounds):
                ceilings.append(link.ask("ceiling", precision=precision, seconds=CEILING_SECONDS))
                times.append(link.ask("call", precision=precision)["seconds"])
            peak = max(ceilings, key=lambda ceiling: ceiling["flops"])
            yield Figure(
                crew.ours.name, precision, "share of the peak", "", tuple(flops / t / peak["flops"] for t in times),
                goal=self.goals.get(precision),
                note=f"peak {peak['flops'] / 1e9:.0f} GFLOP/s ({peak['product']}); {flops / 1e9:.0f} GFLOP a call",
            )  # fmt: skip


@final
@dataclass(frozen=True)
class Deviation(Measurement):
    """How far the result of ours moves from float32 in other precisions, at the noise level of the coordinates."""

    problem: Problem
    goals: Goals = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"deviation-{self.problem.name}"

    @property
    def title(self) -> str:
        return f"deviation from float32 of one call at 15 A rms, random weights, {sizes_text(self.problem)}"

    def figures(self, crew: Crew, rounds: int) -> Iterator[Figure]:
        link = crew.link(crew.ours)
        link.ask("prepare", problem=self.problem, precision="float32")
        for precision in crew.ours.precisions[1:]:
            link.ask("prepare", problem=self.problem, precision=precision)
            found = link.ask("deviation", precision=precision, sigmas=list(SIGMAS))["angstrom"]
            note = ", ".join(f"{value:.3g} at sigma {sigma:g}" for sigma, value in zip(SIGMAS, found, strict=True))
            goal = self.goals.get(precision)
            yield Figure(crew.ours.name, precision, "rms deviation", "A", (found[0],), goal=goal, note=note)


def sizes_text(problem: Problem) -> str:
    """Sizes of a problem, for a person."""
    many = "noised copies" if problem.kind == "train" else "samples" if problem.samples > 1 else "sample"
    steps = f", {problem.steps} steps" if problem.kind == "sample" else ""
    network = "" if problem.network == "full" else f", {problem.network} network"
    return f"{problem.tokens:,} tokens, {problem.atoms:,} atoms, {problem.samples} {many}{steps}{network}"


@contextmanager
def _noted(notes: dict[Side, str], side: Side) -> Iterator[None]:
    """Note why a side failed, and go on."""
    try:
        yield
    except PeerFailed as error:
        notes[side] = str(error)


def _furthest(found: list[float] | None, expected: list[float] | None) -> float | None:
    if found is None or expected is None:
        return None
    return max(abs(a - b) for a, b in zip(found, expected, strict=True))
