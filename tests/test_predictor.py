"""Truths about prediction: files that read back, refusals before any work, and earlier results that stay whole."""

from __future__ import annotations

import io
import json
import re
import resource
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gemmi
import numpy as np
import pytest
import torch
from rdkit import Chem
from rich.console import Console
from torch import Tensor, nn

from frazil import predictor
from frazil.checkpoint import RunRecord, entities_of, save_model
from frazil.chemistry import NONPOLYMER, PROTEIN
from frazil.data import read
from frazil.data.write import write_cif
from frazil.denoiser import ModelConfig, StructureModel
from frazil.errors import FrazilError, InputError
from frazil.geometry import rigid_align
from frazil.nn.compute import PRECISIONS, Compute
from frazil.nn.config import NetworkConfig, TrunkConfig
from frazil.noise import KarrasSchedule
from frazil.predictor import PredictionSummary, PredictSettings, Request, draw, plan, predict, run, unseen_entities
from frazil.predictor.prediction import refuse_nothing
from frazil.sampler.presets import METHODS, PRESETS

PEPTIDE = ">tri\nGAC\n"
FAST = PredictSettings(num_samples=3, steps=4)
SIZES = NetworkConfig(
    token_s=8, token_z=8, atom_s=8, atom_z=4, dim_fourier=8, atom_encoder_depth=1, atom_encoder_heads=2,
    token_transformer_depth=1, token_transformer_heads=2, atom_decoder_depth=1, atom_decoder_heads=2,
    conditioning_transition_layers=1,
)  # fmt: skip


class FakeModel(nn.Module):
    """Denoises to within `std` of the reference conformer, turned as its input is; `spoil` changes what it returns."""

    def __init__(self, spoil=lambda denoised, sigma: denoised, pad: int = 0, std: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(
            sigma_data=16.0, coordinate_augmentation=True, reference_frame=False, network=SIZES
        )
        self.denoiser = SimpleNamespace(bind=self._bind)
        self.spoil, self.pad, self.std = spoil, pad, std

    def prepare(self, features):
        return features.pad(num_atoms=features.num_atoms + self.pad)

    def condition(self, features):
        return features.ref_pos[:, None], features.atom_mask[:, None]

    def _bind(self, conditioning: tuple[Tensor, Tensor], compute: Compute):
        target, mask = conditioning

        def denoise(coords: Tensor, sigma: Tensor) -> Tensor:
            level = (sigma[..., None, None] / self.std) ** 2
            turned = rigid_align(target.expand_as(coords), coords, mask)
            return self.spoil((coords + turned * level) / (1 + level), sigma)

        return denoise


@pytest.fixture
def peptide(tmp_path: Path) -> Path:
    path = tmp_path / "tri.fasta"
    path.write_text(PEPTIDE)
    return path


def requests_for(inputs, out: Path, settings: PredictSettings = FAST) -> list[Request]:
    return plan(inputs, out, settings, lambda line: None)


def sample(inputs, out: Path, settings: PredictSettings = FAST, model: nn.Module | None = None):
    return run(model or FakeModel(), requests_for(inputs, out, settings), settings)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_polymer_gives_a_cif_for_each_sample_that_reads_back(peptide: Path, tmp_path: Path) -> None:
    [summary] = sample([peptide], tmp_path / "out")
    assert summary.files == ("sample_0.cif", "sample_1.cif", "sample_2.cif", "samples.json")
    assert (summary.num_samples, summary.num_finite, summary.samples_at_once) == (3, 3, 3)
    structure = read(peptide)
    rows = json.loads((summary.folder / "samples.json").read_text())
    for index, row in enumerate(rows):
        assert (row["sample"], row["seed"], row["file"], row["finite"]) == (index, 0, f"sample_{index}.cif", True)
        assert row["clashes"] >= 0 and row["chirality_errors"] >= 0
        model = gemmi.read_structure(str(summary.folder / row["file"]))[0]
        assert [atom.name for chain in model for residue in chain for atom in residue] == list(
            structure.atoms.atom_name
        )
        assert read(summary.folder / row["file"]).chains[0].sequence == ("GLY", "ALA", "CYS")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {summary.name}


def test_a_lone_ligand_gives_one_sdf(tmp_path: Path) -> None:
    [summary] = sample(["CC(=O)O"], tmp_path)
    assert summary.files == ("samples.sdf", "samples.json")
    records = list(Chem.SDMolSupplier(str(summary.folder / "samples.sdf")))
    assert [Chem.MolToSmiles(mol) for mol in records] == ["CC(=O)O"] * 3
    rows = json.loads((summary.folder / "samples.json").read_text())
    assert [(row["file"], row["record"]) for row in rows] == [("samples.sdf", k) for k in (1, 2, 3)]


def test_what_the_model_denoises_to_is_what_is_written(tmp_path: Path) -> None:
    """After 200 steps the sample has the shape of the target, and is centred."""
    settings = replace(FAST, steps=200, num_samples=1)
    [request] = requests_for(["c1ccccc1C(=O)O"], tmp_path, settings)
    drawn = draw(FakeModel(), request, settings)  # type: ignore[arg-type]

    def distances(coords: np.ndarray) -> np.ndarray:
        return np.linalg.norm(coords[:, None] - coords[None], axis=-1)

    target = distances(request.structure.ref_pos)
    assert np.abs(distances(drawn.coords[0]) - target).max() < 0.1
    assert np.abs(drawn.coords[0].mean(axis=0)).max() < 1e-4


def test_the_same_seed_gives_the_same_files_however_many_samples(peptide: Path, tmp_path: Path) -> None:
    [first] = sample([peptide], tmp_path / "a")
    [more] = sample([peptide], tmp_path / "b", replace(FAST, num_samples=5, max_parallel_samples=2))
    [padded] = sample([peptide, "C(O)C"], tmp_path / "c", model=FakeModel(pad=9))[:1]
    [other] = sample([peptide], tmp_path / "d", replace(FAST, seed=1))
    assert more.samples_at_once == 2
    for name in ("sample_0.cif", "sample_2.cif"):
        expected = (first.folder / name).read_bytes()
        assert (more.folder / name).read_bytes() == expected
        assert (padded.folder / name).read_bytes() == expected
        assert (other.folder / name).read_bytes() != expected
    assert contents(sample([peptide], tmp_path / "e")[0].folder) == contents(first.folder)


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sample(["C(O)C"], tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


def test_a_trajectory_is_two_files_a_sample_that_end_at_the_sample(peptide: Path, tmp_path: Path) -> None:
    settings = replace(FAST, num_samples=2, steps=20, trajectory=8)
    [summary] = sample([peptide], tmp_path, settings)
    rows = json.loads((summary.folder / "samples.json").read_text())
    for row in rows:
        assert len(row["trajectory"]["sigma"]) == 4  # steps 0, 8, 16 and the last, 19
        for kind in ("noisy", "denoised"):
            models = read(summary.folder / row["trajectory"][kind]).coords
            final = read(summary.folder / row["file"]).coords[0]
            assert len(models) == 4
            assert np.abs(models[-1] - final).max() < 0.1


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e20])
def test_a_broken_sample_is_reported_and_not_written(peptide: Path, tmp_path: Path, value: float) -> None:
    def spoil(denoised: Tensor, sigma: Tensor) -> Tensor:
        denoised[:, 1, 4] = value
        return denoised

    [summary] = sample([peptide], tmp_path, replace(FAST, trajectory=2), FakeModel(spoil))
    assert (summary.num_samples, summary.num_finite) == (3, 2)
    assert "1 not finite" in summary.text()
    rows = json.loads((summary.folder / "samples.json").read_text())
    assert [row["file"] for row in rows] == ["sample_0.cif", None, "sample_2.cif"]
    assert [row["finite"] for row in rows] == [True, False, True]
    assert not any("_1" in name for name in summary.files)
    [ligand] = sample(["CC(=O)O"], tmp_path, FAST, FakeModel(lambda d, s: d * float("nan")))
    assert ligand.files == ("samples.json",)
    assert ligand.num_finite == 0
    refuse_nothing([summary])
    with pytest.raises(FrazilError, match="none of 3 samples"):
        refuse_nothing([summary, ligand])


# --- how they are drawn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PRESETS, *METHODS])
def test_any_sampler_ends_at_the_target_and_is_recorded(tmp_path: Path, name: str) -> None:
    """The denoiser's target is a single shape, which every method reaches."""
    settings = replace(FAST, sampler=name, num_samples=1, steps=60)
    [summary] = sample(["C(O)C"], tmp_path, settings)
    [row] = json.loads((summary.folder / "samples.json").read_text())
    method = PRESETS[name].method if name in PRESETS else name
    assert (row["sampler"], row["method"], row["steps"], row["precision"]) == (name, method, 60, "float32")
    assert row["evaluations"] == METHODS[method].evaluations(60) == settings.preset.evaluations
    found = Chem.SDMolSupplier(str(summary.folder / "samples.sdf"))[0].GetConformer().GetPositions()
    target = read("C(O)C").ref_pos
    assert abs(np.linalg.norm(found[0] - found[1]) - np.linalg.norm(target[0] - target[1])) < 0.1


def test_a_sampler_without_steps_takes_its_own() -> None:
    assert {name: PredictSettings(sampler=name).preset for name in PRESETS} == dict(PRESETS)
    assert all(PredictSettings(sampler=name).preset.method == name for name in METHODS)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_network_gets_the_precision_that_was_asked_for(tmp_path: Path, precision: str) -> None:
    model, asked = FakeModel(), []
    bind = model.denoiser.bind
    model.denoiser.bind = lambda conditioning, compute: asked.append(compute) or bind(conditioning, compute)
    sample(["C(O)C"], tmp_path, replace(FAST, precision=precision, compile=True), model)
    assert asked == [Compute(precision, compile=True)]


def test_every_sampler_and_precision_is_in_the_docs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "sampling.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)`.*?\|(.*)\|$", text, re.MULTILINE)
    assert {name for name, _ in rows} == {*PRESETS, *METHODS, *PRECISIONS}
    for name, preset in PRESETS.items():
        assert (name, f" `{preset.method}` | {preset.steps} ") in rows


# --- start ----------------------------------------------------------------------------------------------------------


def start_file(folder: Path, missing: int = 0) -> tuple[Path, np.ndarray]:
    structure = read(folder / "tri.fasta")
    coords = np.cumsum(np.ones((len(structure.atoms), 3), dtype=np.float32), axis=0) * 0.8 + 40
    write_cif(folder / "start.cif", structure, coords)
    text = (folder / "start.cif").read_text().splitlines()
    last = [index for index, line in enumerate(text) if line.startswith("ATOM")][-missing:] if missing else []
    (folder / "start.cif").write_text("\n".join(line for i, line in enumerate(text) if i not in last) + "\n")
    return folder / "start.cif", coords


@pytest.mark.parametrize("missing", [0, 2])
def test_partial_diffusion_stays_near_its_start(peptide: Path, tmp_path: Path, missing: int) -> None:
    path, coords = start_file(tmp_path, missing)
    settings = replace(FAST, start=path, start_sigma=0.05, steps=10)
    [summary] = sample([peptide], tmp_path / "out", settings, FakeModel(std=1.0))
    kept = len(coords) - missing
    for index in range(3):
        found = read(summary.folder / f"sample_{index}.cif").coords[0]
        assert np.isfinite(found).all()
        assert np.abs(found[:kept] - coords[:kept]).max() < 1.5
    row = json.loads((summary.folder / "samples.json").read_text())[0]
    assert (row["start"], row["start_sigma"]) == (str(path), 0.05)


def test_a_start_of_another_molecule_is_refused(peptide: Path, tmp_path: Path) -> None:
    path, _ = start_file(tmp_path)
    with pytest.raises(InputError):
        requests_for(["C(O)C"], tmp_path / "out", replace(FAST, start=path, start_sigma=1.0))
    with pytest.raises(InputError, match="no coordinates to start from"):
        requests_for([peptide], tmp_path / "out", replace(FAST, start=peptide, start_sigma=1.0))
    highest = KarrasSchedule().sigma_max * 16
    [request] = requests_for([peptide], tmp_path / "out", replace(FAST, start=path, start_sigma=2 * highest))
    with pytest.raises(InputError, match="outside the schedule"):
        draw(FakeModel(), request, replace(FAST, start=path, start_sigma=2 * highest))  # type: ignore[arg-type]


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_samples": 0}, "--num-samples is 0"),
        ({"steps": -1}, "--steps is -1"),
        ({"max_parallel_samples": 0}, "--max-parallel-samples is 0"),
        ({"trajectory": 0}, "--trajectory is 0"),
        ({"start": Path("x.cif")}, "belong together"),
        ({"start_sigma": 1.0}, "belong together"),
        ({"start": Path("x.cif"), "start_sigma": float("nan")}, "--start-sigma is nan"),
        ({"start": Path("x.cif"), "start_sigma": 0.0}, "--start-sigma is 0.0"),
        ({"sampler": "langevin"}, "'langevin' .*reference.*heun"),
        ({"precision": "fp8"}, "'fp8'.*bf16"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        PredictSettings(**options)


def test_no_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no input given"):
        requests_for([], tmp_path)


def test_earlier_results_are_refused_and_left_whole(peptide: Path, tmp_path: Path) -> None:
    [summary] = sample([peptide], tmp_path / "out")
    before = contents(summary.folder)
    with pytest.raises(InputError, match="--overwrite"):
        requests_for([peptide], tmp_path / "out", replace(FAST, seed=3))
    assert contents(summary.folder) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / summary.name).write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        requests_for([peptide], tmp_path / "other")


def test_overwriting_replaces_our_files_and_no_others(peptide: Path, tmp_path: Path) -> None:
    [summary] = sample([peptide], tmp_path / "out", replace(FAST, num_samples=5, trajectory=3))
    (summary.folder / "notes.txt").write_text("mine")
    settings = replace(FAST, num_samples=2, overwrite=True, seed=9)
    [again] = sample([peptide], tmp_path / "out", settings)
    names = {path.name for path in again.folder.iterdir()}
    assert names == {"sample_0.cif", "sample_1.cif", "samples.json", "notes.txt"}
    assert {row["seed"] for row in json.loads((again.folder / "samples.json").read_text())} == {9}


def test_equal_names_are_told_apart_and_said(peptide: Path, tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "b").mkdir()
    copy = tmp_path / "b" / peptide.name
    copy.write_text(PEPTIDE)
    found = plan([peptide, copy, peptide], tmp_path / "out", FAST, said.append)
    name = found[0].name
    assert [request.name for request in found] == [name, f"{name}_2", f"{name}_3"]
    assert len({request.folder for request in found}) == 3
    assert len(said) == 2 and str(copy) in said[0]


def test_another_sequence_than_the_trained_one_is_refused(peptide: Path, tmp_path: Path) -> None:
    requests = requests_for([peptide], tmp_path)
    record = RunRecord(config=ModelConfig(), entities=("protein:GLY-ALA-CYS",))
    said: list[str] = []
    unseen_entities(requests, record, Path("RUN"), said.append)
    unseen_entities(requests, replace(record, entities=()), Path("RUN"), said.append)
    assert not said
    with pytest.raises(InputError, match=r"GLY-ALA-CYS is not what RUN was trained on \(protein:GLY-GLY\)"):
        unseen_entities(requests, replace(record, entities=("protein:GLY-GLY",)), Path("RUN"), said.append)
    unseen_entities(requests, replace(record, entities=("ligand:CCO", "protein:GLY-GLY")), Path("RUN"), said.append)
    assert len(said) == 1 and said[0].startswith("warning: ")


def test_a_late_difference_of_sequences_is_shown(peptide: Path, tmp_path: Path) -> None:
    (request,) = requests_for([peptide], tmp_path)
    chain = replace(request.structure.chains[0], sequence=("GLY",) * 30 + ("PRO", "SER"))
    request = replace(request, structure=replace(request.structure, chains=(chain,)))
    known = f"protein:{'-'.join(['GLY'] * 30 + ['HYP', 'SER'])}"
    record = RunRecord(config=ModelConfig(), entities=(known,))
    with pytest.raises(InputError, match=r"protein:\.\.\.[GLY-]*-PRO-SER is not .*\(protein:\.\.\.[GLY-]*-HYP-SER\)"):
        unseen_entities([request], record, Path("RUN"), print)


def test_out_of_memory_is_one_line(tmp_path: Path) -> None:
    def full(denoised: Tensor, sigma: Tensor) -> Tensor:
        raise MemoryError

    with pytest.raises(FrazilError, match="does not fit"):
        sample(["C(O)C"], tmp_path, model=FakeModel(full))

    model = FakeModel()
    model.condition = lambda features: full(features, features)  # type: ignore[method-assign]
    with pytest.raises(FrazilError, match="out of memory with 3 atoms"):
        sample(["C(O)C"], tmp_path, model=model)
    assert not list(tmp_path.iterdir())


def test_no_space_is_one_line_and_earlier_results_stay(peptide: Path, tmp_path: Path) -> None:
    [summary] = sample([peptide], tmp_path / "out")
    before = contents(summary.folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError, match="cannot be written") as caught:
            sample([peptide], tmp_path / "out", replace(FAST, overwrite=True, seed=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert contents(summary.folder) == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == [summary.name]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match="file: is a file"):
            requests_for(["C(O)C"], out)


def test_ctrl_c_leaves_earlier_results_whole(peptide: Path, tmp_path: Path, monkeypatch) -> None:
    [summary] = sample([peptide], tmp_path / "out")
    before = contents(summary.folder)
    settings = replace(FAST, overwrite=True, seed=2)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample([peptide], tmp_path / "out", settings, FakeModel(interrupted))
    monkeypatch.setattr(predictor.output, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample([peptide], tmp_path / "out", settings)
    assert contents(summary.folder) == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == [summary.name]


# --- the whole way --------------------------------------------------------------------------------------------------


def test_from_a_run_folder_to_files(peptide: Path, tmp_path: Path) -> None:
    config = ModelConfig(network=SIZES, trunk=TrunkConfig(depth=1, heads=2, atom_s=8))
    with torch.random.fork_rng():
        model = StructureModel(config)
    (tmp_path / "run").mkdir()
    record = RunRecord(
        config=config, entities=entities_of([(NONPOLYMER, ("LIG",), "CCO"), (PROTEIN, ("GLY", "ALA", "CYS"), None)])
    )
    save_model(tmp_path / "run" / "model.safetensors", model, record)
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    summaries = predict([peptide, "C(N)C"], tmp_path / "run", tmp_path / "out", FAST, console=console)
    assert [summary.num_finite for summary in summaries] == [3, 3]
    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("warning: ") and "was not trained on" in lines[0] and "CCN" in lines[0]
    assert [line for line in lines[1:] if "samples in" in line] == [summary.text() for summary in summaries]
    assert sum("there is no confidence head" in line for line in lines) == 2
    with pytest.raises(InputError, match="device nonsense"):
        predict(["C(O)C"], tmp_path / "run", tmp_path / "o2", replace(FAST, device="nonsense"))


def test_a_terminal_sees_steps_and_time_left(tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=100, force_terminal=True)
    requests = requests_for(["C(O)C", "C(N)C"], tmp_path)
    run(FakeModel(), requests, FAST, console=console)  # type: ignore[arg-type]
    assert "8/8 steps" in re.sub(r"\x1b\[[0-9;?]*\w", "", screen.getvalue())


def test_elsewhere_a_line_now_and_then(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("frazil.progress.LINE_SECONDS", 0.0)
    screen = io.StringIO()
    summaries = run(FakeModel(), requests_for(["C(O)C"], tmp_path), FAST, console=Console(file=screen, width=100))  # type: ignore[arg-type]
    lines = screen.getvalue().splitlines()
    assert lines[0] == "sampler reference (stochastic): 4 steps, 4 evaluations of the network, float32"
    assert re.fullmatch(rf"{summaries[0].name}: 3 tokens, 3 atoms: needs about .* for 3 samples at once.*", lines[1])
    assert lines[3].startswith(f"{summaries[0].name}: step 2 of 4")
    assert lines[-1] == summaries[0].text()


def test_a_summary_says_what_memory_did() -> None:
    summary = PredictionSummary("x", Path("out/x"), ("samples.json",), 8, 8, 2, 2, 3.0)
    assert summary.text() == "x: 8 samples, 2 at once for want of memory in out/x (3.0 s)"
