"""Frazil resolves beside either line of Boltz-2, from its own lower bounds; constraints.txt plays no part."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
PYTHONS = ("3.11", "3.12")
PIP_SETTINGS = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
"""uv's name of what pip is told about its index."""

pytestmark = pytest.mark.slow


def environment() -> dict[str, str]:
    """This process's, with uv looking where pip looks."""
    found = dict(os.environ)
    for setting, name in PIP_SETTINGS.items():
        value = os.environ.get("PIP_" + setting.replace("-", "_").upper()) or pip_config(f"global.{setting}")
        if value:
            found.setdefault(name, value)
    return found


def pip_config(key: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", "config", "get", key], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def resolve(beside: str, python: str, folder: Path) -> tuple[dict[str, str], str]:
    """Versions by package that `pip install BESIDE frazil` takes on Linux, or none and uv's message; from metadata."""
    wanted = folder / "beside.in"
    wanted.write_text(beside + "\n")
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--no-config"]
    command += ["--python-version", python, "--python-platform", "linux", str(PYPROJECT), str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment(), timeout=500)
    versions = re.findall(r"^([\w.-]+)==(\S+)", done.stdout, flags=re.MULTILINE) if done.returncode == 0 else []
    return dict(versions), done.stderr


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("boltz", ["boltz==2.2.1", "boltz-community"])
def test_frazil_installs_beside_boltz(boltz: str, python: str, tmp_path: Path) -> None:
    versions, message = resolve(boltz, python, tmp_path)
    assert versions, f"{boltz} and frazil do not resolve on Python {python}:\n{message}"
    name, _, version = boltz.partition("==")
    assert versions[name] == (version or versions[name])
    assert {"torch", "biotite", "rdkit", "pytorch-lightning", "safetensors", "typer"} <= set(versions)


def test_the_community_line_is_one_that_the_extra_takes(tmp_path: Path) -> None:
    versions, _ = resolve("boltz-community", "3.11", tmp_path)
    assert tuple(map(int, versions["boltz-community"].split(".")[:2])) >= (2, 12)


def test_what_cannot_be_together_is_told(tmp_path: Path) -> None:
    versions, message = resolve("boltz==2.2.1\nnumpy>=2", "3.11", tmp_path)
    assert not versions
    assert "boltz==2.2.1" in " ".join(message.split())
