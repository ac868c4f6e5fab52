"""What the graph of one molecule says of its shape: distances, handedness, double-bond stereo and planarity."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import final

import numpy as np
from biotite.structure import dihedral
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from frazil.data.symmetry import Ints, is_metal

BOND_BUFFER = 0.125
"""Share by which bonds and 1-3 distances may leave RDKit's bounds."""
CLASH_BUFFER = 0.10
"""Share by which all other pairs may come nearer than RDKit's lower bound."""
BONDED_REACH = 0.35
"""Angstrom beyond the mean van-der-Waals radius of two atoms: no bond is longer, no other pair nearer."""
MAX_SMOOTHED_ATOMS = 256
"""Heavy atoms above which bounds are not made consistent with each other: that takes cubic time."""
MAX_BOUNDS_ATOMS = 400
"""Heavy atoms above which there are no distance bounds: RDKit takes minutes for a thousand."""

CHIRAL_ANGLE = np.pi / 6
"""Radians, least improper dihedral at a stereocentre; 0.62 in an ideal tetrahedron."""
STEREO_ANGLE = np.pi / 6
"""Radians by which a double bond may be twisted."""
PLANAR_ANGLE = np.pi / 12
"""Radians, greatest improper dihedral of a planar carbon."""

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Windows:
    """A value of k atoms each that has to lie between two bounds; angstrom or radians."""

    atoms: Ints
    """[T, k] int64."""
    lower: Floats
    """[T], -inf for no bound."""
    upper: Floats
    """[T], inf for no bound."""

    def including(self, values: Floats) -> Windows:
        """The windows widened to hold these values [T], with a thousandth to spare."""
        spare = 1e-3
        return Windows(self.atoms, np.minimum(self.lower, values - spare), np.maximum(self.upper, values + spare))

    def keep(self, kept: NDArray[np.bool_]) -> Windows:
        """Those where `kept` [T] is True."""
        return Windows(self.atoms[kept], self.lower[kept], self.upper[kept])


@final
@dataclass(frozen=True, eq=False)
class Geometry:
    """Restraints of one molecule, by the numbers of its n heavy atoms."""

    distances: Windows
    """k = 2, the first atom before the second."""
    chirality: Windows
    """k = 4: three neighbours by falling CIP rank, then the centre; improper dihedral, positive at R, negative at S."""
    stereo_bonds: Windows
    """k = 4: neighbour, both ends of a double bond, neighbour; absolute dihedral, near pi for E, near 0 for Z."""
    planar_bonds: Windows
    """k = 4: three neighbours of an sp2 carbon, then the carbon; absolute improper dihedral."""

    def including(self, coords: Floats) -> Geometry:
        """The geometry loosened where a conformer [n, 3] of the molecule itself leaves it.

        RDKit knows little of metals and strained rings; a centre of the other hand is dropped.
        """
        handed = _dihedrals(coords, self.chirality)
        same = (handed > 0) == (self.chirality.lower > 0)
        first, second = coords[self.distances.atoms].swapaxes(0, 1)
        return Geometry(
            self.distances.including(np.linalg.norm(first - second, axis=-1)),
            self.chirality.keep(same).including(handed[same]),
            self.stereo_bonds.including(np.abs(_dihedrals(coords, self.stereo_bonds))),
            self.planar_bonds.including(np.abs(_dihedrals(coords, self.planar_bonds))),
        )

    def agreement(self, coords: Floats) -> int:
        """How many centres and stereo bonds have the same hand or side in a conformer [n, 3]."""
        hands = (_dihedrals(coords, self.chirality) > 0) == (self.chirality.lower > 0)
        sides = (np.abs(_dihedrals(coords, self.stereo_bonds)) > np.pi / 2) == (self.stereo_bonds.lower > 0)
        return int(hands.sum() + sides.sum())


def geometry(mol: Chem.Mol) -> Geometry:
    """The restraints of a molecule without hydrogens whose stereo is assigned.

    Bounds by distance geometry (Crippen and Havel 1988, in RDKit's form) on the molecule with its hydrogens; R, S, E, Z
    by the rules of Cahn, Ingold and Prelog. A molecule that RDKit cannot handle gets no restraints of that kind.

    Examples
    --------
    >>> from frazil.data.molecules import mol_from_smiles
    >>> found = geometry(mol_from_smiles("C[C@H](N)C(=O)O")).chirality  # L-alanine, S
    >>> found.atoms.tolist(), found.upper.round(2).tolist()
    ([[2, 3, 0, 1]], [-0.52])
    """
    with rdBase.BlockLogs():
        ranked = _ranked(mol)
        chiral, positive = _chirality(ranked)
        double, trans = _stereo_bonds(ranked)
        planar = _planarity(ranked)
        return Geometry(
            _bounds(mol),
            _windows(chiral, np.where(positive, CHIRAL_ANGLE, -np.inf), np.where(positive, np.inf, -CHIRAL_ANGLE)),
            _windows(double, np.where(trans, np.pi - STEREO_ANGLE, -np.inf), np.where(trans, np.inf, STEREO_ANGLE)),
            _windows(planar, np.full(len(planar), -np.inf), np.full(len(planar), PLANAR_ANGLE)),
        )


def _windows(rows: list[tuple[int, ...]], lower: Floats, upper: Floats) -> Windows:
    return Windows(np.array(rows, dtype=np.int64).reshape(-1, 4), lower, upper)


def _dihedrals(coords: Floats, windows: Windows) -> Floats:
    """[T] radians; 0 where the atoms are on a line."""
    if not len(windows.atoms):
        return np.empty(0)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(dihedral(*coords[windows.atoms].swapaxes(0, 1)))


def _bounds(mol: Chem.Mol) -> Windows:
    """Pairs with their lower and upper bounds, buffers applied."""
    count = mol.GetNumAtoms()
    matrix = _bounds_matrix(mol) if 1 < count <= MAX_BOUNDS_ATOMS else None
    if matrix is None:
        return Windows(np.empty((0, 2), dtype=np.int64), np.empty(0), np.empty(0))
    first, second = np.triu_indices(count, k=1)
    # RDKit keeps the upper bounds above the diagonal and the lower ones below
    upper, lower = matrix[first, second], matrix[second, first]
    adjacent = Chem.GetAdjacencyMatrix(mol).astype(bool)
    bonded, angle = adjacent[first, second], (adjacent.astype(int) @ adjacent.astype(int) > 0)[first, second]
    near = bonded | angle
    lower = np.where(near, lower * (1 - BOND_BUFFER), lower * (1 - CLASH_BUFFER))
    upper = np.where(near, upper * (1 + BOND_BUFFER), np.inf)
    table = Chem.GetPeriodicTable()
    radii = np.array([table.GetRvdw(atom.GetAtomicNum()) for atom in mol.GetAtoms()])
    reach = BONDED_REACH + (radii[first] + radii[second]) / 2
    lower = np.where(bonded, lower, np.maximum(lower, reach))
    upper = np.where(bonded, np.minimum(upper, reach), upper)
    return Windows(np.stack([first, second], axis=1).astype(np.int64), lower, upper)


def _bounds_matrix(mol: Chem.Mol) -> Floats | None:
    """RDKit's bounds of the heavy atoms, hydrogens considered; None where it cannot tell."""
    count = mol.GetNumAtoms()
    for smooth in (True, False) if count <= MAX_SMOOTHED_ATOMS else (False,):
        try:
            whole = Chem.AddHs(mol)
            Chem.GetSymmSSSR(whole)
            matrix = rdDistGeom.GetMoleculeBoundsMatrix(
                whole, set15bounds=True, scaleVDW=True, doTriangleSmoothing=smooth, useMacrocycle14config=False
            )
        except (RuntimeError, ValueError):
            # bounds around a metal may contradict each other
            continue
        return matrix[:count, :count]
    return None


def _ranked(mol: Chem.Mol) -> Chem.Mol:
    """A copy with CIP codes and `_CIPRank` on its atoms."""
    ranked = Chem.Mol(mol)
    try:
        Chem.AssignStereochemistry(ranked, cleanIt=True, force=True)
    except (RuntimeError, ValueError):
        ranked.ClearComputedProps()
    return ranked


def _by_rank(atom: Chem.Atom, but: int = -1) -> list[int]:
    """The neighbours of an atom by falling CIP rank."""
    around = [other for other in atom.GetNeighbors() if other.GetIdx() != but]
    return [other.GetIdx() for other in sorted(around, key=lambda other: -int(other.GetProp("_CIPRank")))]


def _has_ranks(mol: Chem.Mol) -> bool:
    return all(atom.HasProp("_CIPRank") for atom in mol.GetAtoms())


def _chirality(mol: Chem.Mol) -> tuple[list[tuple[int, ...]], list[bool]]:
    """Improper dihedrals at stereocentres; those with four heavy neighbours have one for every three of them."""
    if not _has_ranks(mol):
        return [], []
    rows: list[tuple[int, ...]] = []
    positive = []
    for atom in mol.GetAtoms():
        around = _by_rank(atom)
        if not atom.HasProp("_CIPCode") or len(around) not in (3, 4) or _invertible(atom):
            continue
        triples: list[tuple[int, ...]] = [tuple(around)]
        if len(around) == 4:
            a, b, c, d = around
            # with the fourth behind them these are even permutations, so that all four impropers have one sign
            triples = [(a, b, c), (d, c, b), (a, c, d), (d, b, a)]
        rows += [(*triple, atom.GetIdx()) for triple in triples]
        positive += [_turns_right(atom, around)] * len(triples)
    return rows, positive


def _turns_right(atom: Chem.Atom, around: list[int]) -> bool:
    """Whether the improper dihedral of the neighbours in this order is positive.

    By the chiral tag, which says so of the neighbours in the order of the bonds; RDKit's `_CIPCode` has the wrong sign
    at sulfur and phosphorus with a lone pair (sulfoxides, sulfonium).
    """
    place = {other.GetIdx(): k for k, other in enumerate(atom.GetNeighbors())}
    order = [place[index] for index in around]
    swaps = sum(first > second for first, second in combinations(order, 2))
    return (atom.GetChiralTag() == Chem.ChiralType.CHI_TETRAHEDRAL_CW) == (swaps % 2 == 0)


def _invertible(atom: Chem.Atom) -> bool:
    """Whether the centre is one on paper only: not sp3, a metal, or with two ends that resonance makes equal."""
    if atom.GetHybridization() != Chem.HybridizationType.SP3 or is_metal(np.array([atom.GetSymbol()]))[0]:
        return True
    ends = [other.GetAtomicNum() for other in atom.GetNeighbors() if other.GetDegree() == 1]
    return len(set(ends)) < len(ends)


def _stereo_bonds(mol: Chem.Mol) -> tuple[list[tuple[int, ...]], list[bool]]:
    """Dihedrals over double bonds that are E or Z, for every heavy neighbour of one end with every one of the other.

    With the dihedral of the highest ranks alone, a pyramidal end could turn the other neighbour to the same side.
    """
    if not _has_ranks(mol):
        return [], []
    rows: list[tuple[int, ...]] = []
    trans = []
    for bond in mol.GetBonds():
        if bond.GetStereo() in (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOZ):
            left, right = bond.GetBeginAtom(), bond.GetEndAtom()
            lefts, rights = _by_rank(left, right.GetIdx()), _by_rank(right, left.GetIdx())
            for (i, near), (j, far) in product(enumerate(lefts[:2]), enumerate(rights[:2])):
                rows.append((near, left.GetIdx(), right.GetIdx(), far))
                trans.append((bond.GetStereo() == Chem.BondStereo.STEREOE) == (i == j))
    return rows, trans


def _planarity(mol: Chem.Mol) -> list[tuple[int, ...]]:
    """Impropers at sp2 carbons with three heavy neighbours, at double bonds between two such carbons that RDKit does
    not call aromatic; ends with a hydrogen have none."""
    rows = []
    for bond in mol.GetBonds():
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        if bond.GetBondType() == Chem.BondType.DOUBLE and all(_trigonal_carbon(atom) for atom in ends):
            for atom, other in (ends, ends[::-1]):
                beside = [one.GetIdx() for one in atom.GetNeighbors() if one.GetIdx() != other.GetIdx()]
                if len(beside) == 2:
                    rows.append((*beside, other.GetIdx(), atom.GetIdx()))
    return rows


def _trigonal_carbon(atom: Chem.Atom) -> bool:
    return (
        atom.GetAtomicNum() == 6
        and not atom.GetIsAromatic()
        and atom.GetHybridization() == Chem.HybridizationType.SP2
        and atom.GetTotalDegree() == 3
    )
