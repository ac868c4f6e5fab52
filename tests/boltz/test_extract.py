"""Truths about Boltz-2's checkpoints: nothing in them is run, and what is taken out of them is the same module."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

pytest.importorskip("boltz")
pytest.importorskip("omegaconf")

import omegaconf
from inputs import write_inputs
from oracle import SMALL, reference_modules

from frazil.boltz import convert
from frazil.boltz.checkpoint import check_boltz_checkpoint, extract, read_boltz_checkpoint
from frazil.boltz.features import restrained_features
from frazil.checkpoint import RunRecord, load_model, save_model
from frazil.data import read
from frazil.denoiser import ModelConfig, StructureModel
from frazil.errors import InputError
from frazil.predictor import PredictSettings, Request, draw, read_conditioning, write_conditioning

TOP = ("token_s", "token_z", "atom_s", "atom_z")
SCORE_ARGS = {name: size for name, size in SMALL.items() if name not in TOP} | {"conditioning_transition_layers": 2}


@pytest.fixture(scope="module")
def modules() -> tuple[nn.Module, nn.Module]:
    return reference_modules(SMALL)


@pytest.fixture(scope="module")
def state(modules: tuple[nn.Module, nn.Module]) -> dict[str, Tensor]:
    structure, conditioning = modules
    return {
        **{f"structure_module.{name}": tensor for name, tensor in structure.state_dict().items()},
        **{f"diffusion_conditioning.{name}": tensor for name, tensor in conditioning.state_dict().items()},
        "confidence_module.weight": torch.ones(3),
    }


def hyper_parameters(**changes: Any) -> dict[str, Any]:
    """As the published checkpoints have them: plain at the top, omegaconf's nodes below."""
    nested = {"score_model_args": SCORE_ARGS, "diffusion_process_args": {"sigma_data": 16.0, "rho": 7}}
    values = {name: SMALL[name] for name in TOP} | {"atom_feature_dim": 388, "training_args": {"lrs": [0.1, None]}}
    values |= nested | changes
    return {
        name: omegaconf.OmegaConf.create(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path, state: dict[str, Tensor]) -> Save:
    """Saves a checkpoint; keywords replace its entries, `hyper` those of the hyper-parameters."""

    def saved(hyper: dict[str, Any] | None = None, **entries: Any) -> Path:
        content = {"state_dict": state, "hyper_parameters": hyper_parameters(**(hyper or {})), "global_step": 7}
        path = tmp_path / "model.ckpt"
        torch.save({**content, "pytorch-lightning_version": "2.5.0", **entries}, path)
        return path

    return saved


def refusal(path: Path, *words: str, function: Callable[[Path], Any] = read_boltz_checkpoint) -> str:
    """The one line that refuses a checkpoint; it names the file and holds these words."""
    with pytest.raises(InputError) as caught:
        function(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    assert all(word in message for word in (path.name, *words)), message
    return message


def extracting(path: Path) -> Path:
    return extract(path, path.parent / "out")


# --- reading --------------------------------------------------------------------------------------------------------


def test_omegaconf_s_nodes_come_out_as_plain_values(save: Save) -> None:
    args = {"a": 1, "list": [1, 2.5, "x", None, True, {"deep": [[]]}], "link": "${training_args.a}", "missing": "???"}
    node = omegaconf.OmegaConf.create(args)
    typed = omegaconf.DictConfig(
        {"n": omegaconf.IntegerNode(3), "s": omegaconf.StringNode("t")}, flags={"struct": True}
    )
    extras = {"readonly": omegaconf.FloatNode(0.5), "listed": omegaconf.ListConfig([1, 2]), "inner": node.list}
    found = read_boltz_checkpoint(save({"training_args": node, "typed": typed, **extras})).hyper_parameters
    assert found["training_args"] == args
    assert found["typed"] == {"n": 3, "s": "t"}
    assert (found["readonly"], found["listed"], found["inner"]) == (0.5, [1, 2], args["list"])
    assert json.loads(json.dumps(found)) == found


def test_what_is_of_no_use_is_not_kept(save: Save, state: dict[str, Tensor]) -> None:
    found = read_boltz_checkpoint(save(optimizer_states=[{"state": {0: {"exp_avg": torch.ones(4)}}}]))
    assert set(found.state) == {name for name in state if not name.startswith("confidence")}
    assert found.steps == 7


def test_a_checkpoint_is_mapped_not_copied(save: Save, state: dict[str, Tensor]) -> None:
    path = save(state_dict={**state, "structure_module.score_model.big": torch.ones(64 << 20)})

    def resident() -> int:
        return int(re.search(r"RssAnon:\s*(\d+)", Path("/proc/self/status").read_text())[1]) >> 10  # type: ignore[index]

    gc.collect()
    before = resident()
    found = read_boltz_checkpoint(path)
    assert found.state["structure_module.score_model.big"].shape == (64 << 20,)
    assert resident() - before < 64


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize("function", [extracting, read_boltz_checkpoint, check_boltz_checkpoint])
@pytest.mark.parametrize("where", ["hyper_parameters", "state_dict", "callbacks", "deep"])
def test_a_payload_is_named_and_never_run(save: Save, tmp_path: Path, where: str, function: Any) -> None:
    mark = tmp_path / "executed"
    payload = Payload(os.system, f"touch {mark}")
    path = (
        save({"training_args": {"x": 1}, "evil": [[payload]]}) if where == "deep" else save(**{where: {"x": payload}})
    )
    refusal(path, "refused", "system", function=function)
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Payload(eval, "1"), "eval"),
        (Payload(getattr, "a", "upper"), "getattr"),
        (Payload(subprocess.Popen, "true"), "Popen"),
        (Path("/x"), "pathlib.PosixPath"),
        (np.float64(1.0), "numpy"),
        (Colour.RED, "Colour"),
    ],
    ids=["eval", "getattr", "popen", "path", "numpy", "enum"],
)
def test_every_other_global_is_refused_by_name(save: Save, value: Any, name: str) -> None:
    refusal(save(callbacks={"x": value}), name)


def test_what_others_have_allowed_is_refused_all_the_same_and_stays_allowed(save: Save) -> None:
    before = torch.serialization.get_safe_globals()
    try:
        torch.serialization.add_safe_globals([Colour, omegaconf.DictConfig])
        refusal(save(callbacks={"x": Colour.RED}), "Colour")
        assert set(torch.serialization.get_safe_globals()) == {*before, Colour, omegaconf.DictConfig}
        assert read_boltz_checkpoint(save()).hyper_parameters["score_model_args"] == SCORE_ARGS
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def test_a_pickle_that_contains_itself_ends(save: Save) -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert read_boltz_checkpoint(save({"training_args": loop})).hyper_parameters["token_s"] == SMALL["token_s"]


# --- what is no checkpoint of Boltz-2 -------------------------------------------------------------------------------


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path, save: Save) -> None:
    whole = save().read_bytes()
    path = tmp_path / "x.ckpt"
    refusal(path, "cannot be read")
    for content, word in ((b"", "empty"), (b"\x80\x02}q\x00.", "no zip"), (whole[: len(whole) // 2], "truncated")):
        path.write_bytes(content)
        for function in (read_boltz_checkpoint, check_boltz_checkpoint, extracting):
            refusal(path, word, function=function)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "no tensors")
    refusal(path, "not a checkpoint")
    torch.jit.script(nn.Linear(1, 1)).save(str(path))
    refusal(path, "not a checkpoint")
    refusal(tmp_path, "is a folder")


def test_packed_weights_are_refused(save: Save, tmp_path: Path) -> None:
    with zipfile.ZipFile(save()) as whole, zipfile.ZipFile(tmp_path / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as packed:
        for one in whole.infolist():
            packed.writestr(one.filename, whole.read(one))
    refusal(tmp_path / "x.ckpt", "packed")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_damage_never_gives_a_traceback(tmp_path: Path, save: Save, place: float, value: int, cut: bool) -> None:
    path = tmp_path / "model.ckpt"
    if not path.exists():
        save(state_dict={"structure_module.score_model.x": torch.ones(2), "diffusion_conditioning.y": torch.ones(2)})
        path.rename(tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    at = int(place * (len(content) - 1))
    content[at] = value
    path.write_bytes(content[:at] if cut else content)
    try:
        extracting(path)
    except InputError as error:
        assert "\n" not in str(error)
    path.unlink()


def test_checkpoints_of_other_models_are_refused(save: Save, state: dict[str, Tensor]) -> None:
    first = {name: tensor for name, tensor in state.items() if name.startswith("structure_module")}
    first["structure_module.score_model.pairwise_conditioner.transitions.0.fc1.weight"] = torch.ones(2)
    for function in (read_boltz_checkpoint, check_boltz_checkpoint, extracting):
        refusal(save(state_dict=first), "Boltz-1", function=function)
    refusal(save(state_dict={"encoder.weight": torch.ones(2)}), "not a checkpoint of Boltz-2", "encoder")
    refusal(save(state_dict={}), "nothing")
    refusal(save(state_dict=[1]), "no state_dict")
    refusal(save(hyper_parameters=None), "hyper_parameters")


# --- extracting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyper", "words"),
    [
        ({"score_model_args": {**SCORE_ARGS, "rotary": True}}, ["score_model_args", "'rotary'"]),
        ({"diffusion_process_args": {"flow_matching": True}}, ["diffusion_process_args", "'flow_matching'"]),
        ({"score_model_args": {k: v for k, v in SCORE_ARGS.items() if "heads" not in k}}, ["atom_encoder_heads"]),
        ({"score_model_args": {**SCORE_ARGS, "token_transformer_depth": 10**9}}, ["token_transformer_depth"]),
        ({"score_model_args": [1]}, ["score_model_args"]),
        ({"token_s": None}, ["token_s"]),
        ({"token_s": "384"}, ["token_s", "'384'", "int"]),
        ({"token_z": 13}, ["misshapen"]),
        ({"atom_z": 10**9}, ["misshapen"]),
        ({"token_s": -4}, ["token_s = -4"]),
        ({"atoms_per_window_queries": 33}, ["atoms_per_window_queries"]),
        ({"score_model_args": {**SCORE_ARGS, "token_s": 8}}, ["token_s = 8"]),
        ({"score_model_args": {**SCORE_ARGS, "token_transformer_depth": 4}}, ["lacks parameters", "layers.3"]),
        ({"score_model_args": {**SCORE_ARGS, "token_transformer_depth": 2}}, ["unknown parameters", "layers.2"]),
    ],
)
def test_hyper_parameters_that_do_not_fit_are_named(save: Save, hyper: dict[str, Any], words: list[str]) -> None:
    path = save(hyper)
    refusal(path, *words, function=extracting)
    assert not (path.parent / "out" / "model.safetensors").exists()


def test_parameters_that_do_not_fit_are_named(save: Save, state: dict[str, Tensor]) -> None:
    name = "structure_module.score_model.a_norm.weight"
    less = {key: tensor for key, tensor in state.items() if key != name}
    refusal(save(state_dict=less), "lacks", "a_norm.weight", function=extracting)
    refusal(save(state_dict={**state, f"{name}s": torch.ones(2)}), "unknown", "a_norm.weights", function=extracting)
    renamed = {**less, f"{name}s": torch.ones(2)}
    refusal(save(state_dict=renamed), "lacks", "a_norm.weight", "unknown", "a_norm.weights", function=extracting)
    refusal(save(state_dict={**state, "structure_module.x": torch.ones(2)}), "structure_module.x", function=extracting)
    refusal(save(state_dict={**state, name: torch.ones(3)}), "misshapen", "a_norm.weight", function=extracting)
    broken = {**state, name: torch.full_like(state[name], torch.nan)}
    refusal(save(state_dict=broken), "a_norm.weight", "NaN", function=extracting)
    whole = {**state, name: torch.ones(state[name].shape, dtype=torch.int64)}
    refusal(save(state_dict=whole), "a_norm.weight", "int64", function=extracting)


def test_a_compiled_model_s_checkpoint_gives_the_same_file(
    save: Save, state: dict[str, Tensor], tmp_path: Path
) -> None:
    plain = extract(save(), tmp_path / "plain.safetensors")
    renamed = {name.replace("score_model.", "score_model._orig_mod."): tensor for name, tensor in state.items()}
    assert plain == tmp_path / "plain.safetensors"
    again = extract(save(state_dict=renamed, ema={"ema_weights": {}}), tmp_path / "folder")
    assert again == tmp_path / "folder" / "model.safetensors"
    assert plain.read_bytes() == again.read_bytes()


def test_half_precision_is_read_and_the_global_generator_left_alone(
    save: Save, state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    model, _ = load_model(extract(save(state_dict={k: v.bfloat16() for k, v in state.items()}), tmp_path))
    assert torch.equal(torch.rand(2), expected)
    name = "structure_module.score_model.a_norm.weight"
    assert torch.equal(model.state_dict()["denoiser.network.token_norm.weight"], state[name].bfloat16().float())


def test_a_model_remembers_how_it_was_trained(save: Save, tmp_path: Path) -> None:
    turned = {"diffusion_process_args": {"sigma_data": 12, "mse_rotational_alignment": True}}
    model, record = load_model(extract(save(turned), tmp_path))
    assert record.config.trunk is None and model.trunk is None
    assert (record.steps, record.config.sigma_data, record.config.coordinate_augmentation) == (7, 12, True)
    fixed = {"diffusion_process_args": {"coordinate_augmentation": False}}
    assert not load_model(extract(save(fixed), tmp_path))[1].config.coordinate_augmentation


def test_only_an_earlier_extract_is_replaced(save: Save, tmp_path: Path) -> None:
    file = extract(save(), tmp_path)
    whole = file.read_bytes()
    assert extract(save(global_step=8), tmp_path).read_bytes() != whole
    config = ModelConfig.preset("mini")
    with torch.device("meta"):
        model = StructureModel(config)
    trained = {name: torch.zeros(tensor.shape) for name, tensor in model.state_dict().items()}
    save_model(file, model, RunRecord(config=config), trained)
    for content in (file.read_bytes(), b"something else"):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.safetensors: exists"):
            extract(save(), tmp_path)
        assert file.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_named(save: Save, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        extract(save(), tmp_path / "file" / "out")


# --- inside Boltz and out of it -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inside:
    """One input as Boltz-2 ran it."""

    structure: Any
    """Its `AtomDiffusion`."""
    conditioning: Any
    """Its `DiffusionConditioning`."""
    given: dict[str, Any]
    """What the first was sampled with, `network_condition_kwargs`."""
    trunk: dict[str, Tensor]
    """What the second was called with."""
    stored: Path
    """The conditioning file."""


@pytest.fixture(scope="module")
def inside(boltz_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Inside]:
    folder = tmp_path_factory.mktemp("inside")
    names = ("protein_ligand", "dna_rna", "modified", "contact")
    found: dict[str, Inside] = {}
    for name, calls in _predicted(write_inputs(folder / "in", names), boltz_cache, folder).items():
        [cif] = folder.rglob(f"{name}_model_0.cif")
        stored = folder / f"{name}_conditioning.safetensors"
        s, z, relative, feats = (calls["trunk"][key] for key in TRUNK)
        write_conditioning(
            stored,
            cif=cif.read_text(),
            features=restrained_features(feats),
            s_inputs=calls["given"]["s_inputs"],
            s=s,
            z=z,
            relative_positions=relative,
        )
        found[name] = Inside(**calls, stored=stored)
    return found


TRUNK = ("s_trunk", "z_trunk", "relative_position_encoding", "feats")


def _predicted(inputs: Path, cache: Path, out: Path) -> dict[str, dict[str, Any]]:
    """`boltz predict` in this process, with the calls of its diffusion modules by input."""
    from boltz.main import predict
    from boltz.model.modules.diffusion_conditioning import DiffusionConditioning
    from boltz.model.modules.diffusionv2 import AtomDiffusion

    calls: dict[str, dict[str, Any]] = {}
    forward, sample = DiffusionConditioning.forward, AtomDiffusion.sample
    last: dict[str, Any] = {}

    def watched_forward(self: Any, **trunk: Any) -> Any:
        last.update(conditioning=self, trunk=trunk)
        return forward(self, **trunk)

    def watched_sample(self: Any, *args: Any, **named: Any) -> Any:
        given = {key: named[key] for key in ("s_inputs", "s_trunk", "feats", "diffusion_conditioning")}
        calls[given["feats"]["record"][0].id] = {**last, "structure": self, "given": given}
        return sample(self, *args, **named)

    options = "--accelerator cpu --no_kernels --recycling_steps 0 --sampling_steps 2 --diffusion_samples 1 --seed 1"
    with _process_kept(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiffusionConditioning, "forward", watched_forward)
        patch.setattr(AtomDiffusion, "sample", watched_sample)
        arguments = [str(inputs), "--out_dir", str(out), "--cache", str(cache), "--num_workers", "0"]
        predict.main([*arguments, *options.split()], standalone_mode=False)
    return calls


class _process_kept:
    """Boltz's command changes settings of the whole process."""

    def __enter__(self) -> None:
        self.kept = (torch.load, torch.is_grad_enabled(), torch.get_float32_matmul_precision())

    def __exit__(self, *_: Any) -> None:
        torch.load, grad, products = self.kept
        torch.set_grad_enabled(grad)
        torch.set_float32_matmul_precision(products)


@pytest.fixture(scope="module")
def extracted(boltz_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(boltz_cache / "boltz2_conf.ckpt", tmp_path_factory.mktemp("extracted"))


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", ["protein_ligand", "dna_rna", "contact"])
def test_one_call_of_the_extracted_module_is_the_reference_s(
    inside: dict[str, Inside], extracted: Path, name: str
) -> None:
    run, (model, _) = inside[name], load_model(extracted)
    stored = read_conditioning(run.stored)
    features = model.prepare(stored.features)
    conditioning = model.condition(features, stored.trunk)
    noisy = 20 * torch.randn(1, 2, features.num_atoms, 3, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([[3.0, 90.0]])
    ours = model.denoiser.plain(conditioning)(noisy, sigma)
    bound = model.denoiser.bind(conditioning)(noisy, sigma)
    given = run.given | {"multiplicity": 2}
    mask = features.atom_mask[0]
    theirs = run.structure.preconditioned_network_forward(noisy[0], sigma[0], given)[:, mask]
    torch.testing.assert_close(ours[0][:, mask], theirs, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(bound[0][:, mask], theirs, atol=5e-4, rtol=1e-4)
    structure, conditioner = convert(run.structure, run.conditioning)
    made = conditioner(*(run.trunk[key] for key in TRUNK))
    names = ("q", "c", "to_keys", "atom_enc_bias", "atom_dec_bias", "token_trans_bias")
    given |= {"diffusion_conditioning": dict(zip(names, made, strict=True))}
    converted = structure.preconditioned_network_forward(noisy[0], sigma[0], given)
    assert torch.equal(converted[:, mask], ours[0][:, mask])


def test_the_same_noise_gives_the_same_samples_in_and_out_of_boltz(
    inside: dict[str, Inside], extracted: Path, tmp_path: Path
) -> None:
    run, (model, _) = inside["protein_ligand"], load_model(extracted)
    structure, conditioner = convert(run.structure, run.conditioning, parity=False)
    made = conditioner(*(run.trunk[key] for key in TRUNK))
    names = ("q", "c", "to_keys", "atom_enc_bias", "atom_dec_bias", "token_trans_bias")
    given = run.given | {"diffusion_conditioning": dict(zip(names, made, strict=True))}
    mask = run.given["feats"]["atom_pad_mask"]
    torch.manual_seed(5)
    expected = structure.sample(mask, num_sampling_steps=6, multiplicity=3, **given)["sample_atom_coords"]
    torch.manual_seed(5)
    seed = int(torch.randint(2**62, ()))
    stored = read_conditioning(run.stored)
    # the name decides the noise, and inside Boltz inputs are numbered
    request = Request("0", stored.structure, tmp_path, conditioned=stored)
    drawn = draw(model, request, PredictSettings(num_samples=3, steps=6, seed=seed))
    expected = expected[:, mask[0].bool()]
    centred = expected - expected.mean(dim=1, keepdim=True)
    np.testing.assert_allclose(drawn.coords, centred.numpy(), atol=5e-3)


def test_atoms_of_a_stored_input_are_named_as_boltz_names_them(inside: dict[str, Inside]) -> None:
    smiles = "C[C@H](N)C(=O)N[C@@H](C)/C=C/c1ccccc1"
    protein, ligand, atp = read_conditioning(inside["protein_ligand"].stored).structure.chains
    assert (protein.chain_id, ligand.chain_id, atp.chain_id) == ("A", "L", "M")
    assert (ligand.label, ligand.sequence, atp.sequence) == (smiles, ("LIG1",), ("ATP",))
    modified = read_conditioning(inside["modified"].stored).structure
    assert modified.chains[0].sequence[2] == "SEP"
    for name in ("dna_rna", "modified", "contact"):
        stored = read_conditioning(inside[name].stored)
        [cif] = inside[name].stored.parent.rglob(f"{name}_model_0.cif")
        ours, theirs = stored.structure, read(cif)
        for column in ("chain_id", "res_id", "res_name", "atom_name", "element"):
            assert (getattr(ours.atoms, column) == getattr(theirs.atoms, column)).all(), column
        assert [c.mol_type for c in ours.chains] == [c.mol_type for c in theirs.chains]
        assert _bonded(ours) == _bonded(theirs)
        np.testing.assert_allclose(ours.coords, theirs.coords)


def _bonded(structure: Any) -> set[tuple[int, ...]]:
    return {tuple(sorted(pair)) for pair in structure.atoms.bonds.as_array()[:, :2].tolist()}


def test_restraints_come_along(inside: dict[str, Inside]) -> None:
    run = inside["contact"]
    expected = restrained_features(run.given["feats"]).restraints
    found = read_conditioning(run.stored).features.restraints
    assert len(found.contacts) == len(expected.contacts) > 0
    assert torch.equal(found.contacts.atoms, expected.contacts.atoms)
    assert len(found) == len(expected)


HIDDEN = """
import sys
sys.modules.update(dict.fromkeys(("boltz", "omegaconf", "antlr4")))
from pathlib import Path
from frazil.boltz.checkpoint import extract
from frazil.cli import main
checkpoint, stored, out = sys.argv[1:]
extract(checkpoint, Path(out, "model"))
sys.argv = ["frazil", "sample", stored, "--checkpoint", str(Path(out, "model")), "--out", str(Path(out, "samples")),
            "--steps", "3", "--num-samples", "2", "--sampler", "heun"]
main()
"""


def test_neither_boltz_nor_omegaconf_is_needed(boltz_cache: Path, inside: dict[str, Inside], tmp_path: Path) -> None:
    arguments = [str(boltz_cache / "boltz2_conf.ckpt"), str(inside["contact"].stored), str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", HIDDEN, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "samples" / "contact" / "samples.json").read_text())
    assert [row["finite"] for row in rows] == [True, True]
    # the first contact is enforced in the input, the second is not and is no restraint of Boltz's potentials
    assert rows[0]["steps_guided"] > 0 and rows[0]["restraints_total"] >= 1
    sample = read(tmp_path / "samples" / "contact" / "sample_0.cif")
    assert [chain.chain_id for chain in sample.chains] == ["A", "B"]


def test_the_affinity_model_s_module_is_extracted_too(boltz_cache: Path, tmp_path: Path) -> None:
    check_boltz_checkpoint(boltz_cache / "boltz2_aff.ckpt")
    found = read_boltz_checkpoint(boltz_cache / "boltz2_aff.ckpt")
    model, record = load_model(extract(boltz_cache / "boltz2_aff.ckpt", tmp_path))
    name = "structure_module.score_model.a_norm.weight"
    assert torch.equal(model.state_dict()["denoiser.network.token_norm.weight"], found.state[name])
    assert record == replace(record, structures=0, entities=())
