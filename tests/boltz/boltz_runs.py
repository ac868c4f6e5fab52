"""`boltz predict` and `frazil boltz predict` as processes, and how far two output folders are apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

OURS_ALONE = ("samples.json", "_conditioning.safetensors")
"""How the names of the files end that `boltz predict` does not write."""

QUICK = (
    *("--recycling_steps", "0", "--sampling_steps", "12", "--diffusion_samples", "2"),
    *("--sampling_steps_affinity", "12", "--diffusion_samples_affinity", "2"),
)
_ON_A_CPU = (
    *("--accelerator", "cpu", "--no_kernels", "--num_workers", "0", "--preprocessing-threads", "1"),
    *("--seed", "11"),
)

THEIRS = ("-c", "from boltz.main import cli; cli()")
OURS = ("-m", "frazil", "boltz")
FULL_PRECISION = str(Path(__file__).with_name("full_precision.py"))
"""Before `boltz` or `frazil boltz`: the trainer is told 32 bits, as boltz-community tells it by itself on a CPU."""


@dataclass(frozen=True)
class Run:
    """One command over one folder of inputs."""

    words: Sequence[str]
    """After the interpreter, up to `predict`."""

    options: Sequence[str] = QUICK
    python: str = sys.executable

    def command(self, inputs: Path) -> list[str]:
        """But for where to find and to put things."""
        return [self.python, *self.words, "predict", str(inputs), *_ON_A_CPU, *self.options]


def predict(runs: Mapping[str, Run], inputs: Path, cache: Path, out: Path, timeout: float = 500) -> dict[str, Path]:
    """Name of the run -> the folder of results it made; the runs take place at the same time, with a thread each."""
    started = {
        name: subprocess.Popen(
            [*run.command(inputs), "--cache", str(cache), "--out_dir", str(out / name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for name, run in runs.items()
    }
    try:
        logs = {name: process.communicate(timeout=timeout)[0] for name, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
    for name, process in started.items():
        assert process.returncode == 0, f"{name}: exit {process.returncode}\n{logs[name][-4000:]}"
    return {name: out / name / f"boltz_results_{inputs.stem}" for name in runs}


def files(results: Path) -> set[str]:
    """Paths in the folder, but for those that only Frazil writes."""
    found = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    return {name for name in found if not name.endswith(OURS_ALONE)}


@dataclass(frozen=True)
class Deviation:
    """Between two folders of results, for one input."""

    coordinates: float
    """Largest distance of an atom from itself, in angstrom."""

    summaries: float
    """Largest difference of a number in the JSON files."""

    arrays: float
    """Mean difference in pLDDT, PAE and PDE: one that lies on the edge of two bins may change by a whole one."""


def deviation(results: Path, reference: Path, name: str) -> Deviation:
    """Of the predictions for one input; what cannot be compared (other files, atoms or keys) fails at once."""
    ours, theirs = (folder / "predictions" / name for folder in (results, reference))
    models, summaries, arrays = (sorted(theirs.glob(f"*.{kind}")) for kind in ("cif", "json", "npz"))
    summaries = [path for path in summaries if not path.name.endswith(OURS_ALONE)]
    arrays = [path for path in arrays if not path.name.startswith("pre_affinity")]
    assert models and summaries
    return Deviation(
        max(_farthest_atom(ours / path.name, path) for path in models),
        max(_largest_difference(ours / path.name, path) for path in summaries),
        max((_mean_in_arrays(ours / path.name, path) for path in arrays), default=0.0),
    )


def _farthest_atom(path: Path, reference: Path) -> float:
    (atoms, positions), (expected_atoms, expected) = _atoms(path), _atoms(reference)
    assert atoms == expected_atoms, path.name
    assert np.isfinite(expected).all() and expected.std() > 1, "no structure worth comparing"
    return float(np.linalg.norm(positions - expected, axis=1).max())


def _atoms(path: Path) -> tuple[list[list[str]], np.ndarray]:
    block = gemmi.cif.read(str(path)).sole_block()
    place, names = (
        ("Cartn_x", "Cartn_y", "Cartn_z"),
        ("label_asym_id", "label_seq_id", "label_comp_id", "label_atom_id"),
    )
    positions, atoms = (block.find("_atom_site.", tags) for tags in (place, names))
    return [list(row) for row in atoms], np.array([[float(value) for value in row] for row in positions])


def _largest_difference(path: Path, reference: Path) -> float:
    values, expected = (dict(_leaves(json.loads(file.read_text()))) for file in (path, reference))
    assert values.keys() == expected.keys(), path.name
    numbers = [key for key, value in expected.items() if isinstance(value, int | float)]
    assert numbers and all(values[key] == value for key, value in expected.items() if key not in numbers), path.name
    return float(max(abs(values[key] - expected[key]) for key in numbers))


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _leaves(value, f"{key}/{name}")
    else:
        yield key, node


def _mean_in_arrays(path: Path, reference: Path) -> float:
    with np.load(path) as values, np.load(reference) as expected:
        assert values.files == expected.files, path.name
        return float(max(np.abs(values[key] - expected[key]).mean() for key in expected.files))
