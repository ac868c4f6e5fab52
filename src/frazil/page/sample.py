"""`report.html` of one input: viewer, table of samples, plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from frazil.chemistry import NONPOLYMER
from frazil.data.drawable import depiction
from frazil.page.bundle import bundle, packed
from frazil.page.columns import columns, restraint_lines
from frazil.page.document import REPORT, Chip, write_page
from frazil.page.overlay import Overlay, overlay
from frazil.page.plots import landscape, sample_plots
from frazil.page.rows import STEREO_ERRORS, Row, number
from frazil.page.samples import Samples, read_samples
from frazil.page.scene import scene

SCRIPTS = ("colours.js", "scene.js", "viewer.js", "sample.js")


def write_sample_page(folder: str | Path) -> Path:
    """Make `report.html` in the folder of one input, out of the files that `frazil sample` has left there.

    Parameters
    ----------
    folder : str or Path
        With `samples.json` and the structures that it names; trajectories and `evaluation.json` if there are any.

    Returns
    -------
    Path
        The page: one file that needs no other and no network.

    Raises
    ------
    InputError
        If the package with the viewer is not installed, or the files are missing, damaged or not writable.

    Examples
    --------
    >>> write_sample_page("samples/1as5")  # doctest: +SKIP
    PosixPath('samples/1as5/report.html')
    """
    viewer = bundle()
    samples = read_samples(folder)
    laid = overlay(samples.drawable)
    drawn = scene(samples, laid)
    return write_page(
        Path(folder) / REPORT,
        "sample.html",
        SCRIPTS,
        title=samples.name,
        source=samples.source,
        chips=_chips(samples),
        depiction=_depiction(samples),
        plots=sample_plots(samples, laid, drawn["trajectories"]),
        landscape=landscape(samples, laid),
        left_out=_left_out(samples, len(drawn["trajectories"])),
        remark=str(samples.rows[0].get("remark") or ""),
        bundle=viewer,
        payload=packed(json.dumps(_payload(samples, laid, drawn), separators=(",", ":")).encode()),
    )


def _payload(samples: Samples, laid: Overlay, drawn: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": samples.name,
        "shown": list(samples.shown),
        "columns": [column.to_dict() for column in columns(samples, laid)],
        "rows": [_row(samples, index, row) for index, row in enumerate(samples.rows)],
        "scene": drawn,
    }


def _row(samples: Samples, index: int, row: Row) -> dict[str, Any]:
    told = {"sample": row.get("sample", index), "restraints": restraint_lines(row)}
    if index not in samples.shown:
        told["missing"] = _missing(row)
    return told


def _missing(row: Row) -> str:
    """Why a sample is not in the viewer."""
    if not row.get("finite"):
        return "not finite: no coordinates"
    return "beyond what this page shows" if row.get("file") else "left out for a better one that is alike"


def _chips(samples: Samples) -> list[Chip]:
    rows = samples.rows
    first, finite = rows[0], sum(bool(row.get("finite")) for row in rows)
    found = [Chip("samples", str(len(rows)))]
    if finite < len(rows):
        found.append(Chip("not finite", str(len(rows) - finite), "bad"))
    if not samples.is_ligand:
        found.append(Chip("residues", str(_residues(samples))))
    found.append(Chip("heavy atoms", str(len(samples.drawable.heavy))))
    for key in ("sampler", "steps", "precision", "seed"):
        if first.get(key) is not None:
            found.append(Chip(key, str(first[key])))
    for key, what in (
        ("restraints", "keep all restraints"),
        ("stereo", "stereo right"),
        ("clashes", "no clash"),
    ):
        share = _share(samples, key)
        if share is not None:
            found.append(Chip(what, f"{share:.0%}", "good" if share == 1 else "fair" if share > 0.5 else "bad"))
    return found


def _share(samples: Samples, key: str) -> float | None:
    """Part of the finite samples without an error of one kind."""
    rows = [row for row in samples.rows if row.get("finite")]
    if key == "restraints":
        missed = [_missed(row) for row in rows]
        known = [value for value in missed if value is not None] if any(row.get("restraints") for row in rows) else []
    else:
        names = STEREO_ERRORS if key == "stereo" else (key,)
        errors = [[value for name in names if (value := number(row.get(name))) is not None] for row in rows]
        known = [sum(values) for values in errors if values]
    return sum(value == 0 for value in known) / len(known) if known else None


def _missed(row: Row) -> float | None:
    met, total = number(row.get("restraints_satisfied")), number(row.get("restraints_total"))
    return None if met is None or total is None else total - met


def _residues(samples: Samples) -> int:
    chains = samples.drawable.structure.chains
    return sum(len(chain.sequence) for chain in chains if chain.mol_type != NONPOLYMER)


def _depiction(samples: Samples) -> str:
    label = samples.rows[0].get("smiles") or samples.drawable.structure.chains[0].label if samples.is_ligand else None
    return depiction(label, 340, 150) if label else ""


def _left_out(samples: Samples, trajectories: int) -> str:
    """What the page does not have, in words."""
    finite = sum(bool(row.get("finite") and row.get("file")) for row in samples.rows)
    few = len(samples.shown)
    told = [f"The viewer has the best {few} of {finite} samples."] if few < finite else []
    if 0 < trajectories < few:
        told.append(f"The best {trajectories} can be played from noise to structure.")
    return " ".join(told)
