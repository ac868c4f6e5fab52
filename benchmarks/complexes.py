"""A synthetic complex in the layout of Boltz-2's features, on which each of its nine potentials has something to do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from boltz.data.parse import schema
from rdkit import Chem
from rdkit.Chem import AllChem
from torch import Generator, Tensor
from torch.nn.functional import one_hot

# Leucine, an average residue in size; the last residue of a chain holds as many of its atoms as are left.
_RESIDUE = (
    ("N", 7, (-0.53, 1.36, 0.00)), ("CA", 6, (0.00, 0.00, 0.00)), ("C", 6, (1.52, 0.00, 0.00)),
    ("O", 8, (2.15, -1.06, 0.00)), ("CB", 6, (-0.52, -0.77, -1.21)), ("CG", 6, (-0.02, -2.21, -1.30)),
    ("CD1", 6, (-0.65, -2.95, -2.47)), ("CD2", 6, (1.50, -2.27, -1.41)),
)  # fmt: skip
_SPACING = 5.43
"""Angstrom between residues on a grid: 0.05 heavy atoms per cubic angstrom, as in proteins."""
# Astaxanthin: 44 atoms, two stereocentres, nine stereo double bonds, planar bonds.
_LIGAND = "O=C1C(C)=C(C(C)(C)C[C@@H]1O)/C=C/C(C)=C/C=C/C(C)=C/C=C/C=C(C)/C=C/C=C(C)/C=C/C1=C(C)C(=O)[C@@H](O)CC1(C)C"
_ERROR = 0.5
"""Angstrom per coordinate: about that of a denoised estimate at t = 0.3."""
_CONTACTS, _ATOMS_OF_A_RESIDUE = 20, 8


@dataclass(frozen=True, eq=False)
class Complex:
    """Two copies of a chain of many atoms, and two of a ligand, one of them bound to a chain."""

    feats: dict[str, Tensor]
    """Boltz-2's features, batch of 1, as far as its potentials read them, and what converting them to ours needs."""
    coords: Tensor
    """[S, A, 3], angstrom."""


def two_chains_with_ligands(num_atoms: int, num_samples: int = 3, seed: int = 0) -> Complex:
    """The complex with `num_atoms` atoms in all."""
    g = torch.Generator().manual_seed(seed)
    ligand, places = _ligand(seed)
    size = (num_atoms - 2 * len(places)) // 2
    if 2 * (size + len(places)) != num_atoms:
        raise ValueError(f"{num_atoms} atoms are not two equal chains and two ligands: give an even number")
    chain, elements, names = _chain(size, g)
    radius = float(chain.norm(dim=-1).max())
    shift = torch.tensor([radius, 0.0, 0.0])
    outside = torch.tensor([-radius, radius + 4.0, 0.0])
    # both ligands in one place: what the term on symmetric chains is for
    truth = torch.cat([chain - shift, chain + shift, places + outside, places + outside + 1.0])
    elements = torch.cat([elements, elements, *[torch.tensor([a.GetAtomicNum() for a in ligand.GetAtoms()])] * 2])
    feats = _tokens(size, len(places)) | _atoms(elements, names, truth, len(places))
    terms = _ligand_terms(ligand, [2 * size, 2 * size + len(places)]) | _relations(truth, size, g)
    feats |= {name: value[None] for name, value in terms.items()}
    feats |= _template(feats, truth, g)
    coords = truth + _ERROR * torch.randn(num_samples, num_atoms, 3, generator=g)
    return Complex(feats, coords)


def _ligand(seed: int) -> tuple[Chem.Mol, Tensor]:
    mol = Chem.AddHs(Chem.MolFromSmiles(_LIGAND))
    AllChem.EmbedMolecule(mol, randomSeed=seed)
    mol = Chem.RemoveHs(mol)
    places = torch.tensor(mol.GetConformer().GetPositions(), dtype=torch.float32)
    return mol, places - places.mean(dim=0)


def _chain(size: int, g: Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Places [n, 3], elements [n] and names of a ball of randomly turned residues."""
    residues = -(-size // len(_RESIDUE))
    reach = int(residues ** (1 / 3)) + 2
    axis = torch.arange(-reach, reach + 1)
    grid = torch.cartesian_prod(axis, axis, axis)
    inner = grid[grid.square().sum(dim=-1).argsort(stable=True)[:residues]]
    template = torch.tensor([place for _, _, place in _RESIDUE])
    turns = torch.linalg.qr(torch.randn(residues, 3, 3, generator=g)).Q
    turns = turns * torch.linalg.det(turns)[:, None, None]
    places = (template - template.mean(dim=0)) @ turns + _SPACING * inner[:, None]
    elements = torch.tensor([number for _, number, _ in _RESIDUE]).repeat(residues)
    return places.reshape(-1, 3)[:size], elements[:size], [name for name, _, _ in _RESIDUE] * residues


def _tokens(size: int, ligand: int) -> dict[str, Tensor]:
    """A token for each residue and each atom of a ligand."""
    residue = torch.arange(size) // len(_RESIDUE)
    residues = int(residue[-1]) + 1
    alone = torch.arange(ligand)
    token = torch.cat([residue, residue + residues, alone + 2 * residues, alone + 2 * residues + ligand])
    lengths = torch.tensor([residues, residues, ligand, ligand])
    asym = torch.arange(4).repeat_interleave(lengths)
    index = torch.arange(len(asym))
    first = torch.searchsorted(token, index)
    return {
        "atom_to_token": one_hot(token, len(asym)).float()[None],
        "token_to_rep_atom": one_hot(first, len(token)).float()[None],
        "token_pad_mask": torch.ones(1, len(asym)),
        "token_index": index[None],
        "residue_index": torch.cat([torch.arange(residues)] * 2 + [torch.zeros(2 * ligand, dtype=torch.int64)])[None],
        "asym_id": asym[None],
        "entity_id": (asym // 2)[None],
        "sym_id": (asym % 2)[None],
        "mol_type": torch.where(asym < 2, 0, 3)[None],
    }


def _atoms(elements: Tensor, names: list[str], truth: Tensor, ligand: int) -> dict[str, Tensor]:
    size = (len(elements) - 2 * ligand) // 2
    spelled = [*names[:size], *names[:size], *["X"] * (2 * ligand)]
    letters = torch.tensor([[ord(letter) - 32 for letter in name.ljust(4)] for name in spelled])
    residue = torch.arange(2 * size) // size * size + torch.arange(2 * size) % size // len(_RESIDUE)
    space = torch.cat([residue, torch.arange(2).repeat_interleave(ligand) + 2 * size])
    return {
        "atom_pad_mask": torch.ones(1, len(elements)),
        "ref_pos": truth[None],
        "ref_charge": torch.zeros(1, len(elements)),
        "ref_element": one_hot(elements, 128).float()[None],
        "ref_atom_name_chars": one_hot(letters, 64).float()[None],
        "ref_space_uid": space[None],
    }


def _ligand_terms(mol: Chem.Mol, starts: list[int]) -> dict[str, Tensor]:
    """What the reference's own functions prepare of both ligands."""
    bounds, chiral, stereo, planar = [], [], [], []
    for start in starts:
        place = {i: i + start for i in range(mol.GetNumAtoms())}
        bounds += schema.compute_geometry_constraints(mol, place)
        chiral += schema.compute_chiral_atom_constraints(mol, place)
        stereo += schema.compute_stereo_bond_constraints(mol, place)
        planar += schema.compute_flatness_constraints(mol, place)[0]

    def index(terms: list) -> Tensor:
        return torch.tensor([term.atom_idxs for term in terms]).T.contiguous()

    return {
        "rdkit_bounds_index": index(bounds),
        "rdkit_bounds_bond_mask": torch.tensor([term.is_bond for term in bounds]),
        "rdkit_bounds_angle_mask": torch.tensor([term.is_angle for term in bounds]),
        "rdkit_lower_bounds": torch.tensor([term.lower_bound for term in bounds], dtype=torch.float32),
        "rdkit_upper_bounds": torch.tensor([term.upper_bound for term in bounds], dtype=torch.float32),
        "chiral_atom_index": index(chiral),
        "chiral_atom_orientations": torch.tensor([term.is_r for term in chiral]),
        "stereo_bond_index": index(stereo),
        "stereo_bond_orientations": torch.tensor([term.is_e for term in stereo]),
        "planar_bond_index": index(planar),
    }


def _relations(truth: Tensor, size: int, g: Generator) -> dict[str, Tensor]:
    """Copies of chains, a bond from the first chain to the first ligand, and contacts of any atoms of two residues."""
    first = torch.arange(_ATOMS_OF_A_RESIDUE)
    rows = torch.randint(size // _ATOMS_OF_A_RESIDUE, (2, _CONTACTS), generator=g) * _ATOMS_OF_A_RESIDUE
    pairs = torch.cartesian_prod(first, first)
    i, j = (rows[end][:, None] + pairs[:, end] + end * size for end in (0, 1))
    near = (truth[:size] - truth[2 * size]).norm(dim=-1).argmin()
    return {
        "symmetric_chain_index": torch.tensor([[0, 2], [1, 3]]),
        "connected_chain_index": torch.tensor([[0], [2]]),
        "connected_atom_index": torch.stack([near, torch.tensor(2 * size)])[:, None],
        "contact_pair_index": torch.stack([i.flatten(), j.flatten()]),
        "contact_union_index": torch.arange(_CONTACTS).repeat_interleave(len(pairs)),
        "contact_negation_mask": torch.ones(i.numel(), dtype=torch.bool),
        "contact_thresholds": torch.full((i.numel(),), 8.0),
    }


def _template(feats: dict[str, Tensor], truth: Tensor, g: Generator) -> dict[str, Tensor]:
    """A template of both chains, 2 angstrom per coordinate from the truth, to be followed to 1 angstrom."""
    places = truth[feats["token_to_rep_atom"][0].argmax(dim=-1)]
    return {
        "template_cb": (places + 2.0 * torch.randn(places.shape, generator=g))[None, None],
        "template_mask_cb": (feats["asym_id"] < 2)[None],
        "template_force": torch.ones(1, 1, dtype=torch.bool),
        "template_force_threshold": torch.ones(1, 1),
    }
