"""Guidance against a denoiser that wants the wrong hand: 50 ligands of the CCD, judged by RDKit from coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from torch import Tensor

from frazil import data
from frazil.data import featurize, physical_restraints
from frazil.data.structure import Structure
from frazil.data.topology import stereocentres
from frazil.data.write import to_rdkit
from frazil.features import Features
from frazil.geometry import rigid_align
from frazil.noise import KarrasSchedule
from frazil.potentials import default_potentials
from frazil.sampler import PerSampleNoise, Sampler, Steering
from frazil.steering import Guidance, ParticleFilter

pytestmark = pytest.mark.slow

LIGANDS = """
    E5C TMC XY7 YY5 096 9GF ANK GST BDW Y70 VQF EPY N3Z XTJ WE1 JN3 BJQ QPU ARP MKA R7D SMG HRT AHQ JRH 13S 4E7 USV
    CDO 1DM RRV HJL 9CC 1O8 KO0 8CT 2F0 VPX 5BW R04 906 2E3 QSJ 9F2 91O U12 NQF EOC NZV LTO
""".split()  # noqa: SIM905
"""Drawn at random from the CCD: 8-40 heavy atoms, at least one stereocentre or stereo double bond."""
SPREAD = 1.5
"""Angstrom, standard deviation of the Gaussian."""
SAMPLES = 2


@dataclass(frozen=True, eq=False)
class Ligand:
    structure: Structure
    features: Features
    wrong: Tensor
    """[A, 3], a conformer in which every centre and double bond is inverted."""

    @classmethod
    def of(cls, code: str) -> Ligand:
        structure = data.read(code)
        features = replace(featurize(structure), restraints=physical_restraints(structure))
        return cls(structure, features, torch.tensor(inverted(structure), dtype=torch.float32))

    def verdicts(self, coords: Tensor) -> list[tuple[bool, bool]]:
        """Right hand and side throughout; bonds and angles in their bounds; of each sample."""
        right = self.stereo(self.structure.ref_pos)
        terms = self.features.restraints.distance_bounds
        terms = terms.keep(torch.isfinite(terms.upper))
        distance = (coords[:, terms.atoms[:, 0]] - coords[:, terms.atoms[:, 1]]).norm(dim=-1)
        inside = ((distance > terms.lower - 0.01) & (distance < terms.upper + 0.01)).all(dim=-1)
        return [(self.stereo(x.numpy()) == right, bool(ok)) for x, ok in zip(coords, inside, strict=True)]

    def stereo(self, coords: np.ndarray) -> dict[tuple[str, int], str]:
        """R, S, E and Z by RDKit from coordinates; not of centres that resonance makes none, as phosphates."""
        mol = to_rdkit(self.structure, 0, coords)
        Chem.AssignStereochemistryFrom3D(mol)
        real = set(stereocentres(self.structure)[:, 0].tolist())
        hands = {
            ("atom", atom.GetIdx()): atom.GetProp("_CIPCode")
            for atom in mol.GetAtoms()
            if atom.HasProp("_CIPCode") and (atom.GetIdx() in real or atom.GetSymbol() == "C")
        }
        sides = {
            ("bond", bond.GetIdx()): str(bond.GetStereo())
            for bond in mol.GetBonds()
            if bond.GetStereo() in (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOZ)
        }
        return {**hands, **sides}


@dataclass(frozen=True, eq=False)
class Ligands:
    """All of them, drawn together."""

    each: list[Ligand]
    features: Features
    wrong: Tensor
    """[B, 1, A, 3]."""

    @classmethod
    def of(cls, codes: Sequence[str]) -> Ligands:
        each = [Ligand.of(code) for code in codes]
        features = Features.stack([one.features for one in each])
        wrong = torch.zeros_like(features.ref_pos)
        for row, one in enumerate(each):
            wrong[row, : len(one.wrong)] = one.wrong
        return cls(each, features, wrong[:, None])

    def denoise(self, coords: Tensor, sigma: Tensor) -> Tensor:
        """The exact denoiser of a Gaussian about the wrong conformer, laid onto the sample."""
        mean = rigid_align(self.wrong.expand_as(coords), coords, self.features.atom_mask[:, None].float())
        variance = sigma[..., None, None] ** 2
        return (SPREAD**2 * coords + variance * mean) / (SPREAD**2 + variance)

    def verdicts(self, steering: Steering | None) -> list[tuple[bool, bool]]:
        """Of all samples drawn with it."""
        sampler = Sampler(KarrasSchedule(), steering=steering)
        noise = PerSampleNoise(0, [one.structure.name for one in self.each])
        drawn = sampler.sample(self.denoise, self.features.atom_mask, SAMPLES, 100, noise).coords
        return [
            verdict
            for one, coords in zip(self.each, drawn, strict=True)
            for verdict in one.verdicts(coords[:, : one.features.num_atoms])
        ]


def inverted(structure: Structure) -> np.ndarray:
    """A conformer with every centre and stereo double bond inverted; the mirror image if there is none."""
    mol = to_rdkit(structure, 0, structure.ref_pos)
    Chem.AssignStereochemistryFrom3D(mol)
    mol.RemoveAllConformers()
    # not one dictionary: members of these two enumerations compare equal
    hand = {
        Chem.ChiralType.CHI_TETRAHEDRAL_CW: Chem.ChiralType.CHI_TETRAHEDRAL_CCW,
        Chem.ChiralType.CHI_TETRAHEDRAL_CCW: Chem.ChiralType.CHI_TETRAHEDRAL_CW,
    }
    side = {Chem.BondStereo.STEREOE: Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOZ: Chem.BondStereo.STEREOE}
    for atom in mol.GetAtoms():
        atom.SetChiralTag(hand.get(atom.GetChiralTag(), atom.GetChiralTag()))
    for bond in mol.GetBonds():
        bond.SetStereo(side.get(bond.GetStereo(), bond.GetStereo()))
    with_hydrogens = Chem.AddHs(mol)
    with rdBase.BlockLogs():
        made = rdDistGeom.EmbedMolecule(with_hydrogens, randomSeed=1, maxAttempts=20)
    if made != 0:
        return structure.ref_pos * np.array([-1.0, 1.0, 1.0])
    return with_hydrogens.GetConformer().GetPositions()[: mol.GetNumAtoms()]


@pytest.fixture(scope="module")
def ligands() -> Ligands:
    return Ligands.of(LIGANDS)


def shares(ligands: Ligands, steering: Steering | None, told: str) -> tuple[float, float]:
    """Share of samples with the right stereo, and of those that also have bonds and angles in their bounds."""
    verdicts = np.array(ligands.verdicts(steering))
    right, all_right = verdicts[:, 0].mean(), verdicts.all(axis=1).mean()
    print(f"{told}: right stereo {right:.1%}, and bonds and angles in their bounds {all_right:.1%}")
    return float(right), float(all_right)


def guided(ligands: Ligands, last_step: bool = True) -> Guidance:
    return Guidance(default_potentials(ligands.features, ("physical",)), last_step=last_step)


def test_the_denoiser_alone_is_wrong(ligands: Ligands) -> None:
    right, _ = shares(ligands, None, "unguided")
    assert right < 0.3


def test_guidance_turns_wrong_hands_and_sides_right(ligands: Ligands) -> None:
    right, all_right = shares(ligands, guided(ligands), "guided")
    assert right >= 0.95
    assert all_right >= 0.95


def test_the_last_step_is_worth_stating(ligands: Ligands) -> None:
    right, _ = shares(ligands, guided(ligands, last_step=False), "guided up to the last step but one")
    assert right >= 0.9


def test_particles_do_no_harm(ligands: Ligands) -> None:
    filtered = ParticleFilter(default_potentials(ligands.features, ("physical",)), guidance=guided(ligands))
    right, all_right = shares(ligands, filtered, "three particles, guided")
    assert right >= 0.95
    assert all_right >= 0.95
