"""`report.html` of many inputs: one row each, with a drawing of the molecule and links to its files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from frazil.data.drawable import depiction, smiles_of
from frazil.errors import InputError
from frazil.page.document import REPORT, Chip, write_page
from frazil.page.rows import STEREO_ERRORS, Row, number, read_rows
from frazil.page.samples import SAMPLES_JSON
from frazil.page.tables import read_records

SUMMARY: Final = "summary.csv"
MOST_PICTURES: Final = 500
_TEXTS: Final = ("name", "source", "status", "reason")
_ERRORS: Final = ("stereo_errors", "clashes")


@dataclass(frozen=True)
class Cell:
    """One cell of the table."""

    text: str
    side: str = ""
    mark: str = ""
    link: str = ""


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    cells: tuple[Cell, ...]
    status: str
    picture: str


def write_summary_page(out: str | Path) -> Path:
    """Make `report.html` in a folder of many inputs: a table with drawings and links.

    Parameters
    ----------
    out : str or Path
        With `summary.csv`, or else one folder an input, as `frazil sample` leaves it.

    Returns
    -------
    Path
        The page: one file that needs no other and no network; its links lead into the folder.

    Raises
    ------
    InputError
        If there is neither, a file is damaged, or the page cannot be written.
    """
    out = Path(out)
    records = _by_summary(out) or _by_folder(out)
    if not records:
        raise InputError(
            f"{out}: neither {SUMMARY} nor {SAMPLES_JSON} of an input in it; give a folder of frazil sample"
        )
    names = list(records[0])
    lines = [_line(out, record, place < MOST_PICTURES) for place, record in enumerate(records)]
    pictures = any(line.picture for line in lines)
    headings = [Cell("molecule", "left")] * pictures
    headings += [Cell(name.replace("_", " "), "left" if name in _TEXTS else "") for name in names]
    some = f"Molecules are drawn for the first {MOST_PICTURES} inputs." if len(lines) > MOST_PICTURES else ""
    return write_page(
        out / REPORT,
        "summary.html",
        ("summary.js",),
        title=f"Samples in {out.resolve().name}",
        chips=_chips(records),
        headings=headings,
        rows=lines,
        pictures=pictures,
        note=some,
    )


def sample_folders(out: Path) -> list[Path]:
    """Folders of single inputs below a folder, by name.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return sorted(path.parent for path in out.glob(f"*/{SAMPLES_JSON}"))
    except OSError as error:
        raise InputError(f"{out}: cannot be read ({error.strerror}); give a folder of frazil sample") from None


def _by_summary(out: Path) -> list[dict[str, str]]:
    """Rows of `summary.csv`; none without one, and where it is damaged, which a warning tells."""
    path = out / SUMMARY
    if not path.is_file():
        return []
    records = read_records(path)
    if not records or not {"name", "status"} <= set(records[0]):
        warnings.warn(f"{path}: left out, for it has no row of an input; run frazil sample again", stacklevel=4)
        return []
    return records


def _by_folder(out: Path) -> list[dict[str, str]]:
    """Rows made of the folders alone; a damaged one has failed."""
    return [_of_folder(folder) for folder in sample_folders(out)]


def _of_folder(folder: Path) -> dict[str, str]:
    try:
        rows = read_rows(folder / SAMPLES_JSON)
    except InputError as error:
        blank = dict.fromkeys(("samples", "finite", *_ERRORS), "")
        return {"name": folder.name, "source": "", "status": "failed", "reason": str(error), **blank}
    finite = sum(bool(row.get("finite")) for row in rows)
    clashes = sum(number(row.get("clashes")) or 0 for row in rows)
    wrong = sum(any(number(row.get(key)) for key in STEREO_ERRORS) for row in rows)
    source, remark = (str(rows[0].get(key) or "") for key in ("input", "remark"))
    counts = {"samples": str(len(rows)), "finite": str(finite)}
    errors = {"stereo_errors": str(wrong), "clashes": f"{clashes:g}"}
    return {"name": folder.name, "source": source, "status": "done", "reason": remark, **counts, **errors}


def _rows(folder: Path) -> list[Row]:
    """Those of one input; none where they are damaged, of which its own page tells."""
    try:
        return read_rows(folder / SAMPLES_JSON)
    except InputError:
        return []


def _line(out: Path, record: Mapping[str, str], with_picture: bool) -> Line:
    # where nothing was drawn, a folder of that name holds another run's samples, perhaps of another molecule
    nothing = record.get("status") == "failed" and record.get("samples") == "0"
    folder = None if nothing else _folder(out, record.get("name", ""))
    cells = tuple(_cell(folder, key, value) for key, value in record.items())
    picture = _picture(folder) if folder is not None and with_picture else ""
    return Line(cells, record.get("status", ""), picture)


def _folder(out: Path, name: str) -> Path | None:
    """A folder in this one, whatever the name says; `os.path` answers for names that no folder can have, too."""
    known = name != ".." and Path(name).name == name and os.path.isdir(out / name)
    return out / name if known else None


def _cell(folder: Path | None, key: str, value: str) -> Cell:
    if key == "name" and folder is not None:
        found = [file for file in (REPORT, "samples.sdf", SAMPLES_JSON) if (folder / file).is_file()]
        return Cell(value, "left wrap", "", quote(f"{folder.name}/{found[0]}") if found else "")
    if key == "status":
        return Cell(value, "left", "bad" if value == "failed" else "good")
    if key in _ERRORS:
        return Cell(value, "", "" if value in ("", "0") else "bad")
    return Cell(value, "left wrap") if key in _TEXTS else Cell(value)


def _picture(folder: Path) -> str:
    if not (folder / "samples.sdf").is_file():
        return ""
    rows = _rows(folder)
    known = rows[0].get("smiles") if rows else None
    return depiction(str(known) if known else smiles_of(folder / "samples.sdf"), 200, 110)


def _chips(records: Sequence[Mapping[str, str]]) -> list[Chip]:
    failed = sum(record.get("status") == "failed" for record in records)
    found = [Chip("inputs", str(len(records))), Chip("failed", str(failed), "bad" if failed else "good")]
    for key, title in (("finite", "samples"), ("stereo_errors", "stereo errors"), ("seconds", "seconds")):
        values = [float(record[key]) for record in records if _is_number(record.get(key, ""))]
        if values:
            total = sum(values)
            mark = "" if key != "stereo_errors" else "bad" if total else "good"
            found.append(Chip(title, f"{total:.1f}" if key == "seconds" else f"{total:.0f}", mark))
    return found


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()
