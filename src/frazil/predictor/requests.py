"""What is to be predicted and where it goes; everything that can be refused is refused here, before any computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frazil.checkpoint import RunRecord, entities_of
from frazil.data import read, read_all
from frazil.data.correspondence import correspondence
from frazil.data.files import unique_names
from frazil.data.structure import Structure
from frazil.denoiser import ModelConfig
from frazil.errors import InputError
from frazil.predictor.conditioned import Conditioned, is_conditioning, read_conditioning
from frazil.predictor.settings import PredictSettings, SteeringSettings
from frazil.predictor.steering import Fixed, restrained
from frazil.restraints import Restraints

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Request:
    """One input."""

    name: str
    """Unique in the run; with the seed it decides the random numbers."""
    structure: Structure
    """The molecules."""
    folder: Path
    """Where the results go."""
    start: NDArray[np.float32] | None = None
    """[A, 3] coordinates to start from, angstrom, NaN where unresolved."""
    restraints: Restraints = field(default_factory=Restraints.none)
    """What samples are judged by and, as far as steering goes, held to."""
    fixed: Fixed | None = None
    """Atoms that stay where they are."""
    conditioned: Conditioned | None = None
    """Features and representations made elsewhere; None for an input that the model's own trunk reads."""


def plan(inputs: Sequence[str | Path], out: Path, settings: PredictSettings, say: Say) -> list[Request]:
    """Read the inputs and give each a name and a folder.

    Parameters
    ----------
    inputs : sequence of str or Path
        Structure files, SDF, SMILES, CCD codes, FASTA, YAML or conditioning files.
    out : Path
        Folder of the run; every input gets a subfolder.
    settings : PredictSettings
        Seed, start, restraints, and whether earlier results may be replaced.
    say : callable
        Told of names that had to be changed.

    Raises
    ------
    InputError
        If an input cannot be read, there is none, the start does not fit, a restraint or fixed chain names no atom,
        there is nothing to steer by, or there are earlier results.
    """
    if not inputs:
        raise InputError("no input given: name a structure file, SDF, SMILES, CCD code, FASTA or YAML")
    found = [one for source in inputs for one in _read(source, settings.seed)]
    structures = [structure for structure, _ in found]
    start = None if settings.start is None else start_structure(settings.start, settings.seed)
    names = unique_names(structure.name for structure in structures)
    for name, structure in zip(names, structures, strict=True):
        if name != structure.name:
            say(f"warning: a second input named {structure.name} ({structure.source}) is called {name}")
    for name in names:
        _refuse_earlier(out / name, settings.overwrite)
    return [
        request_of(name, structure, out / name, settings.steering, start, conditioned)
        for name, (structure, conditioned) in zip(names, found, strict=True)
    ]


def refuse_unfit(requests: Sequence[Request], config: ModelConfig, checkpoint: Path) -> None:
    """Refuse inputs that lack what the model lacks too, or bring along what it makes itself.

    Parameters
    ----------
    requests : sequence of Request
        The inputs.
    config : ModelConfig
        Of the model: with a trunk or without.
    checkpoint : Path
        Named in errors.

    Raises
    ------
    InputError
        If an input is not of the kind that the model takes, or was made with a model of other sizes.
    """
    for request in requests:
        source, given = request.structure.source, request.conditioned
        if given is None and config.trunk is None:
            raise InputError(
                f"{source}: {checkpoint} was extracted from Boltz-2 and has no trunk to read it with; give the "
                "<id>_conditioning.safetensors that `frazil boltz predict --write-conditioning` writes"
            )
        if given is not None and config.trunk is not None:
            raise InputError(
                f"{source}: a conditioning file, but {checkpoint} has a trunk of its own; give the model that "
                "`frazil boltz extract` makes, or the structure itself"
            )
        sizes = (config.network.token_s, config.network.token_z)
        if given is not None and given.trunk.widths != sizes:
            raise InputError(
                f"{source}: made with token_s, token_z = {given.trunk.widths}, {checkpoint} has {sizes}; extract the "
                "checkpoint that it was made with"
            )


def unseen_entities(requests: Sequence[Request], record: RunRecord, checkpoint: Path, say: Say) -> None:
    """Refuse molecules that a run trained on one molecule has not seen; warn where it was trained on several.

    Raises
    ------
    InputError
        If the run saw a single entity and an input holds another.
    """
    for request in requests:
        chains = request.structure.chains
        asked = entities_of((chain.mol_type, chain.sequence, chain.label) for chain in chains)
        unseen = [name for name in asked if name not in record.entities]
        if not unseen or not record.entities:
            continue
        if len(record.entities) == 1:
            given, known = _told_apart(unseen[0], record.entities[0])
            raise InputError(
                f"{request.structure.source}: {given} is not what {checkpoint} was trained on ({known}); "
                "give that molecule (modified residues by a YAML's modifications), or train on this one"
            )
        more = f" and {len(unseen) - 1} more of its molecules" if len(unseen) > 1 else ""
        say(f"warning: {request.name}: {checkpoint} was not trained on {_short(unseen[0])}{more}; expect little of it")


def _read(source: str | Path, seed: int) -> list[tuple[Structure, Conditioned | None]]:
    """The structures of one source, and what a conditioning file has besides."""
    if is_conditioning(source):
        conditioned = read_conditioning(source)
        return [(conditioned.structure, conditioned)]
    return [(structure, None) for structure in read_all([source], seed=seed)]


def request_of(
    name: str,
    structure: Structure,
    folder: Path,
    settings: SteeringSettings,
    start: Structure | None = None,
    conditioned: Conditioned | None = None,
) -> Request:
    """The request for a structure, with its restraints and held atoms.

    Raises
    ------
    InputError
        If the start does not fit, a restraint or fixed chain names no atom, or there is nothing to steer by.
    """
    begin = None if start is None else _start_of(structure, start)
    stored = None if conditioned is None else conditioned.features.restraints
    structure, restraints = restrained(structure, settings, stored)
    return Request(name, structure, folder, begin, restraints, Fixed.of(structure, begin, settings.fix), conditioned)


def _refuse_earlier(folder: Path, overwrite: bool) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"{existing}: is a file where a folder is to be made; choose another --out")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds earlier results; choose another --out, or replace them with --overwrite")


def start_structure(path: Path, seed: int) -> Structure:
    """The structure that samples start from.

    Raises
    ------
    InputError
        If it cannot be read or has no coordinates.
    """
    start = read(path, seed=seed)
    if not start.has_coords:
        raise InputError(f"{path}: no coordinates to start from; give a structure file")
    return start


def _start_of(structure: Structure, start: Structure) -> NDArray[np.float32]:
    """Coordinates of the start's first model in the atom order of `structure`, NaN where it has none."""
    partner = correspondence(start, structure)
    coords = np.where((partner >= 0)[:, None], start.coords[0][partner], np.nan).astype(np.float32)
    if not np.isfinite(coords).any():
        raise InputError(f"{start.source}: no atom in common with {structure.source}; start from the same molecule")
    return coords


def _told_apart(first: str, second: str, before: int = 20) -> tuple[str, str]:
    """Two unlike names cut to a readable length that shows where they begin to differ."""
    alike = (a == b for a, b in zip(first, second, strict=False))
    start = len(list(takewhile(bool, alike))) - before
    kind = first.find(":") + 1
    if start <= kind:
        return _short(first), _short(second)
    return _short(f"{first[:kind]}...{first[start:]}"), _short(f"{second[:kind]}...{second[start:]}")


def _short(entity: str, most: int = 60) -> str:
    return entity if len(entity) <= most else f"{entity[: most - 3]}..."
