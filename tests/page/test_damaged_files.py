"""Truths about damaged files of samples and runs: one line that names file and value, or a page that does without."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from folders import ligand_folder
from typer.testing import CliRunner

from frazil.cli import app
from frazil.errors import InputError
from frazil.page import write_report, write_sample_page, write_summary_page, write_training_page
from frazil.page.samples import read_samples

pytest.importorskip("chemiscope")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ligand_folder(tmp_path_factory.mktemp("drawn") / "acid", "CC(=O)O", 2)


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "acid"
    copy.mkdir()
    for file in ("samples.json", "samples.sdf"):
        (copy / file).write_bytes((drawn / file).read_bytes())
    return copy


def put(folder: Path, field: str, value: Any) -> None:
    """Another value in the second object."""
    path = folder / "samples.json"
    rows = json.loads(path.read_text())
    rows[1][field] = value
    path.write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("record", "x", 'record is "x", not a whole number from 1'),
        ("record", 0, "record is 0"),
        ("record", 10**400, "record is 1000"),
        ("smiles", 5, "smiles is 5, not a text"),
        ("file", ["samples.sdf"], "file is a list, not a text"),
        ("finite", "yes", 'finite is "yes", not true or false'),
        ("rank", {}, "rank is an object, not a number"),
        ("steps", 1e300, "steps is 1e\\+300"),
        ("sample", True, "sample is true, not a number"),
        ("energies", {"clashes": "x"}, "energies is an object, not an object of numbers"),
        ("restraints", 3, "restraints is 3, not a list"),
        ("trajectory", {"sigma": 1}, "trajectory is an object, not an object of noise levels and files"),
        ("clashes", float("nan"), "NaN is no number of JSON"),
        ("file", "x" * 5000, "is not there"),
        ("file", "\0", "is not there"),
    ],
)
def test_a_field_of_the_wrong_kind_is_one_line_with_the_file_the_value_and_the_way_out(
    folder: Path, field: str, value: Any, told: str
) -> None:
    put(folder, field, value)
    with pytest.raises(InputError, match=f"samples.json.*{told}.*; draw the samples anew") as error:
        read_samples(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("content", ["[" * 100_000, "[5]", '["x"]', "[null]", "", "{}", "5", "[" + "9" * 5000 + "]"])
def test_what_is_no_list_of_objects_is_one_line(folder: Path, content: str) -> None:
    (folder / "samples.json").write_text(content)
    with pytest.raises(InputError, match=r"^[^\n]*samples\.json[^\n]*; draw the samples anew$"):
        read_samples(folder)


def test_damage_ends_the_command_with_2(folder: Path) -> None:
    put(folder, "record", "x")
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert f"{folder / 'samples.json'}: entry 2: record is" in done.stderr


def test_what_is_null_or_unknown_or_an_odd_text_is_no_damage(folder: Path) -> None:
    rows = json.loads((folder / "samples.json").read_text())
    rows[0] |= {"remark": "half a pair \ud800", "cost": 10**400, "energies": {"$x_{": 1e300, "y": 2.0}}
    rows[1] |= {"rank": None, "smiles": None, "physical": None, "restraints": [{"kind": 1}, 2], "cost": 1}
    (folder / "samples.json").write_text(json.dumps(rows))
    assert "half a pair ?" in write_sample_page(folder).read_text()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "Expecting property name"),
        ("[]", "no list of samples in it"),
        ('{"samples": [5]}', "sample 1: it is 5, not an object"),
        ('{"samples": [{"file": "samples.sdf", "model": 1, "posebusters": []}]}', "posebusters is a list"),
        ('{"samples": [{"file": "samples.sdf", "model": "x"}]}', 'model is "x"'),
    ],
)
def test_a_damaged_evaluation_is_told_of_and_left_out(folder: Path, content: str, told: str) -> None:
    (folder / "evaluation.json").write_text(content)
    with pytest.warns(UserWarning, match=f"evaluation.json: left out.*{told}.*run frazil evaluate again"):
        assert read_samples(folder).evaluated == {}


LOG = "step,elapsed,lr,loss,mse,smooth_lddt,grad_norm,skipped\n"
NOISE = "step,sigma_low,sigma_high,mse,count\n"


@pytest.mark.parametrize(
    ("file", "row", "told"),
    [
        ("log.csv", "2,inf,0.001,1,1,1,1,0", "elapsed is inf in row 2"),
        ("log.csv", "2,1e300,0.001,1,1,1,1,0", r"elapsed is 1e\+300 in row 2"),
        ("log.csv", "1e308,1,0.001,1,1,1,1,0", r"step is 1e\+308"),
        ("log.csv", "2,1,0.001,1,1,1,1,inf", "skipped is inf"),
        ("noise.csv", "2,0.1,-inf,1,5", "sigma_high is -inf"),
        ("noise.csv", "2,0.1,0.2,1,1e99", r"count is 1e\+99"),
    ],
)
def test_a_number_that_no_run_writes_is_one_line(tmp_path: Path, file: str, row: str, told: str) -> None:
    (tmp_path / "log.csv").write_text(f"{LOG}1,1,0.001,1,1,1,1,0\n")
    (tmp_path / "noise.csv").write_text(f"{NOISE}1,0.1,0.2,1,5\n")
    with (tmp_path / file).open("a") as end:
        end.write(f"{row}\n")
    with pytest.raises(InputError, match=rf"^[^\n]*{file}: {told}[^\n]*; take this row out of the file$"):
        write_training_page(tmp_path)


def test_a_run_that_went_wrong_still_has_its_page(tmp_path: Path) -> None:
    bad = "nan", "inf", "-inf", "1e308", "x", ""
    rows = (f"{step},{step},0.001,{value},{value},{value},{value},0\n" for step, value in enumerate(bad, start=1))
    (tmp_path / "log.csv").write_text(LOG + "".join(rows))
    (tmp_path / "noise.csv").write_text(NOISE + "".join(f"1,0.1,0.2,{value},5\nx,0.1,0.2,1,5\n" for value in bad))
    (tmp_path / "run.json").write_text("[" * 100_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ">6<" in write_training_page(tmp_path).read_text()


def test_a_name_in_a_summary_is_a_folder_in_it_or_no_folder(tmp_path: Path, drawn: Path) -> None:
    (tmp_path / "samples.sdf").write_bytes((drawn / "samples.sdf").read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    names = ("..", "9" * 400, "a/b", "\x01")
    (out / "summary.csv").write_text("name,status\n" + "".join(f"{name},done\n" for name in names))
    page = write_summary_page(out).read_text()
    assert "../samples.sdf" not in page and "<svg" not in page


def test_of_many_inputs_only_the_damaged_one_has_no_page(tmp_path: Path, drawn: Path, folder: Path) -> None:
    whole = tmp_path / "whole"
    folder.rename(whole)
    damaged = ligand_folder(tmp_path / "damaged", "OCCO", 1)
    (damaged / "samples.json").write_text('[{"finite": true, "file": "samples.sdf", "smiles": 5}]')
    with pytest.warns(UserWarning, match="smiles is 5, not a text"):
        made = write_report(tmp_path)
    assert [page.parent.name for page in made] == [tmp_path.name, "whole"]
