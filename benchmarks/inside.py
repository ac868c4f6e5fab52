"""Whole predictions, `frazil boltz predict` beside `boltz predict`. Run as `python -m benchmarks.inside`.

One protein in single-sequence mode goes through a Boltz-2 of random weights with the widths, depths and heads of the
published one (`--network full`; only its confidence module is shallower). Every prediction is a process of its own with
the same seed and options; rounds take turns, and each begins with another side. Compared are the diffusion part
(sampling, as each side logs it) and the whole process, start and loading included. Ratios are to boltz-community, which
computes in float32 on a CPU; `differs by` is the largest distance of an atom from where the nearest of its samples
has it. boltz 2.2.1 takes part if its interpreter is given; on a CPU it computes in bf16 whatever autocast reaches.

The weights, 2 GiB, are written to a temporary folder, or kept in `--cache FOLDER` for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np
from biotite.structure.io.pdbx import CIFFile, get_structure
from numpy.typing import NDArray

from benchmarks.crew import REPOSITORY, Crew, PeerFailed
from benchmarks.watch import TOLERATED, Watch
from frazil.atomic import write_text
from frazil.bench.machine import Machine

RESULTS = Path(__file__).parent / "results"
PEER_PYTHON = "FRAZIL_PEER_PYTHON"
PACKAGES = ("frazil", "torch", "boltz-community", "pytorch-lightning")
NETWORKS: Final[dict[str, dict[str, int]]] = {
    "full": {
        "token_s": 384, "token_z": 128, "atom_s": 128, "atom_z": 16, "dim_fourier": 256,
        "atom_encoder_depth": 3, "atom_encoder_heads": 4, "token_transformer_depth": 24,
        "token_transformer_heads": 16, "atom_decoder_depth": 3, "atom_decoder_heads": 4,
    },
    "small": {},
}  # fmt: skip
"""Sizes that differ from those of the tests' small Boltz-2: the published ones; and none, to try things out."""
_LOGGED = re.compile(r"diffusion ([\d.]+) s\b")
_RESIDUES = "MKVLSDGTEIRPAQFNYHWC"


@dataclass(frozen=True)
class Side:
    """A way to predict."""

    name: str
    """Of the program."""
    precision: str
    """Of the diffusion part."""
    command: tuple[str, ...]
    """Up to the options of `boltz predict`."""
    more: tuple[str, ...] = ()
    """After them."""


@dataclass(frozen=True)
class Task:
    """What every side predicts."""

    tokens: int
    samples: int
    steps: int
    seed: int = 7

    def write(self, folder: Path) -> Path:
        """The input, a protein of so many residues."""
        sequence = (_RESIDUES * (self.tokens // len(_RESIDUES) + 1))[: self.tokens]
        entry = f"  - protein:\n      id: A\n      sequence: {sequence}\n      msa: empty\n"
        (folder / "protein.yaml").write_text(f"version: 1\nsequences:\n{entry}")
        return folder / "protein.yaml"

    def options(self, cache: Path, out: Path) -> tuple[str, ...]:
        """Of `boltz predict`."""
        numbers = {
            "recycling_steps": 0, "sampling_steps": self.steps, "diffusion_samples": self.samples, "seed": self.seed,
            "num_workers": 0, "preprocessing-threads": 1,
        }  # fmt: skip
        words = (word for name, number in numbers.items() for word in (f"--{name}", str(number)))
        return ("--cache", str(cache), "--out_dir", str(out), "--accelerator", "cpu", "--no_kernels", *words)


@dataclass(frozen=True)
class Run:
    """One prediction."""

    who: str
    precision: str
    diffusion_seconds: float
    """As logged."""
    seconds: float
    """Of the whole process."""
    peak_mib: float
    """Most memory that it had resident."""


class Bench:
    """Runs predictions in a folder.

    Parameters
    ----------
    task : Task
        The same for all.
    cache, folder : Path
        Weights and molecules; where input and predictions go.
    threads : int, optional
        Of torch; by default its own choice.
    """

    def __init__(self, task: Task, cache: Path, folder: Path, threads: int | None) -> None:
        self._task, self._cache, self._folder = task, cache, folder
        self._input = task.write(folder)
        paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "src")])
        self._environment = os.environ | {"PYTHONPATH": paths}
        if threads:
            self._environment |= {"OMP_NUM_THREADS": str(threads)}

    def run(self, side: Side, turn: int) -> Run:
        """Predict once.

        Raises
        ------
        PeerFailed
            If the program failed, or did not say how long the diffusion part took.
        """
        options = self._task.options(self._cache, self._out(side, turn))
        began = perf_counter()
        process = subprocess.Popen(
            [*side.command, str(self._input), *options, *side.more], cwd=self._folder, env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        with process.stdout:
            said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds, process.returncode = perf_counter() - began, os.waitstatus_to_exitcode(status)
        logged = self._told(side, turn) or [float(text) for text in _LOGGED.findall(said)]
        if process.returncode or not logged:
            words = " | ".join(said.strip().splitlines()[-3:])
            raise PeerFailed(f"{side.name} {side.precision}, exit code {process.returncode}: {words}")
        return Run(side.name, side.precision, sum(logged), seconds, usage.ru_maxrss / 1024)

    def coords(self, side: Side, turn: int) -> NDArray[np.float32]:
        """[S, A, 3] what was predicted, in the order of the file names."""
        files = sorted(self._out(side, turn).rglob("*_model_*.cif"))
        return np.stack([get_structure(CIFFile.read(path), model=1).coord for path in files])

    def _told(self, side: Side, turn: int) -> list[float]:
        """Seconds of the diffusion part in our report, whose digits are more than those of the line on the screen."""
        files = self._out(side, turn).rglob("samples.json")
        return [json.loads(path.read_text())[0]["seconds"] for path in files]

    def _out(self, side: Side, turn: int) -> Path:
        return self._folder / f"{side.name}-{side.precision}-{turn}"


def sides(peer_python: Path | None) -> tuple[Side, ...]:
    """All who take part, the one that the others are compared with first."""
    timed = ("-m", "benchmarks.timed_boltz", "predict")
    ours = (sys.executable, "-m", "frazil", "boltz", "predict")
    found = [
        Side("boltz-community", "float32", (sys.executable, *timed)),
        *(Side("frazil", precision, ours, ("--precision", precision)) for precision in ("float32", "bf16")),
    ]
    if peer_python is not None and Path(peer_python).is_file():
        found.append(Side("boltz-2.2.1", "bf16-mixed", (str(peer_python), *timed)))
    else:
        print(f"boltz 2.2.1 is left out: give its interpreter with --peer-python or {PEER_PYTHON}")
    return tuple(found)


def measure(bench: Bench, taking_part: Sequence[Side], rounds: int) -> tuple[list[Run], dict[str, float]]:
    """Every run in order, and how far ours is from the first side, angstrom, by precision."""
    runs = []
    for turn in range(rounds):
        first = turn % len(taking_part)
        for side in (*taking_part[first:], *taking_part[:first]):
            runs.append(bench.run(side, turn))
            text = f"{runs[-1].diffusion_seconds:.2f} s of {runs[-1].seconds:.1f} s, {runs[-1].peak_mib:,.0f} MiB"
            print(f"[round {turn + 1}/{rounds}] {side.name} {side.precision}: {text}", file=sys.stderr, flush=True)
    expected = bench.coords(taking_part[0], 0)
    ours = (side for side in taking_part if side.name == "frazil")
    return runs, {side.precision: furthest(bench.coords(side, 0), expected) for side in ours}


def furthest(coords: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest distance of an atom in samples [S, A, 3] from where the nearest of the expected samples has it."""
    apart = np.linalg.norm(coords[:, None] - expected, axis=-1).max(axis=-1)
    return float(apart.min(axis=1).max())


def summary(runs: Sequence[Run], apart: dict[str, float]) -> list[dict[str, Any]]:
    """For each side: medians, and how many times as fast as the first."""
    by_side: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_side.setdefault((run.who, run.precision), []).append(run)
    rows: list[dict[str, Any]] = []
    for (who, precision), own in by_side.items():
        diffusion, whole = (median(getattr(run, name) for run in own) for name in ("diffusion_seconds", "seconds"))
        row = {"who": who, "precision": precision, "diffusion_seconds": diffusion, "seconds": whole}
        base = rows[0] if rows else row
        rows.append(
            row
            | {"peak_mib": max(run.peak_mib for run in own)}
            | {"diffusion_ratio": base["diffusion_seconds"] / diffusion if diffusion else None}
            | {"ratio": base["seconds"] / whole}
            | ({"differs_by": apart[precision]} if who == "frazil" else {})
        )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The summary, one line a side."""
    lines = [f"{'':28}{'diffusion':>11}{'to first':>10}{'whole':>10}{'to first':>10}{'memory':>12}  differs by"]
    for row in rows:
        ratio = "" if row["diffusion_ratio"] is None else f"{row['diffusion_ratio']:.2f}x"
        apart = f"  {row['differs_by']:.1e} A" if "differs_by" in row else ""
        lines.append(
            f"{row['who'] + ' ' + row['precision']:28}{row['diffusion_seconds']:9.2f} s{ratio:>10}"
            f"{row['seconds']:8.1f} s{row['ratio']:9.2f}x{row['peak_mib']:8,.0f} MiB{apart}"
        )
    return "\n".join(lines)


def make_cache(folder: Path, network: str) -> Path:
    """Weights and molecules, unless the folder has them; in a process of its own, which takes its memory with it."""
    if not (folder / "boltz2_aff.ckpt").exists():
        print(f"writing random weights of the {network} network to {folder}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.inside", "--network", network, "--write-cache", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
        if done.returncode:
            raise PeerFailed(f"the weights could not be made: {done.stderr.strip().rpartition(chr(10))[2]}")
    return folder


def write_cache(folder: Path, network: str) -> None:
    """What `make_cache` runs; the affinity model is never loaded, so it is small."""
    from small_boltz import small_boltz, write_checkpoint, write_molecules

    write_molecules(folder)
    write_checkpoint(small_boltz(**NETWORKS[network]), folder / "boltz2_conf.ckpt")
    write_checkpoint(small_boltz(affinity=True), folder / "boltz2_aff.ckpt")


def versions(side: Side) -> dict[str, str]:
    """Of the packages that matter in the side's environment."""
    told = "json.dumps({d.metadata['Name']: d.version for d in importlib.metadata.distributions()})"
    code = f"import importlib.metadata, json; print({told})"
    done = subprocess.run([side.command[0], "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {name: found[name] for name in (*PACKAGES, "boltz", "numpy") if name in found}


def compare(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it, as JSON has it."""
    task = Task(given.tokens, given.samples, given.steps)
    taking_part = sides(given.peer_python)
    machine = Machine.here(packages=PACKAGES)
    if machine.is_busy:
        print(f"warning: the machine is busy (load {machine.load:.1f} of {machine.cores} cores): times mean little")
    cache = make_cache(given.cache or folder / "cache", given.network)
    watch = Watch(Crew(()))
    runs, apart = measure(Bench(task, cache, folder, given.threads), taking_part, given.rounds)
    others = watch.others()
    rows = summary(runs, apart)
    print(f"\n{task.tokens} tokens, {task.samples} samples, {task.steps} steps, {given.network} network\n{table(rows)}")
    if others is not None and others > TOLERATED:
        print(f"warning: other work kept {others:.1f} cores busy meanwhile: measure again")
    return {
        "machine": asdict(machine) | ({"threads": given.threads} if given.threads else {}),
        "programs": {side.name: versions(side) for side in taking_part},
        "command": " ".join(["python -m benchmarks.inside", *sys.argv[1:]]),
        "sizes": asdict(task) | {"network": given.network} | NETWORKS[given.network],
        "summary": rows,
        "rounds": [asdict(run) for run in runs],
        "others": others,
    }


def main() -> None:
    """Measure, print, write `benchmarks/results/inside.json`."""
    given = _parser().parse_args()
    if given.write_cache:
        write_cache(given.write_cache, given.network)
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = compare(given, Path(folder))
    except PeerFailed as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(given.out, json.dumps(found, indent=1) + "\n")
    print(f"\nwritten to {given.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inside", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    peer_python = os.environ.get(PEER_PYTHON)
    add = parser.add_argument
    add("--tokens", type=int, default=128, help="residues of the protein (default 128)")
    add("--samples", type=int, default=5, help="diffusion samples (default 5)")
    add("--steps", type=int, default=20, help="sampling steps (default 20)")
    add("--rounds", type=int, default=3, help="rounds of taking turns (default 3)")
    add("--threads", type=int, help="threads of torch (default: its own choice)")
    add("--network", choices=sorted(NETWORKS), default="full", help="full, or small to try things out")
    add("--cache", type=Path, metavar="FOLDER", help="keep the weights there for the next run (default: temporary)")
    add("--peer-python", type=Path, default=peer_python, metavar="PATH", help="interpreter that has boltz 2.2.1")
    add("--out", type=Path, default=RESULTS / "inside.json", help="where the figures go")
    add("--write-cache", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
