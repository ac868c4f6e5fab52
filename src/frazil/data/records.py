"""What a store keeps of a structure, and its form on disk."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load
from torch import Tensor

from frazil._version import __version__
from frazil.errors import InputError
from frazil.features import Features, tensor_fields
from frazil.restraints import Restraints

_CONFORMERS: Final = "conformers"
_PLACED: Final = "placed"
_FIELDS: Final = frozenset(tensor_fields()) - {"ref_pos"}
_NO_RESTRAINTS: Final = Restraints.none()
"""Shared, since making it takes as long as reading a record."""


@dataclass(frozen=True, eq=False)
class StoredStructure:
    """One structure as it is kept."""

    features: Features
    """B = 1, unpadded."""
    conformers: Tensor
    """[C, A, 3] float32, angstrom: reference conformers to choose from, the first that of `features`."""
    label: str = ""
    """SMILES of a ligand."""
    origin: str = ""
    """Where it came from: a CCD code, a file, or a file and the number of a record."""
    placed: Tensor | None = None
    """[C, A, 3] float32, angstrom: a ligand's coordinates for each conformer, equivalent atoms exchanged to lie nearest
    to it."""

    def with_conformer(self, index: int) -> Features:
        """The features with another of the reference conformers, and the coordinates placed by it."""
        chosen = index % len(self.conformers)
        features = replace(self.features, ref_pos=self.conformers[chosen][None])
        return features if self.placed is None else replace(features, coords=self.placed[chosen][None, None])


@dataclass(frozen=True)
class Record:
    """A structure as bytes, cheap to send between processes."""

    content: bytes
    num_tokens: int
    label: str
    origin: str

    @classmethod
    def of(cls, structure: StoredStructure) -> Record:
        """The record of a structure."""
        return cls(encode(structure), structure.features.num_tokens, structure.label, structure.origin)


@dataclass(frozen=True)
class Refusal:
    """An entry that was looked at and not stored."""

    name: str
    origin: str
    reason: str
    num_atoms: int | None = None
    """Heavy atoms of one that is whole, but outside the limits of size."""


def encode(structure: StoredStructure) -> bytes:
    """A record's bytes: safetensors."""
    tensors = {name: getattr(structure.features, name) for name in _FIELDS} | {_CONFORMERS: structure.conformers}
    if structure.placed is not None:
        tensors[_PLACED] = structure.placed
    # as arrays, since safetensors refuses torch's tensors that share memory
    content: bytes = save({name: np.ascontiguousarray(tensor.numpy()) for name, tensor in tensors.items()})
    return content


def decode(content: bytes) -> StoredStructure:
    """Inverse of `encode`, but for the label and the origin.

    Raises
    ------
    InputError
        If the bytes are damaged, or another version's.
    """
    try:
        tensors: dict[str, Any] = load(content)
    except SafetensorError as error:
        raise InputError(f"damaged ({error})") from error
    conformers, placed = tensors.pop(_CONFORMERS, None), tensors.pop(_PLACED, None)
    if conformers is None or tensors.keys() != _FIELDS:
        unlike = ", ".join(sorted(tensors.keys() ^ _FIELDS)) or _CONFORMERS
        raise InputError(f"of another version of frazil than this ({__version__}), whose features differ in {unlike}")
    features = Features(**tensors, ref_pos=conformers[:1], restraints=_NO_RESTRAINTS)
    return StoredStructure(features, conformers, placed=placed)


@dataclass(frozen=True)
class Row:
    """What is known of a record without reading it."""

    num_tokens: int
    label: str
    origin: str
    checksum: int | None

    @classmethod
    def of(cls, record: Record) -> Row:
        """The row of a record."""
        return cls(record.num_tokens, record.label, record.origin, zlib.crc32(record.content))

    @classmethod
    def parse(cls, content: bytes) -> Row:
        """Inverse of `json`; rows of the first stores lack all but the tokens."""
        row = json.loads(content)
        return cls(int(row["tokens"]), row.get("label", ""), row.get("origin", ""), row.get("crc32"))

    def json(self) -> bytes:
        """The row's bytes."""
        row = {"tokens": self.num_tokens, "label": self.label, "origin": self.origin, "crc32": self.checksum}
        return json.dumps(row).encode()
