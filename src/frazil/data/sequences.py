"""FASTA and Boltz's input YAML -> `Structure` without coordinates."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from frazil.chemistry import DNA, NONPOLYMER, PROTEIN, RNA, STANDARD_RESIDUES, UNKNOWN_RESIDUE
from frazil.data import molecules
from frazil.data.assembly import ChainPlan, assemble, finish, named_apart, polymer_residue, whole_residue
from frazil.data.files import read_text, stem_of
from frazil.data.residues import Component, ccd_component, component_from_mol
from frazil.data.restraints.asked import with_requests
from frazil.data.restraints.document import document_requests
from frazil.data.sdf import chain_name
from frazil.data.structure import Structure
from frazil.errors import InputError

FASTA_SUFFIXES = (".fasta", ".fa", ".faa", ".fna", ".fas")
YAML_SUFFIXES = (".yaml", ".yml")
MAX_RESIDUES = 20_000

_LETTERS = {
    PROTEIN: {**STANDARD_RESIDUES[PROTEIN], "X": "UNK", "U": "SEC", "O": "PYL"},
    DNA: {**STANDARD_RESIDUES[DNA], "N": UNKNOWN_RESIDUE[DNA]},
    RNA: {**STANDARD_RESIDUES[RNA], "N": UNKNOWN_RESIDUE[RNA]},
}
_POLYMERS = {"protein": PROTEIN, "dna": DNA, "rna": RNA}
_LIGANDS = ("smiles", "ccd")
_TYPE_NAMES = {PROTEIN: "protein", DNA: "DNA", RNA: "RNA"}
_USED_TOP_KEYS = frozenset({"sequences", "version", "constraints", "templates"})
_USED_KEYS = {
    **dict.fromkeys(_POLYMERS, frozenset({"id", "sequence", "modifications", "cyclic"})),
    "ligand": frozenset({"id", "smiles", "ccd"}),
}
_SHORTEST_GUESSED_DNA = 10


@dataclass(frozen=True)
class _Entry:
    """One molecule asked for, perhaps in several copies."""

    ids: tuple[str, ...]
    kind: str
    """protein, dna, rna, smiles or ccd."""
    text: str
    """Sequence, SMILES, or CCD codes with commas between."""
    modifications: tuple[tuple[int, str], ...] = ()
    """(position from 1, CCD code)."""
    cyclic: bool = False


def read_fasta(path: Path, *, seed: int) -> Structure:
    """Read a FASTA file, each record one chain.

    Headers may be Boltz's, `>A|protein` with the types protein, dna, rna, smiles and ccd (more fields are ignored), or
    anything else. Without a type a record is RNA if its letters are A, C, G, U and there is a U; DNA if they are
    A, C, G, T only and there are at least 10; else protein. Chains of plain headers are named A, B, ...

    Raises
    ------
    InputError
        If it is not FASTA, a letter has no residue, or a molecule is refused.
    """
    entries, taken = [], set()
    records = list(_fasta_records(path))
    headers = [_typed_header(header) for header, _ in records]
    taken = {typed[0] for typed in headers if typed}
    letters = (name for number in range(len(records) + len(taken)) if (name := chain_name(number)) not in taken)
    for (_, text), typed in zip(records, headers, strict=True):
        if typed is None:
            entries.append(_Entry((next(letters),), _guess_kind(text), text))
        else:
            entries.append(_Entry((typed[0],), typed[1], text))
    return _structure(entries, path, seed)


def read_yaml(path: Path, *, seed: int) -> Structure:
    """Read a Boltz input file: `sequences:`, `constraints:` and `templates:`; other keys are named in one warning.

    Raises
    ------
    InputError
        If it is not YAML, has no `sequences`, an entry is not understood, or a constraint names no atom.
    """
    try:
        document = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not valid YAML ({reason}); correct it") from None
    if not isinstance(document, dict) or not isinstance(document.get("sequences"), list) or not document["sequences"]:
        raise InputError(f"{path}: no list under 'sequences:'; see Boltz's input format")
    unused = {str(key) for key in document if key not in _USED_TOP_KEYS}
    entries = []
    for number, item in enumerate(document["sequences"], start=1):
        where = f"{path}: entry {number} of sequences"
        if not isinstance(item, dict) or len(item) != 1:
            raise InputError(f"{where}: must have one key of {', '.join(_USED_KEYS)}")
        [(kind, body)] = item.items()
        if kind not in _USED_KEYS or not isinstance(body, dict):
            raise InputError(f"{where}: {str(kind)[:40]!r} is not one of {', '.join(_USED_KEYS)} with keys below it")
        unused |= {str(key) for key in body if key not in _USED_KEYS[kind]}
        entries.append(_ligand_entry(body, where) if kind == "ligand" else _polymer_entry(kind, body, where))
    if unused:
        warnings.warn(f"{path}: keys not used: {', '.join(sorted(unused))}", stacklevel=2)
    structure = _structure(entries, path, seed)
    requests = document_requests(document, structure, path)
    try:
        return with_requests(structure, requests)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _fasta_records(path: Path) -> Iterator[tuple[str, str]]:
    header: str | None = None
    parts: list[str] = []
    found = False
    for line in (line.strip() for line in read_text(path).splitlines()):
        if line.startswith(">"):
            if header is not None:
                yield header, "".join(parts)
            header, parts, found = line[1:].strip(), [], True
        elif line and not line.startswith(";"):
            if header is None:
                raise InputError(f"{path}: text before the first '>'; a FASTA record starts with a header")
            parts.append("".join(line.split()))
    if not found:
        raise InputError(f"{path}: no FASTA record; a record starts with '>'")
    yield header or "", "".join(parts)


def _typed_header(header: str) -> tuple[str, str] | None:
    fields = [field.strip() for field in header.split("|")]
    known = (*_POLYMERS, *_LIGANDS)
    return (fields[0], fields[1].lower()) if len(fields) > 1 and fields[0] and fields[1].lower() in known else None


def _guess_kind(sequence: str) -> str:
    letters = set(sequence.upper())
    if letters <= set("ACGU") and "U" in letters:
        return "rna"
    return "dna" if letters <= set("ACGT") and len(sequence) >= _SHORTEST_GUESSED_DNA else "protein"


def _ids(body: dict[str, Any], where: str) -> tuple[str, ...]:
    given = body.get("id")
    ids = given if isinstance(given, list) else [given]
    if not ids or not all(isinstance(one, (str, int)) and not isinstance(one, bool) and str(one) for one in ids):
        raise InputError(f"{where}: 'id' must be a chain name or a list of them, not {str(given)[:40]!r}")
    return tuple(str(one) for one in ids)


def _polymer_entry(kind: str, body: dict[str, Any], where: str) -> _Entry:
    ids = _ids(body, where)
    sequence, cyclic = body.get("sequence"), body.get("cyclic", False)
    if not isinstance(sequence, str):
        raise InputError(f"{where} ({ids[0]}): 'sequence' must be letters, not {str(sequence)[:40]!r}")
    if not isinstance(cyclic, bool):
        raise InputError(f"{where} ({ids[0]}): 'cyclic' must be true or false, not {str(cyclic)[:40]!r}")
    modifications = []
    listed = body.get("modifications") or []
    for item in listed if isinstance(listed, list) else [listed]:
        position, code = (item.get("position"), item.get("ccd")) if isinstance(item, dict) else (None, None)
        if not isinstance(position, int) or not isinstance(code, str):
            raise InputError(
                f"{where} ({ids[0]}): a modification needs a 'position' and a 'ccd', not {str(item)[:40]!r}"
            )
        modifications.append((position, code))
    return _Entry(ids, kind, "".join(sequence.split()), tuple(modifications), cyclic)


def _ligand_entry(body: dict[str, Any], where: str) -> _Entry:
    ids = _ids(body, where)
    given = [key for key in _LIGANDS if body.get(key) is not None]
    if len(given) != 1:
        raise InputError(f"{where} ({ids[0]}): a ligand needs either 'ccd' or 'smiles'")
    value = body[given[0]]
    values = value if isinstance(value, list) and given[0] == "ccd" else [value]
    # YAML reads NO and 1E3 as something else than the code
    if not values or not all(isinstance(one, str) for one in values):
        raise InputError(f"{where} ({ids[0]}): {given[0]} {str(value)[:40]!r} is not text; put it in quotes")
    return _Entry(ids, given[0], ",".join(values))


def _structure(entries: list[_Entry], path: Path, seed: int) -> Structure:
    names = [name for entry in entries for name in entry.ids]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: chain {repeated[0]} is named twice; every chain needs its own id")
    plans: list[ChainPlan] = []
    for entry in entries:
        for name in entry.ids:
            plans += _plans(entry, name, path, seed)
    plans = named_apart(plans)
    assembly = assemble(plans, name=str(path))
    return finish(assembly, plans, name=stem_of(path), source=str(path))


def _plans(entry: _Entry, name: str, path: Path, seed: int) -> list[ChainPlan]:
    if entry.kind in _POLYMERS:
        return [_polymer_plan(entry, name, path)]
    if entry.kind == "ccd":
        codes = [code.strip() for code in entry.text.split(",")]
        whole = len(codes) == 1
        components = [_component(code, f"{path}: chain {name}") for code in codes]
        residues = tuple(
            whole_residue(component, number) if whole else polymer_residue(component, number, hetero=True)
            for number, component in enumerate(components, start=1)
        )
        return [ChainPlan(name, NONPOLYMER, residues)]
    try:
        parts = molecules.fragments(molecules.mol_from_smiles(entry.text))
    except InputError as error:
        raise InputError(f"{path}: chain {name}: {error}") from None
    return [
        ChainPlan(name if number == 0 else f"{name}{number + 1}", NONPOLYMER, (whole_residue(part),), label=part.label)
        for number, part in enumerate(component_from_mol(mol, seed) for mol in parts)
    ]


def _polymer_plan(entry: _Entry, name: str, path: Path) -> ChainPlan:
    mol_type = _POLYMERS[entry.kind]
    letters = entry.text.upper().removesuffix("*")
    where = f"{path}: chain {name}"
    if not 0 < len(letters) <= MAX_RESIDUES:
        raise InputError(f"{where}: {len(letters)} residues; a chain has 1 to {MAX_RESIDUES}")
    codes = []
    for position, letter in enumerate(letters, start=1):
        if letter not in _LETTERS[mol_type]:
            raise InputError(
                f"{where}: letter {letter!r} at position {position} is no {_TYPE_NAMES[mol_type]} residue; "
                f"known are {''.join(sorted(_LETTERS[mol_type]))}"
            )
        codes.append(_LETTERS[mol_type][letter])
    for position, code in entry.modifications:
        if not 1 <= position <= len(codes):
            raise InputError(f"{where}: modification at position {position}, the sequence has {len(codes)} residues")
        codes[position - 1] = code
    residues = tuple(
        polymer_residue(
            component := _component(code, where), number, hetero=component.name not in _LETTERS[mol_type].values()
        )
        for number, code in enumerate(codes, start=1)
    )
    return ChainPlan(name, mol_type, residues, entry.cyclic)


def _component(code: str, where: str) -> Component:
    component = ccd_component(code)
    if component is None:
        raise InputError(f"{where}: {code[:40]!r} is not a code of the Chemical Component Dictionary; correct it")
    return component
