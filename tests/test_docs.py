from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from frazil.config import load_config, predict_settings
from frazil.data import featurize, read
from frazil.potentials import POTENTIAL_SETS

DOCS = Path(__file__).parents[1] / "docs"
STEERING = (DOCS / "steering.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", STEERING, flags=re.DOTALL)


def test_the_custom_potential_of_the_docs_is_the_example_and_pulls() -> None:
    [code] = blocks("python")
    example = (DOCS.parent / "examples" / "end_to_end.py").read_text()
    assert code.strip() == example.split('"""', 2)[2].strip()
    names: dict = {}
    exec(code, names)
    potential = names["EndToEnd"](featurize(read("CCCO")))
    coords = torch.tensor([[0.0, 0, 0], [5, 0, 0], [9, 0, 0], [14, 0, 0]])[None, None]
    assert potential.energy(coords, 0.5).tolist() == [[4.0]]
    assert potential.gradient(coords, 0.5)[0, 0, :, 0].tolist() == [-1.0, 0.0, 0.0, 1.0]


def test_the_settings_of_the_docs_are_accepted(tmp_path: Path) -> None:
    [text] = blocks("toml")
    (tmp_path / "run.toml").write_text(text)
    steering = predict_settings(load_config(tmp_path / "run.toml"), {}).steering
    assert (steering.sets, steering.particles, len(steering.requests)) == (("physical", "contacts"), 3, 2)


@pytest.mark.parametrize("name", [name for presets in POTENTIAL_SETS.values() for name in presets])
def test_every_potential_is_in_the_docs(name: str) -> None:
    assert f"`{name}`" in STEERING
