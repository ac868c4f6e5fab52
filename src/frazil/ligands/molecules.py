"""Conformers for those who have RDKit molecules in hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

from frazil.checkpoint import MODEL_FILE, RunRecord, builtin_model, load_model
from frazil.data.conformers import only_conformers, packed, unpacked
from frazil.data.ligands import Ligand, Mol, ligand_of, ligand_of_mol, title_of
from frazil.denoiser import StructureModel
from frazil.errors import FrazilError, InputError
from frazil.ligands.defaults import fast_precision, ligand_steering
from frazil.predictor import PredictSettings, SteeringSettings
from frazil.predictor.engine import LocalEngine
from frazil.predictor.finishing import Finishing
from frazil.predictor.ligands import Conformers, LigandSampler, Planned, in_batches
from frazil.predictor.placing import placed


def conformers(
    mols: Sequence[Mol | str],
    num_samples: int = 10,
    *,
    checkpoint: str | Path | None = None,
    sampler: str = "fast",
    steps: int | None = None,
    precision: str | None = None,
    seed: int = 0,
    steering: Sequence[str] = ("physical",),
    hydrogens: bool = False,
    minimize: bool = False,
    cluster: float | None = None,
    device: str | None = None,
    processes: int = 1,
) -> list[Mol]:
    """Conformers of small molecules.

    Molecules of like size are drawn in the same calls of the network; that changes none of them.

    Parameters
    ----------
    mols : sequence of rdkit.Chem.Mol or str
        Connected molecules of at most 200 heavy atoms, or their SMILES. Conformers that they have are not looked at;
        stereo that is not given is chosen, the same for all samples.
    num_samples : int
        Conformers of each.
    checkpoint : str or Path, optional
        RUN folder of `frazil train` or file of weights, instead of the built-in model.
    sampler, steps
        As for `frazil sample`.
    precision : str, optional
        float32, tf32 or bf16; by default bf16 where the machine computes in it.
    seed : int
        Decides all random numbers, together with a molecule's title (or SMILES) and the number of the sample.
    steering : sequence of str
        Sets of potentials that act, as `frazil sample` lets them; () for none.
    hydrogens : bool
        Whether the molecules come with all hydrogens; else they have heavy atoms alone.
    minimize : bool
        Whether conformers go to the nearest minimum of MMFF94s, or UFF where that lacks parameters.
    cluster : float, optional
        Angstrom; of conformers that are this near to each other only the best is kept.
    device : str, optional
        Where to compute, in torch's words.
    processes : int
        That share the molecules, with one thread each: as many as processors pay for a hundred molecules and more, and
        change them by rounding at most. A script that asks for several needs `if __name__ == "__main__":`.

    Returns
    -------
    list of rdkit.Chem.Mol
        One for each molecule, heavy atoms in its order, with `num_samples` conformers (fewer with `cluster`, or where a
        sample is not finite).

    Raises
    ------
    InputError
        If a molecule cannot be used: it is named by its place in the list.
    FrazilError
        If a process was ended from outside.

    Examples
    --------
    >>> [ethanol] = conformers(["CCO"], num_samples=2, steps=2)
    >>> ethanol.GetNumConformers(), ethanol.GetConformer(0).GetPositions().shape
    (2, (3, 3))
    """
    if isinstance(steering, str):
        raise InputError(f"steering takes a list of sets, not {steering!r}; put it into brackets")
    settings = PredictSettings(
        num_samples=num_samples,
        sampler=sampler,
        steps=steps,
        precision=precision or fast_precision(),
        seed=seed,
        device=device,
        steering=SteeringSettings(**{**ligand_steering(asked=False), "sets": tuple(steering)}),
    )
    if isinstance(mols, str) or not isinstance(mols, Iterable):
        raise InputError(f"conformers takes a list of molecules, not {mols!r}; put it into brackets")
    if processes < 1:
        raise InputError(f"processes is {processes}: give at least 1")
    path = builtin_model() if checkpoint is None else Path(checkpoint)
    asked = [_asked(place, mol) for place, mol in enumerate(mols)]
    job = _MoleculesJob(path, _changed(path), settings, Finishing(hydrogens, minimize, cluster))
    batches = in_batches(asked, [one.ligand.num_atoms for one in asked], settings)
    found = dict(LocalEngine(processes).run(job, batches))
    return [unpacked(found[place]) for place in range(len(asked))]


@dataclass(frozen=True, eq=False)
class _Asked:
    """One of the molecules; goes to another process."""

    place: int
    name: str
    ligand: Ligand


def _asked(place: int, mol: Mol | str) -> _Asked:
    if mol is None:
        raise InputError(f"molecule {place + 1}: None, as RDKit gives for a text that it cannot read; leave it out")
    if not isinstance(mol, Mol | str):
        raise InputError(f"molecule {place + 1}: {mol!r} is no molecule of RDKit and no SMILES; leave it out")
    try:
        ligand = ligand_of(mol) if isinstance(mol, str) else ligand_of_mol(mol)
    except InputError as error:
        raise InputError(f"molecule {place + 1}: {error}") from None
    title = "" if isinstance(mol, str) else title_of(mol)
    return _Asked(place, title or ligand.smiles, ligand)


@final
@dataclass(frozen=True)
class _MoleculesJob:
    """Conformers as molecules; see `frazil.predictor.engine.Job`."""

    checkpoint: Path
    changed: int
    settings: PredictSettings
    finishing: Finishing

    def open(self) -> _MoleculesWorker:
        model, record = _loaded(self.checkpoint, self.changed, self.settings.device)
        return _MoleculesWorker(LigandSampler(model, record, self.checkpoint, self.settings, self.finishing))


@final
class _MoleculesWorker:
    """A `_MoleculesJob` with its model: each molecule's place, and its conformers."""

    def __init__(self, sampler: LigandSampler) -> None:
        self._sampler = sampler

    def work(self, batch: Sequence[_Asked]) -> list[tuple[int, bytes]]:
        planned = [self._planned(one) for one in batch]
        places = {id(plan): one.place for plan, one in zip(planned, batch, strict=True)}
        found = []
        for drawn in self._sampler.draw(planned):
            if not isinstance(drawn, Conformers):
                raise FrazilError(f"molecule {places[id(drawn[0])] + 1}: {drawn[1]}") from drawn[1]
            kept = [drawn.finished.samples.index(sample) for sample in drawn.finished.kept]
            found.append((places[id(drawn.planned)], packed(only_conformers(drawn.finished.mol, kept))))
        return found

    def _planned(self, one: _Asked) -> Planned:
        try:
            return self._sampler.plan(one.name, one.ligand, one.ligand.smiles)
        except InputError as error:
            raise InputError(f"molecule {one.place + 1}: {error}") from None


@lru_cache(maxsize=2)
def _loaded(path: Path, changed: int, device: str | None) -> tuple[StructureModel, RunRecord]:
    """The model, kept for the next call; a file that has changed is read again."""
    model, record = load_model(path)
    return placed(model, device), record


def _changed(path: Path) -> int:
    file = path / MODEL_FILE if path.is_dir() else path
    return file.stat().st_mtime_ns if file.is_file() else 0
