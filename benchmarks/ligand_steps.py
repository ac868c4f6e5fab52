"""What fewer steps cost the built-in model: conformers of ligands by every method of stepping and number of steps.

    python -m benchmarks.ligand_steps --count 50

Ligands of the `val` split, never trained on, and figures as in `benchmarks.ligands`; without steering, which would hide
what a method does to bonds and stereo.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.ligand_methods import Asked
from benchmarks.ligand_rows import Row, table
from benchmarks.ligands import ROOT, Checks, measure, say, targets
from frazil.atomic import write_text
from frazil.bench.machine import Machine
from frazil.errors import FrazilError
from frazil.preparer.ids import packaged_ids

PRESETS = ("reference", "balanced", "fast")
METHODS = ("stochastic-lean", "heun", "dpm2m", "dpm2m-sde")
STEPS = (10, 20)


def measured(count: int, asked: Asked) -> Iterator[Row]:
    """Presets with their own steps, then every method with each number of steps."""
    ligands, _ = targets(packaged_ids("val"), count)
    chosen = [(name, None) for name in PRESETS] + [(name, steps) for name in METHODS for steps in STEPS]
    for name, steps in chosen:
        label = name if steps is None else f"{name} {steps}"
        say(label)
        found, _ = measure(ligands, ["frazil"], replace(asked, sampler=name, steps=steps), Checks("mol_fast", 1))
        yield replace(found[0], method=label)


def main() -> None:
    """Read the options, measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ligand_steps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--count", type=int, default=50, help="ligands of val, evenly spread (default 50)")
    add("--conformers", type=int, default=10, help="of each (default 10)")
    add("--checkpoint", type=Path, metavar="M", help="model instead of the built-in one")
    add("--out", type=Path, default=ROOT / "benchmarks/results/ligand_steps.json", help="where the figures go")
    given = parser.parse_args()
    try:
        found = list(measured(given.count, Asked(given.conformers, given.checkpoint)))
    except FrazilError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    values = {
        "machine": asdict(Machine.here(packages=("frazil", "torch", "rdkit"))),
        "command": " ".join(["python -m benchmarks.ligand_steps", *sys.argv[1:]]),
        "rows": [asdict(row) for row in found],
    }
    write_text(given.out, json.dumps(values, indent=1, allow_nan=False) + "\n")
    print(table(found))
    print(f"\nwritten to {given.out}")


if __name__ == "__main__":
    main()
