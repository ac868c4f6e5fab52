"""Contacts and pockets as a person asked Boltz-2 for them: every one, enforced or not, by its name."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from frazil.chemistry import NONPOLYMER
from frazil.features import Features
from frazil.restraints import Terms

Place = tuple[int, int]
"""Chain, and residue of a polymer from 0 or atom of a ligand, as Boltz-2's records have them."""


def atom_names(record: Any, features: Features) -> list[str]:
    """[A] `chain:residue:atom` of each atom of an input, as `frazil sample` calls them; padding has some name too.

    Parameters
    ----------
    record : boltz.data.types.Record
        For the names of chains.
    features : Features
        The input alone (B = 1).
    """
    chains = _chains(record)
    token = features.atom_token_index[0]
    owner, residue = (part[0][token].tolist() for part in (features.asym_id, features.residue_index))
    texts = ("".join(chr(code + 32) for code in codes).strip() for codes in features.ref_atom_name_chars[0].tolist())
    return [f"{chains.get(c, c)}:{r + 1}:{text}" for c, r, text in zip(owner, residue, texts, strict=True)]


def asked_contacts(record: Any, features: Features) -> Terms:
    """The contacts and pockets of an input, each contact of a pocket a restraint of its own.

    What Boltz-2 was not told to force it does not hold the samples to; it is here with weight 0, to be judged only.
    What names no atom, as Boltz-2 lets pass, is left out with a warning.

    Parameters
    ----------
    record : boltz.data.types.Record
        With `inference_options`.
    features : Features
        The input alone (B = 1).
    """
    options = record.inference_options
    place = _Places(record, features)
    groups: list[tuple[str, Tensor, float, bool]] = []
    for binder, contacts, most, force in (options and options.pocket_constraints) or ():
        for contact in contacts:
            pairs = torch.cartesian_prod(place.chain(binder), place.atoms(contact))
            label = f"{place.chain_name(binder)},{place.text(contact)},{most:g}"
            groups.append((label, pairs.reshape(-1, 2), most, force))
    for first, second, most, force in (options and options.contact_constraints) or ():
        pairs = torch.cartesian_prod(place.atoms(first), place.atoms(second))
        groups.append((f"{place.text(first)},{place.text(second)},{most:g}", pairs.reshape(-1, 2), most, force))
    for label in [label for label, pairs, _, _ in groups if not len(pairs)]:
        warnings.warn(f"{record.id}: contact {label}: names no atom of the input, and is left out", stacklevel=2)
    groups = [one for one in groups if len(one[1])]
    if not groups:
        return Terms.none(2)
    counts = torch.tensor([len(pairs) for _, pairs, _, _ in groups])
    return Terms.of(
        torch.cat([pairs for _, pairs, _, _ in groups]),
        upper=torch.tensor([float(most) for _, _, most, _ in groups]).repeat_interleave(counts),
        weight=torch.tensor([float(force) for _, _, _, force in groups]).repeat_interleave(counts),
        group=torch.arange(len(groups)).repeat_interleave(counts),
        labels=[label for label, _, _, _ in groups],
    )


class _Places:
    """Atoms and names of chains, residues and ligand atoms."""

    def __init__(self, record: Any, features: Features) -> None:
        self._chain_names = _chains(record)
        self._names = atom_names(record, features)
        token = features.atom_token_index[0]
        self._exists = features.atom_mask[0]
        self._chain, self._residue = features.asym_id[0][token], features.residue_index[0][token]
        self._is_ligand = features.mol_type[0][token] == NONPOLYMER

    def chain(self, chain: int) -> Tensor:
        """Its atoms."""
        return torch.nonzero(self._exists & (self._chain == chain)).flatten()

    def chain_name(self, chain: int) -> str:
        return self._chain_names.get(chain, str(chain))

    def atoms(self, place: Place) -> Tensor:
        """Those of a residue, or the one of a ligand."""
        chain, number = place
        atom = torch.arange(len(self._exists))
        inside = torch.where(self._is_ligand, atom == number, self._residue == number)
        return torch.nonzero(self._exists & (self._chain == chain) & inside).flatten()

    def text(self, place: Place) -> str:
        chain, number = place
        atoms = self.atoms(place).tolist()
        if atoms and bool(self._is_ligand[atoms[0]]):
            return self._names[atoms[0]]
        return f"{self.chain_name(chain)}:{number + 1}"


def _chains(record: Any) -> dict[int, str]:
    return {chain.chain_id: chain.chain_name for chain in record.chains}
