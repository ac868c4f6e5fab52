"""The molecules that samples are compared with, found by name or by what they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from frazil.chemistry import NONPOLYMER
from frazil.data import read_all
from frazil.data.correspondence import correspondence
from frazil.data.structure import Structure
from frazil.errors import InputError


class References:
    """All molecules of a file, or of a folder of files.

    Parameters
    ----------
    source : str or Path
        Structure file; SDF whose records are conformers of one molecule or of many (equal molecules are one ensemble);
        or a folder of such files.

    Raises
    ------
    InputError
        If it cannot be read.
    """

    def __init__(self, source: str | Path) -> None:
        self._source = str(source)
        self._all = read_all([source])
        self._alike: dict[tuple[str, ...], list[Structure]] = defaultdict(list)
        for structure in self._all:
            for key in _keys(structure):
                self._alike[key].append(structure)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all molecules: titles of SDF records, stems of other files."""
        return tuple(structure.name for structure in self._all)

    def find(self, name: str, file: Path) -> Structure:
        """The molecule of some samples: of that name, else with the same stereo, else with the same graph.

        Parameters
        ----------
        name : str
            Folder of the samples.
        file : Path
            The first of their files; what most of its records are counts.

        Raises
        ------
        InputError
            If there is none, or the file cannot be read.
        """
        if len(self._all) == 1:
            return self._all[0]
        sample = max(read_all([file]), key=lambda structure: len(structure.coords))
        for candidate in self._candidates(name, sample):
            if _same(sample, candidate):
                return candidate
        raise InputError(
            f"{file}: none of the {len(self)} molecules of {self._source} is this one; add a record of it, "
            f"with the title {name}"
        )

    def _candidates(self, name: str, sample: Structure) -> Iterator[Structure]:
        for key in (("name", name), *_keys(sample)):
            yield from self._alike.get(key, ())
        if any(chain.mol_type != NONPOLYMER for chain in sample.chains):
            # a reference may have ligands that the samples lack
            yield from self._all


def _keys(structure: Structure) -> Iterator[tuple[str, ...]]:
    """What a molecule is found by, the strictest first."""
    yield ("name", structure.name)
    yield ("labels", *sorted(chain.label or "" for chain in structure.chains))
    yield ("elements", *sorted(structure.atoms.element.tolist()))


def _same(sample: Structure, reference: Structure) -> bool:
    try:
        correspondence(sample, reference)
    except InputError:
        return False
    return True
