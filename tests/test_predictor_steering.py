"""Truths about steered prediction: what holds, what is said of what does not, frames, lineages, refusals."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from frazil.chemistry import NONPOLYMER
from frazil.data import read
from frazil.data.restraints import (
    Contact,
    CovalentBond,
    Dihedral,
    DistanceWindow,
    Position,
    RadiusOfGyration,
    Request,
    TemplateRequest,
)
from frazil.data.write import write_cif
from frazil.errors import InputError
from frazil.metrics import lddt
from frazil.potentials import Constant, Potential, PotentialWeights
from frazil.predictor import PredictionSummary, PredictSettings, SteeringSettings, draw, plan, run
from test_predictor import FakeModel

FAST = PredictSettings(num_samples=3, steps=12)


@pytest.fixture
def peptide(tmp_path: Path) -> Path:
    path = tmp_path / "pep.fasta"
    path.write_text(">A|protein\nGACGAG\n")
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Two chains with coordinates, 12 A apart, in a frame of their own."""
    (tmp_path / "two.fasta").write_text(">A|protein\nGAC\n>B|protein\nSGV\n")
    structure = read(tmp_path / "two.fasta")
    coords = (
        structure.ref_pos + 3.8 * structure.residue_index[:, None] * np.float32([1, 0, 0]) + np.float32([50, 20, 9])
    )
    coords[structure.chain_index == 1] += np.float32([0, 12, 0])
    write_cif(tmp_path / "two.cif", structure, coords.astype(np.float32))
    return tmp_path / "two.cif"


def held_to(*requests: Request, **options) -> PredictSettings:
    return replace(FAST, steering=SteeringSettings(requests=requests, **options))


def sample(path, out: Path, settings: PredictSettings, model=None) -> tuple[PredictionSummary, list[dict], str]:
    """Summary, rows of samples.json and what was printed."""
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    requests = plan([path], out, settings, lambda line: None)
    [summary] = run(model or FakeModel(std=3.0), requests, settings, console=console)  # type: ignore[arg-type]
    return summary, json.loads((summary.folder / "samples.json").read_text()), screen.getvalue()


# --- what holds -----------------------------------------------------------------------------------------------------


def test_a_distance_that_the_model_does_not_keep_is_kept_by_steering(peptide: Path, tmp_path: Path) -> None:
    settings = replace(held_to(DistanceWindow("A:1:CA", "A:6:CA", lower=12.0)), steps=30)
    _, free, said = sample(peptide, tmp_path / "a", replace(settings, steering=replace(settings.steering, sets=())))
    _, steered, quiet = sample(peptide, tmp_path / "b", settings)
    assert [row["restraints_satisfied"] for row in steered] == [1, 1, 1]
    assert {row["restraints_satisfied"] for row in free} == {0}
    assert {row["steps_guided"] for row in free} == {0} and {row["steps_guided"] for row in steered} == {30}
    assert "not satisfied in 3 of 3 samples (not enforced): distance A:1:CA,A:6:CA,12: " in said
    assert "not satisfied" not in quiet
    [outcome] = steered[0]["restraints"]
    assert (outcome["kind"], outcome["label"], outcome["lower"]) == ("distances", "A:1:CA,A:6:CA,12", 12.0)
    assert outcome["satisfied"] and outcome["enforced"] and outcome["value"] >= 11.999 and outcome["upper"] is None
    assert free[0]["restraints"][0]["enforced"] is False


def test_what_is_reported_is_what_the_files_hold(peptide: Path, tmp_path: Path) -> None:
    requests = (DistanceWindow("A:1:CA", "A:5:CA", 4.0, 6.0), Dihedral(("A:1:N", "A:1:CA", "A:1:C", "A:2:N"), 40, 80))
    summary, rows, _ = sample(peptide, tmp_path / "out", held_to(*requests, RadiusOfGyration("A", upper=4.0)))
    for row in rows:
        structure = read(summary.folder / row["file"])
        names = zip(structure.atoms.res_id.tolist(), structure.atoms.atom_name.tolist(), strict=True)
        atoms = dict(zip(names, structure.coords[0], strict=True))
        window, dihedral, gyration = row["restraints"]
        assert window["value"] == pytest.approx(np.linalg.norm(atoms[1, "CA"] - atoms[5, "CA"]), abs=3e-3)
        assert (window["lower"], window["upper"], window["unit"]) == (4.0, 6.0, "angstrom")
        spread = structure.coords[0] - structure.coords[0].mean(axis=0)
        assert gyration["value"] == pytest.approx(np.sqrt((spread**2).sum(axis=1).mean()), abs=3e-3)
        assert dihedral["unit"] == "degree" and dihedral["lower"] == pytest.approx(40)
        assert row["restraints_total"] == 3
        assert row["restraints_satisfied"] == sum(one["satisfied"] for one in row["restraints"])
        assert set(row["energies"]) >= {"distances", "dihedrals", "gyration", "connections"}
        assert (row["energies"]["distances"] == 0) == window["satisfied"]
    assert sorted(row["rank"] for row in rows) == [1, 2, 3]


def test_contradictory_contacts_are_reported_and_the_run_goes_on(peptide: Path, tmp_path: Path) -> None:
    near, far = Contact("A:1:CA", "A:6:CA", 3.0), DistanceWindow("A:1:CA", "A:6:CA", lower=20.0)
    _, rows, said = sample(peptide, tmp_path / "out", held_to(near, far))
    assert {(row["restraints_satisfied"] < 2, row["restraints_total"]) for row in rows} == {(True, 2)}
    assert "not satisfied in" in said


def test_many_unsatisfied_restraints_are_counted(peptide: Path, tmp_path: Path) -> None:
    requests = [DistanceWindow(f"A:{i}:CA", f"A:{i + 1}:CA", lower=300.0) for i in range(1, 6)]
    requests += [DistanceWindow(f"A:{i}:CA", f"A:{i + 2}:CA", lower=300.0) for i in range(1, 4)]
    _, _, said = sample(peptide, tmp_path / "out", held_to(*requests, sets=()))
    assert said.count("warning: ") == 6
    assert "3 more restraints not satisfied" in said


def test_the_table_is_ranked_and_says_what_by(peptide: Path, tmp_path: Path) -> None:
    summary, rows, said = sample(peptide, tmp_path / "out", held_to(Contact("A:1:CA", "A:6:CA", 6.0), sets=()))
    assert "ranked by restraints, stereo, clashes and mean lDDT" in said and "there is no confidence head" in said
    order = sorted(rows, key=lambda row: row["rank"])
    keys = [
        (-r["restraints_satisfied"], r["stereo_violations"] + r["chirality_errors"], r["clashes"], -r["mean_lddt"])
        for r in order
    ]
    assert keys == sorted(keys)
    shown = [line for line in said.splitlines() if "│" in line]
    assert [int(line.split("│")[2]) for line in shown] == [row["sample"] for row in order]
    assert f"{order[0]['restraints_satisfied']}/1" in shown[0]
    assert [one.sample for one in summary.reports] == [0, 1, 2]


def test_mean_lddt_is_to_the_other_samples(peptide: Path, tmp_path: Path) -> None:
    summary, rows, _ = sample(peptide, tmp_path / "out", FAST)
    structure = read(peptide)
    coords = [read(summary.folder / row["file"]).coords[0] for row in rows]
    for index, row in enumerate(rows):
        scores = [lddt(coords[index], other, structure.residue_index) for i, other in enumerate(coords) if i != index]
        assert row["mean_lddt"] == pytest.approx(np.mean(scores), abs=2e-3)
    _, [row], _ = sample(peptide, tmp_path / "one", replace(FAST, num_samples=1))
    assert row["mean_lddt"] is None


def test_physical_terms_of_ligands_are_always_judged(tmp_path: Path) -> None:
    wrong = FakeModel(std=0.01)
    wrong.condition = lambda features: (-features.ref_pos[:, None], features.atom_mask[:, None])  # type: ignore[method-assign]
    _, rows, said = sample("C[C@H](N)C(=O)O", tmp_path / "a", FAST, wrong)
    assert {row["stereo_violations"] for row in rows} == {1}
    broken = rows[0]["physical"]["chirality"]["violated"][0]
    assert rows[0]["physical"]["chirality"]["total"] == 1 and not broken["enforced"] and broken["unit"] == "degree"
    assert broken["label"].count("A:1:") == 4
    assert rows[0]["restraints"] == [] and "not satisfied" not in said
    _, rows, _ = sample("C[C@H](N)C(=O)O", tmp_path / "b", replace(FAST, steps=60), FakeModel())
    assert {(row["stereo_violations"], row["chirality_errors"]) for row in rows} == {(0, 0)}


# --- particles ------------------------------------------------------------------------------------------------------


def test_particles_leave_one_sample_each_with_their_effective_sizes(peptide: Path, tmp_path: Path) -> None:
    settings = held_to(Contact("A:1:CA", "A:6:CA", 3.0), particles=4, resampler="systematic", interval=2)
    summary, rows, _ = sample(peptide, tmp_path / "out", settings)
    assert summary.num_samples == 3 and summary.samples_at_once == 12
    for row in rows:
        assert row["effective_sample_sizes"] and all(1 <= size <= 4.001 for _, size in row["effective_sample_sizes"])
        assert "log_weight" not in row and "particle" not in row


def test_all_particles_may_be_kept_with_their_weights(peptide: Path, tmp_path: Path) -> None:
    settings = held_to(Contact("A:1:CA", "A:6:CA", 3.0), particles=3, keep="all", ess_threshold=0.0)
    _, rows, _ = sample(peptide, tmp_path / "out", settings)
    assert [(row["group"], row["particle"]) for row in rows] == [(g, p) for g in range(3) for p in range(3)]
    for group in range(3):
        weights = [np.exp(row["log_weight"]) for row in rows if row["group"] == group and row["log_weight"] is not None]
        assert sum(weights) == pytest.approx(1.0, abs=1e-4)
    assert len(list((tmp_path / "out").rglob("sample_*.cif"))) == 9


def test_a_trajectory_follows_the_particles_that_a_sample_descends_from(peptide: Path, tmp_path: Path) -> None:
    settings = replace(held_to(Contact("A:1:CA", "A:6:CA", 3.0), particles=3, strength=50.0), trajectory=1, steps=20)
    [request] = plan([peptide], tmp_path / "out", settings, lambda line: None)
    drawn = draw(FakeModel(std=3.0), request, settings)  # type: ignore[arg-type]
    assert drawn.lineage.shape == (3, 20)
    assert (drawn.lineage[:, :-1] // 3 == np.arange(3)[:, None]).all()
    # where nothing is noisy any more, each frame is a small step from the one before
    steps = np.linalg.norm(np.diff(drawn.denoised, axis=1), axis=-1).max(axis=-1)
    assert steps[:, -5:].max() < 3.0


def test_the_same_seed_gives_the_same_files_whatever_runs_beside(peptide: Path, tmp_path: Path) -> None:
    settings = held_to(Contact("A:1:CA", "A:6:CA", 3.0), particles=3, sets=("physical", "contacts"))
    first, *_ = sample(peptide, tmp_path / "a", settings)
    names = ("sample_0.cif", "sample_2.cif")
    for number, other in enumerate((
        replace(settings, max_parallel_samples=1), replace(settings, max_parallel_samples=4),
        replace(settings, num_samples=5),
    )):  # fmt: skip
        second, *_ = sample(peptide, tmp_path / f"b{number}", other)
        assert all((first.folder / name).read_bytes() == (second.folder / name).read_bytes() for name in names)
    padded, *_ = sample(peptide, tmp_path / "c", settings, FakeModel(std=3.0, pad=9))
    assert all((first.folder / name).read_bytes() == (padded.folder / name).read_bytes() for name in names)


@pytest.mark.parametrize("particles", [1, 3])
def test_a_sample_lost_with_all_its_particles_is_said_to_be(peptide: Path, tmp_path: Path, particles: int) -> None:
    def spoil(denoised: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoised.clone()
        denoised[:, particles : 2 * particles] = torch.nan
        return denoised

    settings = held_to(Contact("A:1:CA", "A:6:CA", 3.0), particles=particles)
    summary, rows, said = sample(peptide, tmp_path / "out", settings, FakeModel(spoil, std=3.0))
    assert [row["finite"] for row in rows] == [True, False, True]
    assert rows[1]["lost_at_step"] == 0 and "lost_at_step" not in rows[0]
    who = "all 3 particles" if particles == 3 else "it"
    assert f"sample 1 is lost: {who} became non-finite by step 1" in said
    assert summary.num_finite == 2


def test_one_broken_particle_is_survived(peptide: Path, tmp_path: Path) -> None:
    def spoil(denoised: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoised.clone()
        if float(sigma.max()) > 100:
            denoised[:, 1::3] = torch.inf
        return denoised

    settings = held_to(Contact("A:1:CA", "A:6:CA", 3.0), particles=3, interval=1)
    summary, _, said = sample(peptide, tmp_path / "out", settings, FakeModel(spoil, std=3.0))
    assert summary.num_finite == 3 and "lost" not in said


# --- frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [1, 2])
def test_fixed_chains_stay_where_the_input_has_them(pair: Path, tmp_path: Path, particles: int) -> None:
    settings = held_to(Contact("A:3:CA", "B:1:CA", 6.0), fix=("A",), particles=particles)
    summary, rows, _ = sample(pair, tmp_path / "out", settings)
    given = read(pair)
    for row in rows:
        found = read(summary.folder / row["file"])
        in_a = found.chain_index == 0
        assert np.abs(found.coords[0][in_a] - given.coords[0][in_a]).max() < 1e-3
        assert row["fixed"] == ["A"]
    first, second = (read(summary.folder / row["file"]).coords[0][given.chain_index == 1] for row in rows[:2])
    assert np.abs(first - second).max() > 0.1


def test_fixed_chains_may_come_from_the_start(pair: Path, tmp_path: Path) -> None:
    (tmp_path / "x.fasta").write_text(">A|protein\nGAC\n>B|protein\nSGV\n")
    settings = replace(held_to(fix=("B",)), start=pair, start_sigma=1.0)
    summary, rows, _ = sample(tmp_path / "x.fasta", tmp_path / "out", settings)
    given, found = read(pair), read(summary.folder / rows[0]["file"])
    assert np.abs((found.coords[0] - given.coords[0])[given.chain_index == 1]).max() < 1e-3


def test_places_that_are_not_aligned_pull_samples_into_their_frame(pair: Path, tmp_path: Path) -> None:
    free = Position("A", tolerance=0.5, aligned=False)

    def centred(denoised: Tensor, sigma: Tensor) -> Tensor:
        # as a network does that was trained on centred structures
        return denoised - denoised.mean(dim=-2, keepdim=True) * (sigma > 5)[..., None, None]

    _, rows, _ = sample(pair, tmp_path / "out", replace(held_to(free), steps=80), FakeModel(centred, std=3.0))
    given = read(pair)
    for row in rows:
        found = read(tmp_path / "out" / "two" / row["file"])
        here = np.linalg.norm((found.coords[0] - given.coords[0])[given.chain_index == 0], axis=1)
        [outcome] = row["restraints"]
        assert outcome["value"] == pytest.approx(here.max(), abs=3e-3)
        assert here.max() < 3.0


def test_a_template_is_followed_in_any_frame(pair: Path, tmp_path: Path) -> None:
    settings = replace(held_to(TemplateRequest(str(pair), threshold=1.0)), steps=40)
    _, steered, _ = sample(pair, tmp_path / "a", settings)
    _, free, _ = sample(pair, tmp_path / "b", replace(settings, steering=replace(settings.steering, sets=())))
    assert max(row["restraints"][0]["value"] for row in steered) < min(row["restraints"][0]["value"] for row in free)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"particles": 0}, "particles is 0"),
        ({"strength": -1.0}, "lambda is -1"),
        ({"strength": float("nan")}, "lambda is nan"),
        ({"moves": -1}, "moves is -1"),
        ({"interval": 0}, "interval is 0"),
        ({"ess_threshold": 1.5}, "ess_threshold is 1.5"),
        ({"resampler": "lottery"}, "multinomial, systematic, stratified"),
        ({"keep": "none"}, "one, all"),
        ({"sets": ("chemical",)}, "physical, contacts, or none"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SteeringSettings(**options)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SteeringSettings(sets=("contacts",)), "--steering contacts, but there is no restraint"),
        (SteeringSettings(particles=3), "3 particles, but no potential"),
        (
            SteeringSettings(sets=(), particles=3, requests=(Contact("A:1", "A:3", 4.0),)),
            "3 particles, but no potential",
        ),
        (SteeringSettings(requests=(Contact("A:1:CA", "C:2:CA", 4.0),)), "no chain 'C'"),
        (SteeringSettings(requests=(Contact("A:1:CA", "A:99:CA", 4.0),)), "no residue '99'"),
        (SteeringSettings(requests=(Contact("A:1:CX", "A:3:CA", 4.0),)), "no atom 'CX'"),
        (SteeringSettings(fix=("A",)), "no coordinates"),
        (SteeringSettings(fix=("Z",)), "'Z'"),
    ],
)
def test_what_names_nothing_is_refused_before_any_work(
    peptide: Path, tmp_path: Path, settings: SteeringSettings, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        plan([peptide], tmp_path / "out", replace(FAST, steering=settings), lambda line: None)
    assert "\n" not in str(caught.value)


def test_a_template_of_another_length_is_refused(peptide: Path, pair: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="residues"):
        plan([peptide], tmp_path / "out", held_to(TemplateRequest(str(pair), chains=("A",))), lambda line: None)


class Compact(Potential):
    """Pulls all atoms together."""

    def __init__(self, features) -> None:
        self.mask = features.atom_mask

    def energy(self, coords: Tensor, t: float) -> Tensor:
        return torch.where(self.mask[:, None, :, None], coords, 0).square().sum(dim=(-1, -2)) / 100


class NotANumber(Compact):
    """Gives NaN."""

    def energy(self, coords: Tensor, t: float) -> Tensor:
        return super().energy(coords, t) * float("nan")


class OneForAll(Compact):
    """Gives one energy for all samples."""

    def energy(self, coords: Tensor, t: float) -> Tensor:
        return super().energy(coords, t).sum()


class Raising(Compact):
    """Fails."""

    def energy(self, coords: Tensor, t: float) -> Tensor:
        raise KeyError("no such atom")


class Unbuildable(Compact):
    """Cannot be made."""

    def __init__(self) -> None:
        super().__init__(None)


class Uncounted(Compact):
    """Has no number of terms."""

    num_terms = None


class Unnamed(Compact):
    """Cannot say what it is called."""

    @property
    def name(self) -> str:
        raise RuntimeError("nameless")


class Leaving(Compact):
    """Ends the program."""

    def __init__(self, features) -> None:
        raise SystemExit(0)


class Exact(Compact):
    """In double precision, whatever it is given."""

    def energy(self, coords: Tensor, t: float) -> Tensor:
        return super().energy(coords.double(), t)

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        return super().gradient(coords.double(), t)


@pytest.mark.parametrize("particles", [1, 2])
def test_a_potential_in_double_precision_runs(peptide: Path, tmp_path: Path, particles: int) -> None:
    _, rows, _ = sample(peptide, tmp_path / "a", held_to(potentials=(Exact,), particles=particles))
    assert all(row["finite"] and "Exact" in row["energies"] for row in rows)


def test_a_potential_of_one_s_own_acts_and_is_reported(peptide: Path, tmp_path: Path) -> None:
    _, free, _ = sample(peptide, tmp_path / "a", FAST)
    weak = {"Compact": PotentialWeights(Constant(1.0), Constant(1.0), interval=20)}
    _, few, _ = sample(peptide, tmp_path / "b", held_to(potentials=(Compact,), weights=weak))
    _, pulled, _ = sample(peptide, tmp_path / "c", held_to(potentials=(Compact, Compact), moves=10))
    assert {row["steps_guided"] for row in pulled} == {12}
    assert "Compact" not in free[0]["energies"] and {"Compact", "Compact 2"} <= set(pulled[0]["energies"])
    assert max(row["energies"]["Compact"] for row in pulled) < min(row["energies"]["Compact"] for row in few)


@pytest.mark.parametrize("particles", [1, 2])
@pytest.mark.parametrize(
    ("potential", "words"),
    [
        (NotANumber, "NaN"),
        (OneForAll, r"give a tensor"),
        (Raising, "KeyError"),
        (Unbuildable, "cannot be made"),
        (Uncounted, "num_terms"),
        (Unnamed, "its name failed"),
        (Leaving, "SystemExit"),
    ],
)
def test_a_potential_that_fails_is_named(peptide: Path, tmp_path: Path, potential, words: str, particles: int) -> None:
    settings = held_to(potentials=(potential,), particles=particles)
    with pytest.raises(InputError, match=words) as caught:
        sample(peptide, tmp_path / "out", settings)
    assert potential.__name__ in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_yaml_constraints_steer_without_any_flag(tmp_path: Path) -> None:
    path = tmp_path / "in.yaml"
    path.write_text(
        "sequences:\n  - protein: {id: A, sequence: GACGAG}\nconstraints:\n"
        "  - contact: {token1: [A, 1], token2: [A, 6], max_distance: 4.0}\n"
        "  - contact: {token1: [A, 1], token2: [A, 5], max_distance: 4.0, force: false}\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, rows, _ = sample(path, tmp_path / "out", FAST)
    assert {row["steps_guided"] for row in rows} == {12}
    assert [one["enforced"] for one in rows[0]["restraints"]] == [True, False]


def test_a_lone_ligand_is_steered_too(tmp_path: Path) -> None:
    request = DistanceWindow("A:1:C1", "A:1:O1", upper=2.5, lower=0.0)
    summary, rows, _ = sample("C(CC)CCO", tmp_path / "out", held_to(request, sets=("physical", "contacts")))
    assert read("C(CC)CCO").chains[0].mol_type == NONPOLYMER
    assert summary.files == ("samples.sdf", "samples.json") and rows[0]["restraints_total"] == 1


def test_a_bond_that_somebody_asked_for_is_enforced_without_further_words(peptide: Path, tmp_path: Path) -> None:
    bond = CovalentBond("A:1:N", "A:6:C")
    _, free, _ = sample(peptide, tmp_path / "free", held_to(bond, sets=()))
    _, held, _ = sample(peptide, tmp_path / "held", held_to(bond))
    for rows, enforced in ((free, False), (held, True)):
        [found] = rows[0]["restraints"]
        assert found["kind"] == "connections" and found["enforced"] is enforced
        assert (rows[0]["steps_guided"] > 0) is enforced
    lengths = [np.mean([row["restraints"][0]["value"] for row in rows]) for rows in (free, held)]
    assert lengths[1] < lengths[0]
    assert held[0]["energies"]["asked_connections"] < 0.1 < free[0]["energies"]["asked_connections"]
