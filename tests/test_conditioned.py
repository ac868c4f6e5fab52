"""Truths about inputs whose trunk ran elsewhere: what is stored comes back, and anything else is refused in a line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch import Tensor

from frazil import cli
from frazil.checkpoint import RunRecord, load_model, load_tensors, save_model, save_tensors
from frazil.data import Contact, DistanceWindow, Structure, all_restraints, featurize, read, with_requests
from frazil.data.write import to_rdkit, write_cif
from frazil.denoiser import StructureModel
from frazil.errors import InputError
from frazil.features import Features, tensor_fields
from frazil.nn.conditioning import TrunkOutput
from frazil.predictor import (
    Conditioned,
    PredictSettings,
    SteeringSettings,
    draw,
    plan,
    predict,
    read_conditioning,
    write_conditioning,
)
from frazil.restraints import PlaceTerms, Restraints, Terms
from random_model import TINY, random_model

WIDTHS = (TINY.network.token_s, TINY.network.token_z)
WITHOUT_TRUNK = replace(TINY, trunk=None)
FAST = PredictSettings(num_samples=2, steps=3)
COMPLEX = """\
version: 1
sequences:
  - protein: {id: [A, P2], sequence: GSMCK, modifications: [{position: 2, ccd: SEP}]}
  - dna: {id: D, sequence: GAT}
  - rna: {id: R, sequence: GAU}
  - ligand: {id: L, smiles: 'C[C@H](O)c1ccc2[nH]ccc2c1'}
  - ligand: {id: M, ccd: MG}
"""


def structure_of(text: str, folder: Path) -> Structure:
    """The structure of a SMILES, a code, or the text of a YAML."""
    if "\n" not in text:
        return read(text)
    (folder / "complex.yaml").write_text(text)
    return read(folder / "complex.yaml")


def asked(structure: Structure) -> Features:
    """Features with all kinds of restraints, some of them named."""
    wanted = [Contact("A", "L", 6.0), DistanceWindow("A:1", "D:1", 3.0, 9.0)] if len(structure.chains) > 1 else []
    structure = with_requests(structure, wanted)
    features = replace(featurize(structure), restraints=all_restraints(structure))
    places = PlaceTerms(
        Terms.of(torch.tensor([[0], [1]]), upper=1.0, group=torch.tensor([0, 0]), labels=["here"]),
        torch.ones(2, 3),
        torch.tensor([True]),
    )
    return replace(features, restraints=replace(features.restraints, templates=places))


def trunk_of(features: Features, widths: tuple[int, int] = WIDTHS) -> dict[str, Tensor]:
    """Random representations."""
    generator = torch.Generator().manual_seed(0)
    n, (single, pair) = features.num_tokens, widths
    shapes = {"s_inputs": (n, single), "s": (n, single), "z": (n, n, pair), "relative_positions": (n, n, pair)}
    return {name: torch.randn((1, *shape), generator=generator) for name, shape in shapes.items()}


def store(text: str, folder: Path, **changes: Any) -> tuple[Structure, Features, dict[str, Tensor], Path]:
    """A structure, its features and representations, and the file that holds them, written with padding."""
    structure = structure_of(text, folder)
    features = asked(structure)
    padded = features.pad(num_tokens=features.num_tokens + 3).pad_to_multiple(32)
    trunk = trunk_of(padded)
    coords = np.random.default_rng(0).normal(size=structure.ref_pos.shape, scale=9)
    write_cif(folder / "model.cif", structure, coords)
    path = folder / "some_conditioning.safetensors"
    cif = (folder / "model.cif").read_text()
    write_conditioning(path, **({"cif": cif, "features": padded} | trunk | changes))
    n = features.num_tokens
    cropped = {name: x[:, :n] if name.startswith("s") else x[:, :n, :n] for name, x in trunk.items()}
    return structure, features, cropped, path


@pytest.fixture
def extracted(tmp_path: Path) -> Path:
    """A model without a trunk."""
    path = tmp_path / "extracted.safetensors"
    save_model(path, random_model(WITHOUT_TRUNK), RunRecord(config=WITHOUT_TRUNK))
    return path


def refusal(path: Path, *words: str, function: Any = read_conditioning) -> None:
    with pytest.raises(InputError) as caught:
        function(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert all(word in message for word in (path.name, *words)), message


# --- what comes back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [COMPLEX, "C[C@H](O)c1ccc2[nH]ccc2c1", "ATP", "MG"])
def test_features_representations_and_molecules_come_back(tmp_path: Path, text: str) -> None:
    structure, features, trunk, path = store(text, tmp_path)
    found = read_conditioning(path)
    assert found.name == "some"
    for name in tensor_fields():
        assert torch.equal(getattr(found.features, name), getattr(features, name)), name
    representations = found.trunk(features.pad(num_tokens=features.num_tokens + 5))
    for name in trunk:
        kept = getattr(representations, name)[:, : features.num_tokens]
        assert torch.equal(kept if name.startswith("s") else kept[:, :, : features.num_tokens], trunk[name]), name
    same_molecules(found, structure)


def same_molecules(found: Conditioned, structure: Structure) -> None:
    for column in ("chain_id", "res_id", "res_name", "atom_name", "element", "charge"):
        assert (getattr(found.structure.atoms, column) == getattr(structure.atoms, column)).all(), column
    assert [vars(chain) for chain in found.structure.chains] == [vars(chain) for chain in structure.chains]
    assert (found.structure.chain_index == structure.chain_index).all()
    assert (found.structure.residue_index == structure.residue_index).all()
    assert bonded(found.structure) == bonded(structure)
    assert np.isfinite(found.structure.coords).all() and (found.structure.ref_pos == structure.ref_pos).all()


def bonded(structure: Structure) -> set[tuple[int, ...]]:
    return {tuple(sorted(pair)) for pair in structure.atoms.bonds.as_array()[:, :2].tolist()}


def test_every_restraint_comes_back_with_its_label(tmp_path: Path) -> None:
    _, features, _, path = store(COMPLEX, tmp_path)
    found = read_conditioning(path).features.restraints
    kinds = {field.name: getattr(features.restraints, field.name) for field in fields(Restraints)}
    assert len(kinds["contacts"]) and len(kinds["distances"]) and len(kinds["chirality"]) and len(kinds["bonds"])
    for kind, expected in kinds.items():
        same_terms(getattr(found, kind), expected)
    assert found.contacts.labels == ("A,L,6",) and found.templates.terms.labels == ("here",)


def same_terms(found: Terms | PlaceTerms, expected: Terms | PlaceTerms) -> None:
    if isinstance(expected, PlaceTerms):
        assert isinstance(found, PlaceTerms)
        assert torch.equal(found.places, expected.places) and torch.equal(found.aligned, expected.aligned)
        found, expected = found.terms, expected.terms
    assert isinstance(found, Terms) and found.labels == expected.labels
    for name in ("structure", "atoms", "lower", "upper", "weight", "group"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize(
    "smiles",
    ["Cn1cnc2c1c(=O)n(C)c(=O)n2C", "c1cc[nH]c1-c1ncc[nH]1", "[O-][N+](=O)c1ccncc1", "CC(=O)N[C@@H](C)/C=C/C#N"],
)
def test_a_ligand_s_bond_orders_and_stereo_come_back(tmp_path: Path, smiles: str) -> None:
    structure, _, _, path = store(smiles, tmp_path)
    found = read_conditioning(path).structure
    assert found.chains[0].label == structure.chains[0].label == Chem.CanonSmiles(smiles)
    assert Chem.MolToSmiles(to_rdkit(found, 0)) == Chem.MolToSmiles(to_rdkit(structure, 0, found.coords[0]))


def test_distances_in_the_mmcif_bond_nothing(tmp_path: Path) -> None:
    structure = structure_of(COMPLEX, tmp_path)
    near = np.random.default_rng(0).normal(size=structure.ref_pos.shape)
    write_cif(tmp_path / "near.cif", structure, near)
    _, _, _, path = store(COMPLEX, tmp_path, cif=(tmp_path / "near.cif").read_text())
    assert bonded(read_conditioning(path).structure) == bonded(structure)


def test_one_file_holds_one_structure(tmp_path: Path) -> None:
    features = Features.stack([asked(read("ATP"))] * 2)
    with pytest.raises(InputError, match="2 structures"):
        write_conditioning(tmp_path / "x", cif="", features=features, **trunk_of(features))


# --- sampling -------------------------------------------------------------------------------------------------------


def test_samples_are_those_of_the_model_on_the_stored_representations(tmp_path: Path, extracted: Path) -> None:
    _, features, trunk, path = store(COMPLEX, tmp_path)
    model, record = load_model(extracted)
    assert record.config.trunk is None
    [request] = plan([path], tmp_path / "out", FAST, print)
    drawn = draw(model, request, replace(FAST, steering=SteeringSettings(sets=())))
    other = StructureModel(WITHOUT_TRUNK, trunk=Given(TrunkOutput(**trunk)))
    other.load_state_dict(model.state_dict())
    prepared = model.prepare(features)
    coords = torch.randn(1, 1, prepared.num_atoms, 3)
    sigma = torch.tensor([[4.0]])
    denoised = [
        one.denoiser.bind(conditioning)(coords, sigma)
        for one, conditioning in (
            (model, model.condition(prepared, read_conditioning(path).trunk)),
            (other, other.condition(prepared)),
        )
    ]
    assert torch.equal(*denoised)
    assert drawn.coords.shape == (2, features.num_atoms, 3) and drawn.finite.all()


class Given(torch.nn.Module):
    """A trunk that knows its output."""

    def __init__(self, output: TrunkOutput) -> None:
        super().__init__()
        self.output = output

    def forward(self, features: Features) -> TrunkOutput:
        extra = features.num_tokens - self.output.s.shape[1]
        pad = torch.nn.functional.pad
        values = asdict(self.output)
        single = {k: pad(v, (0, 0, 0, extra)) for k, v in values.items() if k.startswith("s")}
        pair = {k: pad(v, (0, 0, 0, extra, 0, extra)) for k, v in values.items() if not k.startswith("s")}
        return TrunkOutput(**single, **pair)


def test_a_stored_input_is_sampled_steered_and_written(tmp_path: Path, extracted: Path) -> None:
    _, _, _, path = store(COMPLEX, tmp_path)
    asked_for = SteeringSettings(requests=(Contact("R", "M", 5.0),), particles=2, moves=3, fix=("D",))
    chosen = replace(FAST, steering=asked_for, trajectory=1, sampler="heun", precision="bf16")
    [summary] = predict([path], extracted, tmp_path / "out", chosen)
    assert summary.name == "some"
    rows = json.loads((summary.folder / "samples.json").read_text())
    labels = {one["label"] for row in rows for one in row["restraints"]}
    assert {"A,L,6", "R,M,5"} <= labels
    assert rows[0]["steps_guided"] > 0 and rows[0]["fixed"] == ["D"] and rows[0]["trajectory"]
    sample = read(summary.folder / "sample_0.cif")
    assert [chain.chain_id for chain in sample.chains] == ["A", "P2", "D", "R", "L", "M"]
    with pytest.raises(InputError, match="--overwrite"):
        predict([path], extracted, tmp_path / "out", chosen)
    predict([path], extracted, tmp_path / "out", replace(chosen, overwrite=True))


def test_a_lone_ligand_gives_one_sdf_with_its_bonds(tmp_path: Path, extracted: Path) -> None:
    structure, _, _, path = store("c1ccc2[nH]ccc2c1", tmp_path)
    [summary] = predict([path], extracted, tmp_path / "out", FAST)
    assert summary.files == ("samples.sdf", "samples.json")
    [first, _] = Chem.SDMolSupplier(str(summary.folder / "samples.sdf"))
    assert Chem.MolToSmiles(first) == structure.chains[0].label


def test_a_start_of_the_same_molecules_fits(tmp_path: Path, extracted: Path) -> None:
    _, _, _, path = store("ATP", tmp_path)
    chosen = replace(FAST, start=tmp_path / "model.cif", start_sigma=0.5)
    [summary] = predict([path], extracted, tmp_path / "out", chosen)
    assert summary.num_finite == 2


# --- what does not go together --------------------------------------------------------------------------------------


def test_a_model_without_a_trunk_takes_no_ordinary_input(tmp_path: Path, extracted: Path) -> None:
    with pytest.raises(InputError, match=r"CCC=O.*extracted\.safetensors.*no trunk.*--write-conditioning"):
        predict(["CCC=O"], extracted, tmp_path / "out", FAST)
    model, _ = load_model(extracted)
    with pytest.raises(InputError, match="no trunk"):
        model.condition(model.prepare(featurize(read("CCC=O"))))
    assert not (tmp_path / "out").exists()


def test_a_model_with_a_trunk_takes_no_conditioning_file(tmp_path: Path) -> None:
    _, _, _, path = store("ATP", tmp_path)
    save_model(tmp_path / "model.safetensors", random_model(), RunRecord(config=TINY))
    with pytest.raises(InputError, match=r"some_conditioning.*trunk of its own.*extract"):
        predict([path], tmp_path, tmp_path / "out", FAST)


def test_representations_of_other_widths_are_refused(tmp_path: Path, extracted: Path) -> None:
    features = asked(read("ATP"))
    _, _, _, path = store("ATP", tmp_path, features=features, **trunk_of(features, (12, 4)))
    with pytest.raises(InputError, match=r"\(12, 4\)"):
        predict([path], extracted, tmp_path / "out", FAST)


def test_boltz_s_embeddings_are_refused_for_want_of_s_inputs(tmp_path: Path, extracted: Path, capsys: Any) -> None:
    path = tmp_path / "embeddings_some.npz"
    np.savez(path, s=np.zeros((1, 3, 16)), z=np.zeros((1, 3, 3, 8)))
    with pytest.raises(InputError, match=r"embeddings_some\.npz.*lack s_inputs.*--write-conditioning"):
        predict([path], extracted, tmp_path / "out", FAST)
    with pytest.raises(SystemExit) as left, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["frazil", "sample", str(path), "--checkpoint", str(extracted), "--out", "o"])
        cli.main()
    assert left.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_models_and_inputs_are_told_apart(tmp_path: Path, extracted: Path) -> None:
    _, _, _, path = store("ATP", tmp_path)
    refusal(extracted, "--checkpoint")
    refusal(path, "input", function=load_model)


# --- damage ---------------------------------------------------------------------------------------------------------


def test_files_that_are_no_conditioning_are_refused(tmp_path: Path) -> None:
    _, _, _, path = store("ATP", tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[:100], whole[:-10]):
        path.write_bytes(content)
        refusal(path, "truncated")
    save_tensors(path, {"x": torch.ones(1)}, {"kind": "other"})
    refusal(path, "no conditioning file")
    refusal(tmp_path, "folder")
    refusal(tmp_path / "absent.safetensors", "no such file")


def rewritten(path: Path, header: dict[str, Any] | None = None, **changes: Tensor | None) -> Path:
    tensors, known = load_tensors(path)
    for name, tensor in changes.items():
        tensors.pop(name) if tensor is None else tensors.__setitem__(name, tensor)
    save_tensors(path, tensors, known | (header or {}))
    return path


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features.ref_pos", lambda x: None),
        ("features.ref_pos", lambda x: x.double()),
        ("features.ref_pos", lambda x: x * torch.nan),
        ("features.ref_pos", lambda x: x[:, :-1]),
        ("features.atom_token_index", lambda x: x + 1),
        ("features.atom_token_index", lambda x: x.flip(1)),
        ("features.atom_token_index", lambda x: x * 0),
        ("features.token_mask", lambda x: ~x),
        ("features.token_mask", lambda x: x[0, 0]),
        ("features.ref_element", lambda x: x + 200),
        ("features.ref_element", lambda x: x + 1),
        ("features.res_type", lambda x: x - 100),
        ("features.mol_type", lambda x: x + 1),
        ("features.token_bonds", lambda x: x + 1000),
        ("restraints.bonds.atoms", lambda x: x + 1000),
        ("restraints.bonds.atoms", lambda x: x[:, :1]),
        ("restraints.bonds.group", lambda x: x + 1),
        ("restraints.bonds.group", lambda x: x.flip(0)),
        ("restraints.bonds.structure", lambda x: x + 1),
        ("restraints.templates.places", lambda x: x[:1]),
        ("restraints.templates.aligned", lambda x: None),
        ("restraints.chirality.lower", lambda x: x * torch.nan),
        ("restraints.bonds.weight", lambda x: x - 2),
        ("restraints.bonds.weight", lambda x: x / 0),
        ("s_inputs", lambda x: None),
        ("s_inputs", lambda x: x[:, :3]),
        ("s", lambda x: x[:-1]),
        ("s", lambda x: x.sum()),
        ("z", lambda x: x * torch.inf),
        ("z", lambda x: x[..., None]),
    ],
)
def test_contradictions_are_refused_in_one_line(tmp_path: Path, name: str, change: Any) -> None:
    _, _, _, path = store("ATP", tmp_path)
    refusal(rewritten(path, **{name: change(load_tensors(path)[0][name])}))


@pytest.mark.parametrize(
    "header",
    [
        {"format_version": 9},
        {"cif": ""},
        {"cif": "data_x\nloop_\n_atom_site.id\n1 2 3"},
        {"cif": 7},
        {"labels": 3},
        {"labels": {"bonds": ["x"]}},
        {"labels": {"bonds": [1]}},
    ],
)
def test_headers_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, header: dict[str, Any]) -> None:
    _, _, _, path = store("ATP", tmp_path)
    refusal(rewritten(path, header))


def test_an_mmcif_of_other_atoms_is_refused(tmp_path: Path) -> None:
    _, _, _, path = store("ATP", tmp_path)
    cif = load_tensors(path)[1]["cif"]
    rows = [line for line in cif.splitlines() if line.startswith("HETATM")]
    refusal(rewritten(path, {"cif": cif.replace(rows[-1] + "\n", "")}), "atoms")
    swapped = cif.replace(rows[0], "@").replace(rows[-1], rows[0]).replace("@", rows[-1])
    refusal(rewritten(path, {"cif": swapped}), "atom 1 ")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_changed_byte_never_gives_a_traceback(tmp_path: Path, place: float, value: int) -> None:
    whole = tmp_path / "whole"
    if not whole.exists():
        store("MG", tmp_path)[3].rename(whole)
    content = bytearray(whole.read_bytes())
    content[int(place * (len(content) - 1))] = value
    path = tmp_path / "x_conditioning.safetensors"
    path.write_bytes(content)
    try:
        read_conditioning(path)
    except InputError as error:
        assert "\n" not in str(error)
