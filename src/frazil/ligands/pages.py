"""Pages beside the results of `frazil sample`, if the extra that makes them is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from frazil import page
from frazil.errors import FrazilError
from frazil.progress import teller

MOST_PAGES = 20
"""Inputs up to which pages are made unasked: each carries its viewer along."""


def write_pages(folders: Iterable[Path], out: Path | None, console: Console | None) -> None:
    """Write `report.html` into each folder of samples, and one over all into `out`; a page that fails is only told of.

    Parameters
    ----------
    folders : iterable of Path
        Folders of single inputs.
    out : Path or None
        Folder with `summary.csv`; None for no page over all.
    console : rich.console.Console or None
        Where the paths of the pages go.
    """
    say = teller(console)
    for folder in folders:
        _write("page to look at", page.write_sample_page, folder, say)
    if out is not None:
        _write("page over all", page.write_summary_page, out, say)


def _write(what: str, write: Callable[[Path], Path], folder: Path, say: Callable[[str], None]) -> None:
    try:
        say(f"{what}: {write(folder)}")
    except FrazilError as error:
        # samples are whole without it
        say(f"warning: no page: {error}")
    except MemoryError:
        say(f"warning: no page: {folder} is too large for the memory that is left")
