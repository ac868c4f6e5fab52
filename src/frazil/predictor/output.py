"""Samples as files: written into a folder of their own first, and moved to their place when all is there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frazil.atomic import write_text
from frazil.chemistry import NONPOLYMER
from frazil.data.structure import Structure
from frazil.data.topology import contact_radii, stereocentres
from frazil.data.write import write_cif, write_sdf
from frazil.errors import InputError
from frazil.metrics import chirality_errors, count_clashes, handedness
from frazil.predictor.drawing import Drawn, Floats
from frazil.predictor.requests import Request
from frazil.predictor.settings import PredictSettings

SAMPLES_JSON = "samples.json"
SAMPLES_SDF = "samples.sdf"
_OURS = re.compile(r"sample_\d+\.cif|trajectory_\d+_(noisy|denoised)\.cif|samples\.(sdf|json)")


@dataclass(frozen=True, eq=False)
class Quality:
    """What can be said of a sample without a reference; made once for all samples."""

    radii: NDArray[np.float64]
    """[A] van-der-Waals radii, angstrom."""
    bonds: NDArray[np.int64]
    """[K, 2] bonded pairs."""
    centres: NDArray[np.int64]
    """[C, 4] stereocentres with three neighbours each."""
    hands: NDArray[np.float64]
    """[C] sign of the right handedness."""

    @classmethod
    def of(cls, structure: Structure) -> Quality:
        """For a structure; the right hands are those of its reference conformers."""
        centres = stereocentres(structure)
        return cls(
            radii=contact_radii(structure.atoms.element),
            bonds=structure.atoms.bonds.as_array()[:, :2].astype(np.int64),
            centres=centres,
            hands=np.sign(handedness(structure.ref_pos, centres)),
        )

    def report(self, coords: Floats) -> dict[str, int]:
        """Counts of clashes and of wrong stereocentres in [A, 3]."""
        return {
            "clashes": count_clashes(coords, self.radii, self.bonds),
            "chirality_errors": len(chirality_errors(coords, self.centres, self.hands)),
        }


def is_lone_ligand(structure: Structure) -> bool:
    """Whether the samples go into one SDF instead of mmCIF files."""
    return len(structure.chains) == 1 and structure.chains[0].mol_type == NONPOLYMER


def write_samples(request: Request, drawn: Drawn, settings: PredictSettings) -> tuple[str, ...]:
    """Write all files of one input and return their names, `samples.json` last.

    Raises
    ------
    InputError
        If the disk or the folder does not take them; earlier results are then whole.
    """
    with _published(request.folder) as folder:
        rows = [_describe(request, drawn, settings, index) for index in range(len(drawn.coords))]
        if is_lone_ligand(request.structure):
            _write_conformers(folder, request.structure, drawn, rows)
        else:
            _write_models(folder, request.structure, drawn, rows)
        if settings.trajectory is not None:
            _write_trajectories(folder, request.structure, drawn, rows)
        write_text(folder / SAMPLES_JSON, json.dumps(rows, indent=1, allow_nan=False) + "\n")
        names = sorted(path.name for path in folder.iterdir() if path.name != SAMPLES_JSON)
    return (*names, SAMPLES_JSON)


def _describe(request: Request, drawn: Drawn, settings: PredictSettings, index: int) -> dict[str, Any]:
    """The object of one sample in `samples.json`, before its files are known."""
    row: dict[str, Any] = {
        "input": request.structure.source,
        "name": request.name,
        "sample": index,
        "seed": settings.seed,
        "steps": settings.steps,
        "file": None,
        "finite": bool(drawn.finite[index]),
    }
    if request.start is not None:
        row |= {"start": str(settings.start), "start_sigma": settings.start_sigma}
    return row


def _write_models(folder: Path, structure: Structure, drawn: Drawn, rows: list[dict[str, Any]]) -> None:
    quality = Quality.of(structure)
    for index in np.flatnonzero(drawn.finite).tolist():
        name = f"sample_{index}.cif"
        write_cif(folder / name, structure, drawn.coords[index], title=f"{structure.name}, sample {index}")
        rows[index] |= {"file": name, **quality.report(drawn.coords[index])}


def _write_conformers(folder: Path, structure: Structure, drawn: Drawn, rows: list[dict[str, Any]]) -> None:
    quality = Quality.of(structure)
    usable = np.flatnonzero(drawn.finite).tolist()
    for record, index in enumerate(usable, start=1):
        rows[index] |= {"file": SAMPLES_SDF, "record": record, **quality.report(drawn.coords[index])}
    if usable:
        fields = [{"sample": index, "seed": rows[index]["seed"]} for index in usable]
        write_sdf(folder / SAMPLES_SDF, structure, drawn.coords[usable], fields)


def _write_trajectories(folder: Path, structure: Structure, drawn: Drawn, rows: list[dict[str, Any]]) -> None:
    """Two multi-model files a sample, one model a frame."""
    for index in np.flatnonzero(drawn.finite).tolist():
        files = {}
        for kind, frames in (("noisy", drawn.noisy[index]), ("denoised", drawn.denoised[index])):
            files[kind] = f"trajectory_{index}_{kind}.cif"
            title = f"{structure.name}, sample {index}, {kind} coordinates on the way"
            write_cif(folder / files[kind], structure, frames, title=title)
        rows[index]["trajectory"] = {**files, "sigma": list(drawn.sigmas)}


@contextmanager
def _published(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, whose files take their place there once the block has ended well."""
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
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
        part.replace(folder)
        return
    fresh = {path.name for path in part.iterdir()}
    for name in sorted(fresh, key=lambda name: name == SAMPLES_JSON):
        (part / name).replace(folder / name)
    for path in folder.iterdir():
        if path.name not in fresh and _OURS.fullmatch(path.name):
            path.unlink()
