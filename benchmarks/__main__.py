"""Frazil beside every other program that is installed, in turns. Run as `python -m benchmarks`.

Peers: `reference` is the boltz-community of this environment; `boltz-2.2.1` lives in an environment of its own, whose
interpreter is given by --peer-python or FRAZIL_PEER_PYTHON, and is left out otherwise. Every program runs in a process
of its own, with the same weights (random, full size) and inputs; rounds take turns, and each begins with another one.
Ratios are to the reference in float32, which has no other precision on a CPU: how many times as fast, how many times
the memory. The JSON file is written after every measurement; a second run with the same file adds to it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import PRESETS, chosen
from benchmarks.crew import Contestant, Crew, PeerFailed
from benchmarks.findings import exponents
from benchmarks.measurements import Measurement
from benchmarks.problems import NETWORKS
from benchmarks.profiles import profile_all
from benchmarks.report import Results, growth_table, table
from benchmarks.watch import Watch
from frazil.bench.machine import Machine
from frazil.errors import FrazilError

RESULTS = Path(__file__).parent / "results"
PEER_PYTHON = "FRAZIL_PEER_PYTHON"


def main() -> None:
    """Read the options, measure, print, write."""
    given = _parser().parse_args()
    wanted = given.profile or given.cases
    measurements = chosen(given.preset, wanted, quick=given.quick, network=given.network)
    if not measurements:
        sys.exit(f"error: there is no measurement {' '.join(wanted)}; see --list")
    if given.list:
        print("\n".join(f"{m.name:28} {m.title}" for m in measurements))
        return
    try:
        with Crew(_contestants(given.peer_python), given.device, given.threads or 0) as crew:
            setting = _setting(crew, given)
            if given.profile:
                profile_all(crew, measurements, given.out or RESULTS, setting)
            else:
                _measure(crew, measurements, setting, given)
    except (FrazilError, PeerFailed) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; what was measured before is in the file")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    peer_python = os.environ.get(PEER_PYTHON)
    add = parser.add_argument
    add("--preset", choices=sorted(PRESETS), default="all", help="what to measure (default all; targets: the goals)")
    add("--cases", nargs="+", default=[], metavar="NAME", help="only these of the preset; globs are welcome")
    add("--list", action="store_true", help="print the names and leave")
    add("--quick", action="store_true", help="small problems, two rounds")
    add("--rounds", type=int, help="rounds of taking turns (default 5, with --quick 2)")
    add("--budget", type=float, default=float("inf"), metavar="MINUTES", help="begin nothing new after so many minutes")
    add("--threads", type=int, help="threads of torch (default: its own choice)")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    add("--network", choices=sorted(NETWORKS), default="full", help="full, or small to try things out")
    add("--peer-python", type=Path, default=peer_python, metavar="PATH", help="interpreter that has boltz 2.2.1")
    add("--profile", nargs="+", metavar="NAME", help="write where the time of these goes, instead of measuring")
    add("--out", type=Path, metavar="PATH", help="JSON file of the figures (folder of profiles); default results/")
    return parser


def _contestants(peer_python: Path | None) -> tuple[Contestant, ...]:
    here = Path(sys.executable)
    found = [Contestant("frazil", "ours", here, ("float32", "bf16")), Contestant("reference", "reference", here)]
    if peer_python is not None and Path(peer_python).is_file():
        found.append(Contestant("boltz-2.2.1", "reference", Path(peer_python)))
    else:
        print(f"boltz 2.2.1 is left out: give its interpreter with --peer-python or {PEER_PYTHON}")
    return tuple(found)


def _setting(crew: Crew, given: argparse.Namespace) -> dict[str, Any]:
    """Machine and versions; says so where the machine is busy."""
    machine = Machine.here(torch.device(given.device))
    if machine.is_busy:
        print(f"warning: the machine is busy (load {machine.load:.1f} of {machine.cores} cores): times mean little")
    programs = {who.name: crew.link(who).ask("hello") for who in crew.contestants}
    return {"machine": asdict(machine), "programs": programs, "network": given.network}


def _measure(crew: Crew, measurements: list[Measurement], setting: dict[str, Any], given: argparse.Namespace) -> None:
    path = given.out or RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{_slug(setting['machine'])}.json"
    results, began = Results.read(path, setting), time.monotonic()
    rounds = given.rounds or (2 if given.quick else 5)
    for number, measurement in enumerate(measurements):
        spent = (time.monotonic() - began) / 60
        if spent > given.budget:
            print(f"not measured for want of time: {', '.join(m.name for m in measurements[number:])}")
            break
        print(f"[{number + 1}/{len(measurements)}, {spent:.1f} min] {measurement.name}", file=sys.stderr)
        watch, start = Watch(crew), time.monotonic()
        date = datetime.now(UTC).isoformat(timespec="seconds")
        found = measurement.run(crew, rounds)
        finding = replace(found, date=date, seconds=time.monotonic() - start, others=watch.others())
        results = results.add(finding)
        results.write(path)
        print(table(finding) + "\n", flush=True)
    if growth := exponents(results.findings):
        print(growth_table(growth) + "\n")
    print(f"written to {path}")


def _slug(machine: dict[str, Any]) -> str:
    name = machine["gpu"] or machine["cpu"]
    words = "".join(letter if letter.isalnum() else " " for letter in name).lower().split()
    return "-".join([*words, f"{machine['threads']}-threads"])


if __name__ == "__main__":
    main()
