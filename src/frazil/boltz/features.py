"""Boltz-2's dictionary of features as our record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from frazil.boltz.restraints import read_restraints
from frazil.features import Features
from frazil.nn.attention import AtomWindows


def to_features(feats: Mapping[str, Tensor]) -> Features:
    """`Features` of a batch in Boltz-2's layout, as far as the diffusion module reads them.

    Parameters
    ----------
    feats : mapping of str to Tensor
        As Boltz-2's featurizer makes them: one-hot `atom_to_token` [B, A, N], `ref_element`, `ref_atom_name_chars`
        and so on; absent atoms have rows of zeros.

    Returns
    -------
    Features
        What neither the diffusion module nor steering reads (bonds between tokens, truth) is empty, and so are the
        restraints: see `restrained_features`. What `feats` does not hold is 0.
    """
    atom_mask = feats["atom_pad_mask"].bool()
    B, A = atom_mask.shape
    N = feats["atom_to_token"].shape[-1]
    tokens = torch.zeros(B, N, dtype=torch.int64, device=atom_mask.device)
    atoms = torch.zeros(B, A, dtype=torch.int64, device=atom_mask.device)
    token_mask = feats.get("token_pad_mask", tokens + 1).bool()
    bonds = torch.full((B, 0, 2), -1, dtype=torch.int64, device=atom_mask.device)
    return Features(
        token_mask=token_mask,
        token_index=_integers(feats, "token_index", tokens),
        residue_index=_integers(feats, "residue_index", tokens),
        asym_id=_integers(feats, "asym_id", tokens),
        entity_id=_integers(feats, "entity_id", tokens),
        sym_id=_integers(feats, "sym_id", tokens),
        mol_type=_integers(feats, "mol_type", tokens),
        res_type=_class_index(feats, "res_type", tokens),
        modified=feats["modified"].bool() if "modified" in feats else token_mask & False,
        cyclic_period=_integers(feats, "cyclic_period", tokens),
        representative_atom_index=_class_index(feats, "token_to_rep_atom", tokens),
        token_bonds=bonds,
        token_bond_type=bonds[..., 0],
        atom_mask=atom_mask,
        atom_token_index=feats["atom_to_token"].argmax(dim=-1),
        ref_pos=feats["ref_pos"].float(),
        ref_element=_class_index(feats, "ref_element", atoms),
        ref_charge=feats["ref_charge"].float(),
        ref_atom_name_chars=_class_index(feats, "ref_atom_name_chars", atoms[..., None].expand(B, A, 4)),
        ref_space_uid=feats["ref_space_uid"].long(),
        ref_chirality=torch.zeros_like(atoms),
        backbone_index=_class_index(feats, "atom_backbone_feat", atoms),
        plddt=feats["plddt"].float() if "plddt" in feats else atom_mask * 100.0,
        coords=torch.zeros(B, 1, A, 3, device=atom_mask.device),
        resolved_mask=_resolved(feats, atom_mask)[:, None],
        ensemble_size=torch.ones(B, dtype=torch.int64, device=atom_mask.device),
    )


def restrained_features(feats: Mapping[str, Tensor]) -> Features:
    """`to_features` with the restraints that Boltz-2's featurizer prepared for its potentials, and bonds of tokens."""
    features = to_features(feats)
    bonds, order = _token_bonds(feats, features)
    return replace(features, restraints=read_restraints(feats, features), token_bonds=bonds, token_bond_type=order)


def _token_bonds(feats: Mapping[str, Tensor], features: Features) -> tuple[Tensor, Tensor]:
    """[B, K, 2] pairs of tokens and [B, K] their orders, 1-3, 4 aromatic and 5 other, as in `Features`."""
    if "token_bonds" not in feats:
        return features.token_bonds, features.token_bond_type
    bonded = feats["token_bonds"][..., 0].bool().triu(diagonal=1)
    # Boltz-2's classes: 1 other, 2 single, 3 double, 4 triple, 5 aromatic, 6 covalent
    kinds = feats["type_bonds"].long() if "type_bonds" in feats else bonded.long() * 2
    order = (kinds - 1).clamp(min=0)
    order = torch.where(order == 0, 5, order).clamp(max=5)
    found = [torch.nonzero(one) for one in bonded]
    longest = max((len(one) for one in found), default=0)
    pairs = torch.full((len(found), longest, 2), -1, dtype=torch.int64, device=features.device)
    orders = torch.zeros(len(found), longest, dtype=torch.int64, device=features.device)
    for row, ends in enumerate(found):
        pairs[row, : len(ends)] = ends
        orders[row, : len(ends)] = order[row, ends[:, 0], ends[:, 1]]
    return pairs, orders


def _integers(feats: Mapping[str, Tensor], name: str, default: Tensor) -> Tensor:
    return feats[name].long() if name in feats else default


def _class_index(feats: Mapping[str, Tensor], name: str, default: Tensor) -> Tensor:
    return feats[name].argmax(dim=-1) if name in feats else default


def _resolved(feats: Mapping[str, Tensor], atom_mask: Tensor) -> Tensor:
    return feats["atom_resolved_mask"].bool() if "atom_resolved_mask" in feats else atom_mask


class WindowedKeys:
    """Stands for the reference's `to_keys`: rows of atoms [B, A, D] to the keys of each window [B, K, H, D].

    Holds no tensor, so that Boltz-2 may return it from a checkpointed function.
    """

    def __init__(self, windows: AtomWindows) -> None:
        self.windows = windows

    def __call__(self, single: Tensor) -> Tensor:
        """[B, A, D] -> [B, K, H, D]."""
        return self.windows.keys(single)
