"""Truths about pages in a browser: they load without a network, draw, and viewer, table and plots go together."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import ligand_folder, polymer_folder
from numpy.typing import NDArray
from PIL import Image

from frazil.page import write_report, write_sample_page
from tiny_run import write_ensemble

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)  # fmt: skip
PATIENCE = 120_000
"""Milliseconds: software draws, on a machine that may be busy."""

playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
pytest.importorskip("chemiscope", reason="the viewer comes out of chemiscope")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser at {CHROMIUM}"),
]


class Shown:
    """A page in the browser, and all that it asked for."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": 1300, "height": 900}, offline=True)
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda told: told.type == "error" and self.complaints.append(told.text))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready=yes]")

    def pixels(self) -> NDArray[np.int64]:
        """[H, W, 3] of the middle of the viewer, captions left out."""
        shot = self.page.locator("#view").screenshot()
        image = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(np.int64)
        return image[60:-60]

    def drawn(self) -> list[int]:
        """Which samples the viewer draws."""
        script = """frazilPage.viewer.models.flatMap((model, sample) =>
            model.selectedAtoms({}).some((atom) => Object.keys(atom.style).length) ? [sample] : [])"""
        found: list[int] = self.page.evaluate(script)
        return found

    def data(self, name: str) -> str:
        return str(self.page.evaluate(f"document.body.dataset.{name}"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET), timeout=PATIENCE)
        yield started
        started.close()


@pytest.fixture(scope="module")
def ligand(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("page") / "ibuprofen"
    return Shown(browser, write_sample_page(ligand_folder(folder, samples=4, trajectory=True)))


def test_a_page_asks_for_nothing_and_complains_of_nothing(ligand: Shown) -> None:
    assert [url.partition(":")[0] for url in ligand.requests] == ["file"]
    assert ligand.complaints == []


def test_the_viewer_draws_all_samples_at_first(ligand: Shown) -> None:
    ink = (ligand.pixels().min(axis=-1) < 230).mean()
    assert 0.005 < ink < 0.6
    assert ligand.drawn() == [0, 1, 2, 3]


def test_a_click_on_a_row_shows_that_sample(ligand: Shown) -> None:
    together = ligand.pixels()
    for row in (2, 1):
        ligand.page.click(f'tr[data-row="{row}"]')
        assert ligand.drawn() == [row]
        assert ligand.page.locator("tbody tr.on").count() == 1
        assert ligand.data("sample") == str(3 - row)
        assert (ligand.pixels() != together).any()
    ligand.page.click('[data-which="all"]')
    assert ligand.drawn() == [0, 1, 2, 3]


def test_a_click_on_a_point_or_a_pair_shows_those_samples(ligand: Shown) -> None:
    ligand.page.locator('[data-mark^="sample-3-"] use').first.click(force=True)
    assert ligand.drawn() == [3]
    ligand.page.locator('[data-mark^="pair-0-2-"] path').first.click(force=True)
    assert ligand.drawn() == [0, 2]


def test_a_heading_sorts_the_rows(ligand: Shown) -> None:
    def first() -> str:
        return str(ligand.page.locator("tbody tr").first.get_attribute("data-row"))

    heading = ligand.page.locator("th", has_text="sample").first
    heading.click()
    assert first() == "3"
    heading.click()
    assert first() == "0"


def test_play_goes_from_noise_to_the_structure(ligand: Shown) -> None:
    ligand.page.click('tr[data-row="0"]')
    final = ligand.pixels()
    ligand.page.evaluate("frazilPage.seek(0)")
    assert ligand.data("frame") == "0" and "80.0" in ligand.page.inner_text("#moment")
    noise = ligand.pixels()
    assert (noise != final).any()
    ligand.page.click("#play")
    ligand.page.wait_for_selector('body[data-frame="8"]')
    assert ligand.page.inner_text("#moment") == "structure"
    assert (ligand.pixels() != noise).any()


def test_polymers_are_drawn_and_a_restraint_is_pointed_at(browser: Any, tmp_path: Path) -> None:
    data = write_ensemble(tmp_path, "AGSVAGSV", models=3)
    shown = Shown(browser, write_sample_page(polymer_folder(tmp_path / "peptide", data)))
    before = shown.pixels()
    assert (before.min(axis=-1) < 230).mean() > 0.003
    shown.page.click("#restraints li")
    assert shown.drawn() == [0]
    assert (shown.pixels() != before).any()
    assert shown.complaints == [] and len(shown.requests) == 1


def test_a_summary_is_filtered_by_a_word(browser: Any, tmp_path: Path) -> None:
    ligand_folder(tmp_path / "acid", "CC(=O)O", 2)
    ligand_folder(tmp_path / "phenol", "Oc1ccccc1", 2)
    shown = Shown(browser, write_report(tmp_path, most_pages=0)[0])
    assert shown.page.locator("tbody tr:visible").count() == 2
    shown.page.fill("#filter", "phen")
    assert shown.page.locator("tbody tr:visible").count() == 1
    assert shown.complaints == [] and len(shown.requests) == 1
