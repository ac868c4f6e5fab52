"""The mmCIF and ModelCIF categories that say what molecules a structure is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product
from string import ascii_uppercase
from typing import Any

import numpy as np
from biotite.structure import BondType
from biotite.structure.info import full_name, link_type
from biotite.structure.io.pdbx import CIFCategory, CIFColumn, MaskValue

from frazil._version import __version__
from frazil.chemistry import DNA, NONPOLYMER, PROTEIN, RNA, STANDARD_RESIDUES
from frazil.data.structure import Chain, Structure
from frazil.data.symmetry import Ints

POLYMER_TYPES = {PROTEIN: "polypeptide(L)", DNA: "polydeoxyribonucleotide", RNA: "polyribonucleotide"}
_ONE_LETTER = {kind: {name: code for code, name in names.items()} for kind, names in STANDARD_RESIDUES.items()}
_STANDARD = frozenset(name for names in _ONE_LETTER.values() for name in names)
_STRAND = {"branched": "pdb_asym_id"}
_BACKBONE_LINK = frozenset({("C", "N"), ("O3'", "P")})


@dataclass(frozen=True, eq=False)
class Instance:
    """One row of `struct_asym`: a chain as mmCIF names it."""

    asym_id: str
    entity: int
    """From 1."""
    chain: Chain
    atoms: Ints
    """[n] int64."""

    @property
    def kind(self) -> str:
        """Type of its entity: a non-polymer of several residues, such as a glycan, is branched."""
        if self.chain.mol_type != NONPOLYMER:
            return "polymer"
        return "branched" if len(self.chain.sequence) > 1 else "non-polymer"


def instances(structure: Structure) -> list[Instance]:
    """The chains with identifiers that are unique, their own where that is so, and numbered entities."""
    taken = {chain.chain_id for chain in structure.chains}
    fresh = (name for name in _chain_names() if name not in taken)
    used: set[str] = set()
    entities: dict[tuple[Any, ...], int] = {}
    found = []
    for index, chain in enumerate(structure.chains):
        atoms = np.flatnonzero(structure.chain_index == index)
        key = (chain.mol_type, chain.sequence, chain.cyclic, chain.label)
        usable = re.fullmatch(r"\w+", chain.chain_id) and chain.chain_id not in used
        asym_id = chain.chain_id if usable else next(fresh)
        used.add(asym_id)
        found.append(Instance(asym_id, entities.setdefault(key, len(entities) + 1), chain, atoms))
    return found


def molecule_categories(structure: Structure, found: Sequence[Instance]) -> dict[str, CIFCategory]:
    """`entity`, `entity_poly`, `struct_asym`, the schemes, `chem_comp` and their neighbours, by category name."""
    unique = {instance.entity: instance for instance in reversed(found)}
    entities = [unique[number] for number in sorted(unique)]
    polymers = [one for one in entities if one.kind == "polymer"]
    branched = [one for one in entities if one.kind == "branched"]
    ligands = [one for one in entities if one.kind == "non-polymer"]
    tables: dict[str, list[dict[str, Any]]] = {
        "entity": [_entity(structure, instance, found) for instance in entities],
        "entity_poly": [_entity_poly(instance, found) for instance in polymers],
        "entity_poly_seq": [row for instance in polymers for row in _entity_poly_seq(instance)],
        "pdbx_entity_nonpoly": [
            {"entity_id": one.entity, "name": _describe(structure, one), "comp_id": _component(structure, one)}
            for one in ligands
        ],
        "pdbx_entity_branch": [{"entity_id": one.entity, "type": "oligosaccharide"} for one in branched],
        "pdbx_entity_branch_list": [
            {"entity_id": one.entity, "comp_id": name, "num": number, "hetero": "n"}
            for one in branched for number, name in enumerate(one.chain.sequence, start=1)
        ],
        "struct_asym": [{"id": one.asym_id, "entity_id": one.entity, "details": "?"} for one in found],
        "pdbx_poly_seq_scheme": [
            row for one in found if one.kind == "polymer" for row in _scheme(structure, one, "seq_id")
        ],
        "pdbx_branch_scheme": [
            row for one in found if one.kind == "branched" for row in _scheme(structure, one, "num")
        ],
        "pdbx_nonpoly_scheme": [
            row for one in found if one.kind == "non-polymer" for row in _scheme(structure, one, "ndb_seq_num")
        ],
        "chem_comp": _chem_comp(structure),
        "pdbx_chem_comp_descriptor": [
            {"comp_id": _component(structure, one), "type": "SMILES_CANONICAL", "program": "RDKit",
             "program_version": "?", "descriptor": one.chain.label}
            for one in ligands if one.chain.label
        ],
        "atom_type": [{"symbol": symbol} for symbol in np.unique(structure.atoms.element).tolist()],
    }  # fmt: skip
    return {name: category(rows) for name, rows in tables.items() if rows}


def model_categories(found: Sequence[Instance], num_models: int, title: str) -> dict[str, CIFCategory]:
    """The ModelCIF categories: dictionary, software, targets and the list of models."""
    targets = sorted({instance.entity for instance in found})
    tables: dict[str, list[dict[str, Any]]] = {
        "audit_conform": [{
            "dict_name": "mmcif_ma.dic", "dict_version": "1.4.6",
            "dict_location": "https://raw.githubusercontent.com/ihmwg/ModelCIF/master/dist/mmcif_ma.dic",
        }],
        "software": [{
            "pdbx_ordinal": 1, "name": "frazil", "classification": "model building", "version": __version__,
            "type": "package", "description": "diffusion model of molecular structures",
        }],
        "ma_software_group": [{"ordinal_id": 1, "group_id": 1, "software_id": 1}],
        "ma_data": [
            {"id": 1, "name": "Target", "content_type": "target"},
            {"id": 2, "name": "Model", "content_type": "model coordinates"},
        ],
        "ma_target_entity": [{"entity_id": entity, "data_id": 1, "origin": "designed"} for entity in targets],
        "ma_target_entity_instance": [
            {"asym_id": one.asym_id, "entity_id": one.entity, "details": "."} for one in found
        ],
        "ma_model_list": [
            {"ordinal_id": number, "model_id": number, "model_group_id": 1, "model_group_name": title,
             "model_name": f"{title} {number}", "data_id": 2, "model_type": "Ab initio model"}
            for number in range(1, num_models + 1)
        ],
    }  # fmt: skip
    return {name: category(rows) for name, rows in tables.items()}


def connections(structure: Structure, labels: Mapping[str, Sequence[Any]]) -> CIFCategory | None:
    """`struct_conn`: bonds between residues, but for the backbone of standard residues, which readers add.

    Parameters
    ----------
    structure : Structure
    labels : mapping
        The `atom_site` columns that name an atom, [A] each.
    """
    atoms = structure.atoms
    rows: list[dict[str, Any]] = []
    for i, j, kind in atoms.bonds.as_array().tolist():
        if _same_residue(structure, i, j) or _is_standard_link(structure, min(i, j), max(i, j)):
            continue
        row: dict[str, Any] = {"id": f"bond{len(rows) + 1}", "conn_type_id": _connection_type(structure, i, j, kind)}
        for partner, atom in ((1, i), (2, j)):
            for column, values in labels.items():
                name = f"pdbx_ptnr{partner}_{column[5:]}" if column.startswith("pdbx_") else f"ptnr{partner}_{column}"
                row[name] = values[atom]
        rows.append({**row, "pdbx_value_order": {BondType.DOUBLE: "doub", BondType.TRIPLE: "trip"}.get(kind, "sing")})
    return category(rows) if rows else None


def category(rows: Sequence[Mapping[str, Any]]) -> CIFCategory:
    """A category from its rows, all of the same columns."""
    return CIFCategory({name: column([row[name] for row in rows]) for name in rows[0]})


def column(values: Iterable[Any]) -> CIFColumn:
    """A column of text, where "." and "?" stand for inapplicable and unknown."""
    text = np.array([str(value) for value in values])
    mask = np.select([text == ".", text == "?"], [MaskValue.INAPPLICABLE, MaskValue.MISSING], MaskValue.PRESENT)
    return CIFColumn(text, mask if mask.any() else None)


def _chain_names() -> Iterator[str]:
    for length in count(1):
        yield from ("".join(letters) for letters in product(ascii_uppercase, repeat=length))


def _component(structure: Structure, instance: Instance) -> str:
    return str(structure.atoms.res_name[instance.atoms[0]])


def _describe(structure: Structure, instance: Instance) -> str:
    if instance.chain.mol_type != NONPOLYMER:
        return f"{POLYMER_TYPES[instance.chain.mol_type]}, {len(instance.chain.sequence)} residues"
    name = _component(structure, instance)
    return instance.chain.label or full_name(name) or name


def _entity(structure: Structure, instance: Instance, found: Sequence[Instance]) -> dict[str, Any]:
    return {
        "id": instance.entity,
        "type": instance.kind,
        "src_method": "man",
        "pdbx_description": _describe(structure, instance),
        "pdbx_number_of_molecules": sum(one.entity == instance.entity for one in found),
    }


def _entity_poly(instance: Instance, found: Sequence[Instance]) -> dict[str, Any]:
    letters = _ONE_LETTER[instance.chain.mol_type]
    sequence = instance.chain.sequence
    return {
        "entity_id": instance.entity,
        "type": POLYMER_TYPES[instance.chain.mol_type],
        "nstd_linkage": "yes" if instance.chain.cyclic else "no",
        "nstd_monomer": "no" if all(name in letters for name in sequence) else "yes",
        "pdbx_seq_one_letter_code": "".join(letters.get(name, f"({name})") for name in sequence),
        "pdbx_seq_one_letter_code_can": "".join(letters.get(name, "X") for name in sequence),
        "pdbx_strand_id": ",".join(one.chain.chain_id for one in found if one.entity == instance.entity),
    }


def _entity_poly_seq(instance: Instance) -> list[dict[str, Any]]:
    return [
        {"entity_id": instance.entity, "num": number, "mon_id": name, "hetero": "n"}
        for number, name in enumerate(instance.chain.sequence, start=1)
    ]


def _scheme(structure: Structure, instance: Instance, number_column: str) -> list[dict[str, Any]]:
    """A row per residue: its number in the model and the author's."""
    atoms = structure.atoms
    _, first = np.unique(structure.residue_index[instance.atoms], return_index=True)
    return [
        {
            "asym_id": instance.asym_id, "entity_id": instance.entity, number_column: number,
            "mon_id": atoms.res_name[atom], "pdb_seq_num": atoms.res_id[atom], "auth_seq_num": atoms.res_id[atom],
            "pdb_mon_id": atoms.res_name[atom], "auth_mon_id": atoms.res_name[atom],
            _STRAND.get(instance.kind, "pdb_strand_id"): atoms.chain_id[atom] or instance.asym_id,
            "pdb_ins_code": atoms.ins_code[atom] or ".", "hetero": "n",
        }
        for number, atom in enumerate(instance.atoms[first].tolist(), start=1)
    ]  # fmt: skip


def _chem_comp(structure: Structure) -> list[dict[str, Any]]:
    labels = {chain.sequence[0]: chain.label for chain in structure.chains if chain.label}
    names = {name for chain in structure.chains if chain.mol_type != NONPOLYMER for name in chain.sequence}
    return [
        {
            "id": name,
            "type": "non-polymer" if name in labels else link_type(name) or "non-polymer",
            "mon_nstd_flag": "y" if name in _STANDARD else "." if name not in names else "n",
            "name": labels.get(name) or full_name(name) or name,
        }
        for name in sorted(names | set(structure.atoms.res_name.tolist()))
    ]


def _same_residue(structure: Structure, i: int, j: int) -> bool:
    return bool(
        structure.chain_index[i] == structure.chain_index[j]
        and structure.residue_index[i] == structure.residue_index[j]
    )


def _is_standard_link(structure: Structure, i: int, j: int) -> bool:
    """Whether a reader adds this bond by itself: backbone of standard residues that follow each other by number too."""
    atoms, position = structure.atoms, structure.residue_index
    return bool(
        structure.chain_index[i] == structure.chain_index[j]
        and position[j] - position[i] == 1
        and atoms.res_id[j] - atoms.res_id[i] <= 1
        and atoms.res_name[i] in _STANDARD
        and atoms.res_name[j] in _STANDARD
        and (atoms.atom_name[i], atoms.atom_name[j]) in _BACKBONE_LINK
    )


def _connection_type(structure: Structure, i: int, j: int, kind: int) -> str:
    if kind == BondType.COORDINATION:
        return "metalc"
    sulphur = (structure.atoms.element[[i, j]] == "S").all() and (structure.atoms.res_name[[i, j]] == "CYS").all()
    return "disulf" if sulphur else "covale"
