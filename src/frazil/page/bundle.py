"""The viewer's JavaScript, out of an installed package at the time a page is made."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from frazil.errors import InputError

PACKAGE = "chemiscope"
"""Its bundle holds 3Dmol.js (Rego and Koes 2015), which draws the molecules."""
SCRIPT = "sphinx/static/chemiscope.min.js"
LICENCES = "static/chemiscope-widget.mjs.LICENSE.txt"


@dataclass(frozen=True)
class Bundle:
    """The JavaScript of the viewer."""

    origin: str
    """Package and version."""
    script: str
    """Compressed: see `packed`."""
    licences: str
    """Of all that is in it; compressed too."""


@cache
def bundle() -> Bundle:
    """The bundle of the installed package.

    Raises
    ------
    InputError
        If the package is not installed, or holds no such file.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"pages need {PACKAGE}, which carries the viewer; pip install 'frazil[pages]'")
    root = Path(next(iter(spec.submodule_search_locations)))
    origin = f"{PACKAGE} {version(PACKAGE)}"
    try:
        script = (root / SCRIPT).read_bytes()
    except OSError:
        script = b""
    if b"$3Dmol" not in script:
        raise InputError(f"{origin} does not carry 3Dmol.js at {SCRIPT}; pip install '{PACKAGE}>=1.1'")
    licences = (root / LICENCES).read_bytes() if (root / LICENCES).is_file() else b""
    return Bundle(origin, packed(script), packed(licences))


def packed(content: bytes) -> str:
    """Gzipped, as base64: what the page's script unpacks with the browser's own `DecompressionStream`.

    >>> packed(b"ice") == packed(b"ice")
    True
    """
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")
