"""The table of samples: which columns there are, and the cells of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from frazil.page.overlay import Overlay
from frazil.page.rows import Row, number
from frazil.page.samples import Samples
from frazil.steering.judge import Outcome

MOST_LISTED: Final = 60
"""Restraints listed under the table for a sample."""
_KNOWN: Final = (
    "rank", "sample", "seed", "steps", "evaluations", "steps_guided", "record", "group", "particle", "finite",
    "restraints_satisfied", "restraints_total", "stereo_violations", "chirality_errors", "clashes", "mean_lddt",
    "start_sigma",
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of the table of samples."""

    title: str
    hint: str
    """What it says, in words."""
    cells: tuple[str, ...]
    """As shown."""
    values: tuple[float | None, ...]
    """To sort by."""
    marks: tuple[str, ...] = ()
    """`good` or `bad` of each cell; none by default."""

    def to_dict(self) -> dict[str, Any]:
        """For the page's script."""
        return vars(self)


def columns(samples: Samples, laid: Overlay) -> list[Column]:
    """The columns that say something about these samples."""
    rows = samples.rows
    found = [
        _plain("rank", "best first, by restraints, stereo, clashes and agreement", rows, "rank"),
        _plain("sample", "index of the sample, from 0", rows, "sample"),
        _restraints(rows),
        _count("stereo", "stereocentres and double bonds that are wrong or flat", rows, "stereo_violations"),
        _count("chirality", "all stereocentres that are flat or of the wrong hand", rows, "chirality_errors"),
        _count("clashes", "pairs of atoms that are too close", rows, "clashes"),
        _plain("mean lDDT", "agreement with the other samples, 0 to 1", rows, "mean_lddt", "{:.2f}"),
        _to_best(samples, laid),
        _evaluation(samples, "RMSD to reference / Å", "rmsd"),
        _evaluation(samples, "lDDT to reference", "lddt"),
        _evaluation(samples, "TM-score", "tm_score"),
        _checks(samples),
        *_others(rows),
    ]
    return [one for one in found if one is not None]


def restraint_lines(row: Row) -> list[dict[str, Any]]:
    """What is said of the single restraints of a sample: those asked for, then broken ones of the molecules."""
    asked = [outcome for one in _listed(row.get("restraints")) if (outcome := _outcome(one))]
    physical = row.get("physical")
    kinds = physical.values() if isinstance(physical, dict) else ()
    broken = [
        outcome
        for kind in kinds
        if isinstance(kind, dict)
        for one in _listed(kind.get("violated"))
        if (outcome := _outcome(one))
    ]
    ordered = [*sorted(asked, key=lambda one: one.satisfied), *broken]
    return [{"text": one.text(), "label": one.label, "kept": one.satisfied} for one in ordered[:MOST_LISTED]]


def _outcome(row: Any) -> Outcome | None:
    try:
        return Outcome.from_dict(row)
    except (ValueError, AttributeError, OverflowError):
        return None


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _plain(title: str, hint: str, rows: Sequence[Row], key: str, form: str = "{:g}") -> Column | None:
    """Numbers as they are; None if no sample has one."""
    values = tuple(number(row.get(key)) for row in rows)
    if all(value is None for value in values):
        return None
    return Column(title, hint, tuple("–" if value is None else form.format(value) for value in values), values)


def _count(title: str, hint: str, rows: Sequence[Row], key: str) -> Column | None:
    """A number of errors: none is good."""
    found = _plain(title, hint, rows, key)
    if found is None:
        return None
    marks = tuple("" if value is None else "bad" if value else "good" for value in found.values)
    return Column(found.title, found.hint, found.cells, found.values, marks)


def _restraints(rows: Sequence[Row]) -> Column | None:
    counts = [(number(row.get("restraints_satisfied")), number(row.get("restraints_total"))) for row in rows]
    if not any(total for _, total in counts):
        return None
    shares = tuple(met / total if met is not None and total else None for met, total in counts)
    cells = tuple(f"{met:g}/{total:g}" if met is not None and total else "–" for met, total in counts)
    marks = tuple("" if share is None else "good" if share == 1 else "bad" for share in shares)
    return Column("restraints", "restraints asked for that hold", cells, shares, marks)


def _to_best(samples: Samples, laid: Overlay) -> Column | None:
    if len(laid.rmsd) < 2:
        return None
    known = dict(zip(samples.shown, laid.rmsd[0].tolist(), strict=False))
    values = tuple(known.get(index) for index in range(len(samples.rows)))
    cells = tuple("–" if value is None else f"{value:.2f}" for value in values)
    return Column("RMSD to best / Å", "heavy atoms, superposed, symmetric atoms matched", cells, values)


def _evaluation(samples: Samples, title: str, key: str) -> Column | None:
    rows = [samples.evaluated.get(index, {}) for index in range(len(samples.rows))]
    return _plain(title, "by frazil evaluate", rows, key, "{:.2f}")


def _checks(samples: Samples) -> Column | None:
    """PoseBusters' checks that fail."""
    found = [samples.evaluated.get(index, {}).get("posebusters") for index in range(len(samples.rows))]
    failed = [[name for name, kept in one.items() if kept is False] if one else None for one in found]
    if not any(one is not None for one in failed):
        return None
    cells = tuple("–" if one is None else ", ".join(one) or "pass" for one in failed)
    marks = tuple("" if one is None else "bad" if one else "good" for one in failed)
    return Column(
        "PoseBusters", "checks that fail", cells, tuple(None if one is None else len(one) for one in failed), marks
    )


def _others(rows: Sequence[Row]) -> list[Column]:
    """Further numbers that `samples.json` may hold, such as an energy after minimisation, where they differ."""
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if number(value) is not None)
    made = (_plain(key.replace("_", " "), key, rows, key, "{:.4g}") for key in keys if key not in _KNOWN)
    return [one for one in made if one is not None and len(set(one.values)) > 1]
