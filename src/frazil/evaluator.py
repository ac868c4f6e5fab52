"""Samples against a reference structure or ensemble."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from frazil.chemistry import NONPOLYMER
from frazil.data import featurize, read, read_all
from frazil.data.correspondence import correspondence
from frazil.data.files import STRUCTURE_SUFFIXES, suffix_of
from frazil.data.restraints import Request, all_restraints, with_requests
from frazil.data.sdf import SDF_SUFFIXES, record_numbers
from frazil.data.structure import Structure
from frazil.data.topology import selections, topology
from frazil.errors import InputError
from frazil.metrics import FLATNESS, Matcher, agreement, chirality_errors, count_clashes, handedness, lddt, rmsd
from frazil.metrics.superposition import Floats, Ints, resolved_in_both
from frazil.potentials import POTENTIAL_SETS, default_potentials
from frazil.scores import Comparison, EvaluationReport, PartScore, SampleScore, median, ranking
from frazil.steering.energies import energies
from frazil.steering.judge import Outcome, Verdict, judge, verdict

SUFFIXES = STRUCTURE_SUFFIXES + SDF_SUFFIXES
_SAMPLES = re.compile(r"sample_\d+\.cif(\.gz)?")


def evaluate(
    samples: str | Path | Sequence[str | Path],
    reference: str | Path,
    out: str | Path | None = None,
    *,
    requests: Sequence[Request] = (),
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Compare samples with each model of a reference, and write `evaluation.json` and `evaluation.csv`.

    Heavy-atom RMSD after optimal superposition, of the whole and of each polymer and ligand by itself; lDDT (pairs
    inside a residue left out, unless there is but one); clashes (`metrics.clashes`); wrong or flat stereocentres, the
    right hand being that of the majority of the reference's models. Equal chains, equal ligands and symmetric atoms
    are matched for the lowest RMSD; unresolved atoms do not count.

    Besides, what each sample keeps of the restraints that follow from the molecules (stereo of ligands and modified
    residues, lengths, planes), of those in `requests`, and, as `frazil sample` found them, of those that `samples.json`
    beside it records; energies of the potentials; and a rank.

    Parameters
    ----------
    samples : path or sequence of paths
        Structure files (all their models), or a folder: its `sample_*.cif`, else its `samples.sdf`, else all its
        structure files, else those of its only subfolder.
    reference : path
        Structure file; every model counts.
    out : path, optional
        Folder for the two files; by default that of the first sample.
    requests : sequence of Request, optional
        Restraints to judge by, in the names of the reference.
    progress : callable, optional
        Called with (done, total) after each file.

    Raises
    ------
    InputError
        If there are no samples, a file cannot be read or has no coordinates, molecules differ, or a restraint names no
        atom.
    """
    files = sample_files(samples)
    judges = Judge(read(reference), requests)
    scores: list[SampleScore] = []
    for done, file in enumerate(files, start=1):
        scores.extend(judges.score(file))
        if progress is not None:
            progress(done, len(files))
    ranked = tuple(judges.ranked(scores))
    report = EvaluationReport(
        str(reference), judges.num_models, judges.spread(), tuple(sorted(judges.left_out)), ranked
    )
    report.write(files[0].parent if out is None else out)
    return report


def sample_files(samples: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that `evaluate` reads for what it was given.

    Raises
    ------
    InputError
        If there are none, or a folder holds several results.
    """
    if not isinstance(samples, str | Path):
        found = [file for one in samples for file in sample_files(one)]
        if not found:
            raise InputError("no samples given; name structure files or the folder of frazil sample")
        return found
    path = Path(samples)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; give structure files or the folder of frazil sample")
    found = _samples_in(path)
    if not found:
        inner = {
            folder.name: files
            for folder in sorted(path.iterdir())
            if folder.is_dir() and (files := _samples_in(folder))
        }
        if len(inner) > 1:
            raise InputError(f"{path}: holds results of {', '.join(inner)}; evaluate one of these folders")
        found = next(iter(inner.values()), [])
    if not found:
        raise InputError(f"{path}: no sample_*.cif, samples.sdf or other structure file in it")
    return found


class Judge:
    """Scores samples against one reference; what depends on the reference alone is done once."""

    def __init__(self, reference: Structure, requests: Sequence[Request] = ()) -> None:
        if not reference.has_coords:
            raise InputError(f"{reference.source}: a reference without coordinates; give a structure file")
        self.reference = reference = with_requests(reference, requests)
        self._keeping = Keeping(reference)
        self._placed: list[Floats] = []
        self.left_out: set[str] = set()
        self._topology = topology(reference)
        self._models = np.flatnonzero(reference.resolved.any(axis=1))
        self._coords = reference.coords.astype(np.float64)
        self._matcher = Matcher(len(reference.atoms), self._topology.copies, self._topology.alternatives)
        self._parts = list(self._named_parts())
        single = len(np.unique(self._topology.residue)) == 1
        self._residue = None if single else self._topology.residue
        self._hands = _expected_hands(self._coords, reference.ref_pos, self._topology.centres)

    @property
    def num_models(self) -> int:
        """Models of the reference with coordinates."""
        return len(self._models)

    def score(self, file: Path) -> list[SampleScore]:
        """Scores of every model or record of a file, in its order.

        Raises
        ------
        InputError
            If it cannot be read, has no coordinates, or is of other molecules than the reference.
        """
        found: list[tuple[SampleScore, Floats]] = []
        for sample, numbers in _numbered(file):
            if not sample.has_coords:
                raise InputError(f"{file}: a sample without coordinates; give a structure file")
            partner = correspondence(sample, self.reference)
            self._note_left_out(partner)
            for coords, number in zip(sample.coords, numbers, strict=True):
                placed = np.where((partner >= 0)[:, None], coords[partner], np.nan).astype(np.float64)
                if not all(resolved_in_both(placed, self._coords[model]).any() for model in self._models):
                    raise InputError(f"{file}: model {number} has no atom in common with {self.reference.source}")
                found.append((self._score(file, number, placed), placed))
        found.sort(key=lambda one: one[0].model)
        self._placed += [placed for _, placed in found]
        return [score for score, _ in found]

    def ranked(self, scores: Sequence[SampleScore]) -> Iterator[SampleScore]:
        """The scores of all samples so far with their agreement and rank, in their order."""
        alike = [score if isfinite(score) else None for score in agreement(self._placed, self._residue).tolist()]
        together = list(zip(scores, alike, strict=True))
        ranks = ranking([(one.verdict, one.chirality_errors, one.clashes, mean) for one, mean in together])
        for (one, mean), rank in zip(together, ranks, strict=True):
            yield replace(one, mean_lddt=mean, rank=rank)

    def spread(self) -> float | None:
        """Median over the reference's models of the RMSD to the nearest other one."""
        if self.num_models < 2:
            return None
        distance = np.full((self.num_models, self.num_models), np.inf)
        for i, j in zip(*np.triu_indices(self.num_models, k=1), strict=True):
            x, y = self._coords[self._models[i]], self._coords[self._models[j]]
            if resolved_in_both(x, y).any():
                distance[i, j] = distance[j, i] = rmsd(x[self._matcher.match(x, y)], y)
        return median(distance.min(axis=0).tolist())

    def _score(self, file: Path, number: int, placed: Floats) -> SampleScore:
        orders = {int(model): self._matcher.match(placed, self._coords[model]) for model in self._models}
        comparisons = tuple(self._compare(placed[order], model) for model, order in orders.items())
        nearest = min(comparisons, key=lambda one: one.rmsd)
        matched = placed[orders[nearest.reference_model - 1]]
        return SampleScore(
            file=file.name,
            model=number,
            atoms=int(np.isfinite(matched).all(axis=1).sum()),
            clashes=count_clashes(matched, self._topology.radii, self._topology.bonds),
            chirality_errors=len(chirality_errors(matched, self._topology.centres, self._hands)),
            nearest=nearest,
            comparisons=comparisons,
            verdict=self._keeping.verdict(placed, recorded(file, number)),
            energies=self._keeping.energies(placed),
        )

    def _compare(self, matched: Floats, model: int) -> Comparison:
        target = self._coords[model]
        parts = tuple(PartScore(name, _part_rmsd(matched, target, atoms, own)) for name, atoms, own in self._parts)
        local = lddt(matched, target, self._residue)
        return Comparison(model + 1, rmsd(matched, target), local if isfinite(local) else None, parts)

    def _named_parts(self) -> Iterator[tuple[str, Ints, Matcher]]:
        """Name, atoms and matcher of each chain of two atoms or more."""
        structure, seen = self.reference, Counter[str]()
        for index, chain in enumerate(structure.chains):
            atoms = np.flatnonzero(structure.chain_index == index)
            if len(atoms) < 2:
                continue
            name = f"{chain.chain_id} {chain.sequence[0]}" if chain.mol_type == NONPOLYMER else chain.chain_id
            seen[name] += 1
            inside = [rows for rows in self._topology.alternatives if structure.chain_index[rows[0, 0]] == index]
            own = Matcher(len(atoms), [], [np.searchsorted(atoms, rows) for rows in inside])
            yield name if seen[name] == 1 else f"{name} #{seen[name]}", atoms, own

    def _note_left_out(self, partner: Ints) -> None:
        for index, chain in enumerate(self.reference.chains):
            if (partner[self.reference.chain_index == index] < 0).all():
                self.left_out.add(f"{chain.chain_id} {chain.sequence[0]}")


class Keeping:
    """What samples keep of what a structure is held to, and their energies; made once for all samples."""

    def __init__(self, structure: Structure) -> None:
        self._restraints, self._names = all_restraints(structure), selections(structure)
        features = replace(featurize(structure), restraints=self._restraints)
        self._mask = features.atom_mask
        self._potentials = [one.potential for one in default_potentials(features, tuple(POTENTIAL_SETS))]

    def verdict(self, coords: Floats, recorded: Sequence[Outcome]) -> Verdict:
        """Of one sample [A, 3], NaN where unresolved; recorded restraints count unless they are judged anew."""
        found = verdict(judge(self._restraints, torch.from_numpy(coords)[None], self._names), 0)
        anew = {(one.kind, one.label) for one in found.given}
        return replace(found, given=(*found.given, *(one for one in recorded if (one.kind, one.label) not in anew)))

    def energies(self, coords: Floats) -> dict[str, float]:
        """Of one sample [A, 3], by potential; NaN where atoms are unresolved."""
        sample = torch.from_numpy(coords.astype(np.float32))[None, None]
        return {name: values[0] for name, values in energies(self._potentials, sample, self._mask).items()}


def recorded(file: Path, number: int) -> tuple[Outcome, ...]:
    """Restraints that the `samples.json` beside a file records of its model or record `number`; () without any."""
    try:
        rows = json.loads((file.parent / "samples.json").read_text(encoding="utf-8"))
        [row] = [row for row in rows if row["file"] == file.name and row.get("record", 1) == number]
        return tuple(Outcome.from_dict(one) for one in row["restraints"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # somebody else's file, or none
        return ()


def _numbered(file: Path) -> Iterator[tuple[Structure, Sequence[int]]]:
    """The structures of a file with the number in it of each of their models."""
    structures = read_all([file])
    if suffix_of(file) in SDF_SUFFIXES:
        # a wrong stereocentre makes another molecule, so one structure's records need not be neighbours
        yield from zip(structures, record_numbers(file), strict=True)
    else:
        yield from ((structure, range(1, len(structure.coords) + 1)) for structure in structures)


def _samples_in(folder: Path) -> list[Path]:
    files = sorted((file for file in folder.iterdir() if file.is_file()), key=_natural)
    samples = [file for file in files if _SAMPLES.fullmatch(file.name)]
    conformers = [file for file in files if file.name == "samples.sdf"]
    return samples or conformers or [file for file in files if suffix_of(file) in SUFFIXES]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key in which sample_10 comes after sample_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _part_rmsd(matched: Floats, target: Floats, atoms: Ints, own: Matcher) -> float | None:
    x, y = matched[atoms], target[atoms]
    # one atom alone would always fit
    return rmsd(x[own.match(x, y)], y) if resolved_in_both(x, y).sum() > 1 else None


def _expected_hands(coords: Floats, ref_pos: NDArray[np.float32], centres: Ints) -> Floats:
    """[C] in {-1, 1}: hand of most of the models [E, A, 3]; where they leave it open, of the reference conformer."""
    found = handedness(coords, centres)
    hands = np.sign(np.where(np.abs(found) >= FLATNESS, np.sign(found), 0.0).sum(axis=0))
    return np.where(hands != 0, hands, np.sign(handedness(ref_pos, centres)))
