"""Files appear whole or not at all, whatever stops the writing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frazil.atomic import atomic, write_text
from frazil.errors import InputError


def test_a_file_is_there_once_its_block_has_ended(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.txt") as part:
        part.write_text("all of it")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "all of it"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_block_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), atomic(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_earlier_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "x.cif", "whole")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_text(tmp_path / "x.cif", "half")
    assert [file.name for file in tmp_path.iterdir()] == ["x.cif"]
    assert (tmp_path / "x.cif").read_text() == "whole"


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "x.cif", "half")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["no/x.txt", "file/x.txt", f"{'x' * 300}.txt"])
def test_a_place_that_takes_no_file_is_one_line(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written") as caught:
        write_text(tmp_path / path, "text")
    assert str(tmp_path / path) in str(caught.value) and "\n" not in str(caught.value)
