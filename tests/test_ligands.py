"""Truths about drawing small molecules: many together as each alone, files that appear whole, runs that go on."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit import Chem

from frazil.checkpoint import MODEL_FILE, RunRecord, save_model
from frazil.data import read
from frazil.data.ligands import ligand_of
from frazil.data.write import write_sdf
from frazil.errors import InputError
from frazil.metrics import rmsd
from frazil.predictor import PredictSettings, SteeringSettings
from frazil.predictor.drawing import Drawn, draw, draw_together
from frazil.predictor.engine import DONE, FAILED, KEPT, Entry, LocalEngine
from frazil.predictor.finishing import Finishing
from frazil.predictor.joined import room
from frazil.predictor.ligands import Conformers, LigandJob, LigandSampler, together
from frazil.predictor.many import plan_ligands, sample_ligands
from frazil.predictor.requests import request_of
from ligand_model import LIGAND_TINY, QUICK, ligand_checkpoint
from random_model import random_model

IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
PARACETAMOL = "CC(=O)Nc1ccc(O)cc1"
CAFFEINE = "Cn1cnc2c1c(=O)n(C)c(=O)n2C"
NAPROXEN = "C[C@@H](c1ccc2cc(ccc2c1)OC)C(=O)O"
LIGANDS = (IBUPROFEN, ASPIRIN, PARACETAMOL, CAFFEINE, NAPROXEN, "CC(C)O")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ligand_checkpoint(tmp_path_factory.mktemp("model") / "run")


def sampler_of(settings: PredictSettings = QUICK, finishing: Finishing = Finishing()) -> LigandSampler:  # noqa: B008
    return LigandSampler(random_model(LIGAND_TINY), RunRecord(LIGAND_TINY), Path("run"), settings, finishing)


def job_of(run: Path, out: Path, settings: PredictSettings = QUICK, **finishing) -> LigandJob:
    return LigandJob(run, out, settings, Finishing(**finishing))


def entries_of(*smiles: str) -> list[Entry]:
    return [Entry(f"lig{number}", text, f"list.smi:{number}") for number, text in enumerate(smiles, start=1)]


def rows_of(folder: Path) -> list[dict]:
    return json.loads((folder / "samples.json").read_text())


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def together_and_alone(settings: PredictSettings) -> list[tuple[np.ndarray, np.ndarray]]:
    sampler, model = sampler_of(settings), random_model(LIGAND_TINY)
    planned = [sampler.plan(f"lig{n}", ligand_of(text), text) for n, text in enumerate(LIGANDS)]
    # isopropanol has another room
    requests = [one.request for one in planned if 13 <= one.ligand.num_atoms <= 16]
    assert len(requests) >= 3
    shared = draw_together(model, requests, settings)
    alone = [draw(model, request, settings) for request in requests]
    reverse = draw_together(model, requests[::-1], settings)[::-1]
    for one, other in zip(shared, reverse, strict=True):
        assert np.abs(one.coords - other.coords).max() < 0.5
    return [(one.coords, other.coords) for one, other in zip(shared, alone, strict=True)]


def test_unlike_ligands_together_give_the_same_samples_as_alone_bit_by_bit() -> None:
    for shared, alone in together_and_alone(replace(QUICK, num_samples=3, steps=6)):
        assert np.array_equal(shared, alone)


def test_energies_of_a_sample_are_its_own_whatever_was_drawn_beside_it() -> None:
    settings = replace(QUICK, num_samples=6, steps=4, steering=SteeringSettings(sets=("physical",)))
    sampler, model = sampler_of(settings), random_model(LIGAND_TINY)
    planned = [sampler.plan(f"lig{n}", ligand_of(text), text) for n, text in enumerate((IBUPROFEN, ASPIRIN))]
    requests = [request for one in planned for request in one.requests]
    assert len(requests) > 4
    each = replace(settings, num_samples=2)
    for request, shared in zip(requests, draw_together(model, requests, each), strict=True):
        alone = draw(model, request, each)
        assert shared.energies.keys() == alone.energies.keys() and "bonded_bounds" in shared.energies
        for name, values in alone.energies.items():
            assert len(values) == 2 and np.allclose(shared.energies[name], values, rtol=1e-5), name


def test_so_they_do_with_any_bound_on_samples_at_once() -> None:
    for bound in (1, 4):
        for shared, alone in together_and_alone(replace(QUICK, num_samples=3, steps=4, max_parallel_samples=bound)):
            assert np.array_equal(shared, alone)


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, {"steering": SteeringSettings(sets=("physical",), moves=4)}]
)
def test_in_bf16_and_steered_they_agree_to_a_tolerance(changes: dict) -> None:
    for shared, alone in together_and_alone(replace(QUICK, num_samples=3, steps=6, **changes)):
        assert np.abs(shared - alone).max() < 0.02


def test_particles_are_chosen_within_each_ligand_of_a_batch() -> None:
    steering = SteeringSettings(sets=("physical",), particles=3, moves=2, interval=1)
    for shared, alone in together_and_alone(replace(QUICK, num_samples=2, steps=4, steering=steering)):
        assert shared.shape == alone.shape == (2, shared.shape[1], 3)
        assert np.abs(shared - alone).max() < 0.02


def test_what_is_reported_of_a_ligand_does_not_depend_on_its_batch() -> None:
    sampler = sampler_of(replace(QUICK, num_samples=3))
    planned = [sampler.plan(f"lig{n}", ligand_of(text), text) for n, text in enumerate(LIGANDS)]
    found = {one.planned.request.name: one for one in sampler.draw(planned) if isinstance(one, Conformers)}
    assert len(found) == len(LIGANDS)
    for one in planned:
        [alone] = sampler.draw([one])
        shared = found[one.request.name]
        assert [report.to_dict() for report in shared.reports] == [report.to_dict() for report in alone.reports]
        assert shared.drawn.evaluations == 3


def test_a_trajectory_of_a_batch_ends_at_each_ligands_own_samples() -> None:
    sampler = sampler_of(replace(QUICK, trajectory=1))
    planned = [sampler.plan(f"lig{n}", ligand_of(text), text) for n, text in enumerate((IBUPROFEN, ASPIRIN, CAFFEINE))]
    for one in sampler.draw(planned):
        assert isinstance(one, Conformers)
        assert one.drawn.denoised.shape == (2, 3, one.planned.ligand.num_atoms, 3)
        moved = one.drawn.denoised[:, -1] - one.drawn.denoised[:, -1].mean(axis=1, keepdims=True)
        assert np.linalg.norm(moved - one.drawn.coords, axis=-1).mean() < 1.5


def test_batches_hold_ligands_of_one_room_and_all_of_them() -> None:
    plan = plan_ligands([*LIGANDS, "C" * 30, "C" * 31])
    batches = plan.batches(QUICK)
    assert sorted(entry.name for batch in batches for entry in batch) == sorted(one.name for one in plan.entries)
    sizes = dict(zip((one.name for one in plan.entries), plan.sizes, strict=True))
    assert all(len({room(sizes[entry.name]) for entry in batch}) == 1 for batch in batches)
    assert together(28, replace(QUICK, num_samples=10_000)) == 1


def test_batches_for_a_gpu_hold_more_ligands_than_those_for_the_cpu() -> None:
    plan = plan_ligands([ASPIRIN] * 200)
    cpu, gpu = (plan.batches(replace(QUICK, num_samples=10, device=device)) for device in ("cpu", "cuda:1"))
    assert plan.batches(replace(QUICK, num_samples=10)) == cpu
    assert len(gpu) == 1 < len(cpu)


def test_a_job_writes_a_folder_each_with_the_stereo_asked_for_in_its_record(run: Path, tmp_path: Path) -> None:
    job = pickle.loads(pickle.dumps(job_of(run, tmp_path)))
    outcomes = job.open().work(entries_of(IBUPROFEN, "CC(F)Cl", ASPIRIN))
    assert {one.status for one in outcomes} == {DONE}
    by_name = {one.name: one for one in outcomes}
    assert by_name["lig2"].reason.startswith("stereo not given at 1 place; chose C[C@")
    rows = rows_of(tmp_path / "lig1")
    assert [row["record"] for row in rows] == [1, 2]
    assert rows[0]["smiles"] == Chem.CanonSmiles(IBUPROFEN)
    assert rows[0]["input"] == "list.smi:1"
    records = list(Chem.SDMolSupplier(str(tmp_path / "lig1" / "samples.sdf")))
    assert all(mol.GetNumAtoms() == 15 and mol.GetProp("_Name") == "lig1" for mol in records)
    assert [mol.GetIntProp("sample") for mol in records] == [0, 1]
    # bond orders are those of the input
    assert sum(bond.GetBondTypeAsDouble() for bond in records[0].GetBonds()) == sum(
        bond.GetBondTypeAsDouble() for bond in Chem.MolFromSmiles(IBUPROFEN).GetBonds()
    )


def test_a_bad_entry_is_an_outcome_and_the_others_are_drawn(run: Path, tmp_path: Path) -> None:
    outcomes = job_of(run, tmp_path).open().work(entries_of(ASPIRIN, "[Na+].[Cl-]", "c1ccccc", "CCO"))
    assert [one.status for one in sorted(outcomes, key=lambda one: one.name)] == [DONE, FAILED, FAILED, DONE]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lig1", "lig4"]


def test_what_is_there_is_kept_and_what_is_missing_drawn(run: Path, tmp_path: Path) -> None:
    job, entries = job_of(run, tmp_path), entries_of(ASPIRIN, "CCO")
    [first] = job.open().work(entries[:1])
    before = files_under(tmp_path / "lig1")
    again = {one.name: one for one in job.open().work(entries)}
    assert (again["lig1"].status, again["lig2"].status) == (KEPT, DONE)
    assert replace(again["lig1"], status=DONE, seconds=first.seconds) == first
    assert files_under(tmp_path / "lig1") == before


def test_a_folder_without_its_last_file_is_drawn_again(run: Path, tmp_path: Path) -> None:
    job, entries = job_of(run, tmp_path), entries_of(ASPIRIN)
    job.open().work(entries)
    before = files_under(tmp_path)
    (tmp_path / "lig1" / "samples.json").unlink()
    assert [one.status for one in job.open().work(entries)] == [DONE]
    assert files_under(tmp_path) == before


@pytest.mark.parametrize("changes", [{"seed": 1}, {"num_samples": 3}, {"sampler": "heun"}])
def test_results_of_other_settings_are_neither_kept_nor_replaced_unasked(
    run: Path, tmp_path: Path, changes: dict
) -> None:
    entries = entries_of(ASPIRIN)
    job_of(run, tmp_path).open().work(entries)
    before = files_under(tmp_path)
    settings = replace(QUICK, **changes)
    [refused] = job_of(run, tmp_path, settings).open().work(entries)
    assert refused.status == FAILED and "--overwrite" in refused.reason
    assert files_under(tmp_path) == before
    [replaced] = job_of(run, tmp_path, replace(settings, overwrite=True)).open().work(entries)
    assert replaced.status == DONE and files_under(tmp_path) != before


@pytest.mark.parametrize("other", ["weights", "start"])
def test_results_of_other_weights_or_another_start_in_the_same_file_are_not_kept(tmp_path: Path, other: str) -> None:
    checkpoint, start, out = ligand_checkpoint(tmp_path / "run"), tmp_path / "start.sdf", tmp_path / "out"
    out.mkdir()
    structure = read(ASPIRIN)
    write_sdf(start, structure, structure.ref_pos)
    job = job_of(checkpoint, out, replace(QUICK, start=start, start_sigma=1.0))
    entries = entries_of(ASPIRIN)
    assert [[one.status for one in job.open().work(entries)] for _ in range(2)] == [[DONE], [KEPT]]
    if other == "weights":
        weights = random_model(LIGAND_TINY)
        next(weights.parameters()).data.add_(0.1)
        save_model(checkpoint / MODEL_FILE, weights, RunRecord(config=LIGAND_TINY))
    else:
        write_sdf(start, structure, structure.ref_pos[:, [1, 2, 0]])
    [refused] = job.open().work(entries)
    assert refused.status == FAILED and "--overwrite" in refused.reason


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["samples.sdf", "trajectory_1_noisy.cif"])
def test_what_has_lost_a_file_is_drawn_again(
    run: Path, tmp_path: Path, harm: Callable[[Path], object], name: str
) -> None:
    job, entries = job_of(run, tmp_path, replace(QUICK, trajectory=1)), entries_of(ASPIRIN)
    job.open().work(entries)
    before = files_under(tmp_path)
    harm(tmp_path / "lig1" / name)
    assert [one.status for one in job.open().work(entries)] == [DONE]
    assert files_under(tmp_path) == before


def test_two_workers_on_one_entry_leave_one_whole_folder(run: Path, tmp_path: Path) -> None:
    overwriting = replace(QUICK, overwrite=True)
    first, second = (job_of(run, tmp_path, overwriting).open() for _ in range(2))
    entries = entries_of(ASPIRIN)
    first.work(entries)
    before = files_under(tmp_path)
    second.work(entries)
    assert files_under(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


def test_leftovers_of_killed_runs_are_removed(run: Path, tmp_path: Path) -> None:
    left = tmp_path / ".lig1.1234.part"
    left.mkdir()
    plan = plan_ligands(["CCO.C", ASPIRIN])
    outcomes = sample_ligands(plan, job_of(run, tmp_path), LocalEngine())
    assert not left.exists()
    assert [one.status for one in outcomes] == [FAILED, DONE]


def test_the_summary_has_a_row_for_every_input_in_their_order(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.smi"
    path.write_text(f"{ASPIRIN} aspirin\nC1CC broken\n\n{'C' * 300} long\nCCO ethanol\nOCC aspirin\n")
    plan = plan_ligands([path])
    outcomes = sample_ligands(plan, job_of(run, tmp_path / "out"), LocalEngine())
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["aspirin", "broken", "long", "ethanol", "aspirin_2"]
    assert [row["status"] for row in rows] == ["done", "failed", "failed", "done", "done"]
    assert rows[1]["source"] == f"{path}:2" and "RDKit" in rows[1]["reason"]
    assert "300 heavy atoms" in rows[2]["reason"]
    assert [int(row["finite"]) for row in rows] == [one.num_finite for one in outcomes] == [2, 0, 0, 2, 2]
    assert all(float(row["seconds"]) > 0 for row in rows if row["status"] == "done")


def test_a_run_that_draws_nothing_leaves_the_summary_as_it_is(run: Path, tmp_path: Path) -> None:
    plan = plan_ligands([ASPIRIN, CAFFEINE])
    sample_ligands(plan, job_of(run, tmp_path), LocalEngine())
    before = (tmp_path / "summary.csv").read_bytes()
    refused = sample_ligands(plan, job_of(run, tmp_path, replace(QUICK, seed=1)), LocalEngine())
    assert {one.status for one in refused} == {FAILED}
    assert (tmp_path / "summary.csv").read_bytes() == before


def test_a_run_with_fewer_inputs_keeps_the_rows_of_the_others_that_have_a_folder(run: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "list.smi", tmp_path / "out"
    path.write_text(f"CCO ethanol\n{ASPIRIN} aspirin\nC1CC broken\nCO methanol\n")
    sample_ligands(plan_ligands([path]), job_of(run, out), LocalEngine())
    shutil.rmtree(out / "methanol")
    before = (out / "summary.csv").read_text().splitlines()
    path.write_text(f"{ASPIRIN} aspirin\n")
    sample_ligands(plan_ligands([path]), job_of(run, out), LocalEngine())
    after = (out / "summary.csv").read_text().splitlines()
    assert after[0] == before[0] and after[1].startswith("aspirin,") and ",kept," in after[1]
    assert after[2:] == [before[1]]


def test_no_usable_input_at_all_is_an_error_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 fragments"):
        plan_ligands(["[Na+].[Cl-]"])
    with pytest.raises(InputError, match="no input given"):
        plan_ligands([])


def test_hydrogens_minimisation_and_clusters_are_written_and_told(run: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, num_samples=4)
    job = job_of(run, tmp_path, settings, hydrogens=True, minimize=True, cluster=0.5)
    [outcome] = job.open().work(entries_of("CCCO"))
    rows = rows_of(tmp_path / "lig1")
    assert {row["force_field"] for row in rows} == {"MMFF94s"}
    assert all(isinstance(row["force_field_energy"], float) for row in rows)
    kept = [row for row in rows if row["file"]]
    assert 1 <= len(kept) == len({row["cluster"] for row in rows})
    assert f"{len(kept)} of 4 samples kept" in outcome.reason
    # of each cluster the best
    for row in kept:
        assert row["rank"] == min(other["rank"] for other in rows if other["cluster"] == row["cluster"])
    records = list(Chem.SDMolSupplier(str(tmp_path / "lig1" / "samples.sdf"), removeHs=False))
    assert [mol.GetNumAtoms() for mol in records] == [12] * len(kept)
    assert [mol.GetIntProp("sample") for mol in records] == [row["sample"] for row in kept]


def test_a_ligand_without_a_finite_sample_fails_and_the_others_are_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(*arguments: Any) -> list[Drawn]:
        first, *others = draw_together(*arguments)
        nowhere = replace(first, coords=first.coords * np.nan, finite=np.zeros_like(first.finite))
        return [nowhere, *others]

    monkeypatch.setattr("frazil.predictor.ligands.draw_together", diverging)
    job = job_of(run, tmp_path, replace(QUICK, num_samples=1), hydrogens=True, minimize=True, cluster=0.5)
    outcomes = {one.name: one for one in job.open().work(entries_of(ASPIRIN, "CC(=O)Nc1ccc(O)cc1CC"))}
    assert [outcomes[name].status for name in ("lig1", "lig2")] == [FAILED, DONE]
    assert "none of 1 samples is finite" in outcomes["lig1"].reason
    assert not (tmp_path / "lig1" / "samples.sdf").exists()


def test_a_minimum_of_the_force_field_has_bonds_of_the_right_length(run: Path, tmp_path: Path) -> None:
    job_of(run, tmp_path, minimize=True).open().work(entries_of("CCCO"))
    for mol in Chem.SDMolSupplier(str(tmp_path / "lig1" / "samples.sdf")):
        positions = mol.GetConformer().GetPositions()
        lengths = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        assert np.allclose(lengths, [1.52, 1.52, 1.42], atol=0.03)


def test_global_generators_are_left_alone() -> None:
    sampler = sampler_of()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    list(sampler.draw([sampler.plan("x", ligand_of(ASPIRIN), "x")]))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_processes_of_their_own_write_the_same_bits(run: Path, tmp_path: Path) -> None:
    plan = plan_ligands(LIGANDS)
    told = []
    for engine, folder in ((LocalEngine(), "here"), (LocalEngine(2), "beside")):
        (tmp_path / folder).mkdir()
        batches = plan.batches(QUICK)
        found = list(
            engine.run(job_of(run, tmp_path / folder), batches, lambda done, total: told.append((done, total)))
        )
        assert {one.status for one in found} == {DONE}
        assert told[-1] == (len(LIGANDS), len(LIGANDS))
    assert files_under(tmp_path / "here") == files_under(tmp_path / "beside")


def test_a_start_counts_wherever_it_lies(tmp_path: Path) -> None:
    """A model in the frame of the reference conformer is given the start in that frame."""
    structure = read(IBUPROFEN)
    found = []
    # the same conformer twice: as it is, and turned and far away
    for number, coords in enumerate((structure.ref_pos, structure.ref_pos[:, [1, 2, 0]] + 30)):
        file = tmp_path / f"start{number}.sdf"
        write_sdf(file, structure, coords)
        settings = replace(QUICK, start=file, start_sigma=1.0, num_samples=1)
        request = request_of("one", structure, Path(), settings.steering, read(file))
        found.append(draw(random_model(LIGAND_TINY), request, settings).coords[0])
    assert rmsd(found[0], structure.ref_pos) > 0.1
    assert rmsd(*found) < 2e-3


def test_no_input_takes_the_place_of_the_summary(tmp_path: Path) -> None:
    listed = tmp_path / "two.smi"
    listed.write_text("CCO summary.csv\nCCC report.html\n")
    names = [entry.name for entry in plan_ligands([listed]).entries]
    assert len(set(names)) == 2 and not {"summary.csv", "report.html"} & set(names)
