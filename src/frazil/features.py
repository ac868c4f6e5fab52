"""`Features`: the frozen record of one batch of structures, as the network reads it.

Axes: B structures, N tokens, A atoms, E models of an ensemble, K covalent bonds between tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from frazil.restraints import Restraints

ATOM_AXIS, TOKEN_AXIS, BOND_AXIS, MODEL_AXIS, ENSEMBLE_ATOM_AXES, BATCH_ONLY = (
    "atom",
    "token",
    "bond",
    "model",
    "model,atom",
    "",
)
_AXES = {
    "token_bonds": BOND_AXIS,
    "token_bond_type": BOND_AXIS,
    "coords": ENSEMBLE_ATOM_AXES,
    "resolved_mask": ENSEMBLE_ATOM_AXES,
    "ensemble_size": BATCH_ONLY,
}
_PADDING = {"token_bonds": -1}


@dataclass(frozen=True, eq=False)
class Features:
    """One batch of tokenised structures (AlphaFold 3, Table 5, plus the truth to train on).

    Coordinates are in angstrom, float32; masks bool; indices int64. Padding rows are zero (-1 in `token_bonds`) and
    False in `token_mask` and `atom_mask`. Atoms of a token are contiguous and in token order.
    """

    token_mask: Tensor
    """[B, N] bool, True for tokens that exist."""
    token_index: Tensor
    """[B, N] int64, position of the token in its uncropped structure, from 0."""
    residue_index: Tensor
    """[B, N] int64, position of the residue in its chain's sequence, from 0."""
    asym_id: Tensor
    """[B, N] int64, chain, from 0."""
    entity_id: Tensor
    """[B, N] int64, distinct sequence or molecule, from 0."""
    sym_id: Tensor
    """[B, N] int64, copy of the entity, from 0."""
    mol_type: Tensor
    """[B, N] int64, `chemistry.PROTEIN`, `DNA`, `RNA` or `NONPOLYMER`."""
    res_type: Tensor
    """[B, N] int64, index into `chemistry.RESIDUE_TYPES`."""
    modified: Tensor
    """[B, N] bool, token of a modified polymer residue."""
    cyclic_period: Tensor
    """[B, N] int64, residues in the ring of a cyclic polymer, 0 for a linear one."""
    representative_atom_index: Tensor
    """[B, N] int64, atom of C-beta (glycine: C-alpha), C4/C2 of the base, or the token's own atom."""
    token_bonds: Tensor
    """[B, K, 2] int64, token pairs joined by a covalent bond other than a polymer's own backbone; -1 is padding."""
    token_bond_type: Tensor
    """[B, K] int64, bond order 1-3, 4 aromatic, 5 other (metal coordination, inter-residue cross-link)."""
    atom_mask: Tensor
    """[B, A] bool, True for atoms that exist, resolved or not."""
    atom_token_index: Tensor
    """[B, A] int64, token of each atom."""
    ref_pos: Tensor
    """[B, A, 3] float32, reference conformer of the atom's residue or ligand."""
    ref_element: Tensor
    """[B, A] int64, atomic number."""
    ref_charge: Tensor
    """[B, A] float32, formal charge."""
    ref_atom_name_chars: Tensor
    """[B, A, 4] int64, `chemistry.encode_atom_name`."""
    ref_space_uid: Tensor
    """[B, A] int64, reference conformer (residue or ligand) that the atom belongs to, from 0."""
    ref_chirality: Tensor
    """[B, A] int64, handedness of a stereocentre whose neighbours are tokens of one atom: 1 if the first three of them,
    in rising order, lie anticlockwise as seen from outside, 2 if clockwise; 0 for any other atom."""
    backbone_index: Tensor
    """[B, A] int64, `chemistry.backbone_class`."""
    plddt: Tensor
    """[B, A] float32, 0-100; 100 for an experimental structure."""
    coords: Tensor
    """[B, E, A, 3] float32, angstrom; zero where unresolved."""
    resolved_mask: Tensor
    """[B, E, A] bool, True where `coords` were observed."""
    ensemble_size: Tensor
    """[B] int64, models that exist of the E."""
    restraints: Restraints = field(default_factory=Restraints.none)
    """What samples are held to; training does not read it."""

    @property
    def batch_size(self) -> int:
        """B."""
        return self.token_mask.shape[0]

    @property
    def num_tokens(self) -> int:
        """N, padding included."""
        return self.token_mask.shape[1]

    @property
    def num_atoms(self) -> int:
        """A, padding included."""
        return self.atom_mask.shape[1]

    @property
    def device(self) -> torch.device:
        """Device of every field."""
        return self.token_mask.device

    def map(self, change: Callable[[Tensor], Tensor]) -> Features:
        """The record with `change` applied to every tensor but those of the restraints."""
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in tensor_fields()}
        return replace(self, **changed)

    def to(self, device: torch.device | str) -> Features:
        """The record on another device."""
        moved = self.map(lambda tensor: tensor.to(device, non_blocking=True))
        return replace(moved, restraints=self.restraints.to(device))

    def select(self, index: int | slice) -> Features:
        """The structures `index` of the batch; an int keeps the batch axis with length 1."""
        rows = slice(index, index + 1) if isinstance(index, int) else index
        kept = range(self.batch_size)[rows]
        return replace(self.map(lambda tensor: tensor[rows]), restraints=self.restraints.select(kept))

    def refuse_several(self, worker: str) -> None:
        """Refuse a batch where `worker` takes one structure, B = 1.

        Raises
        ------
        ValueError
            If the batch holds more than one structure.
        """
        if self.batch_size != 1:
            raise ValueError(f"{worker} works on one structure, this batch holds {self.batch_size}")

    def pad(
        self, *, num_tokens: int | None = None, num_atoms: int | None = None,
        num_bonds: int | None = None, num_models: int | None = None,
    ) -> Features:  # fmt: skip
        """The record padded to at least these lengths; a length below the present one is an error.

        Raises
        ------
        ValueError
            If an axis is longer than asked for.
        """
        wanted = {"token": num_tokens, "atom": num_atoms, "bond": num_bonds, "model": num_models}
        changed: dict[str, Any] = {}
        for name in tensor_fields():
            tensor = getattr(self, name)
            for dim, axis in enumerate(axes_of(name), start=1):
                length = wanted[axis]
                if length is not None:
                    tensor = _pad_dim(tensor, dim, length, _PADDING.get(name, 0), name)
            changed[name] = tensor
        return replace(self, **changed)

    def pad_to_multiple(self, atoms: int = 32) -> Features:
        """The record with its atom axis padded to a multiple of the attention window (at least one window)."""
        return self.pad(num_atoms=max(1, -(-self.num_atoms // atoms)) * atoms)

    def crop(self, token_indices: Tensor) -> Features:
        """One structure (B = 1) restricted to some tokens, with their atoms and the bonds between them.

        Parameters
        ----------
        token_indices : Tensor
            [n] int64, rising, tokens to keep.

        Raises
        ------
        ValueError
            If the batch holds more than one structure.
        """
        self.refuse_several("crop")
        new_token = torch.full((self.num_tokens,), -1, dtype=torch.int64, device=self.device)
        new_token[token_indices] = torch.arange(len(token_indices), device=self.device)
        token_of_atom = new_token[self.atom_token_index[0]]
        atoms = torch.nonzero((token_of_atom >= 0) & self.atom_mask[0]).squeeze(1)
        new_atom = torch.full((self.num_atoms,), -1, dtype=torch.int64, device=self.device)
        new_atom[atoms] = torch.arange(len(atoms), device=self.device)
        bonds = torch.where(self.token_bonds >= 0, new_token[self.token_bonds.clamp(min=0)], -1)
        kept_bonds = torch.nonzero((bonds[0] >= 0).all(dim=-1)).squeeze(1)
        keep = {"token": token_indices, "atom": atoms, "bond": kept_bonds}
        changed: dict[str, Any] = {"restraints": self.restraints.crop(new_atom)}
        for name in tensor_fields():
            tensor = getattr(self, name)
            for dim, axis in enumerate(axes_of(name), start=1):
                if axis in keep:
                    tensor = tensor.index_select(dim, keep[axis])
            changed[name] = tensor
        changed["token_bonds"] = bonds[:, kept_bonds]
        changed["atom_token_index"] = token_of_atom[atoms][None]
        changed["representative_atom_index"] = new_atom[changed["representative_atom_index"]].clamp(min=0)
        return replace(self, **changed)

    @staticmethod
    def stack(batch: Sequence[Features], *, window: int = 32) -> Features:
        """Structures of unlike sizes padded to common lengths and joined along the batch axis.

        Parameters
        ----------
        batch : sequence of Features
            Records of one or more structures each.
        window : int
            The atom axis is padded to a multiple of this.
        """
        if not batch:
            raise ValueError("an empty list of structures cannot be stacked")
        atoms = max(1, -(-max(f.num_atoms for f in batch) // window)) * window
        padded = [
            f.pad(
                num_tokens=max(g.num_tokens for g in batch),
                num_atoms=atoms,
                num_bonds=max(g.token_bonds.shape[1] for g in batch),
                num_models=max(g.coords.shape[1] for g in batch),
            )
            for f in batch
        ]
        first_rows = [sum(f.batch_size for f in batch[:index]) for index in range(len(batch))]
        return Features(
            **{name: torch.cat([getattr(p, name) for p in padded]) for name in tensor_fields()},
            restraints=Restraints.join([p.restraints for p in padded], first_rows),
        )


def tensor_fields() -> tuple[str, ...]:
    """Names of the fields of `Features` that are tensors with a batch axis: all but the restraints."""
    return tuple(f.name for f in fields(Features) if f.name != "restraints")


def axes_of(field_name: str) -> tuple[str, ...]:
    """Names of the padded axes of a field of `Features` after the batch axis, in order.

    >>> axes_of("coords"), axes_of("token_bonds"), axes_of("ref_pos"), axes_of("asym_id")
    (('model', 'atom'), ('bond',), ('atom',), ('token',))
    """
    if field_name in _AXES:
        return tuple(axis for axis in _AXES[field_name].split(",") if axis)
    atom_field = field_name.startswith(("atom_", "ref_")) or field_name in ("backbone_index", "plddt")
    return (ATOM_AXIS,) if atom_field else (TOKEN_AXIS,)


def _pad_dim(tensor: Tensor, dim: int, length: int, value: int, name: str) -> Tensor:
    missing = length - tensor.shape[dim]
    if missing < 0:
        raise ValueError(f"{name} has {tensor.shape[dim]} entries along axis {dim}, more than {length}")
    if missing == 0:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor, tensor.new_full(shape, value)], dim=dim)
