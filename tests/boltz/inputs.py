"""Inputs for `boltz predict` that need no multiple alignment: every kind of molecule and constraint, small."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_PEPTIDE = "GSWTRENLAKHM"
_PROTEIN = "MKVLYDFQIPSRCEA"


def _yaml(*sequences: str, constraints: str = "", properties: str = "") -> tuple[str, str]:
    parts = ["version: 1\nsequences:\n", *sequences]
    parts += [f"constraints:\n{constraints}"] if constraints else []
    parts += [f"properties:\n{properties}"] if properties else []
    return ".yaml", "".join(parts)


def _protein(name: str, sequence: str, more: str = "") -> str:
    return f"  - protein:\n      id: {name}\n      sequence: {sequence}\n      msa: empty\n{more}"


def _nucleic(kind: str, name: str, sequence: str) -> str:
    return f"  - {kind}:\n      id: {name}\n      sequence: {sequence}\n"


def _ligand(name: str, kind: str, value: str) -> str:
    return f"  - ligand:\n      id: {name}\n      {kind}: '{value}'\n"


_MODIFIED = """\
      modifications:
        - position: 3
          ccd: SEP
        - position: 6
          ccd: MSE
"""
_CONTACTS = """\
  - contact:
      token1: [A, 2]
      token2: [B, 9]
      max_distance: 6
      force: true
  - contact:
      token1: [A, 7]
      token2: [B, 4]
      max_distance: 8
"""
_POCKET = """\
  - pocket:
      binder: L
      contacts: [[A, 3], [A, 8], [A, 12]]
      max_distance: 6
      force: true
"""
_CHIRAL = "C[C@H](N)C(=O)N[C@@H](C)/C=C/c1ccccc1"

CASES: dict[str, tuple[str, str]] = {
    "protein": _yaml(_protein("[A, B]", _PEPTIDE)),
    "protein_ligand": _yaml(_protein("A", _PROTEIN), _ligand("L", "smiles", _CHIRAL), _ligand("M", "ccd", "ATP")),
    "dna_rna": _yaml(_nucleic("dna", "A", "GATTAC"), _nucleic("dna", "B", "GTAATC"), _nucleic("rna", "C", "GCAUUGC")),
    "modified": _yaml(_protein("A", "GASTPMLK", _MODIFIED), _ligand("M", "ccd", "MG")),
    "contact": _yaml(_protein("A", _PEPTIDE), _protein("B", _PROTEIN), constraints=_CONTACTS),
    "pocket": _yaml(_protein("A", _PROTEIN), _ligand("L", "ccd", "NAG"), constraints=_POCKET),
    "affinity": _yaml(
        _protein("A", _PROTEIN),
        _ligand("L", "smiles", "CC(=O)Nc1ccc(O)cc1"),
        properties="  - affinity:\n      binder: L\n",
    ),
    "protein_fasta": (".fasta", f">A|protein|empty\n{_PROTEIN}\n"),
    "complex_fasta": (
        ".fasta",
        f">A|protein|empty\n{_PEPTIDE}\n>B|dna\nGATC\n>C|rna\nGAUC\n>L|ccd\nNAG\n>M|smiles\nC[C@H](O)C(=O)O\n",
    ),
}
"""Name of the input -> (suffix of its file, text)."""

STRUCTURES = tuple(name for name in CASES if name != "affinity")
"""Those that share a folder: in a folder with one for the affinity, `boltz predict` looks for an affinity in all."""


def write_inputs(folder: Path, names: Iterable[str] = STRUCTURES) -> Path:
    """`folder` with the named inputs in it, as `boltz predict` takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        suffix, text = CASES[name]
        (folder / f"{name}{suffix}").write_text(text)
    return folder
