"""Structures out: mmCIF by the rules of the ModelCIF dictionary, and SDF for a lone ligand."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from biotite.structure import AtomArray, BondType, stack
from biotite.structure.io.pdbx import CIFBlock, CIFFile, set_structure
from numpy.typing import ArrayLike, NDArray
from rdkit import Chem, rdBase

from frazil.atomic import write_text
from frazil.chemistry import NONPOLYMER
from frazil.data.conformers import with_stereo
from frazil.data.modelcif import (
    Instance,
    category,
    column,
    connections,
    instances,
    model_categories,
    molecule_categories,
)
from frazil.data.molecules import mol_from_graph
from frazil.data.structure import Structure
from frazil.errors import InputError

_CONNECTED_BY = (
    "label_asym_id", "label_comp_id", "label_seq_id", "label_atom_id",
    "auth_asym_id", "auth_comp_id", "auth_seq_id", "pdbx_PDB_ins_code",
)  # fmt: skip


def write_cif(
    path: str | Path,
    structure: Structure,
    coords: ArrayLike,
    *,
    b_factor: ArrayLike | None = None,
    title: str | None = None,
) -> None:
    """Write a structure with new coordinates as ModelCIF, readable by every mmCIF reader.

    `auth_*` columns keep the structure's own chains, residue numbers and insertion codes; `label_*` are made anew. The
    file appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file to write; its folder must exist.
    structure : Structure
        Atoms, bonds and chains.
    coords : array
        [A, 3], or [M, A, 3] for M models, angstrom, finite.
    b_factor : array, optional
        [A], such as pLDDT. None leaves the column out.
    title : str, optional
        Title of the entry; the structure's name by default.

    Raises
    ------
    InputError
        If coordinates are not finite, or the file cannot be written.
    """
    path = Path(path)
    models = _checked(path, structure, coords)
    found = instances(structure)
    title = title or structure.name
    block = CIFBlock()
    block["entry"] = category([{"id": _identifier(structure.name)}])
    block["struct"] = category([{"entry_id": _identifier(structure.name), "title": title}])
    for name, table in (molecule_categories(structure, found) | model_categories(found, len(models), title)).items():
        block[name] = table
    _set_atoms(block, structure, models, found, b_factor)
    write_text(path, CIFFile({_identifier(structure.name): block}).serialize())


def write_sdf(
    path: str | Path,
    structure: Structure,
    coords: ArrayLike,
    properties: Sequence[Mapping[str, str | float]] = (),
) -> None:
    """Write conformers of a lone ligand as an SDF, one record each, with bond orders and charges.

    Parameters
    ----------
    path : str or Path
        The file to write; its folder must exist.
    structure : Structure
        One non-polymer.
    coords : array
        [S, A, 3], angstrom, finite.
    properties : sequence of mappings, optional
        Data fields of each record, S of them or none.

    Raises
    ------
    InputError
        If the structure is anything else, coordinates are not finite, or the file cannot be written.
    """
    path = Path(path)
    if len(structure.chains) != 1 or structure.chains[0].mol_type != NONPOLYMER:
        raise InputError(f"{path}: SDF holds one ligand, {structure.name} is more than that; write mmCIF")
    models = _checked(path, structure, coords)
    text = io.StringIO()
    writer = Chem.SDWriter(text)
    with rdBase.BlockLogs():
        for positions, fields in zip(models, properties or [{}] * len(models), strict=True):
            mol = to_rdkit(structure, 0, positions)
            mol.SetProp("_Name", structure.name)
            for key, value in fields.items():
                mol.SetProp(key, str(value))
            writer.write(mol)
        writer.close()
    write_text(path, text.getvalue())


def to_rdkit(structure: Structure, chain_index: int, coords: NDArray[np.floating] | None = None) -> Chem.Mol:
    """One chain as an RDKit molecule: heavy atoms in the structure's order, bond orders, stereo from the coordinates.

    Parameters
    ----------
    structure : Structure
    chain_index : int
        Which of `structure.chains`.
    coords : array, optional
        [A, 3], angstrom, of the whole structure. By default the first model, or the reference conformer if atoms of the
        chain are unresolved there.

    Returns
    -------
    Mol
        With one 3-D conformer; sanitised as far as RDKit goes along.
    """
    atoms = np.flatnonzero(structure.chain_index == chain_index)
    part = structure.atoms[atoms]
    if coords is None:
        coords = structure.coords[0] if structure.resolved[0, atoms].all() else structure.ref_pos
    mol = mol_from_graph(part.element.tolist(), part.charge.tolist(), part.bonds.as_array().astype(np.int64))
    return with_stereo(mol, coords[atoms])


def _checked(path: Path, structure: Structure, coords: ArrayLike) -> NDArray[np.float32]:
    """The coordinates as [M, A, 3] float32, refused if they do not fit or are not finite."""
    models = np.asarray(coords, dtype=np.float32)
    models = models[None] if models.ndim == 2 else models
    if models.shape[1:] != (len(structure.atoms), 3) or not len(models):
        raise InputError(f"{path}: coordinates {models.shape} do not fit the {len(structure.atoms)} atoms")
    # the format has eight columns at most, and a model that far away is as useless as NaN
    if not (np.abs(models) < 1e6).all():
        raise InputError(f"{path}: coordinates are not finite; such a sample cannot be written")
    return models


def _set_atoms(
    block: CIFBlock,
    structure: Structure,
    models: NDArray[np.float32],
    found: Sequence[Instance],
    b_factor: ArrayLike | None,
) -> None:
    """Add `atom_site`, `chem_comp_bond` and `struct_conn`: biotite's writer, with labels and links of our own."""
    atoms = _writable(structure.atoms)
    if b_factor is not None:
        atoms.set_annotation("b_factor", np.asarray(b_factor, dtype=np.float32))
    labels = _labels(structure, found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        set_structure(block, stack([_with_coords(atoms, positions) for positions in models]))
    if b_factor is None:
        # gemmi before 0.7 finds no model in a file without the column
        block["atom_site"]["B_iso_or_equiv"] = column(["?"] * atoms.array_length() * len(models))
    for name, values in labels.items():
        block["atom_site"][name] = column(np.tile(values, len(models)))
    block.pop("struct_conn", None)
    links = connections(structure, {name: labels[name] for name in _CONNECTED_BY})
    if links is not None:
        block["struct_conn"] = links


def _writable(atoms: AtomArray) -> AtomArray:
    """The atoms with occupancy 1 and without coordination bonds inside residues, for which mmCIF has no order."""
    atoms = atoms.copy()
    atoms.set_annotation("occupancy", np.ones(len(atoms), dtype=np.float32))
    rows = atoms.bonds.as_array()
    coordination = rows[rows[:, 2] == BondType.COORDINATION]
    for i, j, _ in coordination.tolist():
        atoms.bonds.add_bond(i, j, BondType.SINGLE)
    return atoms


def _with_coords(atoms: AtomArray, positions: NDArray[np.float32]) -> AtomArray:
    model = atoms.copy()
    model.coord = positions
    return model


def _labels(structure: Structure, found: Sequence[Instance]) -> dict[str, Any]:
    """The `atom_site` columns that place an atom, [A] each."""
    atoms = structure.atoms
    asym = np.empty(len(atoms), dtype="U16")
    entity = np.empty(len(atoms), dtype="U16")
    position = np.full(len(atoms), ".", dtype="U16")
    for one in found:
        asym[one.atoms], entity[one.atoms] = one.asym_id, str(one.entity)
        if one.chain.mol_type != NONPOLYMER:
            position[one.atoms] = (structure.residue_index[one.atoms] + 1).astype("U16")
    return {
        "label_asym_id": asym,
        "label_entity_id": entity,
        "label_seq_id": position,
        "label_comp_id": atoms.res_name,
        "label_atom_id": atoms.atom_name,
        "auth_asym_id": np.where(atoms.chain_id == "", asym, atoms.chain_id),
        "auth_seq_id": atoms.res_id.astype("U16"),
        "auth_comp_id": atoms.res_name,
        "auth_atom_id": atoms.atom_name,
        "pdbx_PDB_ins_code": np.where(atoms.ins_code == "", "?", atoms.ins_code),
    }


def _identifier(name: str) -> str:
    """A name that may follow `data_`: no blanks."""
    return re.sub(r"[^\w.-]+", "_", name) or "model"
