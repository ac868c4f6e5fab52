"""Element, residue and molecule-type tables. Ground of the house: imports nothing of ours.

The orders of `MOLECULE_TYPES`, `RESIDUE_TYPES` and the backbone atoms are those of Boltz-2, so that its weights apply.
"""

from typing import Final

PROTEIN: Final = 0
DNA: Final = 1
RNA: Final = 2
NONPOLYMER: Final = 3
MOLECULE_TYPES: Final = ("protein", "dna", "rna", "nonpolymer")

AMINO_ACIDS: Final = {
    "A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU", "G": "GLY", "H": "HIS",
    "I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE", "P": "PRO", "S": "SER", "T": "THR", "W": "TRP",
    "Y": "TYR", "V": "VAL",
}  # fmt: skip
RIBONUCLEOTIDES: Final = {"A": "A", "G": "G", "C": "C", "U": "U"}
DEOXYRIBONUCLEOTIDES: Final = {"A": "DA", "G": "DG", "C": "DC", "T": "DT"}
STANDARD_RESIDUES: Final = {PROTEIN: AMINO_ACIDS, DNA: DEOXYRIBONUCLEOTIDES, RNA: RIBONUCLEOTIDES}
UNKNOWN_RESIDUE: Final = {PROTEIN: "UNK", DNA: "DN", RNA: "N", NONPOLYMER: "UNK"}

RESIDUE_TYPES: Final = (
    "<pad>", "-", *AMINO_ACIDS.values(), "UNK", "A", "G", "C", "U", "N", "DA", "DG", "DC", "DT", "DN",
)  # fmt: skip
RESIDUE_TYPE_INDEX: Final = {name: index for index, name in enumerate(RESIDUE_TYPES)}

ELEMENTS: Final = (
    "X", "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",
    "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce",
    "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir",
    "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm",
    "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc",
    "Lv", "Ts", "Og",
)  # fmt: skip
ATOMIC_NUMBER: Final = {symbol.upper(): number for number, symbol in enumerate(ELEMENTS)}

VDW_RADII: Final = (
    0.0, 1.2, 1.4, 2.2, 1.9, 1.8, 1.7, 1.6, 1.55, 1.5, 1.54, 2.4, 2.2, 2.1, 2.1, 1.95, 1.8, 1.8, 1.88, 2.8, 2.4, 2.3,
    2.15, 2.05, 2.05, 2.05, 2.05, 2.0, 2.0, 2.0, 2.1, 2.1, 2.1, 2.05, 1.9, 1.9, 2.02, 2.9, 2.55, 2.4, 2.3, 2.15, 2.1,
    2.05, 2.05, 2.0, 2.05, 2.1, 2.2, 2.2, 2.25, 2.2, 2.1, 2.1, 2.16, 3.0, 2.7, 2.5, 2.48, 2.47, 2.45, 2.43, 2.42, 2.4,
    2.38, 2.37, 2.35, 2.33, 2.32, 2.3, 2.28, 2.27, 2.25, 2.2, 2.1, 2.05, 2.0, 2.0, 2.05, 2.1, 2.05, 2.2, 2.3, 2.3, 2.0,
    2.0, 2.0, 2.0, 2.0, 2.0, 2.4, 2.0, 2.3, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0,
    2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0,
)  # fmt: skip
"""Van-der-Waals radii in angstrom by atomic number, 0 for an unknown element (the table of RDKit and Boltz-2)."""
METAL_RADIUS: Final = 0.7
"""Angstrom, about an ion's: metals are coordinated at distances that would be clashes by van-der-Waals radii."""
NONMETALS: Final = (
    "H", "HE", "B", "C", "N", "O", "F", "NE", "SI", "P", "S", "CL", "AR", "GE", "AS", "SE", "BR", "KR", "TE", "I", "XE",
)  # fmt: skip
CONTACT_RADII: Final = tuple(
    radius if number == 0 or symbol.upper() in NONMETALS else METAL_RADIUS
    for number, (symbol, radius) in enumerate(zip(ELEMENTS, VDW_RADII, strict=True))
)
"""Radii in angstrom by atomic number that clashes are judged by: van der Waals, `METAL_RADIUS` for metals."""

PROTEIN_BACKBONE: Final = ("N", "CA", "C", "O")
NUCLEIC_BACKBONE: Final = ("P", "OP1", "OP2", "O5'", "C5'", "C4'", "O4'", "C3'", "O3'", "C2'", "O2'", "C1'")
CHIRALITIES: Final = 3
"""Values of `Features.ref_chirality`."""
BACKBONE_CLASSES: Final = 1 + len(PROTEIN_BACKBONE) + len(NUCLEIC_BACKBONE)

NUM_ELEMENTS: Final = 128
NUM_NAME_CHARACTERS: Final = 64
NAME_LENGTH: Final = 4


def encode_atom_name(name: str) -> tuple[int, int, int, int]:
    """Four indices in 0..63 (ASCII - 32, padded with 0) of an atom name (AlphaFold 3, Table 5).

    >>> encode_atom_name("CA")
    (35, 33, 0, 0)
    """
    codes = [min(max(ord(letter) - 32, 0), NUM_NAME_CHARACTERS - 1) for letter in name[:NAME_LENGTH].upper()]
    a, b, c, d = codes + [0] * (NAME_LENGTH - len(codes))
    return a, b, c, d


def backbone_class(atom_name: str, mol_type: int) -> int:
    """0 for a side-chain or ligand atom, 1-4 for N CA C O, 5-16 for the phosphate and sugar atoms."""
    if mol_type == PROTEIN and atom_name in PROTEIN_BACKBONE:
        return 1 + PROTEIN_BACKBONE.index(atom_name)
    if mol_type in (DNA, RNA) and atom_name in NUCLEIC_BACKBONE:
        return 1 + len(PROTEIN_BACKBONE) + NUCLEIC_BACKBONE.index(atom_name)
    return 0
