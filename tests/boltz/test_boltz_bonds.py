"""Bonds read off reference conformers, against the molecules themselves."""

from __future__ import annotations

from pathlib import Path

import torch

from frazil.boltz.bonds import covalent_bonds
from frazil.data import featurize, read
from frazil.features import Features
from frazil.restraints import Terms

YAML = """
sequences:
  - protein: {id: A, sequence: ACDEFGHIKLMNPQRSTVWY}
  - dna: {id: B, sequence: ACGT}
  - rna: {id: C, sequence: ACGU}
  - ligand: {id: D, ccd: ATP}
  - ligand: {id: E, ccd: NAD}
  - ligand: {id: F, smiles: "FC(F)(F)c1cc(Cl)c(Br)c(I)c1S(=O)(=O)N2CC2C#N"}
"""


def pairs(bonds: Terms) -> set[tuple[int, ...]]:
    return {tuple(sorted(pair)) for pair in bonds.atoms.tolist()}


def test_bonds_of_polymers_and_ligands_are_the_molecules(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(YAML)
    structure = read(tmp_path / "in.yaml")
    expected = {tuple(sorted(bond)) for bond in structure.atoms.bonds.as_array()[:, :2].tolist()}
    assert pairs(covalent_bonds(featurize(structure))) == expected


def test_each_structure_has_its_bonds_and_padding_none(tmp_path: Path) -> None:
    parts = []
    for name, sequence in (("a", "GAVS"), ("b", "WC")):
        (tmp_path / f"{name}.yaml").write_text(f"sequences: [{{protein: {{id: A, sequence: {sequence}}}}}]")
        parts.append(featurize(read(tmp_path / f"{name}.yaml")))
    both = covalent_bonds(Features.stack(parts))
    for row, alone in enumerate(parts):
        assert pairs(both.keep(both.structure == row)) == pairs(covalent_bonds(alone))


def test_a_ring_is_closed_and_chains_are_not_joined(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text("sequences: [{protein: {id: [A, B], sequence: GGG}}]")
    features = featurize(read(tmp_path / "in.yaml"))
    assert len(covalent_bonds(features)) == 2 * (3 * 3 + 2)
    ring = Features(**{**vars(features), "cyclic_period": torch.full_like(features.cyclic_period, 3)})
    assert len(covalent_bonds(ring)) == 2 * (3 * 3 + 3)
