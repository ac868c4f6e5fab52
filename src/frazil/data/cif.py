"""mmCIF and BinaryCIF -> `ParsedFile`."""

from __future__ import annotations

from typing import Any

import numpy as np
from biotite.structure import AtomArray, BondType, infer_elements

from frazil.chemistry import ATOMIC_NUMBER, DNA, NONPOLYMER, PROTEIN, RNA
from frazil.data.molecules import mol_from_smiles
from frazil.data.residues import (
    Component,
    bond_rows,
    ccd_component,
    component_from_graph,
    component_from_mol,
    in_order,
    renamed_to_match,
)
from frazil.data.table import UNPLACED, AtomKey, ParsedFile, Polymer
from frazil.errors import InputError

_POLYMER_TYPES = {
    "polypeptide(l)": PROTEIN, "polypeptide(d)": PROTEIN, "polydeoxyribonucleotide": DNA, "polyribonucleotide": RNA,
    "polysaccharide(d)": NONPOLYMER, "polysaccharide(l)": NONPOLYMER,
}  # fmt: skip
_COVALENT = ("covale", "covale_base", "covale_phosphate", "covale_sugar", "disulf", "modres", "modres_link")
_IDENTITY = ("1_555", "", ".", "?")


def parse_cif(block: Any, where: str) -> ParsedFile:
    """Read a data block of biotite's `CIFFile` or `BinaryCIFFile`.

    Chain and residue ids are the author's (`auth_*`), which is what people see; chains in AlphaFold 3's sense are
    told apart by `label_asym_id` and residues of a polymer by `label_seq_id`.

    Raises
    ------
    InputError
        If there is no atom.
    """
    if "atom_site" not in block or block["atom_site"].row_count == 0:
        raise InputError(f"{where}: no atoms (_atom_site) in it; give a file with coordinates, or a sequence as FASTA")
    atoms = _atoms(block["atom_site"])
    return ParsedFile(
        atoms=atoms,
        polymers=_polymers(block, atoms),
        links=_links(block),
        predicted=_is_predicted(block),
        components=_own_components(block, atoms),
    )


def _column(category: Any, names: tuple[str, ...], dtype: type, missing: Any) -> np.ndarray:
    """The first column of `names` that exists; `missing` for '.' and '?' and where no such column exists."""
    for name in names:
        if name in category:
            return category[name].as_array(dtype, missing)
    return np.full(category.row_count, missing, dtype=dtype if dtype is not str else None)


def _atoms(site: Any) -> AtomArray:
    atoms = AtomArray(site.row_count)
    atoms.coord = np.stack([_column(site, (f"Cartn_{axis}",), np.float32, np.nan) for axis in "xyz"], axis=1).astype(
        np.float32
    )
    label_seq = _column(site, ("label_seq_id",), int, 0)
    author_seq = _column(site, ("auth_seq_id",), int, -(10**9))
    names = _column(site, ("label_atom_id", "auth_atom_id"), str, "")
    elements = np.char.upper(_column(site, ("type_symbol",), str, ""))
    unknown = ~np.isin(elements, [*ATOMIC_NUMBER, "D"])
    if unknown.any():
        elements = elements.astype("U2")
        elements[unknown] = infer_elements(names[unknown])
    has_molecules = "label_asym_id" in site and "label_seq_id" in site
    for category, values in {
        "chain_id": _column(site, ("auth_asym_id", "label_asym_id"), str, "A"),
        "res_id": np.where(author_seq == -(10**9), label_seq, author_seq),
        "ins_code": _column(site, ("pdbx_PDB_ins_code",), str, ""),
        "res_name": _column(site, ("label_comp_id", "auth_comp_id"), str, ""),
        "atom_name": names,
        "element": elements,
        "hetero": _column(site, ("group_PDB",), str, "ATOM") == "HETATM",
        "altloc": _column(site, ("label_alt_id",), str, ""),
        "occupancy": _column(site, ("occupancy",), float, 1.0),
        "b_factor": _column(site, ("B_iso_or_equiv",), float, 0.0),
        "model": _column(site, ("pdbx_PDB_model_num",), int, 1),
        "segment": np.zeros(len(atoms), dtype=int),
        "molecule": site["label_asym_id"].as_array(str, "") if has_molecules else np.full(len(atoms), ""),
        "position": np.where(label_seq > 0, label_seq - 1, UNPLACED)
        if has_molecules
        else np.full(len(atoms), UNPLACED),
        "entity": _column(site, ("label_entity_id",), str, ""),
        "charge": _column(site, ("pdbx_formal_charge",), int, 0),
    }.items():
        atoms.set_annotation(category, values)
    return atoms


def _polymers(block: Any, atoms: AtomArray) -> dict[str, Polymer]:
    """Full sequences by molecule, from `entity_poly_seq` and `pdbx_poly_seq_scheme`."""
    types = {}
    if "entity_poly" in block:
        category = block["entity_poly"]
        ids, kinds = _column(category, ("entity_id",), str, ""), _column(category, ("type",), str, "")
        types = {
            entity: _POLYMER_TYPES.get(kind.lower()) for entity, kind in zip(ids.tolist(), kinds.tolist(), strict=True)
        }
    sequences: dict[str, dict[int, str]] = {}
    if "entity_poly_seq" in block:
        category = block["entity_poly_seq"]
        rows = zip(
            _column(category, ("entity_id",), str, "").tolist(),
            _column(category, ("num",), int, 0).tolist(),
            _column(category, ("mon_id",), str, "").tolist(),
            strict=True,
        )
        for entity, number, name in rows:
            sequences.setdefault(entity, {}).setdefault(number, name)
    numbers = _scheme(block)
    polymers = {}
    pairs = np.unique(np.stack([atoms.molecule.astype(str), atoms.entity.astype(str)]), axis=1).T
    for molecule, entity in pairs.tolist():
        known = sequences.get(entity, {})
        # a sequence whose numbers are not 1..n says nothing that can be relied on
        full = tuple(known[k] for k in sorted(known)) if set(known) == set(range(1, len(known) + 1)) else ()
        stated = numbers.get(molecule, ())
        if types.get(entity) != NONPOLYMER and (full or entity in types):
            polymers[molecule] = Polymer(full, types.get(entity), stated if full and len(stated) == len(full) else None)
    return polymers


def _scheme(block: Any) -> dict[str, tuple[tuple[int, str], ...]]:
    if "pdbx_poly_seq_scheme" not in block:
        return {}
    category = block["pdbx_poly_seq_scheme"]
    rows = zip(
        _column(category, ("asym_id",), str, "").tolist(),
        _column(category, ("seq_id",), int, 0).tolist(),
        _column(category, ("pdb_seq_num", "auth_seq_num"), int, 0).tolist(),
        _column(category, ("pdb_ins_code",), str, "").tolist(),
        strict=True,
    )
    chains: dict[str, dict[int, tuple[int, str]]] = {}
    for molecule, position, number, ins_code in rows:
        chains.setdefault(molecule, {}).setdefault(position, (number, ins_code))
    return {molecule: tuple(known[k] for k in sorted(known)) for molecule, known in chains.items()}


def _links(block: Any) -> tuple[tuple[AtomKey, AtomKey, int], ...]:
    """Covalent bonds and metal coordination of `struct_conn` within the asymmetric unit."""
    if "struct_conn" not in block:
        return ()
    category = block["struct_conn"]
    kinds = _column(category, ("conn_type_id",), str, "").tolist()
    ends = [_link_ends(category, partner) for partner in (1, 2)]
    same_cell = [np.isin(_column(category, (f"ptnr{partner}_symmetry",), str, ""), _IDENTITY) for partner in (1, 2)]
    links = []
    for row, kind in enumerate(kinds):
        bond = BondType.SINGLE if kind in _COVALENT else BondType.COORDINATION if kind == "metalc" else None
        if bond is not None and same_cell[0][row] and same_cell[1][row]:
            links.append((ends[0][row], ends[1][row], int(bond)))
    return tuple(links)


def _link_ends(category: Any, partner: int) -> list[AtomKey]:
    prefix = f"ptnr{partner}"
    columns = (
        _column(category, (f"{prefix}_auth_asym_id", f"{prefix}_label_asym_id"), str, "").tolist(),
        _column(category, (f"{prefix}_auth_seq_id", f"{prefix}_label_seq_id"), int, 0).tolist(),
        _column(category, (f"pdbx_{prefix}_PDB_ins_code",), str, "").tolist(),
        _column(category, (f"{prefix}_label_atom_id",), str, "").tolist(),
    )
    return [AtomKey(*row) for row in zip(*columns, strict=True)]


def _is_predicted(block: Any) -> bool:
    if "ma_qa_metric" not in block:
        return False
    return any("plddt" in name.lower() for name in _column(block["ma_qa_metric"], ("name",), str, "").tolist())


def _own_components(block: Any, atoms: AtomArray) -> dict[str, Component]:
    """Residues that the file defines by SMILES, or by bonds where the atoms are not those of the CCD's residue."""
    smiles, tables = _descriptors(block), _bond_tables(block)
    own = {}
    for name in {**tables, **smiles}:
        rows = np.flatnonzero((atoms.res_name == name) & ~np.isin(atoms.element, ("H", "D")))
        first = atoms[rows[np.sort(np.unique(atoms.atom_name[rows], return_index=True)[1])]]
        names = tuple(first.atom_name.tolist())
        known = ccd_component(name)
        same = known is not None and set(names) <= set(known.atom_names)
        if names and (name in smiles or not same):
            bonds = bond_rows(names, *tables[name]) if name in tables else np.zeros((0, 3), dtype=np.int64)
            own[name] = _own_component(name, first, bonds, smiles.get(name))
    return own


def _bond_tables(block: Any) -> dict[str, tuple[np.ndarray, ...]]:
    """Columns of `chem_comp_bond` (two atoms, order, aromatic flag) by residue."""
    if "chem_comp_bond" not in block:
        return {}
    category = block["chem_comp_bond"]
    defaults = {"atom_id_1": "", "atom_id_2": "", "value_order": "SING", "pdbx_aromatic_flag": "N"}
    columns = [_column(category, (name,), str, missing) for name, missing in defaults.items()]
    residue = _column(category, ("comp_id",), str, "")
    return {name: tuple(column[residue == name] for column in columns) for name in np.unique(residue).tolist()}


def _own_component(name: str, first: AtomArray, bonds: np.ndarray, smiles: str | None) -> Component:
    """From the SMILES where that fits, for the stereo in it, else from the bonds."""
    names = tuple(first.atom_name.tolist())
    if smiles:
        stated = renamed_to_match(component_from_mol(mol_from_smiles(smiles), 0, name), first, bonds)
        if stated is not None and len(stated) == len(first):
            return in_order(stated, names)
    return component_from_graph(name, names, tuple(first.element.tolist()), first.charge, bonds)


def _descriptors(block: Any) -> dict[str, str]:
    if "pdbx_chem_comp_descriptor" not in block:
        return {}
    category = block["pdbx_chem_comp_descriptor"]
    columns = [_column(category, (name,), str, "").tolist() for name in ("comp_id", "type", "descriptor")]
    return {name: text for name, kind, text in zip(*columns, strict=True) if kind == "SMILES_CANONICAL"}
