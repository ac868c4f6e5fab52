"""Samples as files: written into a folder of their own first, and moved to their place when all is there."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from frazil.atomic import write_text
from frazil.chemistry import NONPOLYMER
from frazil.data.conformers import write_conformers
from frazil.data.structure import Structure
from frazil.data.write import write_cif, write_sdf
from frazil.errors import InputError
from frazil.predictor.drawing import Drawn
from frazil.predictor.finishing import Finished
from frazil.predictor.report import SampleReport
from frazil.predictor.requests import Request
from frazil.predictor.settings import PredictSettings

SAMPLES_JSON = "samples.json"
SAMPLES_SDF = "samples.sdf"
_OURS = re.compile(r"sample_\d+\.cif|trajectory_\d+_(noisy|denoised)\.cif|samples\.(sdf|json)|report\.html")
_PART = ".part"


def is_lone_ligand(structure: Structure) -> bool:
    """Whether the samples go into one SDF instead of mmCIF files."""
    return len(structure.chains) == 1 and structure.chains[0].mol_type == NONPOLYMER


def write_samples(
    request: Request,
    drawn: Drawn,
    settings: PredictSettings,
    reports: Sequence[SampleReport],
    finished: Finished | None = None,
) -> tuple[str, ...]:
    """Write all files of one input and return their names, `samples.json` last.

    Parameters
    ----------
    request : Request
        The input.
    drawn : Drawn
        Its samples.
    settings : PredictSettings
        What was asked for.
    reports : sequence of SampleReport
        Of the finite samples.
    finished : Finished, optional
        Conformers of a lone ligand and what was done to them; they are then written instead of the plain samples.

    Raises
    ------
    InputError
        If the disk or the folder does not take them; earlier results are then whole.
    """
    known = {one.sample: one.to_dict() for one in reports}
    with _published(request.folder) as folder:
        rows = [
            _describe(request, drawn, settings, index) | _steered(drawn, index) | known.get(index, {})
            for index in range(len(drawn.coords))
        ]
        if finished is not None:
            _write_finished(folder, finished, rows)
        elif is_lone_ligand(request.structure):
            _write_conformers(folder, request.structure, drawn, rows)
        else:
            _write_models(folder, request.structure, drawn, rows)
        if settings.trajectory is not None:
            _write_trajectories(folder, request.structure, drawn, rows)
        # a line each, for an indented text takes Python's encoder twenty times as long
        lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
        write_text(folder / SAMPLES_JSON, f"[\n{lines}\n]\n")
        names = sorted(path.name for path in folder.iterdir() if path.name != SAMPLES_JSON)
    return (*names, SAMPLES_JSON)


def _describe(request: Request, drawn: Drawn, settings: PredictSettings, index: int) -> dict[str, Any]:
    """What was asked for, in the object of one sample in `samples.json`."""
    row: dict[str, Any] = {
        "input": request.structure.source,
        "name": request.name,
        "sample": index,
        "seed": settings.seed,
        "sampler": settings.sampler,
        "method": settings.preset.method,
        "steps": settings.preset.steps,
        "evaluations": drawn.evaluations,
        "precision": settings.precision,
        "file": None,
        "finite": bool(drawn.finite[index]),
    }
    if request.start is not None:
        row |= {"start": str(settings.start), "start_sigma": settings.start_sigma}
    if request.fixed is not None:
        row["fixed"] = list(settings.steering.fix)
    return row


def _steered(drawn: Drawn, index: int) -> dict[str, Any]:
    """What steering did to one sample."""
    if drawn.steering is None:
        return {"steps_guided": 0}
    group, particle = divmod(index, drawn.particles)
    told = drawn.steering
    sizes = [[step, round(float(size[0, group]), 4)] for step, size in told.effective_sizes]
    row: dict[str, Any] = {"steps_guided": told.guided_steps, "effective_sample_sizes": sizes}
    if drawn.particles > 1:
        row |= {"group": group, "particle": particle}
    if told.log_weights is not None:
        weight = float(told.log_weights[0, index])
        row["log_weight"] = weight if isfinite(weight) else None
    if int(told.lost[0, group]) >= 0:
        row["lost_at_step"] = int(told.lost[0, group])
    return row


def _write_models(folder: Path, structure: Structure, drawn: Drawn, rows: list[dict[str, Any]]) -> None:
    for index in np.flatnonzero(drawn.finite).tolist():
        name = f"sample_{index}.cif"
        write_cif(folder / name, structure, drawn.coords[index], title=f"{structure.name}, sample {index}")
        rows[index]["file"] = name


def _write_conformers(folder: Path, structure: Structure, drawn: Drawn, rows: list[dict[str, Any]]) -> None:
    usable = np.flatnonzero(drawn.finite).tolist()
    for record, index in enumerate(usable, start=1):
        rows[index] |= {"file": SAMPLES_SDF, "record": record}
    if usable:
        fields = [{"sample": index, "seed": rows[index]["seed"]} for index in usable]
        write_sdf(folder / SAMPLES_SDF, structure, drawn.coords[usable], fields)


def _write_finished(folder: Path, finished: Finished, rows: list[dict[str, Any]]) -> None:
    for index, row in enumerate(rows):
        row |= finished.row(index)
    kept = finished.kept
    for record, index in enumerate(kept, start=1):
        rows[index] |= {"file": SAMPLES_SDF, "record": record}
    if kept:
        fields = [{"sample": index, "seed": rows[index]["seed"]} for index in kept]
        conformers = [finished.samples.index(index) for index in kept]
        write_conformers(folder / SAMPLES_SDF, finished.mol, conformers, fields)


def _write_trajectories(folder: Path, structure: Structure, drawn: Drawn, rows: list[dict[str, Any]]) -> None:
    """Two multi-model files a sample, one model a frame, of the particles that the sample descends from."""
    for index in np.flatnonzero(drawn.finite).tolist():
        files: dict[str, Any] = {}
        for kind, frames in (("noisy", drawn.noisy[index]), ("denoised", drawn.denoised[index])):
            files[kind] = f"trajectory_{index}_{kind}.cif"
            title = f"{structure.name}, sample {index}, {kind} coordinates on the way"
            write_cif(folder / files[kind], structure, frames, title=title)
        files["sigma"] = list(drawn.sigmas)
        if drawn.steering is not None and drawn.steering.effective_sizes:
            files["particles"] = drawn.lineage[index].tolist()
        rows[index]["trajectory"] = files


def earlier_rows(folder: Path) -> list[dict[str, Any]] | None:
    """What an earlier run wrote of an input; None if there is no whole `samples.json`, which is written last."""
    try:
        rows = json.loads((folder / SAMPLES_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    usable = isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    return rows if usable else None


def content(path: Path) -> str:
    """A digest of a file; of one that cannot be read its name, as reading it fails elsewhere with a reason."""
    try:
        known = path.stat()
        return _digest(path, known.st_mtime_ns, known.st_size)
    except OSError:
        return str(path)


@lru_cache(maxsize=8)
def _digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def files_are_there(folder: Path, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether every file that the rows of `samples.json` name is in the folder and holds something."""
    trajectories = [row["trajectory"] for row in rows if isinstance(row.get("trajectory"), dict)]
    named = {str(row["file"]) for row in rows if row.get("file")}
    named |= {str(files[kind]) for files in trajectories for kind in ("noisy", "denoised") if kind in files}
    try:
        return all((folder / name).stat().st_size > 0 for name in named)
    except OSError:
        return False


def clear_leftovers(out: Path) -> None:
    """Remove what killed runs left in a folder of results: folders that have not got their name yet."""
    for part in out.glob(f".*{_PART}"):
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _published(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, whose files take their place there once the block has ended well."""
    # of its own in each process: two may work on one input
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}{_PART}")
    try:
        part.mkdir(parents=True)
        yield part
        _publish(part, folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space or choose another --out"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _publish(part: Path, folder: Path) -> None:
    """Rename the whole folder if there is none yet; else file by file, then remove what is left of earlier results."""
    if not folder.exists() or not any(folder.iterdir()):
        try:
            part.replace(folder)
        except OSError as error:
            # another process was first, and its results are whole
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        return
    fresh = {path.name for path in part.iterdir()}
    for name in sorted(fresh, key=lambda name: name == SAMPLES_JSON):
        (part / name).replace(folder / name)
    for path in folder.iterdir():
        if path.name not in fresh and _OURS.fullmatch(path.name):
            path.unlink()
