"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frazil.errors import InputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it once the block has ended well and the bytes are on disk.

    A killed or failed block leaves the earlier file as it was.

    Raises
    ------
    InputError
        If the file system refuses (no space left, no permission).
    """
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            yield part
            _sync(part)
            os.replace(part, path)
            _sync(path.parent)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); earlier files are whole, free some space or "
            "choose another folder"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises
    ------
    InputError
        As `atomic`.
    """
    with atomic(Path(path)) as part:
        part.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
