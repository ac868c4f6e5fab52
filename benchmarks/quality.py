"""What fewer steps cost: quality of the samples of a trained model, for every method of stepping and number of steps.

    python -m benchmarks.quality --checkpoint demo/run --reference src/frazil/assets/1as5.cif.gz

`make demo-train` trains such a model, in the frame of its data; `demo-turned/run` of the results is the same network
trained with `coordinate_augmentation = true` (learning rate 0.006, 1,300 steps), whose samples are for one half mirror
images.
Each row is so many samples of one method; the measures are those of `frazil evaluate`: lDDT and RMSD to the nearest
model of the reference, clashes and wrong stereocentres, and besides the mean RMSD between two samples (spread), which
falls where a method is precise only because all its samples are alike. The reference's 200 steps and the other presets
are repeated with other seeds. A row is marked `*` where all samples are finite and none of lDDT, RMSD, clashes and
stereocentres is worse than the reference's mean by more than two standard deviations between its runs (of counts: at
least one event in a run), and `=` where besides the spread is no smaller than that either.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

from frazil.bench.machine import Machine
from frazil.checkpoint import load_model
from frazil.data import featurize, randomize_reference, read
from frazil.data.topology import topology
from frazil.denoiser import StructureModel
from frazil.metrics import Matcher, chirality_errors, count_clashes, handedness, lddt, rmsd
from frazil.sampler import METHODS, PRESETS, PerSampleNoise, Preset, chosen

ROOT = Path(__file__).parents[1]
STEPS = (2, 5, 10, 20, 50, 100, 200)
SEEDS = 5
DEVIATIONS = 2.0
"""How many standard deviations between runs count as noise."""
_POSES = 1
"""Seed of the reference positions' orientations, the same for every row."""


@dataclass(frozen=True)
class Quality:
    """Means over the finite samples of a run."""

    lddt: float
    rmsd: float
    """Angstrom, to the nearest model."""
    clashes: float
    chirality: float
    """Wrong or flat stereocentres."""
    spread: float
    """Angstrom, mean RMSD between two samples."""

    @classmethod
    def mean(cls, runs: Sequence[Quality]) -> Quality:
        """Of several runs."""
        return cls(*(mean(getattr(run, one.name) for run in runs) for one in fields(cls)))

    @classmethod
    def deviation(cls, runs: Sequence[Quality]) -> Quality:
        """Standard deviation between runs."""
        return cls(*(stdev(getattr(run, one.name) for run in runs) for one in fields(cls)))


@dataclass(frozen=True)
class Row:
    """One method with one number of steps."""

    name: str
    steps: int
    evaluations: int
    seeds: int
    finite: float
    """Share of the samples that are."""
    quality: Quality | None
    """Mean over the seeds; None if no sample is finite."""
    deviation: Quality | None = None
    """Standard deviation between the seeds; None for one alone."""


@dataclass(frozen=True)
class Noise:
    """The reference's 200 steps, and how much they vary from run to run."""

    middle: Quality
    deviation: Quality

    @classmethod
    def of(cls, row: Row, samples: int) -> Noise:
        """From the reference's row of several runs, each of so many samples."""
        if row.quality is None or row.deviation is None:
            raise ValueError("the noise between runs needs two runs of the reference with finite samples")
        event = 1 / samples
        counts = {name: max(getattr(row.deviation, name), event) for name in ("clashes", "chirality")}
        return cls(row.quality, replace(row.deviation, **counts))

    def holds(self, row: Row) -> bool:
        """Whether no measure of quality is worse than noise makes it."""
        if row.quality is None or row.finite < 1:
            return False
        lower = all(self._above(row.quality, name) <= DEVIATIONS for name in ("rmsd", "clashes", "chirality"))
        return lower and self._above(row.quality, "lddt") >= -DEVIATIONS

    def keeps_spread(self, row: Row) -> bool:
        """Whether the samples are as varied."""
        return row.quality is not None and self._above(row.quality, "spread") >= -DEVIATIONS

    def _above(self, found: Quality, name: str) -> float:
        """How many deviations a measure is above the reference's mean."""
        return (getattr(found, name) - getattr(self.middle, name)) / getattr(self.deviation, name)


class Bench:
    """A trained model and the structure that it learned."""

    def __init__(self, model: StructureModel, reference: Path, samples: int) -> None:
        self._model, self._samples = model, samples
        structure = read(reference)
        self._truth = structure.coords.astype(np.float64)
        self._topology = topology(structure)
        self._matcher = Matcher(len(structure.atoms), self._topology.copies, self._topology.alternatives)
        self._hands = np.sign(handedness(self._truth, self._topology.centres).sum(axis=0))
        poses = torch.Generator().manual_seed(_POSES)
        features = model.prepare(randomize_reference(featurize(structure), poses))
        self._mask = features.atom_mask
        with torch.no_grad():
            self._denoise = model.denoiser.bind(model.condition(features))

    def row(self, name: str, preset: Preset, seeds: int = 1) -> Row:
        """Draw and judge."""
        runs = [self._drawn(preset, seed) for seed in range(seeds)]
        judged = [self._judged(coords) for coords in runs if len(coords) > 1]
        finite = sum(map(len, runs)) / (seeds * self._samples)
        quality = Quality.mean(judged) if judged else None
        deviation = Quality.deviation(judged) if len(judged) > 1 else None
        return Row(name, preset.steps, preset.evaluations, seeds, finite, quality, deviation)

    def _drawn(self, preset: Preset, seed: int) -> NDArray[np.float64]:
        """[S, A, 3] the finite samples."""
        config = self._model.config
        sampler = preset.sampler(sigma_data=config.sigma_data, turned=config.coordinate_augmentation)
        noise = PerSampleNoise(seed, ["quality"])
        result = sampler.sample(self._denoise, self._mask, self._samples, preset.steps, noise)
        coords = result.coords[0, result.finite[0]].double().cpu().numpy()
        return coords[:, : self._truth.shape[1]]

    def _judged(self, coords: NDArray[np.float64]) -> Quality:
        found = [self._judge(sample) for sample in coords]
        pairs = [rmsd(coords[i], coords[j]) for i in range(len(coords)) for j in range(i)]
        return Quality(*np.mean(found, axis=0).tolist(), mean(pairs))

    def _judge(self, sample: NDArray[np.float64]) -> tuple[float, float, int, int]:
        own = self._topology
        matched = [sample[self._matcher.match(sample, model)] for model in self._truth]
        distances = [rmsd(one, model) for one, model in zip(matched, self._truth, strict=True)]
        nearest = int(np.argmin(distances))
        best = matched[nearest]
        wrong = len(chirality_errors(best, own.centres, self._hands))
        clashes = count_clashes(best, own.radii, own.bonds)
        return lddt(best, self._truth[nearest], own.residue), distances[nearest], clashes, wrong


def tasks(steps: Sequence[int], seeds: int) -> Iterator[tuple[str, Preset, int]]:
    """Name, what to run and with how many seeds; the reference first."""
    for name, preset in PRESETS.items():
        yield f"preset {name}", preset, seeds
    for name in METHODS:
        yield from ((name, chosen(name, count), 1) for count in steps)


def measure(
    checkpoint: Path, reference: Path, samples: int, steps: Sequence[int], seeds: int, say: Callable[[str], None]
) -> dict[str, object]:
    """All rows of one model, as JSON has them."""
    model, _ = load_model(checkpoint)
    bench = Bench(model.eval(), reference, samples)
    rows, noise = [], None
    for name, preset, repeats in tasks(steps, seeds):
        row = bench.row(name, preset, repeats)
        if noise is None:
            noise = Noise.of(row, samples)
            say(header(checkpoint, model, samples))
        good = noise.holds(row)
        varied = good and noise.keeps_spread(row)
        say(line(row, good, varied))
        rows.append(asdict(row) | {"within_noise": good, "as_varied": varied})
    return {
        "checkpoint": str(checkpoint),
        "turned": model.config.coordinate_augmentation,
        "sigma_data": model.config.sigma_data,
        "rows": rows,
    }


def header(checkpoint: Path, model: StructureModel, samples: int) -> str:
    frame = "turned copies" if model.config.coordinate_augmentation else "the data's frame"
    columns = (("steps", 6), ("calls", 6), ("lDDT", 9), ("RMSD", 9), ("clashes", 9), ("chirality", 10), ("spread", 8))
    words = " " * 22 + "".join(f"{name:>{width}}" for name, width in columns) + "  finite"
    return f"\n{checkpoint} (trained in {frame}), {samples} samples a row\n{words}"


def line(row: Row, good: bool, varied: bool) -> str:
    """A row of the table, with the deviation between runs below it where it is known."""
    start = f"{row.name:22}{row.steps:6}{row.evaluations:6}"
    if row.quality is None:
        return f"{start}  no sample is finite"
    marks = ("*" if good else " ") + ("=" if varied else " ")
    text = f"{start}{_numbers(row.quality)}{row.finite:8.0%} {marks}"
    if row.deviation is None:
        return text
    return f"{text}\n{f'  +- of {row.seeds} runs':34}{_numbers(row.deviation)}"


def _numbers(found: Quality) -> str:
    return f"{found.lddt:9.4f}{found.rmsd:9.3f}{found.clashes:9.2f}{found.chirality:10.2f}{found.spread:8.2f}"


def main() -> None:
    """Measure, print, write `benchmarks/results/quality.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, metavar="RUN", help="trained models")
    parser.add_argument(
        "--reference", type=Path, default=ROOT / "src/frazil/assets/1as5.cif.gz", help="their structure"
    )
    parser.add_argument("--samples", type=int, default=32, help="samples of a row (default 32)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each preset, at least 2 (default {SEEDS})")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="numbers of steps of each method")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/quality.json", help="where it goes")
    given = parser.parse_args()
    models = [
        measure(run, given.reference, given.samples, given.steps, given.seeds, lambda text: print(text, flush=True))
        for run in given.checkpoint
    ]
    found = {
        "machine": asdict(Machine.here()),
        "command": " ".join(["python -m benchmarks.quality", *sys.argv[1:]]),
        "reference": given.reference.name,
        "samples": given.samples,
        "deviations_of_noise": DEVIATIONS,
        "models": models,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"\nwritten to {given.out}")


if __name__ == "__main__":
    main()
