"""One guidance step, ours against Boltz-2's potentials: time and peak memory. Run as `python -m benchmarks.steering`.

A step is 20 gradient moves at t = 0.3 on 3 samples of two chains with ligands, with the potentials, weights and
intervals that each side has by default. Ours also acts on clashes within chains, which Boltz-2 does not. Times: medians
of rounds in which both sides take turns. Memory: a fresh process for each side takes one step of a small complex, which
loads all code, builds its inputs, then takes one step of the large one; reported is how far the resident set grew
beyond what it was before that step (VmHWM - VmRSS in /proc/self/status, the high-water mark reset in between), with an
allocator (glibc) told to give freed memory back at once, so that a step cannot live on what was freed before.

With other work on the machine, threads wait for each other at every operation and two are slower than one, by far for
small operations: then compare with `--threads 1`, or set OMP_WAIT_POLICY=passive.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, final

import torch
from boltz.model.potentials.potentials import get_potentials
from torch import Tensor

from benchmarks.complexes import Complex, two_chains_with_ligands
from benchmarks.crew import FRUGAL
from frazil.bench.machine import Machine
from frazil.bench.measuring import Gauge
from frazil.boltz.features import restrained_features
from frazil.denoiser import ModelConfig, StructureModel
from frazil.potentials import Weighted, default_potentials
from frazil.sampler import PerSampleNoise, Step, StepRecord
from frazil.steering import Guidance

SMALL, LARGE, WARM_UP = 4096, 16384, 512
T, MOVES, SAMPLES = 0.3, 20, 3
PACKAGES = ("frazil", "torch", "boltz-community")
RESULTS = Path(__file__).parent / "results"
_ALL_TERMS = {"fk_steering": True, "physical_guidance_update": True, "contact_guidance_update": True}
_STEP = Step(index=140, num_steps=200, sigma=2.0, sigma_hat=2.0, sigma_next=1.9, noise_variance=0.0, step_scale=1.5)


class Side(ABC):
    """A way to take a guidance step of one complex."""

    @abstractmethod
    def step(self) -> Tensor:
        """The guided coordinates [S, A, 3]."""

    @abstractmethod
    def terms(self) -> dict[str, Callable[[], Tensor]]:
        """One evaluation of the gradient of each potential, by name."""


@final
class Ours(Side):
    """`frazil.steering.Guidance` with the default potentials of some sets."""

    def __init__(self, case: Complex, sets: tuple[str, ...] = ("physical", "contacts")) -> None:
        features = restrained_features(case.feats)
        self.potentials: tuple[Weighted, ...] = default_potentials(features, sets)
        self._guidance = Guidance(self.potentials, num_moves=MOVES)
        coords, mask = case.coords[None], features.atom_mask
        self._coords = coords
        self._record = StepRecord(_STEP, mask, mask, coords, torch.zeros_like(coords), coords, coords)
        noise = PerSampleNoise(0, ["benchmark"]).stream(mask, SAMPLES, 1)
        self._state = self._guidance.begin(mask, SAMPLES, noise)

    def step(self) -> Tensor:
        record, _ = self._guidance.steer(self._record, self._state)
        return record.denoised[0]

    def terms(self) -> dict[str, Callable[[], Tensor]]:
        return {
            entry.potential.name: lambda p=entry.potential: p.gradient(self._coords, T) for entry in self.potentials
        }


@final
class Theirs(Side):
    """Boltz-2's potentials, in the order and with the weights of its sampler."""

    def __init__(self, case: Complex) -> None:
        potentials = get_potentials(_ALL_TERMS, boltz2=True)
        self._feats, self._coords = case.feats, case.coords
        self._potentials = [(potential, potential.compute_parameters(T)) for potential in potentials]

    def step(self) -> Tensor:
        coords = self._coords.clone()
        for move in range(MOVES):
            total = torch.zeros_like(coords)
            for potential, parameters in self._potentials:
                weight = parameters["guidance_weight"]
                if weight > 0 and move % parameters["guidance_interval"] == 0:
                    total += weight * potential.compute_gradient(coords, self._feats, parameters)
            coords = coords - total
        return coords

    def terms(self) -> dict[str, Callable[[], Tensor]]:
        return {
            type(potential).__name__: lambda p=potential, q=parameters: p.compute_gradient(self._coords, self._feats, q)
            for potential, parameters in self._potentials
        }


SIDES: dict[str, Callable[[Complex], Side]] = {"ours": Ours, "theirs": Theirs}


def seconds(function: Callable[[], object], repeats: int = 1) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return median(times)


def times(rounds: int) -> dict[str, float]:
    """Seconds a step, both sides taking turns on the small complex, ours also on the large one."""
    small = two_chains_with_ligands(SMALL, SAMPLES)
    ours, theirs = Ours(small), Theirs(small)
    large = Ours(two_chains_with_ligands(LARGE, SAMPLES))
    for side in (ours, large):
        side.step()
    found: dict[str, list[float]] = {"ours": [], "theirs": [], "ours_large": [], "ours_built": []}
    for _ in range(rounds):
        found["ours_built"].append(seconds(lambda: Ours(small)))
        found["ours"].append(seconds(ours.step, repeats=5))
        found["theirs"].append(seconds(theirs.step))
        found["ours_large"].append(seconds(large.step, repeats=2))
    return {name: median(values) for name, values in found.items()}


def term_times() -> dict[str, float]:
    """Seconds of one gradient of each potential on the small complex; none of them may be idle."""
    small = two_chains_with_ligands(SMALL, SAMPLES)
    found = {}
    for side, repeats in ((Ours(small), 7), (Theirs(small), 1)):
        for name, gradient in side.terms().items():
            values = gradient()
            if not (bool(values.any()) and bool(values.isfinite().all())):
                raise RuntimeError(f"the benchmark is no test of {name}: its gradient is zero or not finite")
            found[name] = seconds(gradient, repeats)
    return found


def peak_memory(side: str, num_atoms: int) -> float:
    """MiB that one step of a side needs, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.steering", "--child", side, str(num_atoms)]
    environment = os.environ | FRUGAL
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def child(side: str, num_atoms: int) -> None:
    """What `peak_memory` runs."""
    SIDES[side](two_chains_with_ligands(WARM_UP, SAMPLES)).step()
    case = SIDES[side](two_chains_with_ligands(num_atoms, SAMPLES))
    gauge = Gauge.on(torch.device("cpu"))
    if gauge is None:
        raise RuntimeError("this system does not tell how much memory a process has used")
    print(gauge.peak(case.step) / 2**20)


def no_terms() -> dict[str, float]:
    """Seconds of guidance without terms, and of one denoise call of the `mini` network, on the small complex."""
    small = two_chains_with_ligands(SMALL, SAMPLES)
    bare = {name: value for name, value in small.feats.items() if not name.startswith(("contact", "template"))}
    guidance = Ours(Complex(bare, small.coords), ("contacts",))
    if guidance.potentials:
        raise RuntimeError("the benchmark is no test of steering without terms: there are some")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = StructureModel(ModelConfig.preset("mini")).eval()
    features = model.prepare(restrained_features(small.feats))
    denoise = model.denoiser.bind(model.condition(features))
    sigma = torch.full((1, 1), 2.0)
    return {
        "no_terms": seconds(guidance.step, repeats=200),
        "mini_denoise": seconds(lambda: denoise(small.coords[None], sigma), repeats=3),
    }


def measure(rounds: int) -> dict[str, Any]:
    """Every figure: seconds, MiB and ratios."""
    taken, alone = times(rounds), no_terms()
    memory = {
        "ours": peak_memory("ours", SMALL),
        "theirs": peak_memory("theirs", SMALL),
        "ours_large": peak_memory("ours", LARGE),
    }
    return {
        "seconds": taken,
        "mib": memory,
        "term_seconds": term_times(),
        "no_terms_seconds": alone,
        "ratios": {
            "faster": taken["theirs"] / taken["ours"],
            "less_memory": memory["theirs"] / memory["ours"],
            "time_growth": taken["ours_large"] / taken["ours"],
            "memory_growth": memory["ours_large"] / memory["ours"],
            "no_terms_of_a_denoise_call": alone["no_terms"] / alone["mini_denoise"],
        },
    }


def show(found: dict[str, Any]) -> None:
    """The table."""
    taken, memory, ratios = found["seconds"], found["mib"], found["ratios"]
    print(f"one guidance step, {MOVES} moves, t = {T}, {SAMPLES} samples, two chains with ligands")
    print(f"{'':28}{'ms':>10}{'MiB peak':>12}")
    rows = (("frazil", SMALL, "ours"), ("boltz-community", SMALL, "theirs"), ("frazil", LARGE, "ours_large"))
    for name, atoms, key in rows:
        print(f"{name + f', {atoms:,} atoms':28}{1e3 * taken[key]:10.0f}{memory[key]:12.0f}")
    print(f"(building ours, once a run: {1e3 * taken['ours_built']:.0f} ms; theirs are built anew by every call)")
    print(f"\nfaster {ratios['faster']:.0f}x (goal 50x), less memory {ratios['less_memory']:.0f}x (goal 10x)")
    growths = f"time {ratios['time_growth']:.1f}x (goal 4.5x), memory {ratios['memory_growth']:.1f}x"
    print(f"growth from {SMALL:,} to {LARGE:,} atoms: {growths}")
    print(f"without terms: {ratios['no_terms_of_a_denoise_call']:.3%} of a `mini` denoise call (goal 1 %)")
    print("\none gradient, ms:")
    for name, value in found["term_seconds"].items():
        print(f"{name:28}{1e3 * value:10.2f}")


def main() -> None:
    """Measure, print, write `benchmarks/results/steering.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of taking turns (default 3)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    parser.add_argument("--out", type=Path, default=RESULTS / "steering.json", help="where the figures go")
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "ATOMS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    with torch.no_grad():
        if given.child:
            child(given.child[0], int(given.child[1]))
            return
        found = measure(given.rounds)
    show(found)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"machine": asdict(Machine.here(packages=PACKAGES)), **found}, indent=1) + "\n")
    print(f"\nwritten to {given.out}")


if __name__ == "__main__":
    main()
