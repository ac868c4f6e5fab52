"""A judge of samples: what depends on the reference alone is done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frazil.chemistry import NONPOLYMER, PROTEIN
from frazil.data.checks import HAS_POSEBUSTERS, PoseChecks
from frazil.data.correspondence import correspondence
from frazil.data.restraints import Request, with_requests
from frazil.data.structure import Structure
from frazil.data.topology import topology
from frazil.errors import InputError
from frazil.evaluator.files import numbered, recorded
from frazil.evaluator.keeping import Keeping
from frazil.metrics import (
    FLATNESS,
    HAS_TMTOOLS,
    Coverage,
    Matcher,
    agreement,
    chirality_errors,
    count_clashes,
    coverage,
    handedness,
    lddt,
    rmsd,
    tm_score,
)
from frazil.metrics.superposition import Floats, Ints, resolved_in_both
from frazil.metrics.tm import MIN_RESIDUES
from frazil.scores import Comparison, EvaluationReport, PartScore, SampleScore, median, ranking


class Judge:
    """Scores samples against one reference.

    Parameters
    ----------
    reference : Structure
        With coordinates.
    requests : sequence of Request, optional
        Restraints to judge by, in the names of the reference.
    checks : PoseChecks, optional
        PoseBusters' checks of the samples' ligands.

    Raises
    ------
    InputError
        If the reference has no coordinates, or a restraint names no atom.
    """

    def __init__(
        self, reference: Structure, requests: Sequence[Request] = (), checks: PoseChecks | None = None
    ) -> None:
        if not reference.has_coords:
            raise InputError(f"{reference.source}: a reference without coordinates; give a structure file")
        self.reference = reference = with_requests(reference, requests)
        self._keeping, self._checks = Keeping(reference), checks
        self._scores: list[SampleScore] = []
        self._placed: list[Floats] = []
        self._left_out: set[str] = set()
        self._topology = topology(reference)
        self._models = np.flatnonzero(reference.resolved.any(axis=1))
        self._coords = reference.coords.astype(np.float64)
        self._matcher = Matcher(len(reference.atoms), self._topology.copies, self._topology.alternatives)
        self._parts = list(self._named_parts())
        single = len(np.unique(self._topology.residue)) == 1
        self._residue = None if single else self._topology.residue
        self._hands = _expected_hands(self._coords, reference.ref_pos, self._topology.centres)
        self._traces = _protein_traces(reference)

    def see(self, file: Path) -> None:
        """Score every model or record of a file.

        Raises
        ------
        InputError
            If it cannot be read, has no coordinates, or is of other molecules than the reference.
        """
        found: list[tuple[SampleScore, Floats]] = []
        for sample, numbers in numbered(file):
            if not sample.has_coords:
                raise InputError(f"{file}: a sample without coordinates; give a structure file")
            partner = correspondence(sample, self.reference)
            self._note_left_out(partner)
            for coords, number in zip(sample.coords, numbers, strict=True):
                placed = np.where((partner >= 0)[:, None], coords[partner], np.nan).astype(np.float64)
                if not all(resolved_in_both(placed, self._coords[model]).any() for model in self._models):
                    raise InputError(f"{file}: model {number} has no atom in common with {self.reference.source}")
                checks = {} if self._checks is None else self._checks.of(sample, coords)
                found.append((replace(self._score(file, number, placed), checks=checks), placed))
        found.sort(key=lambda one: one[0].model)
        self._scores += [score for score, _ in found]
        self._placed += [placed for _, placed in found]

    def report(self) -> EvaluationReport:
        """All samples seen, with their agreement and rank, in their order."""
        ranked = tuple(self._ranked())
        return EvaluationReport(
            reference=self.reference.source,
            reference_models=len(self._models),
            reference_spread=self._spread(),
            left_out=tuple(sorted(self._left_out)),
            samples=ranked,
            molecule=self.reference.name,
            coverage=self._coverage(ranked),
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        """What is left out for want of the extra `eval`."""
        if not HAS_TMTOOLS and any(len(trace) >= MIN_RESIDUES for trace in self._traces):
            yield "TM-score left out: pip install 'frazil[eval]' for it"
        if not HAS_POSEBUSTERS and any(chain.mol_type == NONPOLYMER for chain in self.reference.chains):
            yield "PoseBusters' checks left out: pip install 'frazil[eval]' for them"

    def _ranked(self) -> Iterator[SampleScore]:
        alike = [score if isfinite(score) else None for score in agreement(self._placed, self._residue).tolist()]
        together = list(zip(self._scores, alike, strict=True))
        ranks = ranking([(one.verdict, one.chirality_errors, one.clashes, mean) for one, mean in together])
        for (one, mean), rank in zip(together, ranks, strict=True):
            yield replace(one, mean_lddt=mean, rank=rank)

    def _coverage(self, scores: Sequence[SampleScore]) -> Coverage | None:
        """Of a lone ligand; anything else has too many conformers to be covered."""
        chains = self.reference.chains
        if len(chains) > 1 or chains[0].mol_type != NONPOLYMER:
            return None
        return coverage([[one.rmsd for one in score.comparisons] for score in scores])

    def _spread(self) -> float | None:
        """Median over the reference's models of the RMSD to the nearest other one."""
        size = len(self._models)
        if size < 2:
            return None
        distance = np.full((size, size), np.inf)
        for i, j in zip(*np.triu_indices(size, k=1), strict=True):
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
        parts = tuple(self._part(name, matched, target, atoms, own) for name, atoms, own in self._parts)
        local = lddt(matched, target, self._residue)
        return Comparison(
            reference_model=int(model) + 1,
            rmsd=rmsd(matched, target),
            lddt=local if isfinite(local) else None,
            parts=parts,
            tm_score=_fold(matched, target, np.concatenate(self._traces)),
        )

    def _part(self, name: str, matched: Floats, target: Floats, atoms: Ints, own: Matcher) -> PartScore:
        trace = self._traces[self.reference.chain_index[atoms[0]]]
        return PartScore(name, _part_rmsd(matched, target, atoms, own), _fold(matched, target, trace))

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
                self._left_out.add(f"{chain.chain_id} {chain.sequence[0]}")


def _part_rmsd(matched: Floats, target: Floats, atoms: Ints, own: Matcher) -> float | None:
    x, y = matched[atoms], target[atoms]
    # one atom alone would always fit
    return rmsd(x[own.match(x, y)], y) if resolved_in_both(x, y).sum() > 1 else None


def _protein_traces(structure: Structure) -> list[Ints]:
    """For each chain the C-alpha atoms, none for what is no protein: tmtools knows the scale of proteins alone."""
    protein = np.array([chain.mol_type == PROTEIN for chain in structure.chains])[structure.chain_index]
    trace = np.flatnonzero(protein & (structure.atoms.atom_name == "CA"))
    return [trace[structure.chain_index[trace] == index] for index in range(len(structure.chains))]


def _fold(matched: Floats, target: Floats, trace: Ints) -> float | None:
    return tm_score(matched[trace], target[trace]) if HAS_TMTOOLS else None


def _expected_hands(coords: Floats, ref_pos: NDArray[np.float32], centres: Ints) -> Floats:
    """[C] in {-1, 1}: hand of most of the models [E, A, 3]; where they leave it open, of the reference conformer."""
    found = handedness(coords, centres)
    hands = np.sign(np.where(np.abs(found) >= FLATNESS, np.sign(found), 0.0).sum(axis=0))
    return np.where(hands != 0, hands, np.sign(handedness(ref_pos, centres)))
