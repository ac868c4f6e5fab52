"""Selections find the atoms that a person means; requests become the terms that hold them, or a one-line error."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil import data
from frazil.data.restraints import (
    Contact,
    CovalentBond,
    Dihedral,
    DistanceWindow,
    Pocket,
    Position,
    RadiusOfGyration,
    Selector,
    TemplateRequest,
    all_restraints,
    asked,
    held_atoms,
    restraints_of,
    with_requests,
)
from frazil.data.write import write_cif
from frazil.errors import InputError

FILES = Path(__file__).parent / "files"
NMR = Path(data.__file__).parents[1] / "assets" / "1as5.cif.gz"


@pytest.fixture(scope="module")
def protein():
    return data.read(FILES / "4cup.cif.gz")


@pytest.fixture(scope="module")
def dimer(tmp_path_factory):
    path = tmp_path_factory.mktemp("in") / "in.yaml"
    path.write_text("sequences:\n  - protein: {id: [A, B], sequence: GAKCG}\n  - ligand: {id: L, ccd: ATP}\n")
    return data.read(path)


def test_numbers_are_those_of_the_file(protein):
    selector = Selector(protein)
    number = str(protein.atoms.res_id[200])
    found = selector.atoms(f"A:{number}")
    assert 200 in found and (protein.atoms.res_id[found] == int(number)).all()
    assert (protein.chain_index[found] == protein.chain_index[200]).all()
    assert protein.atoms.atom_name[selector.one(f" A : {number} : CA ")] == "CA"


def test_a_shared_chain_name_is_the_polymer_and_ligands_go_by_name_or_number(protein):
    selector = Selector(protein)
    assert set(protein.chain_index[selector.atoms("A")]) == {0}
    ligand = next(c for c in protein.chains if c.sequence == ("ZYB",))
    atoms = selector.atoms("A:ZYB")
    assert (protein.chain_index[atoms] == protein.chains.index(ligand)).all()
    number = protein.atoms.res_id[atoms[0]]
    assert (selector.atoms(f"A:{number}") == atoms).all()
    assert protein.atoms.atom_name[selector.one("A:ZYB:N1")] == "N1"


def test_insertion_codes_belong_to_the_number():
    structure = data.read(FILES / "1gbt.cif.gz")
    codes = structure.atoms.ins_code
    assert (codes != "").any()
    atom = int(np.flatnonzero(codes != "")[0])
    number, code = structure.atoms.res_id[atom], codes[atom]
    inserted, plain = (Selector(structure).atoms(f"A:{number}{c}") for c in (code, ""))
    assert atom in inserted and not set(inserted) & set(plain)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("C:1", "no chain 'C'"),
        ("a", "did you mean A"),
        ("A:9", "did you mean 5, 4, 3"),
        ("A:2:cb", "no atom 'cb'.*did you mean CB"),
        ("L:2", "no residue '2'.*did you mean 1"),
        ("L:ATQ", "did you mean ATP"),
        ("A:1:CA:X", "not of the form"),
        ("A::CA", "not of the form"),
    ],
)
def test_a_selection_without_atoms_gives_the_nearest_names(dimer, text, message):
    with pytest.raises(InputError, match=message):
        Selector(dimer).atoms(text)


def test_what_may_mean_several_is_refused(protein):
    many = data.read(FILES / "1ehz.cif.gz")
    with pytest.raises(InputError, match=r"means .* residues; choose one of A:"):
        Selector(many).atoms("A:MG")
    ions = replace(many, chains=tuple(replace(c, chain_id="I") if c.mol_type == 3 else c for c in many.chains))
    with pytest.raises(InputError, match=r"means .* molecules; say which by number"):
        Selector(ions).atoms("I")
    with pytest.raises(InputError, match="add the atom's name"):
        Selector(protein).one("A:ZYB")


@given(text=st.text(max_size=20) | st.lists(st.sampled_from("ABL:1529 CAGTP-"), max_size=10).map("".join))
def test_any_selection_finds_atoms_or_is_refused_in_one_line(dimer, text):
    try:
        assert len(Selector(dimer).atoms(text))
    except InputError as error:
        assert "\n" not in str(error)


def test_a_contact_is_one_group_of_all_pairs(dimer):
    request = Contact("A:2", "B:3:CA", 8.0)
    terms = restraints_of(dimer, [request, Contact("A", "L", 5, enforced=False)]).contacts
    assert terms.num_groups == 2 and terms.labels == (request.label, "A,L,5")
    first = terms.group == 0
    names = dimer.atoms.atom_name[terms.atoms[first].numpy()]
    assert names.tolist() == [[name, "CA"] for name in ("N", "CA", "C", "O", "CB")]
    assert (terms.upper[first] == 8).all() and (terms.lower == -math.inf).all()
    assert terms.weight[first].all() and not terms.weight[~first].any()


def test_a_pocket_is_a_group_for_each_contact(dimer):
    terms = restraints_of(dimer, [Pocket("L", ("A:1", "B:4:SG"), 6)]).contacts
    ligand = len(Selector(dimer).atoms("L"))
    assert torch.bincount(terms.group).tolist() == [4 * ligand, ligand]
    assert terms.labels == ("L,A:1,6", "L,B:4:SG,6")


def test_windows_of_distance(dimer):
    single = restraints_of(dimer, [DistanceWindow("A:1:CA", "B:1:CA", 5, 9)]).distances
    assert (single.lower.tolist(), single.upper.tolist(), single.num_groups) == ([5], [9], 1)
    pairs = restraints_of(dimer, [DistanceWindow("A:1", "B:1", 5, 9)]).distances
    assert len(pairs) == 2 * 16 and pairs.num_groups == 16 + 1 and set(pairs.labels) == {"A:1,B:1,5,9"}
    assert (pairs.upper[:16] == math.inf).all() and (pairs.lower[16:] == -math.inf).all()


def test_dihedrals_are_windows_modulo_a_turn(dimer):
    atoms = ("A:1:N", "A:1:CA", "A:1:C", "A:2:N")
    terms = restraints_of(dimer, [Dihedral(atoms, 170, -170), Dihedral(atoms, -60, -40)]).dihedrals
    assert torch.rad2deg(terms.lower).tolist() == pytest.approx([170, -60])
    assert torch.rad2deg(terms.upper).tolist() == pytest.approx([190, -40])
    with pytest.raises(InputError, match="must differ"):
        restraints_of(dimer, [Dihedral((*atoms[:3], atoms[0]), 0, 90)])


def test_gyration_is_one_group(dimer):
    terms = restraints_of(dimer, [RadiusOfGyration("A", 3, 8)]).gyration
    assert terms.num_groups == 1 and len(terms) == len(Selector(dimer).atoms("A"))


def test_requests_of_no_kind_give_nothing(dimer):
    assert len(restraints_of(dimer, ())) == 0
    assert with_requests(dimer, ()) is dimer


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Contact("A:1", "A:1:CA", 8), "share 1 atoms"),
        (Contact("A", "A", 8), "share"),
        (Contact("A:1", "C:1", 8), "contact A:1,C:1,8: .*no chain 'C'"),
        (Dihedral(("A:1", "A:2", "A:3", "A:4"), 0, 9), "add the atom's name"),
        (Position("A:1"), "none of these atoms has coordinates"),
        (Position("A:1", "none.cif"), "no such file"),
        (Position("A:1", "~nobody/none.cif"), "no such file"),
        (Position("A:1", "x" * 5000), "no such file"),
        (TemplateRequest(__file__), "no structure file"),
        (CovalentBond("A:1:CA", "A:1:CA"), "itself"),
        (RadiusOfGyration("A:1:CA", upper=3), "single atom"),
    ],
)
def test_errors_name_the_request(dimer, request_, message):
    with pytest.raises(InputError, match=message) as caught:
        restraints_of(dimer, [request_])
    assert str(caught.value).startswith(request_.kind) and "\n" not in str(caught.value)


def test_too_many_pairs_are_refused(dimer, monkeypatch):
    monkeypatch.setattr(asked, "MAX_PAIRS", 100)
    assert len(restraints_of(dimer, [Contact("A:1", "B:1", 8)]).contacts) == 16
    with pytest.raises(InputError, match="pairs of atoms; name smaller parts"):
        restraints_of(dimer, [Contact("A", "B", 8)])


def test_a_bond_is_a_connection_once(dimer):
    request = CovalentBond("A:4:SG", "B:4:SG")
    loose = restraints_of(dimer, [request])
    assert loose.connections.labels == (request.label,) and len(loose.bonds) == 1
    made = with_requests(dimer, [request])
    assert len(restraints_of(made, [request])) == 0
    assert all_restraints(made).connections.labels.count(request.label) == 1
    assert len(made.atoms.bonds.as_array()) == len(dimer.atoms.bonds.as_array()) + 1
    assert made.restraints == (request,) and dimer.restraints == ()


def test_positions_are_those_of_the_input_or_of_another_file(tmp_path):
    structure = data.read(FILES / "1ubi.pdb.gz")
    own = restraints_of(structure, [Position("A", tolerance=0.5, aligned=False)]).positions
    assert np.allclose(own.places, structure.coords[0, own.terms.atoms[:, 0]]) and not own.aligned.any()
    moved = tmp_path / "moved.cif"
    write_cif(moved, structure, np.nan_to_num(structure.coords[0]) + 7)
    other = restraints_of(structure, [Position("A", str(moved))]).positions
    known = structure.resolved[0, other.terms.atoms[:, 0].numpy()]
    assert np.allclose(other.places[known], structure.coords[0][structure.resolved[0]] + 7, atol=1e-2)
    assert other.aligned.all() and other.terms.num_groups == 1


def test_a_template_holds_representative_atoms():
    structure = data.read(FILES / "1ubi.pdb.gz")
    found = restraints_of(structure, [TemplateRequest(str(FILES / "1ubi.pdb.gz"), threshold=1.5)]).templates
    names = structure.atoms.atom_name[found.terms.atoms[:, 0].numpy()]
    residues = structure.atoms.res_name[found.terms.atoms[:, 0].numpy()]
    assert len(found) == 76 and found.terms.num_groups == 1 and found.aligned.tolist() == [True]
    assert (names == np.where(residues == "GLY", "CA", "CB")).all()
    assert np.allclose(found.places, structure.coords[0, found.terms.atoms[:, 0]]) and (found.terms.upper == 1.5).all()


def test_chains_are_templated_by_their_sequences(dimer, tmp_path):
    rng = np.random.default_rng(0)
    coords = rng.normal(size=(len(dimer.atoms), 3)).astype(np.float32)
    file = tmp_path / "t.cif"
    write_cif(file, dimer, coords)
    both = restraints_of(dimer, [TemplateRequest(str(file))]).templates
    assert len(both) == 10 and np.allclose(both.places, coords[both.terms.atoms[:, 0]], atol=1e-3)
    crossed = restraints_of(dimer, [TemplateRequest(str(file), ("A", "L"), ("B", "L"))]).templates
    half = len(Selector(dimer).atoms("A"))
    chain = crossed.terms.atoms[:5, 0]
    assert np.allclose(crossed.places[:5], coords[chain + half], atol=1e-3)
    assert len(crossed) == 5 + len(Selector(dimer).atoms("L"))


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        ((), "chain A has 5 residues, 1ubi has A with 76"),
        (("A",), "chain A has 5 residues, 1ubi has A with 76"),
        (("L",), "has no nonpolymer chain left"),
        (("Q",), "no chain 'Q'"),
    ],
)
def test_a_template_of_another_length_is_refused(dimer, chains, message):
    with pytest.raises(InputError, match=message):
        restraints_of(dimer, [TemplateRequest(str(FILES / "1ubi.pdb.gz"), chains)])


def test_a_template_of_another_sequence_is_refused(dimer, tmp_path):
    path = tmp_path / "in.yaml"
    path.write_text("sequences:\n  - protein: {id: A, sequence: GAKTG}\n")
    other = data.read(path)
    write_cif(tmp_path / "t.cif", other, np.zeros((len(other.atoms), 3)))
    with pytest.raises(InputError, match=r"5 and 5 residues but differ in 1 .CYS and THR at 4."):
        restraints_of(dimer, [TemplateRequest(str(tmp_path / "t.cif"), ("A",))])


def test_held_atoms_are_the_resolved_ones(protein, dimer):
    held = held_atoms(protein, ["A"])
    assert held.dtype == bool and (held == ((protein.chain_index == 0) & protein.resolved[0])).all()
    assert held_atoms(protein, ["A", "A:ZYB"]).sum() == held.sum() + 11
    assert not held_atoms(protein, []).any()
    with pytest.raises(InputError, match="no coordinates to hold"):
        held_atoms(dimer, ["A"])


def test_every_kind_joins_a_batch_and_follows_a_crop():
    """Restraints from a file go through `Features`: the pairs of a crop are still the same atoms."""
    structure = data.read(NMR)
    chain = structure.chains[0].chain_id
    first, last = (f"{chain}:{structure.atoms.res_id[k]}" for k in (0, len(structure.atoms) - 1))
    requests = [Contact(first, last, 8), DistanceWindow(f"{first}:CA", f"{last}:N", 4), RadiusOfGyration(chain, 3, 12)]
    requests += [Position(chain), TemplateRequest(str(NMR))]
    features = data.featurize(structure)
    features = replace(features, restraints=all_restraints(with_requests(structure, requests)))
    assert all(len(getattr(features.restraints, name)) for name in ("contacts", "distances", "templates", "gyration"))
    cropped = features.crop(torch.arange(features.num_tokens - 5, features.num_tokens))
    assert len(cropped.restraints.contacts) == len(cropped.restraints.distances) == 0
    kept = cropped.restraints.templates
    assert len(kept) and torch.allclose(kept.places, cropped.coords[0, 0, kept.terms.atoms[:, 0]])
