"""The structures of a run: read, tokenised once, divided into those to train on and those held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from frazil.checkpoint import entities_of
from frazil.data import Structure, featurize, read_all
from frazil.data.store import StructureStore, is_store
from frazil.errors import InputError
from frazil.features import Features, tensor_fields
from frazil.sampler import stable_seed
from frazil.trainer.batches import InMemory, InStore, Structures
from frazil.trainer.settings import TrainSettings
from frazil.trainer.validation import MOST_STRUCTURES, held_out


@dataclass(frozen=True)
class Dataset:
    """What a run trains on and how it is judged."""

    structures: Structures
    """One structure each, whole and unpadded."""
    held_out: tuple[tuple[str, Features], ...]
    """Name and features of the structures to validate on."""
    entities: tuple[str, ...]
    """Distinct molecules in the training set; empty for a store, which may hold thousands."""
    fingerprints: tuple[tuple[str, str], ...]
    """Name and digest of the content of each training structure, or of a whole store."""
    notes: tuple[str, ...]
    """Lines for a person."""
    paths: tuple[Path, ...]
    """Where the training data came from."""
    val_paths: tuple[Path, ...]
    """Where the held-out data came from, if they are files of their own."""
    val_fraction: float
    """Part of the data held out."""


def load_dataset(
    data: Sequence[Path], val_data: Sequence[Path], val_fraction: float, settings: TrainSettings, console: Console
) -> Dataset:
    """Read and divide the data of a run.

    Raises
    ------
    InputError
        If a file cannot be read, no atom of it all is resolved, or nothing is left to train on.
    """
    if not 0 <= val_fraction < 1:
        raise InputError(f"--val-fraction {val_fraction} is out of range: give at least 0 and below 1")
    if val_data and val_fraction:
        raise InputError("--val-data and --val-fraction exclude each other: give one of them")
    stores = [path for path in data if is_store(path)]
    if stores:
        return _from_store(data, val_data, val_fraction, settings)
    with console.status("reading structures"):
        structures = read_all(data)
        judged = read_all(val_data) if val_data else []
    usable = [structure for structure in structures if structure.has_coords]
    if not usable:
        raise InputError(f"{_names(data)}: no atom with coordinates to train on; give structures with resolved atoms")
    if val_data and not any(structure.has_coords for structure in judged):
        raise InputError(f"{_names(val_data)}: no atom with coordinates to validate on; give other --val-data")
    notes = [f"training on {len(usable)} structure(s), {sum(s.coords.shape[0] for s in usable)} model(s)"]
    if len(usable) < len(structures):
        notes.append(f"{len(structures) - len(usable)} structure(s) without coordinates are left out")
    kept, judged, note = divide(usable, [s for s in judged if s.has_coords], val_fraction, settings.seed)
    features = tuple(featurize(structure) for structure in kept)
    return Dataset(
        structures=InMemory(features),
        held_out=tuple((s.name, held_out(featurize(s), s.name, settings)) for s in judged),
        entities=entities_of((c.mol_type, c.sequence, c.label) for s in kept for c in s.chains),
        fingerprints=tuple((s.name, fingerprint(f)) for s, f in zip(kept, features, strict=True)),
        notes=(*notes, note),
        paths=tuple(path.absolute() for path in data),
        val_paths=tuple(path.absolute() for path in val_data),
        val_fraction=val_fraction,
    )


def _from_store(
    data: Sequence[Path], val_data: Sequence[Path], val_fraction: float, settings: TrainSettings
) -> Dataset:
    """The data of a run on what `frazil prepare` made."""
    if len(data) > 1:
        raise InputError(
            f"{_names(data)}: give one store, or structure files; `frazil prepare` makes one store of many"
        )
    if val_fraction:
        raise InputError("--val-fraction: a store is not divided; prepare two, and give the second by --val-data")
    if len(val_data) > 1 or any(not is_store(path) for path in val_data):
        raise InputError(f"{_names(val_data)}: with a store to train on, give one store to validate on")
    store = StructureStore(data[0])
    if not len(store):
        raise InputError(f"{data[0]}: an empty store; prepare it again")
    judged = [] if not val_data else _first_of(StructureStore(val_data[0]), settings)
    note = (
        f"validation on {len(judged)} structures of {_names(val_data)}" if judged else "no validation: give --val-data"
    )
    return Dataset(
        structures=InStore(store),
        held_out=tuple(judged),
        entities=(),
        fingerprints=((data[0].name, store.fingerprint()),),
        notes=(f"training on {len(store)} structure(s) of {data[0]}", note),
        paths=tuple(path.absolute() for path in data),
        val_paths=tuple(path.absolute() for path in val_data),
        val_fraction=val_fraction,
    )


def _first_of(store: StructureStore, settings: TrainSettings) -> list[tuple[str, Features]]:
    """As many structures as are ever judged, spread over the store."""
    count = min(len(store), MOST_STRUCTURES)
    chosen = [place * len(store) // count for place in range(count)]
    return [(store.names[i], held_out(store[i].features, store.names[i], settings)) for i in chosen]


def divide(
    structures: Sequence[Structure], judged: Sequence[Structure], fraction: float, seed: int
) -> tuple[list[Structure], list[Structure], str]:
    """Structures to train on, structures to validate on, and a line that says so."""
    if judged:
        return list(structures), list(judged), f"validation on {len(judged)} structure(s) of their own"
    if fraction:
        if len(structures) < 2:
            raise InputError("--val-fraction needs at least two structures; a single one validates on itself")
        count = min(len(structures) - 1, max(1, round(fraction * len(structures))))
        shuffled = sorted(range(len(structures)), key=lambda i: stable_seed(seed, "division", structures[i].name, i))
        chosen = set(shuffled[:count])
        kept = [s for i, s in enumerate(structures) if i not in chosen]
        return kept, [structures[i] for i in sorted(chosen)], f"validation on {count} structure(s) held out"
    if len(structures) == 1:
        return list(structures), list(structures), "validation on the training structure itself: nothing is held out"
    return list(structures), [], "no validation: give --val-data or --val-fraction"


def fingerprint(features: Features) -> str:
    """Digest of everything that training sees of a structure."""
    digest = hashlib.blake2b(digest_size=16)
    for name in tensor_fields():
        tensor = getattr(features, name)
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
