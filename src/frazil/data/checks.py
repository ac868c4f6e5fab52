"""Checks of a molecule's chemistry and geometry by PoseBusters (Buttenschoen et al. 2024, Chem. Sci. 15, 3130)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import rdkit
from numpy.typing import NDArray
from rdkit import Chem

from frazil.chemistry import NONPOLYMER
from frazil.data.conformers import only_conformers
from frazil.data.structure import Structure
from frazil.data.write import to_rdkit
from frazil.errors import InputError

CHECKS = ("mol", "mol_fast")
"""PoseBusters' configurations for a molecule by itself; the fast one leaves out the energy."""

HAS_POSEBUSTERS = find_spec("posebusters") is not None
"""Whether the extra `eval` is there, which the checks need."""

Passed = Mapping[str, bool | None]
"""By check, in PoseBusters' order; None where it could not be made."""


class PoseChecks:
    """PoseBusters' checks, made ready once.

    Bonds, angles and clashes against distance bounds, flat rings and double bonds, energy against that of 50 relaxed
    conformers (kept for the next conformer of the molecule), and whether the molecule is one that RDKit and InChI know.

    Parameters
    ----------
    config : str
        One of `CHECKS`.

    Raises
    ------
    InputError
        If there is no such configuration, or PoseBusters is not installed.

    Examples
    --------
    >>> from frazil.data import read
    >>> ethanol = read("CCO[H]")
    >>> PoseChecks("mol_fast").of(ethanol, ethanol.ref_pos)["bond_lengths"]
    True
    """

    def __init__(self, config: str = "mol") -> None:
        if config not in CHECKS:
            raise InputError(
                f"{config}: no PoseBusters configuration for a molecule; choose {', '.join(CHECKS)} or none"
            )
        try:
            from posebusters import PoseBusters
        except ImportError:
            raise InputError(
                "PoseBusters is not installed; pip install 'frazil[eval]', or leave its checks out"
            ) from None
        self._busters = PoseBusters(config)
        # `mol` lists the energy twice, once without an outcome to report
        modules = [one for one in self._busters.config["modules"] if "chosen_binary_test_output" in one]
        for module in modules:
            if module["function"] == "energy_ratio":
                module["parameters"]["num_threads"] = 1
        self._busters.config["modules"] = modules

    def __call__(self, mols: Iterable[Chem.Mol]) -> list[dict[str, bool | None]]:
        """What each molecule passes; of each the first conformer counts, and one without any passes nothing."""
        given = [_alone(mol) for mol in mols]
        if not given:
            return []
        with _quiet():
            table = self._busters.bust(given)
        return [{str(name): _known(value) for name, value in row.items()} for row in table.to_dict(orient="records")]

    def of(self, structure: Structure, coords: NDArray[np.floating]) -> dict[str, bool | None]:
        """What the ligands of a structure with coordinates [A, 3] (NaN where unresolved) pass, all of them together.

        Only ligands of two atoms or more, all resolved, are judged; empty if there is none.
        """
        mols = []
        for index, chain in enumerate(structure.chains):
            own = coords[structure.chain_index == index]
            if chain.mol_type == NONPOLYMER and len(own) > 1 and np.isfinite(own).all():
                mols.append(to_rdkit(structure, index, coords))
        return together(self(mols))


def pose_checks(asked: str | None) -> PoseChecks | None:
    """The checks of a configuration; None for `none`, and where nothing was asked for and PoseBusters is not there.

    Raises
    ------
    InputError
        As `PoseChecks`.

    Examples
    --------
    >>> pose_checks("none") is None
    True
    """
    if asked == "none" or (asked is None and not HAS_POSEBUSTERS):
        return None
    return PoseChecks(asked or CHECKS[0])


def together(found: Iterable[Passed]) -> dict[str, bool | None]:
    """What all of several molecules pass: False where one fails, None where none could be judged."""
    merged: dict[str, bool | None] = {}
    for one in found:
        for name, passed in one.items():
            known = [value for value in (merged.get(name), passed) if value is not None]
            merged[name] = all(known) if known else None
    return merged


def _alone(mol: Chem.Mol) -> Chem.Mol:
    """The molecule with its first conformer, numbered 0: PoseBusters looks for no other number."""
    return only_conformers(mol, range(min(1, mol.GetNumConformers())))


def _known(value: Any) -> bool | None:
    """PoseBusters says NaN or NA where a check could not be made."""
    return bool(value) if isinstance(value, bool | np.bool_) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PoseBusters and RDKit have to say on the way: the outcome tells."""
    loggers = [logging.getLogger(name) for name in ("posebusters", "rdkit")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    # PoseBusters leaves there what stderr was, and takes a stream closed since for a molecule that InChI refuses
    rdkit.log_handler.stream = sys.stderr
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
