"""Truths about pages: whole, self-contained, small, and one line where they cannot be made."""

from __future__ import annotations

import base64
import gzip
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import IBUPROFEN, ligand_folder, polymer_folder
from typer.testing import CliRunner

from frazil.cli import app
from frazil.errors import InputError
from frazil.page import bundle, write_report, write_sample_page, write_summary_page, write_training_page
from frazil.page.figures import drawing
from frazil.page.plots import _plain
from tiny_run import write_ensemble

pytest.importorskip("chemiscope")


def payload(page: Path) -> dict[str, Any]:
    """What the page's script gets."""
    found = re.search(r'id="payload">([^<]*)<', page.read_text())
    assert found
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return content


def positions(packed: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), dtype="<i2") * packed["step"]


def test_a_page_is_one_file_that_names_no_other(tmp_path: Path) -> None:
    page = write_sample_page(ligand_folder(tmp_path / "ibuprofen", trajectory=True))
    text = page.read_text()
    assert page.name == "report.html" and page.stat().st_size < 2_000_000
    outside = re.sub(r'<script type="application/octet-stream".*?</script>', "", text, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(?!#|data:)[^"]', outside)
    assert set(re.findall(r"https?://[\w./-]+", outside)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
        "http://www.rdkit.org/xml",
    }
    assert "default-src 'none'" in outside


def test_the_page_has_every_sample_with_its_bond_orders_and_the_best_first(tmp_path: Path) -> None:
    content = payload(write_sample_page(ligand_folder(tmp_path / "ibuprofen", samples=4, lost=1)))
    rank, sample = (content["columns"][k] for k in (0, 1))
    assert (rank["title"], sample["title"]) == ("rank", "sample")
    assert sample["values"] == [3, 2, 1, 0, 4]
    assert content["shown"] == [0, 1, 2, 3]
    assert content["rows"][4]["missing"] == "not finite: no coordinates"
    scene = content["scene"]
    assert len(positions(scene["coords"])) == 4 * 15 * 3
    assert sorted(scene["bonds"][2::3]) == [1] * 11 + [2] * 4
    assert scene["ligand"] and scene["names"][0] == "A:1:C1"


def test_coordinates_keep_their_distances(tmp_path: Path) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=2)
    xyz = positions(payload(write_sample_page(folder))["scene"]["coords"]).reshape(2, 15, 3)
    bonds = np.array([[0, 1], [1, 2], [1, 3]])
    lengths = np.linalg.norm(xyz[:, bonds[:, 0]] - xyz[:, bonds[:, 1]], axis=-1)
    np.testing.assert_allclose(lengths, 1.53, atol=0.04)


def test_a_trajectory_ends_in_its_sample_and_far_noise_is_drawn_closer(tmp_path: Path) -> None:
    scene = payload(write_sample_page(ligand_folder(tmp_path / "ibuprofen", samples=3, trajectory=True)))["scene"]
    first = scene["trajectories"][0]
    assert len(scene["trajectories"]) == 3 and first["sigma"][0] == 80.0
    noisy = positions(first["noisy"]).reshape(8, 15, 3)
    final = positions(scene["coords"]).reshape(3, 15, 3)[0]
    assert noisy[0].std() < 3 * final.std()
    assert np.abs(noisy[-1] - final).max() < 1.0


@pytest.mark.parametrize(("steps", "unit", "axis"), [(8, "step", ">step<"), (40, "frame", ">frame of the trajectory<")])
def test_frames_of_every_kth_step_are_not_called_steps(tmp_path: Path, steps: int, unit: str, axis: str) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=2, trajectory=True)
    rows = json.loads((folder / "samples.json").read_text())
    (folder / "samples.json").write_text(json.dumps([row | {"steps": steps} for row in rows]))
    page = write_sample_page(folder)
    assert {one["unit"] for one in payload(page)["scene"]["trajectories"]} == {unit}
    assert axis in page.read_text()


@pytest.mark.parametrize("steps", [4, 20, 50, 200])
def test_steps_of_the_schedule_are_whole_numbers(tmp_path: Path, steps: int) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=2)
    rows = json.loads((folder / "samples.json").read_text())
    (folder / "samples.json").write_text(json.dumps([row | {"steps": steps} for row in rows]))
    drawn = re.search(
        r'<g id="noise-matplotlib.axis_1">(.*?)<g id="noise-matplotlib.axis_2">',
        write_sample_page(folder).read_text(),
        re.DOTALL,
    )
    assert drawn
    ticks = [float(text) for text in re.findall(r"<text[^>]*>([\d.]+)</text>", drawn[1])]
    assert len(ticks) > 2 and all(tick.is_integer() for tick in ticks)


def test_polymers_have_chains_residues_and_restraints_by_name(tmp_path: Path) -> None:
    data = write_ensemble(tmp_path, models=3)
    content = payload(write_sample_page(polymer_folder(tmp_path / "AGSV", data, trajectory=True)))
    scene, row = content["scene"], content["rows"][0]
    assert not scene["ligand"] and set(scene["atoms"]["residue"]) == {"ALA", "GLY", "SER", "VAL"}
    assert all(scene["atoms"]["polymer"])
    [line] = row["restraints"]
    assert not line["kept"] and "at most 4" in line["text"]
    assert all(name in scene["names"] for name in line["label"].split(","))


def test_hydrogens_of_the_file_are_kept_and_follow_their_heavy_atoms(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    folder = ligand_folder(tmp_path / "ibuprofen", samples=1)
    mol = Chem.AddHs(Chem.MolFromSmiles(IBUPROFEN))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    Chem.MolToMolFile(mol, str(folder / "samples.sdf"))
    with (folder / "samples.sdf").open("a") as file:
        file.write("$$$$\n")
    atoms = payload(write_sample_page(folder))["scene"]["atoms"]
    assert atoms["element"].count("H") == 18
    assert [atoms["parent"][bond] for bond in range(15)] == list(range(15))


def test_an_evaluation_beside_the_samples_becomes_columns(tmp_path: Path) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=2)
    scores = [
        {"file": "samples.sdf", "model": k, "nearest": {"rmsd": k / 2, "lddt": 0.9}, "posebusters": {"flat": k == 1}}
        for k in (1, 2)
    ]
    (folder / "evaluation.json").write_text(json.dumps({"samples": scores}))
    columns = {one["title"]: one for one in payload(write_sample_page(folder))["columns"]}
    assert columns["RMSD to reference / Å"]["cells"] == ["1.00", "0.50"]
    assert columns["PoseBusters"]["cells"] == ["flat", "pass"]


def test_stereo_is_right_where_neither_restraints_nor_centres_say_otherwise(tmp_path: Path) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=4)
    first, second, *others = json.loads((folder / "samples.json").read_text())
    wrong = [first | {"chirality_errors": 1}, second | {"stereo_violations": 1}]
    (folder / "samples.json").write_text(json.dumps([*wrong, *others]))
    assert "stereo right <b>50%</b>" in write_sample_page(folder).read_text()


def test_figures_of_other_steps_become_columns_where_they_differ(tmp_path: Path) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=2)
    rows = json.loads((folder / "samples.json").read_text())
    for row in rows:
        row |= {"force_field_energy": 10.0 + row["sample"], "cluster": 0}
    (folder / "samples.json").write_text(json.dumps(rows))
    titles = [one["title"] for one in payload(write_sample_page(folder))["columns"]]
    assert "force field energy" in titles and "cluster" not in titles


def test_texts_of_the_input_cannot_become_markup(tmp_path: Path) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=1)
    rows = json.loads((folder / "samples.json").read_text())
    rows[0] |= {"name": "<script>alert(1)</script>", "input": '"><img src=x>', "remark": "</p><b>"}
    (folder / "samples.json").write_text(json.dumps(rows))
    text = write_sample_page(folder).read_text()
    assert (
        "<script>alert" not in text
        and "<img" not in text
        and "<b>" not in text.replace("<b>1</b>", "").split("chips")[0]
    )


def test_damage_is_one_line_and_leaves_the_earlier_page(tmp_path: Path) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=2)
    earlier = write_sample_page(folder).read_bytes()
    rows = (folder / "samples.json").read_text()
    for content, word in (
        ("{", "not JSON"),
        ("[]", "not the list"),
        (rows.replace("samples.sdf", "gone.sdf"), "gone.sdf"),
        (rows.replace("samples.sdf", "../samples.sdf"), "not there"),
        (rows.replace('"record": 2', '"record": 7'), "does not hold the 7 records"),
        (rows.replace('"finite": true', '"finite": false'), "no finite sample"),
    ):
        (folder / "samples.json").write_text(content)
        with pytest.raises(InputError, match=word) as error:
            write_sample_page(folder)
        assert "\n" not in str(error.value)
    (folder / "samples.json").write_text(rows)
    (folder / "samples.sdf").write_text("nothing")
    with pytest.raises(InputError, match=r"samples\.sdf"):
        write_sample_page(folder)
    assert (folder / "report.html").read_bytes() == earlier


def test_without_the_viewer_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ligand_folder(tmp_path / "ibuprofen", samples=1)
    bundle.bundle.cache_clear()
    monkeypatch.setattr(bundle, "PACKAGE", "no_such_viewer")
    with pytest.raises(InputError, match=r"pip install 'frazil\[pages\]'"):
        write_sample_page(folder)
    bundle.bundle.cache_clear()


def training_run(folder: Path, steps: int = 300) -> Path:
    folder.mkdir()
    header = "step,elapsed,lr,loss,mse,smooth_lddt,grad_norm,skipped\n"
    rows = (f"{k},{k * 0.5},0.001,{2 / k + 0.1},{1 / k},{1 / k + 0.1},1.5,0\n" for k in range(1, steps + 1))
    (folder / "log.csv").write_text(header + "".join(rows) + f"{steps + 1},12")
    levels = "".join(
        f"{k},{s},{2 * s},{s / k + 0.1},{50}\n" for k in range(100, steps + 1, 100) for s in (0.1, 1.0, 9.0)
    )
    (folder / "noise.csv").write_text("step,sigma_low,sigma_high,mse,count\n" + levels)
    return folder


def test_a_training_page_shows_the_loss_by_noise_level(tmp_path: Path) -> None:
    page = write_training_page(training_run(tmp_path / "run"))
    text = page.read_text()
    assert "Loss by noise level" in text and "σ = 0.141 Å" in text and ">300<" in text
    assert page.stat().st_size < 600_000 and "chemiscope" not in text
    # rows count what came since those before them, the first ones from the first step on
    assert re.findall(r">steps (\d+) to (\d+)<", text) == [("1", "100"), ("101", "200"), ("201", "300")]


def test_a_training_page_does_without_noise_levels_and_refuses_an_empty_log(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run", steps=3)
    (run / "noise.csv").unlink()
    assert "noise level" not in write_training_page(run).read_text()
    (run / "log.csv").write_text("step,elapsed,lr,loss,mse,smooth_lddt,grad_norm,skipped\n")
    with pytest.raises(InputError, match="no step of training"):
        write_training_page(run)


def many_inputs(out: Path) -> Path:
    ligand_folder(out / "acid", "CC(=O)O", 2)
    ligand_folder(out / "phenol", "Oc1ccccc1", 2)
    (out / "summary.csv").write_text(
        "name,source,status,reason,samples,finite,stereo_errors,clashes,seconds\n"
        "acid,a.smi:1,done,,2,2,0,0,0.5\nbad,a.smi:2,failed,not a SMILES & worse,0,0,0,0,0\n"
        "phenol,a.smi:3,done,,2,2,1,0,0.25\n"
    )
    return out


def test_a_summary_has_a_row_with_a_drawing_for_each_input(tmp_path: Path) -> None:
    made = write_report(many_inputs(tmp_path / "out"), most_pages=1)
    assert [page.parent.name for page in made] == ["out", "acid"]
    text = made[0].read_text()
    assert text.count("<svg") == 2 and "not a SMILES &amp; worse" in text
    assert 'href="acid/report.html"' in text and 'href="phenol/samples.sdf"' in text
    assert made[0].stat().st_size < 100_000


def test_a_failed_input_is_not_shown_with_the_molecule_of_an_earlier_run(tmp_path: Path) -> None:
    out = many_inputs(tmp_path / "out")
    ligand_folder(out / "bad", "CCCO", 1)
    text = write_summary_page(out).read_text()
    assert text.count("<svg") == 2 and 'href="bad/' not in text


def test_folders_of_many_inputs_need_no_summary_file(tmp_path: Path) -> None:
    out = many_inputs(tmp_path / "out")
    (out / "summary.csv").unlink()
    text = write_summary_page(out).read_text()
    assert text.count('<tr class="done">') == 2


def test_a_damaged_input_has_its_row_without_a_summary_file_too(tmp_path: Path) -> None:
    out = many_inputs(tmp_path / "out")
    (out / "summary.csv").unlink()
    (out / "phenol" / "samples.json").write_text("{")
    text = write_report(out, most_pages=1)[0].read_text()
    assert text.count('<tr class="done">') == text.count('<tr class="failed">') == 1
    assert "phenol/samples.json: not JSON" in text


def test_the_page_of_folders_alone_counts_what_the_summary_file_would(tmp_path: Path) -> None:
    out = many_inputs(tmp_path / "out")
    (out / "summary.csv").unlink()
    path = out / "acid" / "samples.json"
    first, second = json.loads(path.read_text())
    path.write_text(json.dumps([first | {"stereo_violations": 2, "chirality_errors": 1}, second]))
    assert re.search(r"stereo errors\s*<b>1</b>", write_summary_page(out).read_text())


@pytest.mark.parametrize("content", ["", "x", "name,source,status\n", "a,b\n1,2\n"])
def test_a_summary_file_without_inputs_is_told_of_and_the_folders_are_listed(tmp_path: Path, content: str) -> None:
    out = many_inputs(tmp_path / "out")
    (out / "summary.csv").write_text(content)
    with pytest.warns(UserWarning, match="summary.csv: left out"):
        text = write_summary_page(out).read_text()
    assert text.count('<tr class="done">') == 2


def test_the_command_makes_the_page_that_fits_the_folder(tmp_path: Path) -> None:
    for folder in (
        ligand_folder(tmp_path / "one", samples=2),
        many_inputs(tmp_path / "out"),
        training_run(tmp_path / "run"),
    ):
        done = CliRunner().invoke(app, ["report", str(folder)])
        assert done.exit_code == 0, done.output
        assert f"{folder / 'report.html'}: " in done.stdout


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_folder_without_results_is_one_line_and_exit_code_2(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["report", str(tmp_path / name)])
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1 and name in done.stderr


def test_less_than_no_pages_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--pages", "-1"])
    assert done.exit_code == 2 and "'--pages'" in done.stderr


def test_help_of_the_command_fits_a_screen_and_has_an_example() -> None:
    shown = CliRunner().invoke(app, ["report", "--help"]).output
    assert len(shown.splitlines()) <= 30 and "Example: frazil report" in shown


def test_what_travels_with_the_package_is_named_in_it() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    named = tomllib.loads(project.read_text())["tool"]["setuptools"]["package-data"]["frazil"]
    assert "page/static/*" in named


def test_one_damaged_input_among_many_is_told_of_and_the_others_get_their_pages(tmp_path: Path) -> None:
    out = many_inputs(tmp_path / "out")
    (out / "acid" / "samples.sdf").write_text("nothing")
    with pytest.warns(UserWarning, match="acid"):
        made = write_report(out)
    assert [page.parent.name for page in made] == ["out", "phenol"]


def test_powers_of_ten_along_an_axis_are_formulas_and_dollars_in_names_are_not(tmp_path: Path) -> None:
    with drawing(3, 2, "powers") as made:
        made.axes.plot([1, 2], [0.1, 1e3], label=_plain("$x_{"))
        made.axes.plot([1, 2], [0.2, 1e3], label=_plain("$a$"))
        made.axes.set(yscale="log")
        [first, second] = made.axes.legend().get_texts()
        made.axes.figure.savefig(tmp_path / "powers.png")
        ticks = [label for label in made.axes.get_yticklabels() if label.get_text()]
        assert ticks and all(label.get_parse_math() and "10^{" in label.get_text() for label in ticks)
        assert [text._preprocess_math(text.get_text()) for text in (first, second)] == [("$x_{", False), ("$a$", False)]
