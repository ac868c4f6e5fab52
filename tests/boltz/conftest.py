"""What tests share of a small Boltz-2: its cache folder and real batches, each made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def boltz_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for `boltz predict --cache`; nobody writes to it."""
    pytest.importorskip("boltz")
    from small_boltz import write_cache

    return write_cache(tmp_path_factory.mktemp("boltz_cache"))


@pytest.fixture(scope="session")
def prepared(boltz_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Name of the input -> batch as `boltz predict` makes it; nobody changes them."""
    from batches import PREPARED, batches

    return batches(tmp_path_factory.mktemp("prepared"), boltz_cache / "mols", PREPARED)


@pytest.fixture
def batch(prepared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of two chains and contacts between them."""
    return dict(prepared["contact"])
