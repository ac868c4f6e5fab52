"""Truths about steering from the command line: options and TOML arrive, bad input is one line, seeds decide files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from test_cli import TOML, fails, frazil
from tiny_run import write_ensemble

OWN = """
from frazil.potentials import Potential


class Compact(Potential):
    def __init__(self, features):
        self.count = features.num_atoms

    def energy(self, coords, t):
        return coords.square().sum(dim=(-1, -2)) / self.count


class Wrong(Compact):
    def energy(self, coords, t):
        return super().energy(coords, t) * float("nan")


class Flat(Compact):
    def energy(self, coords, t):
        return super().energy(coords, t).sum()


class Raising(Compact):
    def energy(self, coords, t):
        raise RuntimeError("two\\nlines")


number = 3
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with AGSV.cif and a RUN trained on it."""
    folder = tmp_path_factory.mktemp("steering")
    data = write_ensemble(folder)
    (folder / "tiny.toml").write_text(TOML)
    words = ("--max-steps", 2, "--config", folder / "tiny.toml")
    assert frazil("train", "--data", data, "--out", folder / "run", *words).exit_code == 0
    return folder


def words(run: Path, out: Path, *more: object) -> tuple[object, ...]:
    return ("sample", run / "AGSV.cif", "--checkpoint", run / "run", "--out", out, "--steps", 4, *more)


def rows_of(run: Path, out: Path, *more: object) -> list[dict]:
    result = frazil(*words(run, out, "--num-samples", 2, *more))
    assert result.exit_code == 0, result.output
    return json.loads((out / "AGSV" / "samples.json").read_text())


CONTACT = ("--contact", "A:1:CA,A:4:CA,6")


def test_a_restraint_is_enforced_unless_steering_is_none(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path / "a", *CONTACT, "--min-distance", "A:1:N,A:2:N,2.5", "--template", run / "AGSV.cif")
    assert [one["kind"] for one in rows[0]["restraints"]] == ["contacts", "distances", "templates"]
    assert {one["enforced"] for one in rows[0]["restraints"]} == {True}
    assert rows[0]["steps_guided"] == 4
    rows = rows_of(run, tmp_path / "b", *CONTACT, "--steering", "none")
    assert rows[0]["steps_guided"] == 0 and not rows[0]["restraints"][0]["enforced"]
    rows = rows_of(run, tmp_path / "c")
    assert rows[0]["steps_guided"] == 0 and rows[0]["restraints"] == []
    assert {"rank", "stereo_violations", "chirality_errors", "clashes", "mean_lddt", "energies"} <= set(rows[0])


def test_the_table_names_ranks_and_what_does_not_hold(run: Path, tmp_path: Path) -> None:
    result = frazil(*words(run, tmp_path, "--contact", "A:1:CA,A:4:CA,0.01", "--steering", "none"))
    assert result.exit_code == 0, result.output
    assert "0/1" in result.stderr and "there is no confidence head" in result.stderr
    line = next(line for line in result.stderr.splitlines() if line.startswith("warning: "))
    assert "contact A:1:CA,A:4:CA,0.01: " in line and "at most 0.01 Å" in line and "not enforced" in line


def test_contradictory_contacts_are_reported_and_the_run_goes_on(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path, *CONTACT, "--min-distance", "A:1:CA,A:4:CA,500")
    assert {row["restraints_total"] for row in rows} == {2}
    assert max(row["restraints_satisfied"] for row in rows) < 2


@pytest.mark.parametrize("particles", [1, 3])
def test_the_same_seed_gives_the_same_steered_files_for_any_bound(run: Path, tmp_path: Path, particles: int) -> None:
    files = {}
    for bound in (1, 2, 100):
        more = ("--steering", "physical,contacts", "--particles", particles, "--max-parallel-samples", bound)
        rows_of(run, tmp_path / str(bound), *CONTACT, *more, "--trajectory", 2)
        folder = tmp_path / str(bound) / "AGSV"
        files[bound] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files[1] == files[2] == files[100]
    assert {"sample_0.cif", "sample_1.cif", "trajectory_0_noisy.cif"} <= set(files[1])


def test_fixed_chains_keep_the_input_s_coordinates(run: Path, tmp_path: Path) -> None:
    rows_of(run, tmp_path, "--fix", "A")
    result = frazil("evaluate", tmp_path, "--reference", run / "AGSV.cif")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "AGSV" / "evaluation.json").read_text())
    assert {one["nearest"]["rmsd"] < 2e-3 for one in found["samples"]} == {True}


def test_everything_else_is_in_toml(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        """
        [sample]
        num_samples = 2
        [steering]
        sets = ["contacts", "physical"]
        particles = 4
        moves = 5
        last_step = false
        lambda = 2
        interval = 1
        resampler = "stratified"
        ess_threshold = 0.5
        keep = "all"
        contact = ["A:1:CA,A:3:CA,8"]
        distance = [{first = "A:1:N", second = "A:4:N", lower = 3.0, upper = 9.0}]
        dihedral = [{atoms = ["A:2:N", "A:2:CA", "A:2:C", "A:3:N"], lower = 100, upper = 160}]
        gyration = [{selection = "A", upper = 6.0}]
        position = [{selection = "A:2", tolerance = 2.0}]
        [[steering.template]]
        file = "%s"
        threshold = 3.0
        [steering.weights.contacts]
        guidance = {thresholds = [0.5], values = [0.5, 1.0]}
        [steering.weights.distances]
        resampling = {start = 1.0, end = 0.0, alpha = -2.0}
        interval = 2
    """
        % (run / "AGSV.cif")
    )
    result = frazil(*words(run, tmp_path / "out", "--config", path, *CONTACT))
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "out" / "AGSV" / "samples.json").read_text())
    assert len(rows) == 8 and rows[0]["steps_guided"] == 3
    kinds = [one["kind"] for one in rows[0]["restraints"]]
    assert sorted(kinds) == ["contacts", "contacts", "dihedrals", "distances", "gyration", "positions", "templates"]
    assert [step for step, _ in rows[0]["effective_sample_sizes"]][-1] == 3
    result = frazil(*words(run, tmp_path / "one", "--config", path, "--particles", 1))
    assert len(json.loads((tmp_path / "one" / "AGSV" / "samples.json").read_text())) == 2


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--contact", "A:1:CA,X:1:CA,8"), ["no chain 'X'"]),
        (("--contact", "A:1:CA,A:77:CA,8"), ["no residue '77'"]),
        (("--contact", "A:1:CA,A:2:CQ,8"), ["no atom 'CQ'", "CA"]),
        (("--contact", "A:1:CA,A:2:CA,0"), ["0", "1000"]),
        (("--contact", "A:1:CA,A:2:CA,-3"), ["-3"]),
        (("--contact", "A:1:CA,A:2:CA,1000.5"), ["1000"]),
        (("--contact", "A:1:CA,A:2:CA,nan"), ["nan"]),
        (("--contact", "A:1:CA;A:2:CA"), ["A:12:CA,B:40:CB,8.0"]),
        (("--min-distance", "A:1:CA,A:2:CA,0"), ["A:1:CA,A:2:CA"]),
        (("--min-distance", "A:1:CA,A:2:CA,1e9"), ["1000"]),
        (("--particles", 0), ["particles is 0"]),
        (("--particles", 3), ["3 particles", "no potential"]),
        (("--particles", 3, "--steering", "none", *CONTACT), ["3 particles", "no potential"]),
        (("--steering", ""), ["--steering"]),
        (("--steering", "physical,,contacts"), ["--steering"]),
        (("--steering", "physical,none"), ["--steering"]),
        (("--steering", "chemical"), ["'chemical'", "physical, contacts"]),
        (("--steering", "contacts"), ["no restraint", "--contact"]),
        (("--fix", "Q"), ["'Q'"]),
        (("--fix", ""), ["--fix"]),
        (("--template", "nothing.cif"), ["nothing.cif"]),
        (("--potential", "nonsense"), ["module:Class"]),
        (("--potential", "no_such_module:Compact"), ["no_such_module", "cannot be imported"]),
    ],
)
def test_bad_options_are_one_line(run: Path, tmp_path: Path, more: tuple, expected: list[str]) -> None:
    line = fails(2, *words(run, tmp_path / "out", *more))
    assert all(word in line for word in expected), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lambda = -0.5", ["lambda is -0.5"]),
        ("lambda = nan", ["lambda is nan"]),
        ("particles = 0", ["particles is 0"]),
        ("moves = -2", ["moves is -2"]),
        ("resampler = 'dice'", ["'dice'", "systematic"]),
        ("sets = 'physical'", ["[steering] sets", "not a list of texts"]),
        ("sets = ['physics']", ["'physics'"]),
        ("strength = 2", ["[steering] key", "'strength'"]),
        ("contact = 'A:1,A:2,3'", ["[[steering.contact]]", "not a list"]),
        ("contact = ['A:1,A:2']", ["[[steering.contact]] 1", "A:12:CA,B:40:CB,8.0"]),
        ("contact = [{first = 'A:1', second = 'A:2'}]", ["[[steering.contact]] 1", "max_distance"]),
        ("contact = [{first = 'A:1', second = 'A:2', max_distance = 2000}]", ["2000"]),
        ("contact = [3]", ["[[steering.contact]] 1"]),
        ("distance = [{first = 'A:1', second = 'A:2', lower = 5, upper = 4}]", ["no window"]),
        ("weights = 3", ["[steering.weights]"]),
        ("weights.contact.guidance = 1", ["'contact'", "'contacts'"]),
        ("weights.contacts.guide = 1", ["'guide'", "'guidance'"]),
        ("weights.contacts.guidance = inf", ["not a finite number"]),
        ("weights.contacts.guidance = {start = 1}", ["thresholds"]),
        ("weights.contacts.guidance = {thresholds = [0.5], values = [1]}", ["[steering.weights.contacts] guidance"]),
        ("weights.contacts.guidance = {thresholds = 0.5, values = 1}", ["thresholds"]),
        ("weights.contacts.interval = 0", ["[steering.weights.contacts] interval", "0"]),
        ("weights.contacts.interval = 1.5", ["interval", "not int"]),
        ("potentials = ['absent_module:X']", ["absent_module"]),
    ],
)
def test_bad_settings_are_one_line(run: Path, tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "s.toml").write_text(f"[steering]\n{text}\n")
    line = fails(2, *words(run, tmp_path / "out", "--config", tmp_path / "s.toml"))
    assert all(word in line for word in expected), line
    assert len(line) < 400 and not (tmp_path / "out").exists()


def test_a_template_of_another_length_is_refused(run: Path, tmp_path: Path) -> None:
    other = write_ensemble(tmp_path, "AGSVG")
    line = fails(2, *words(run, tmp_path / "out", "--template", other))
    assert "4 residues" in line and "5" in line


# --- potentials of the user's own -----------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module of potentials in the current folder, another one for each test."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_potential_of_the_current_folder_acts(run: Path, tmp_path: Path, here: str) -> None:
    rows = rows_of(run, tmp_path / "out", "--potential", f"{here}:Compact")
    assert rows[0]["steps_guided"] == 4 and rows[0]["energies"]["Compact"] > 0
    (tmp_path / "s.toml").write_text("[steering]\nweights.Compact.guidance = 0.0\n")
    more = ("--potential", f"{here}:Compact", "--particles", 2, "--config", tmp_path / "s.toml")
    rows = rows_of(run, tmp_path / "weighed", *more)
    assert rows[0]["steps_guided"] == 0 and rows[0]["effective_sample_sizes"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Compct", ["has no Compct", "did you mean Compact?"]),
        ("number", ["number is no subclass"]),
        ("Wrong", ["potential Wrong", "NaN"]),
        ("Flat", ["potential Flat", "give a tensor"]),
        ("Raising", ["potential Raising", "RuntimeError: two"]),
    ],
)
def test_a_potential_that_cannot_be_used_is_named(
    run: Path, tmp_path: Path, here: str, name: str, expected: list[str]
) -> None:
    line = fails(2, *words(run, tmp_path / "out", "--potential", f"{here}:{name}"))
    assert all(word in line for word in expected), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["import no_such_thing", "def broken(", "raise SystemExit(3)", "1 / 0"])
def test_a_module_that_cannot_be_imported_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"broken_{abs(hash(content))}"
    (tmp_path / f"{name}.py").write_text(content)
    line = fails(2, *words(run, tmp_path / "out", "--potential", f"{name}:X"))
    assert f"{name} cannot be imported" in line


# --- evaluate -------------------------------------------------------------------------------------------------------


def test_evaluate_reports_restraints_asked_for_and_recorded(run: Path, tmp_path: Path) -> None:
    rows = rows_of(run, tmp_path, *CONTACT)
    asked = ("--contact", "A:1:CA,A:4:CA,0.01")
    result = frazil("evaluate", tmp_path, "--reference", run / "AGSV.cif", *asked)
    assert result.exit_code == 0, result.output
    assert "restraints" in result.stdout and "there is no confidence head" in result.stdout
    found = json.loads((tmp_path / "AGSV" / "evaluation.json").read_text())
    for row, one in zip(rows, found["samples"], strict=True):
        anew, kept = one["restraints"]
        assert (anew["label"], anew["satisfied"]) == ("A:1:CA,A:4:CA,0.01", False)
        assert kept == row["restraints"][0]
        assert (one["clashes"], one["stereo_violations"]) == (row["clashes"], row["stereo_violations"])
        assert one["mean_lddt"] == pytest.approx(row["mean_lddt"], abs=5e-3)
        assert one["energies"]["connections"] == pytest.approx(row["energies"]["connections"], abs=0.1)
    assert found["summary"]["restraints_total"] == 4
    with (tmp_path / "AGSV" / "evaluation.csv").open() as file:
        assert {line["restraints_total"] for line in csv.DictReader(file)} == {"2"}
    assert "no atom 'CQ'" in fails(
        2, "evaluate", tmp_path, "--reference", run / "AGSV.cif", "--contact", "A:1:CQ,A:2,3"
    )


@pytest.mark.parametrize(
    "content", ["{", "3", "[3]", '[{"file": "sample_0.cif", "restraints": [{"kind": 3}]}]', "[" * 9999]
)
def test_a_samples_json_of_somebody_else_s_is_passed_over(run: Path, tmp_path: Path, content: str) -> None:
    rows_of(run, tmp_path, *CONTACT)
    (tmp_path / "AGSV" / "samples.json").write_text(content)
    assert frazil("evaluate", tmp_path, "--reference", run / "AGSV.cif").exit_code == 0
    found = json.loads((tmp_path / "AGSV" / "evaluation.json").read_text())
    assert {one["restraints_total"] for one in found["samples"]} == {0}
