"""Where the time of each side goes: a JSON file and a table for each problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.crew import Crew, PeerFailed
from benchmarks.measurements import Measurement, sizes_text
from benchmarks.problems import Problem
from frazil.atomic import write_text


def profile_all(crew: Crew, measurements: list[Measurement], folder: Path, setting: dict[str, Any]) -> None:
    """Profile the problem of each measurement, each problem once, and write `profile-<problem>.json` and `.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    for problem in dict.fromkeys(measurement.problem for measurement in measurements):
        found = _profiles(crew, problem)
        text = _text(problem, found)
        print(text)
        write_text(folder / f"profile-{problem.name}.txt", text)
        values = {"setting": setting, "problem": problem.name, "profiles": found}
        write_text(folder / f"profile-{problem.name}.json", json.dumps(values, indent=1) + "\n")


def _profiles(crew: Crew, problem: Problem) -> dict[str, dict[str, Any]]:
    found = {}
    for who in crew.contestants:
        for precision in who.precisions:
            link = crew.link(who)
            try:
                link.ask("prepare", problem=problem, precision=precision)
                alone = link.ask("call", precision=precision)["seconds"]
                found[f"{who.name} {precision}"] = link.ask("profile", precision=precision) | {"unobserved": alone}
            except PeerFailed as error:
                print(f"not profiled: {error}")
    return found


def _text(problem: Problem, found: dict[str, dict[str, Any]]) -> str:
    lines = [f"{problem.kind}, {sizes_text(problem)}", ""]
    for who, profile in found.items():
        total = profile["seconds"]
        lines.append(f"{who}: {profile['unobserved']:.3f} s, {total:.3f} s under observation")
        lines += [f"  {kind:24}{seconds:9.3f} s {seconds / total:6.1%}" for kind, seconds in profile["kinds"].items()]
        lines += [
            f"    {o['name'][:44]:46}{o['calls']:6} calls {o['seconds']:9.3f} s {o['seconds'] / total:6.1%}"
            for o in profile["operators"]
        ]
        lines.append("")
    return "\n".join(lines)
