"""Requests from texts, tables and Boltz's YAML: what is meant is made, anything else is one line that says why."""

import math
import warnings
from dataclasses import astuple
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil import data
from frazil.data.restraints import (
    REQUEST_KINDS,
    Contact,
    CovalentBond,
    Dihedral,
    DistanceWindow,
    Pocket,
    Position,
    RadiusOfGyration,
    TemplateRequest,
    parse_contact,
    parse_min_distance,
    parse_template,
    request_from,
)
from frazil.errors import InputError

FILES = Path(__file__).parent / "files"
NAMES = st.text("ABab019:'* +-", min_size=1, max_size=8).filter(lambda text: text.strip() == text)
DISTANCES = st.floats(0, 1000, exclude_min=True)


@given(first=NAMES, second=NAMES, distance=DISTANCES)
def test_a_contact_is_read_from_its_own_text(first, second, distance):
    found = parse_contact(f" {first}, {second} ,{distance!r}")
    assert astuple(found) == (first, second, distance, True)
    assert parse_contact(found.label).label == found.label


def test_the_three_flags():
    assert parse_contact("A:12:CA,B:40:CB,8.0") == Contact("A:12:CA", "B:40:CB", 8.0)
    assert parse_min_distance("A:12,B,5", enforced=False) == DistanceWindow("A:12", "B", 5, math.inf, False)
    assert parse_template("a,b.cif") == TemplateRequest("a,b.cif")
    assert parse_template("a,b.cif,1.5").threshold == 1.5


@given(text=st.text(max_size=40))
def test_any_text_is_parsed_or_refused_in_one_line(text):
    for parse in (parse_contact, parse_min_distance, parse_template):
        try:
            parse(text)
        except InputError as error:
            assert "\n" not in str(error)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)
FIELDS = ["first", "second", "max_distance", "lower", "upper", "atoms", "selection", "file", "enforced", "binder"]


@given(kind=st.sampled_from([*REQUEST_KINDS, "contacts"]), table=st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_table_is_a_request_or_refused_in_one_line(kind, table):
    try:
        request_from(kind, table)
    except InputError as error:
        assert "\n" not in str(error)


def test_tables_make_the_same_records():
    assert request_from("pocket", {"binder": "L", "contacts": ["A:1", "A:2"]}) == Pocket("L", ("A:1", "A:2"), 6.0)
    angles = {"atoms": ["A:1:N", "A:1:CA", "A:1:C", "A:2:N"], "lower": 170, "upper": -170, "enforced": False}
    assert request_from("dihedral", angles).atoms[3] == "A:2:N"
    assert request_from("template", {"file": "t.cif", "chains": "A"}) == TemplateRequest("t.cif", ("A",))


@pytest.mark.parametrize("value", [0, -1, 1000.1, math.nan, math.inf, -math.inf, True, "6", None, 10**400])
def test_distances_outside_0_to_1000_are_refused(value):
    for make in (
        lambda: Contact("A", "B", value),
        lambda: Pocket("A", ("B",), value),
        lambda: Position("A", None, value),
        lambda: TemplateRequest("t.cif", threshold=value),
        lambda: DistanceWindow("A", "B", value),
        lambda: RadiusOfGyration("A", lower=value),
    ):
        with pytest.raises(InputError):
            make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: DistanceWindow("A", "B"),
        lambda: DistanceWindow("A", "B", 5, 5),
        lambda: DistanceWindow("A", "B", 6, 5),
        lambda: Dihedral(("A", "B", "C"), 0, 90),
        lambda: Dihedral(("A", "B", "C", "D"), 0, 0),
        lambda: Dihedral(("A", "B", "C", "D"), 0, 360),
        lambda: Dihedral(("A", "B", "C", "D"), math.nan, 90),
        lambda: Dihedral(("A", "B", "C", "D"), 400, "x"),
        lambda: Pocket("A", ()),
        lambda: Contact("", "B", 8),
        lambda: Contact("A\nB", "B", 8),
        lambda: Contact("A", "B", 8, "yes"),
        lambda: TemplateRequest(""),
        lambda: TemplateRequest("t.cif", ("A", "B"), ("A",)),
        lambda: Position("A", "a\0b"),
    ],
)
def test_what_cannot_be_meant_is_refused(make):
    with pytest.raises(InputError) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "table", "message"),
    [
        ("contact", {"first": "A", "second": "B"}, "'max_distance' is missing"),
        ("contact", {"first": "A", "second": "B", "max_distanze": 8}, "did you mean max_distance"),
        ("contakt", {}, "did you mean contact"),
        ("pocket", {"binder": "A", "contacts": [1]}, "list of texts"),
        ("bond", {"first": "A", "second": "B", "enforced": 1}, "true or false"),
    ],
)
def test_errors_of_tables_name_the_key(kind, table, message):
    with pytest.raises(InputError, match=message):
        request_from(kind, table)


SEQUENCES = """
sequences:
  - protein: {id: [A, B], sequence: MKTAYC}
  - ligand: {id: L, smiles: CCO}
  - ligand: {id: G, ccd: [NAG, NAG]}
"""


def boltz(folder, text, sequences=SEQUENCES):
    path = folder / "in.yaml"
    path.write_text(sequences + text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return data.read(path)


def test_yaml_constraints_are_kept_as_requests(tmp_path):
    structure = boltz(
        tmp_path,
        """
constraints:
  - bond: {atom1: [A, 6, SG], atom2: [B, 6, SG]}
  - pocket: {binder: L, contacts: [[A, 1], [G, C8]], max_distance: 7}
  - contact: {token1: [A, 1], token2: [L, C2], force: true}
  - contact: {token1: [A, 2], token2: [B, 2], max_distance: 9.5, force: false}
""",
    )
    assert structure.restraints == (
        CovalentBond("A:6:SG", "B:6:SG"),
        Pocket("L", ("A:1", "G:1:C8"), 7),
        Contact("A:1", "L:1:C2", 6.0, True),
        Contact("A:2", "B:2", 9.5, False),
    )
    names = structure.atoms.atom_name
    bonds = structure.atoms.bonds.as_array()[:, :2]
    [pair] = [p for p in bonds.tolist() if structure.chain_index[p[0]] != structure.chain_index[p[1]]]
    assert names[pair].tolist() == ["SG", "SG"]


def test_yaml_templates_are_found_from_the_folder_of_the_input(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "x.cif").write_text("data_x")
    text = "templates:\n  - {cif: t/x.cif, chain_id: [A, B], template_id: [X, Y], force: true, threshold: 3}\n"
    text += "  - {pdb: t/x.cif, chain_id: A, force: false}\n"
    first, second = boltz(tmp_path, text).restraints
    assert first == TemplateRequest(str(tmp_path / "t" / "x.cif"), ("A", "B"), ("X", "Y"), 3, True)
    assert (second.chains, second.threshold, second.enforced) == (("A",), 2.0, False)


def test_atoms_of_a_smiles_come_with_a_word_on_their_names(tmp_path):
    path = tmp_path / "in.yaml"
    path.write_text(SEQUENCES + "constraints:\n  - contact: {token1: [A, 1], token2: [L, C2]}\n")
    with pytest.warns(UserWarning, match="atom C2 of chain L"):
        data.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("constraints: {}", "must be a list"),
        ("constraints: [bond]", "one key of bond, pocket, contact"),
        ("constraints: [{glue: {}}]", "'glue' is not one of"),
        ("constraints: [{contact: {token1: [A, 1], token2: [C, 1]}}]", "no chain 'C'"),
        ("constraints: [{contact: {token1: [A, 1], token2: [B, 7]}}]", "in chain B; did you mean 6, 5, 4"),
        ("constraints: [{contact: {token1: [A, 0], token2: [B, 1]}}]", "no residue '0'"),
        ("constraints: [{contact: {token1: [A, CA], token2: [B, 1]}}]", "must be a residue number"),
        ("constraints: [{contact: {token1: [A, 1], token2: [L, C9]}}]", "no atom 'C9'"),
        ("constraints: [{contact: {token1: [A, 1]}}]", "None' must be"),
        ("constraints: [{contact: {token1: [A, 1], token2: [B, 1], max_distance: 0}}]", "max_distance 0"),
        ("constraints: [{contact: {token1: [A, 1], token2: [B, 1], max_distance: .nan}}]", "nan"),
        ("constraints: [{contact: {token1: [A, 1], token2: [B, 1], max_dist: 8}}]", "did you mean max_distance"),
        ("constraints: [{contact: {token1: [A, 1], token2: [B, 1], force: 1}}]", "'force' must be"),
        ("constraints: [{pocket: {binder: L, contacts: []}}]", "no contacts"),
        ("constraints: [{pocket: {binder: [L], contacts: [[A, 1]]}}]", "no chain"),
        ("constraints: [{bond: {atom1: [A, 1, CA], atom2: [A, 1, CA]}}]", "itself"),
        ("constraints: [{bond: {atom1: [A, 1, XX], atom2: [B, 1, CA]}}]", "no atom 'XX'"),
        ("constraints: [{bond: {atom1: [A, 1], atom2: [B, 1, CA]}}]", "residue number, atom name"),
        ("templates: [{cif: none.cif}]", "no such file"),
        ("templates: [{chain_id: A}]", "under 'cif' or 'pdb'"),
        ("templates: [{cif: in.yaml, force: true}]", "needs a 'threshold'"),
        ("templates: [{cif: in.yaml, chain_id: Q}]", "no chain 'Q'"),
        ("templates: [{cif: in.yaml, chain_id: [A, B], template_id: A}]", "as many of both"),
    ],
)  # fmt: skip
def test_bad_constraints_are_one_line_with_the_file(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        boltz(tmp_path, text)
    assert message in str(caught.value) and "in.yaml" in str(caught.value) and "\n" not in str(caught.value)


KEYS = ["bond", "pocket", "contact", "atom1", "token1", "token2", "binder", "contacts", "force", "cif", "chain_id"]
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["A", "L", "C1", "CA"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(constraints=DOCUMENTS, templates=DOCUMENTS)
def test_any_document_is_read_or_refused_in_one_line(tmp_path_factory, constraints, templates):
    text = yaml.safe_dump({"constraints": constraints, "templates": templates})
    try:
        boltz(tmp_path_factory.mktemp("y"), text)
    except InputError as error:
        assert "\n" not in str(error)
