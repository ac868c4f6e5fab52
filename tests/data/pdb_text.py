"""Small PDB texts for the tests, written without the code under test."""

import gzip
from pathlib import Path

import numpy as np
from biotite.structure import info

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "data" / "files"
ASSETS = ROOT / "src" / "frazil" / "assets"
SHARED = ROOT.parent / "shared" / "data" / "structures"


def unzipped(path):
    """Text of a .gz file."""
    return gzip.decompress(path.read_bytes()).decode()


def atom_line(
    name, res_name, res_id, xyz=(0.0, 0.0, 0.0), *, chain="A", element=None, altloc=" ", ins_code=" ", occupancy=1.0,
    b_factor=20.0, hetero=False, serial=1,
):  # fmt: skip
    """One ATOM or HETATM record; element None takes the first letter of the name, '' leaves it blank."""
    record = "HETATM" if hetero else "ATOM  "
    symbol = name[0] if element is None else element
    padded = name if len(name) == 4 or len(symbol) == 2 else f" {name}"
    x, y, z = xyz
    return (
        f"{record}{serial:5d} {padded:<4}{altloc}{res_name:>3} {chain}{res_id:4d}{ins_code}   "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{b_factor:6.2f}          {symbol:>2}"
    )


def heavy(res_name, *, without=("OXT", "OP3")):
    """(name, element, coordinates) of a CCD residue's heavy atoms."""
    residue = info.residue(res_name)
    return [
        (str(atom.atom_name), str(atom.element), atom.coord)
        for atom in residue
        if atom.element not in ("H", "D") and atom.atom_name not in without
    ]


def residue_lines(res_name, res_id, shift=(0.0, 0.0, 0.0), *, skip=(), without=("OXT", "OP3"), **options):
    """Records of a whole residue at its ideal coordinates, moved by `shift`."""
    return [
        atom_line(name, res_name, res_id, tuple(xyz + shift), element=element, **options)
        for name, element, xyz in heavy(res_name, without=without)
        if name not in skip
    ]


def peptide_lines(names, *, first=1, **options):
    """A chain of residues, each N at 1.33 A from the C before it."""
    lines, corner = [], None
    for number, name in enumerate(names):
        atoms = {atom: xyz for atom, _, xyz in heavy(name)}
        shift = 0 * atoms["N"] if corner is None else corner - atoms["N"]
        lines += residue_lines(name, first + number, shift, **options)
        end = atoms["C"] + shift
        corner = end + np.array([1.33, 0, 0])
    return lines


def write(folder, lines, name="x.pdb"):
    """The lines as a file."""
    path = folder / name
    path.write_text("\n".join([*lines, "END", ""]))
    return path
