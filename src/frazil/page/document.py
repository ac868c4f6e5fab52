"""Templates, styles and scripts of the pages -> one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined

from frazil._version import __version__
from frazil.atomic import write_text

REPORT: Final = "report.html"
"""Name of every page."""


@dataclass(frozen=True)
class Chip:
    """A fact in the head of a page."""

    label: str
    value: str
    mark: str = ""
    """`good` or `bad`, or nothing."""


def write_page(path: Path, template: str, scripts: tuple[str, ...] = (), **content: Any) -> Path:
    """Fill a template and write it, whole or not at all; its path.

    Parameters
    ----------
    path : Path
        The page.
    template : str
        Name of a file of `static/`.
    scripts : tuple of str
        Names of files of `static/`, which become one script.
    **content
        What the template asks for; texts are escaped.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    blank = {"source": "", "chips": [], "depiction": "", "plots": [], "remark": "", "size": ""}
    script = "\n".join(_asset(name) for name in scripts)
    page = _environment().get_template(template)
    text = page.render(blank | content | {"version": __version__, "style": _asset("page.css"), "script": script})
    # half of a pair of UTF-16, which JSON and names of files may hold, has no place in UTF-8
    write_text(path, text.encode("utf-8", "replace").decode())
    return path


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


@cache
def _asset(name: str) -> str:
    return files("frazil.page").joinpath("static", name).read_text(encoding="utf-8")
