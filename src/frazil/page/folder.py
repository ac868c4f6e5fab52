"""A folder of results -> the page or pages that fit it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from frazil.errors import InputError
from frazil.page.bundle import bundle
from frazil.page.sample import write_sample_page
from frazil.page.samples import SAMPLES_JSON
from frazil.page.summary import SUMMARY, sample_folders, write_summary_page
from frazil.page.training import LOG, write_training_page


def write_report(
    folder: str | Path, *, most_pages: int = 20, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Make the pages of a folder that `frazil sample` or `frazil train` has written.

    Parameters
    ----------
    folder : str or Path
        Of one input, of many, or of a training run.
    most_pages : int
        Of many inputs, so many get a page of their own besides the summary; earlier pages of the others stay.
    progress : callable, optional
        Called with (done, total) after each page of an input.

    Returns
    -------
    list of Path
        The pages; that of the folder itself first.

    Raises
    ------
    InputError
        If the folder holds nothing of the kind, or its page cannot be made. Where that of one of many inputs cannot,
        a warning says so.

    Examples
    --------
    >>> write_report("samples/1as5")  # doctest: +SKIP
    [PosixPath('samples/1as5/report.html')]
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that frazil sample or frazil train has written")
    if (folder / SAMPLES_JSON).is_file():
        return [write_sample_page(folder)]
    if (folder / LOG).is_file():
        return [write_training_page(folder)]
    inputs = sample_folders(folder)
    if not inputs and not (folder / SUMMARY).is_file():
        raise InputError(
            f"{folder}: neither {SAMPLES_JSON} nor {LOG} nor {SUMMARY} in it; give a folder of frazil sample or train"
        )
    made = []
    # without the viewer no page could be made, and one line is enough
    bundle()
    chosen = inputs[:most_pages]
    for done, one in enumerate(chosen, start=1):
        if page := _own_page(one):
            made.append(page)
        if progress is not None:
            progress(done, len(chosen))
    # last, for it links to the others
    return [write_summary_page(folder), *made]


def _own_page(folder: Path) -> Path | None:
    """The page of one of many inputs; None where there is nothing to show."""
    try:
        return write_sample_page(folder)
    except InputError as error:
        warnings.warn(str(error), stacklevel=3)
        return None
