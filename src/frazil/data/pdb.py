"""PDB -> `ParsedFile`."""

from __future__ import annotations

import io
import warnings

import numpy as np
from biotite.structure import AtomArray, BondType, concatenate, infer_elements
from biotite.structure.io.pdb import PDBFile

from frazil.chemistry import ATOMIC_NUMBER
from frazil.data.table import UNPLACED, AtomKey, ParsedFile, Polymer
from frazil.errors import InputError

_PREDICTORS = ("ALPHAFOLD", "ESMFOLD", "BOLTZ", "COLABFOLD", "OPENFOLD", "ROSETTAFOLD")
_METALS = frozenset({
    "LI", "NA", "K", "RB", "CS", "MG", "CA", "SR", "BA", "AL", "V", "CR", "MN", "FE", "CO", "NI", "CU", "ZN", "MO",
    "RU", "RH", "PD", "AG", "CD", "W", "RE", "OS", "IR", "PT", "AU", "HG", "PB", "YB", "GD", "SM", "EU", "TB",
})  # fmt: skip


def parse_pdb(text: str, where: str) -> ParsedFile:
    """Read a PDB file: ATOM, HETATM, MODEL, TER, SEQRES, SSBOND, LINK and CONECT records.

    Raises
    ------
    InputError
        If there is no ATOM or HETATM record.
    """
    lines = [_completed(line) for line in text.splitlines()]
    if not any(_is_atom(line) for line in lines):
        raise InputError(f"{where}: no ATOM or HETATM record; not a PDB file with coordinates")
    file = PDBFile.read(io.StringIO("\n".join(lines) + "\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [_model(file, number) for number in range(1, file.get_model_count() + 1)]
    atoms = concatenate(models)
    atoms.set_annotation("segment", _segments(lines))
    return ParsedFile(
        atoms=atoms,
        polymers={chain: Polymer(names) for chain, names in _seqres(lines).items()},
        links=tuple(_ssbonds(lines) + _link_records(lines) + _conects(lines, atoms)),
        predicted=_is_predicted(lines),
    )


def _is_atom(line: str) -> bool:
    return line.startswith(("ATOM", "HETATM"))


def _completed(line: str) -> str:
    """Atom records cut after the coordinates, or with blanks there, get occupancy 1 and B-factor 0."""
    if not _is_atom(line):
        return line
    line = line.ljust(80)
    occupancy = line[54:60] if line[54:60].strip() else "  1.00"
    b_factor = line[60:66] if line[60:66].strip() else "  0.00"
    return f"{line[:54]}{occupancy}{b_factor}{line[66:]}"


def _model(file: PDBFile, number: int) -> AtomArray:
    atoms = file.get_structure(model=number, altloc="all", extra_fields=["occupancy", "b_factor"])
    elements = np.char.upper(atoms.element)
    unknown = ~np.isin(elements, [*ATOMIC_NUMBER, "D"])
    if unknown.any():
        elements[unknown] = np.char.upper(infer_elements(atoms.atom_name[unknown]))
    atoms.set_annotation("element", elements)
    atoms.set_annotation("altloc", np.char.strip(atoms.altloc_id))
    atoms.del_annotation("altloc_id")
    atoms.set_annotation("model", np.full(len(atoms), number))
    atoms.set_annotation("molecule", np.full(len(atoms), ""))
    atoms.set_annotation("position", np.full(len(atoms), UNPLACED))
    atoms.box = None
    return atoms


def _segments(lines: list[str]) -> np.ndarray:
    """[n] int64: TER records before each atom record of its model."""
    counts, ends = [], 0
    for line in lines:
        if line.startswith("MODEL "):
            ends = 0
        elif line.startswith("TER"):
            ends += 1
        elif _is_atom(line):
            counts.append(ends)
    return np.array(counts, dtype=np.int64)


def _seqres(lines: list[str]) -> dict[str, tuple[str, ...]]:
    sequences: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("SEQRES"):
            sequences.setdefault(line[11:12].strip(), []).extend(line[19:70].split())
    return {chain: tuple(names) for chain, names in sequences.items() if names}


def _key(chain: str, number: str, ins_code: str, atom: str) -> AtomKey | None:
    try:
        return AtomKey(chain.strip(), int(number), ins_code.strip(), atom.strip())
    except ValueError:
        return None


def _ssbonds(lines: list[str]) -> list[tuple[AtomKey, AtomKey, int]]:
    links = []
    for line in (line.ljust(80) for line in lines if line.startswith("SSBOND")):
        first = _key(line[15], line[17:21], line[21], "SG")
        second = _key(line[29], line[31:35], line[35], "SG")
        if first and second and line[59:65].strip() == line[66:72].strip():
            links.append((first, second, int(BondType.SINGLE)))
    return links


def _link_records(lines: list[str]) -> list[tuple[AtomKey, AtomKey, int]]:
    links = []
    for line in (line.ljust(80) for line in lines if line.startswith("LINK  ")):
        first = _key(line[21], line[22:26], line[26], line[12:16])
        second = _key(line[51], line[52:56], line[56], line[42:46])
        if first and second and line[59:65].strip() == line[66:72].strip():
            metal = {line[17:20].strip(), line[47:50].strip()} & _METALS
            links.append((first, second, int(BondType.COORDINATION if metal else BondType.SINGLE)))
    return links


def _conects(lines: list[str], atoms: AtomArray) -> list[tuple[AtomKey, AtomKey, int]]:
    """CONECT records between residues; those within one are the component's business."""
    records = [line for line in lines if line.startswith("CONECT")]
    if not records:
        return []
    serials = (line[6:11].strip() for line in lines if _is_atom(line))
    row_of: dict[str, int] = {}
    for row, serial in enumerate(serials):
        row_of.setdefault(serial, row)
    links = []
    for line in records:
        rows = [row_of.get(line[start : start + 5].strip()) for start in range(6, min(len(line), 31), 5)]
        for other in rows[1:]:
            if rows[0] is not None and other is not None:
                link = _between(atoms, rows[0], other)
                links += [link] if link else []
    return links


def _between(atoms: AtomArray, first: int, second: int) -> tuple[AtomKey, AtomKey, int] | None:
    keys = [
        AtomKey(str(atoms.chain_id[i]), int(atoms.res_id[i]), str(atoms.ins_code[i]), str(atoms.atom_name[i]))
        for i in (first, second)
    ]
    if keys[0][:3] == keys[1][:3]:
        return None
    metal = {str(atoms.element[first]), str(atoms.element[second])} & _METALS
    return keys[0], keys[1], int(BondType.COORDINATION if metal else BondType.SINGLE)


def _is_predicted(lines: list[str]) -> bool:
    """A title that names a predictor, and no experiment: a crystal structure may mention one in its remarks."""
    experiment = " ".join(line for line in lines if line.startswith("EXPDTA"))
    if experiment and "THEORETICAL" not in experiment:
        return False
    said = " ".join(line.upper() for line in lines if line.startswith(("TITLE", "HEADER", "REMARK")))
    return any(name in said for name in _PREDICTORS)
