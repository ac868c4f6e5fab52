"""Inputs whose trunk has run elsewhere: one file with features, restraints, representations and the names of atoms.

`frazil boltz predict --write-conditioning` writes such files inside Boltz-2; `frazil sample` reads them with the model
that `frazil boltz extract` made, without Boltz-2. They are safetensors: opening one runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from frazil import chemistry
from frazil._version import __version__
from frazil.checkpoint import HEADER_KEY, save_tensors
from frazil.data.files import safe_name
from frazil.data.stored import structure_of_features
from frazil.data.structure import Structure
from frazil.errors import InputError
from frazil.features import Features, axes_of, tensor_fields
from frazil.nn.trunk import FileTrunk
from frazil.restraints import PlaceTerms, Restraints, Terms

FORMAT_VERSION: Final = 1
SUFFIX: Final = "_conditioning.safetensors"
_KIND: Final = "conditioning"
_AGAIN: Final = "write it again with `frazil boltz predict --write-conditioning`"
_TRAILING: Final = {
    "ref_pos": (3,),
    "ref_atom_name_chars": (chemistry.NAME_LENGTH,),
    "coords": (3,),
    "token_bonds": (2,),
}
_MASKS: Final = ("token_mask", "atom_mask", "modified", "resolved_mask")
_NUMBERS: Final = ("ref_pos", "ref_charge", "plddt", "coords")
_CLASSES: Final = {
    "mol_type": len(chemistry.MOLECULE_TYPES),
    "res_type": len(chemistry.RESIDUE_TYPES),
    "ref_element": chemistry.NUM_ELEMENTS,
    "ref_atom_name_chars": chemistry.NUM_NAME_CHARACTERS,
    "backbone_index": chemistry.BACKBONE_CLASSES,
    "ref_chirality": chemistry.CHIRALITIES,
}
"""Features that are looked up in tables, with the size of each table."""


@dataclass(frozen=True, eq=False)
class Conditioned:
    """One input with its representations."""

    name: str
    """Of the input, from the file's name."""
    path: Path
    structure: Structure
    """The molecules, atoms in the order of the features; coordinates of one prediction."""
    features: Features
    """B = 1, without padding, with the restraints."""
    trunk: FileTrunk
    """The representations, mapped from the file as they are read."""


def write_conditioning(
    path: str | Path,
    *,
    cif: str,
    features: Features,
    s_inputs: Tensor,
    s: Tensor,
    z: Tensor,
    relative_positions: Tensor,
) -> None:
    """Write one input's representations, whole or not at all; padding is cropped off.

    Parameters
    ----------
    path : str or Path
        `<name>_conditioning.safetensors`.
    cif : str
        mmCIF of the input, its atoms in the order of the features; any coordinates.
    features : Features
        B = 1, such as `frazil.boltz.features.restrained_features` gives; restraints are kept.
    s_inputs, s : Tensor
        [1, N, token_s].
    z, relative_positions : Tensor
        [1, N, N, token_z].

    Raises
    ------
    InputError
        If there is more than one structure, or the file cannot be written.
    """
    if features.batch_size != 1:
        raise InputError(f"{path}: features of {features.batch_size} structures; write one file for each")
    present = torch.nonzero(features.token_mask[0]).flatten()
    single = {"s_inputs": s_inputs, "s": s}
    pair = {"z": z, "relative_positions": relative_positions}
    tensors = {name: tensor[0, present].float() for name, tensor in single.items()}
    tensors |= {name: tensor[0, present[:, None], present].float() for name, tensor in pair.items()}
    cropped = features.crop(present).to("cpu")
    tensors |= {f"features.{name}": getattr(cropped, name) for name in tensor_fields()}
    labels: dict[str, list[str]] = {}
    for kind, terms in _lists(cropped.restraints).items():
        tensors |= {f"restraints.{kind}.{name}": tensor for name, tensor in _tensors_of(terms).items()}
        labels[kind] = list((terms.terms if isinstance(terms, PlaceTerms) else terms).labels)
    header = {"kind": _KIND, "format_version": FORMAT_VERSION, "frazil_version": __version__}
    save_tensors(Path(path), tensors, {**header, "labels": labels, "cif": cif})


def read_conditioning(path: str | Path) -> Conditioned:
    """Read what `write_conditioning` wrote.

    Raises
    ------
    InputError
        If the file is missing, truncated, foreign, holds NaN or contradicts itself.
    """
    path = Path(path)
    tensors, header = _content(path)
    try:
        features = _features(tensors)
        restraints = _restraints(tensors, header.get("labels"), features.num_atoms)
    except _Contradiction as error:
        raise InputError(f"{path}: damaged conditioning file ({error}); {_AGAIN}") from None
    features = replace(features, restraints=restraints)
    trunk = FileTrunk(path)
    tokens = trunk.get_buffer("s").shape[0]
    if tokens != features.num_tokens:
        raise InputError(f"{path}: representations of {tokens} tokens, features of {features.num_tokens}; {_AGAIN}")
    name = safe_name(path.name.removesuffix(SUFFIX).removesuffix(".safetensors"))
    structure = structure_of_features(str(header.get("cif", "")), features, name=name, source=str(path))
    return Conditioned(name, path, structure, features, trunk)


def is_conditioning(source: str | Path) -> bool:
    """Whether an input is meant to be a conditioning file, by its name; Boltz-2's own embeddings are refused.

    Raises
    ------
    InputError
        If it is an existing .npz, such as Boltz-2 writes with `--write_embeddings`.
    """
    suffix = Path(source).suffix.lower()
    if suffix == ".npz" and Path(source).is_file():
        raise InputError(
            f"{source}: Boltz's embeddings lack s_inputs (they hold s and z alone), so nothing can be sampled from "
            "them; run `frazil boltz predict --write-conditioning` and give its <id>_conditioning.safetensors"
        )
    return suffix == ".safetensors"


class _Contradiction(Exception):
    """What is wrong with the content of a file."""


def _content(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors but for the representations, and the header."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the conditioning file in it")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER_KEY, "null"))
            wanted = [name for name in file.keys() if name not in FileTrunk.NAMES]  # noqa: SIM118 (not a mapping)
            ours = isinstance(header, dict) and header.get("kind") == _KIND
            tensors = {name: file.get_tensor(name) for name in wanted} if ours else {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: truncated, or no conditioning file ({reason}); {_AGAIN}") from error
    if isinstance(header, dict) and "config" in header:
        raise InputError(f"{path}: is a model, not an input; give it with --checkpoint")
    if not ours:
        raise InputError(f"{path}: safetensors, but no conditioning file; {_AGAIN}")
    if header.get("format_version") != FORMAT_VERSION:
        version = str(header.get("format_version"))[:20]
        raise InputError(f"{path}: written in format {version}, this frazil reads {FORMAT_VERSION}; update frazil")
    return tensors, header


def _lists(restraints: Restraints) -> dict[str, Terms | PlaceTerms]:
    return {field.name: getattr(restraints, field.name) for field in fields(Restraints)}


def _tensors_of(terms: Terms | PlaceTerms) -> dict[str, Tensor]:
    if isinstance(terms, PlaceTerms):
        return {**_tensors_of(terms.terms), "places": terms.places, "aligned": terms.aligned}
    return {field.name: getattr(terms, field.name) for field in fields(Terms) if field.name != "labels"}


def _features(tensors: Mapping[str, Tensor]) -> Features:
    """The features, every shape, type and range checked."""
    # files written before the field was there do not hold it
    absent = {"features.ref_chirality": torch.zeros_like(_tensor(tensors, "features.ref_element"))}
    found = {name: _tensor({**absent, **tensors}, f"features.{name}") for name in tensor_fields()}
    sizes = {axis: _length(found, name, dim) for axis, name, dim in _AXIS_OF}
    for name, tensor in found.items():
        shape = (1, *(sizes[axis] for axis in axes_of(name)), *_TRAILING.get(name, ()))
        kind = torch.bool if name in _MASKS else torch.float32 if name in _NUMBERS else torch.int64
        _same(f"features.{name}", tensor, shape, kind)
    bounds = dict(_CLASSES) | {"atom_token_index": sizes["token"], "representative_atom_index": sizes["atom"]}
    for name, most in bounds.items():
        _within(f"features.{name}", found[name], 0, most)
    _within("features.token_bonds", found["token_bonds"], -1, sizes["token"])
    if not (found["token_mask"].all() and found["atom_mask"].all()):
        raise _Contradiction("its masks leave out tokens or atoms")
    for name in ("atom_token_index", "asym_id"):
        if (torch.diff(found[name][0]) < 0).any():
            raise _Contradiction(f"features.{name} is not in order")
    if len(torch.unique(found["atom_token_index"])) != sizes["token"]:
        raise _Contradiction("some tokens have no atom")
    fields_of: dict[str, Any] = found
    return Features(**fields_of)


_AXIS_OF: Final = (
    ("token", "token_mask", 1),
    ("atom", "atom_mask", 1),
    ("bond", "token_bonds", 1),
    ("model", "coords", 1),
)
"""Which length is that of which feature."""


def _restraints(tensors: Mapping[str, Tensor], labels: Any, num_atoms: int) -> Restraints:
    """The restraints, every shape, type and range checked."""
    found: dict[str, Any] = {}
    for kind, empty in _lists(Restraints.none()).items():
        plain = empty.terms if isinstance(empty, PlaceTerms) else empty
        names = labels.get(kind, []) if isinstance(labels, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _Contradiction(f"the labels of {kind} are no texts")
        terms = _terms(tensors, f"restraints.{kind}", plain, tuple(names), num_atoms)
        found[kind] = terms
        if isinstance(empty, PlaceTerms):
            places, aligned = (_tensor(tensors, f"restraints.{kind}.{name}") for name in ("places", "aligned"))
            _same(f"restraints.{kind}.places", places, (len(terms), 3), torch.float32)
            _same(f"restraints.{kind}.aligned", aligned, (terms.num_groups,), torch.bool)
            found[kind] = PlaceTerms(terms, places, aligned)
    return Restraints(**found)


def _terms(tensors: Mapping[str, Tensor], where: str, empty: Terms, labels: tuple[str, ...], num_atoms: int) -> Terms:
    parts = {name: _tensor(tensors, f"{where}.{name}") for name in _tensors_of(empty)}
    count = _length(parts, "atoms", 0)
    for name, tensor in parts.items():
        _same(f"{where}.{name}", tensor, (count, *getattr(empty, name).shape[1:]), getattr(empty, name).dtype)
    _within(f"{where}.atoms", parts["atoms"], 0, num_atoms)
    _within(f"{where}.structure", parts["structure"], 0, 1)
    steps = torch.diff(parts["group"], prepend=parts["group"].new_tensor([-1]))
    first = steps[:1]
    if ((steps < 0) | (steps > 1)).any() or (first != 1).any():
        raise _Contradiction(f"the groups of {where} are not in order")
    terms = Terms(**parts, labels=labels)
    if len(labels) not in (0, terms.num_groups):
        raise _Contradiction(f"{where} has {terms.num_groups} groups and {len(labels)} labels")
    for name in ("lower", "upper", "weight"):
        if parts[name].isnan().any():
            raise _Contradiction(f"{where}.{name} holds NaN")
    if not ((parts["weight"] >= 0) & parts["weight"].isfinite()).all():
        raise _Contradiction(f"{where}.weight holds a number below 0, or infinity")
    return terms


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise _Contradiction(f"no {name}")
    return tensors[name]


def _length(tensors: Mapping[str, Tensor], name: str, dim: int) -> int:
    if tensors[name].dim() <= dim:
        raise _Contradiction(f"{name} has too few axes")
    return tensors[name].shape[dim]


def _same(name: str, tensor: Tensor, shape: tuple[int, ...], kind: torch.dtype) -> None:
    if (tuple(tensor.shape), tensor.dtype) != (shape, kind):
        raise _Contradiction(f"{name} is {list(tensor.shape)} {tensor.dtype}, not {list(shape)} {kind}")
    if tensor.is_floating_point() and name.startswith("features.") and not bool(torch.isfinite(tensor).all()):
        raise _Contradiction(f"{name} holds NaN")


def _within(name: str, tensor: Tensor, least: int, most: int) -> None:
    if tensor.numel() and (int(tensor.min()) < least or int(tensor.max()) >= most):
        raise _Contradiction(f"{name} goes beyond {least}..{most - 1}")
