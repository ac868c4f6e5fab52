"""`read` and `read_all`: whatever a person names -> `Structure`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from biotite.structure.info import full_name

from frazil.chemistry import NONPOLYMER
from frazil.data import molecules
from frazil.data.assembly import ChainPlan, assemble, finish, whole_residue
from frazil.data.files import STRUCTURE_SUFFIXES, parsing, read_structure_file, safe_name, suffix_of, unique_names
from frazil.data.residues import Component, ccd_component
from frazil.data.sdf import SDF_SUFFIXES, read_sdf, structure_from_mol
from frazil.data.sequences import FASTA_SUFFIXES, YAML_SUFFIXES, read_fasta, read_yaml
from frazil.data.structure import Structure
from frazil.errors import InputError

SUFFIXES = STRUCTURE_SUFFIXES + SDF_SUFFIXES + FASTA_SUFFIXES + YAML_SUFFIXES
MAX_CODE_LENGTH = 5
MAX_NAME_LENGTH = 24


def read(source: str | Path, *, seed: int = 0) -> Structure:
    """Read one input.

    Parameters
    ----------
    source : str or Path
        A file (mmCIF, BinaryCIF, PDB, SDF, FASTA, Boltz YAML; each also .gz), a CCD code (capitals and digits, at most
        five) or a SMILES. A text that is both code and SMILES, such as CCO, is the code, with a warning.
    seed : int
        Of the conformers that RDKit makes for molecules from SMILES and SDF.

    Raises
    ------
    InputError
        If it is none of these, cannot be read, or an SDF holds several molecules.

    Examples
    --------
    >>> read("CC(=O)O").atoms.atom_name.tolist()
    ['C1', 'C2', 'O1', 'O2']
    >>> read("GLY").name
    'GLY'
    """
    path = Path(source)
    if _is_file(path):
        structures = _read_file(path, seed)
        if len(structures) > 1:
            raise InputError(f"{path}: holds {len(structures)} different molecules; split it, one molecule a file")
        return structures[0]
    text = str(source).strip()
    if text and _is_folder(path):
        raise InputError(f"{path}: is a folder; name one file in it")
    refuse_missing(source)
    return _read_text(text, seed)


def read_all(sources: Iterable[str | Path], *, seed: int = 0) -> list[Structure]:
    """Read files, folders (every readable file below them, sorted), SMILES and CCD codes; names are made unique.

    Raises
    ------
    InputError
        As `read`, or if a folder holds no readable file.
    """
    structures: list[Structure] = []
    for source in sources:
        path = Path(source)
        # an empty text would be the working folder
        if source != "" and _is_folder(path):
            files = sorted(p for p in path.rglob("*") if p.is_file() and suffix_of(p) in SUFFIXES)
            if not files:
                raise InputError(f"{path}: no file in this folder ends in one of {', '.join(SUFFIXES)}; name another")
            for file in files:
                structures += _read_file(file, seed)
        elif _is_file(path):
            structures += _read_file(path, seed)
        else:
            structures.append(read(source, seed=seed))
    names = unique_names(structure.name for structure in structures)
    return [replace(structure, name=name) for structure, name in zip(structures, names, strict=True)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # a SMILES may be too long for a file name
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def refuse_missing(source: str | Path) -> None:
    """Refuse what is meant to name a file and names none.

    Raises
    ------
    InputError
        If it does.
    """
    path, text = Path(source), str(source).strip()
    is_path = isinstance(source, Path) or looks_like_path(text)
    if is_path and not _is_file(path) and not _is_folder(path):
        raise InputError(f"{text[:200]}: no such file; check the path")


def looks_like_path(text: str) -> bool:
    """Whether a text that names no file is meant to name one."""
    return text.startswith(("./", "../", "~")) or (text != "" and suffix_of(Path(text)) in SUFFIXES)


def _read_file(path: Path, seed: int) -> list[Structure]:
    suffix = suffix_of(path)
    if suffix in STRUCTURE_SUFFIXES:
        return [read_structure_file(path)]
    if suffix in SDF_SUFFIXES:
        with parsing(path, "SDF"):
            return read_sdf(path, seed=seed)
    if suffix in FASTA_SUFFIXES:
        return [read_fasta(path, seed=seed)]
    if suffix in YAML_SUFFIXES:
        return [read_yaml(path, seed=seed)]
    raise InputError(f"{path}: unknown kind of file {suffix!r}; readable are {', '.join(SUFFIXES)}, each also .gz")


def _read_text(text: str, seed: int) -> Structure:
    if not text:
        raise InputError("'': an empty input; give a file, a CCD code or a SMILES")
    component = component_of_code(text)
    if component is not None:
        plan = ChainPlan("A", NONPOLYMER, (whole_residue(component),))
        return finish(assemble([plan], name=text), [plan], name=text, source=text)
    try:
        mol = molecules.mol_from_smiles(text)
    except InputError as error:
        if "not a SMILES" not in str(error):
            raise
        raise InputError(why_unknown(text)) from None
    return structure_from_mol(mol, name=name_of_smiles(text), source=text, seed=seed)


def why_unknown(text: str) -> str:
    """What to tell of a text that is nothing which can be read."""
    return (
        f"{text[:60]!r}: no such file, no code of the Chemical Component Dictionary and not a SMILES that RDKit "
        "accepts; check the spelling, brackets, rings and valences"
    )


def component_of_code(text: str) -> Component | None:
    """The component that a text names by its CCD code, with a warning where the text is a SMILES, too; or None."""
    is_code = len(text) <= MAX_CODE_LENGTH and text.isascii() and text.isalnum() and text == text.upper()
    component = ccd_component(text) if is_code else None
    if component is not None:
        _warn_if_smiles(text)
    return component


def _warn_if_smiles(code: str) -> None:
    try:
        molecules.mol_from_smiles(code)
    except InputError:
        return
    warnings.warn(
        f"{code} is taken for the CCD code ({full_name(code)}); for the SMILES write its first atom in brackets or "
        "begin elsewhere in the molecule",
        stacklevel=4,
    )


def name_of_smiles(text: str) -> str:
    """A name for a SMILES, safe as a file name.

    Readable where short; the digest keeps names of unlike SMILES apart once odd letters are gone.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    plain = safe_name(text)
    return plain if plain == text and len(text) <= MAX_NAME_LENGTH else f"{plain[:MAX_NAME_LENGTH]}_{digest}"
