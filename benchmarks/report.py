"""Tables and files of findings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.findings import Exponent, Figure, Finding, exponents
from benchmarks.watch import TOLERATED
from frazil.atomic import write_text
from frazil.errors import InputError

_WIDTHS = (13, 11, 18, 34, 14, 10)
_HEADS = ("who", "precision", "what", "median (least .. most)", "to reference", "goal")


@dataclass(frozen=True)
class Results:
    """A file of findings made on one machine with one set of versions."""

    setting: dict[str, Any]
    """Machine, threads, versions of everyone."""
    findings: tuple[Finding, ...] = ()
    """One for each measurement, the latest."""

    @classmethod
    def read(cls, path: Path, setting: dict[str, Any]) -> Results:
        """What a file holds, for more of the same setting to be added; empty if there is no file.

        Raises
        ------
        InputError
            If the file is of another setting.
        """
        if not path.exists():
            return cls(setting)
        stored = json.loads(path.read_text())
        if _lasting(stored["setting"]) != _lasting(setting):
            raise InputError(f"{path}: holds figures of another machine or other versions; give another --out")
        return cls(setting, tuple(Finding.from_dict(values) for values in stored["findings"]))

    def add(self, finding: Finding) -> Results:
        """With a finding, instead of an earlier one of that name."""
        kept = tuple(other for other in self.findings if other.name != finding.name)
        return Results(self.setting, (*kept, finding))

    def write(self, path: Path) -> None:
        """Write all of it, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {
            "setting": self.setting,
            "findings": [finding.to_dict() for finding in self.findings],
            "growth_exponents": [asdict(exponent) for exponent in exponents(self.findings)],
        }
        write_text(path, json.dumps(values, indent=1) + "\n")


def table(finding: Finding) -> str:
    """The figures of a finding, one a line."""
    lines = [f"{finding.name}: {finding.title}"]
    lines.append("  " + "".join(head.ljust(width) for head, width in zip(_HEADS, _WIDTHS, strict=True)))
    for figure in finding.figures:
        cells = _cells(figure)
        lines.append("  " + "".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)) + cells[-1])
        if figure.note:
            lines.append(f"      {figure.note}")
    if finding.others is not None and finding.others > TOLERATED:
        lines.append(f"  warning: other work kept {finding.others:.1f} cores busy meanwhile: measure again")
    return "\n".join(line.rstrip() for line in lines)


def growth_table(found: Sequence[Exponent]) -> str:
    """Growth exponents, one a line."""
    lines = ["growth of a call with tokens, t ~ N^exponent"]
    for e in found:
        span = f"{min(e.tokens)} to {max(e.tokens)} tokens of {e.atoms_per_token} atoms, {e.samples} samples"
        lines.append(f"  {e.who:28}{e.exponent:5.2f}   {span}")
    return "\n".join(lines)


def _cells(figure: Figure) -> tuple[str, ...]:
    if figure.value is None:
        value = "failed"
    elif len(figure.values) > 1:
        value = f"{_number(figure)} {figure.unit} ({min(figure.values):.3g} .. {max(figure.values):.3g})"
    else:
        value = f"{_number(figure)} {figure.unit}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
    goal = figure.goal.text() if figure.goal else ""
    end = figure.verdict if figure.deviation is None else f"{figure.verdict}  (differs by {figure.deviation:.1e} A)"
    return figure.who, figure.precision, figure.quantity, value, ratio, goal, end.strip()


def _number(figure: Figure) -> str:
    assert figure.value is not None
    return f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.3g}"


def _lasting(setting: dict[str, Any]) -> dict[str, Any]:
    """What has to agree for figures to stand side by side."""
    machine = {key: value for key, value in setting["machine"].items() if key not in ("date", "load")}
    return {**setting, "machine": machine}
