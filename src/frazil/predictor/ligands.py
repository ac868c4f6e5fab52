"""Conformers of many ligands: those of like size are drawn in the same calls of the network."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar, final

from frazil.checkpoint import MODEL_FILE, RunRecord, builtin_model, load_model
from frazil.data.ligands import Ligand, complete, ligand_of
from frazil.data.structure import Structure
from frazil.denoiser import StructureModel
from frazil.errors import FrazilError, InputError
from frazil.predictor.drawing import Drawn, can_be_joined, draw_together
from frazil.predictor.engine import DONE, FAILED, KEPT, Batch, Entry, Outcome
from frazil.predictor.finishing import Finished, Finishing, finish
from frazil.predictor.interleaving import interleaved, share
from frazil.predictor.joined import room
from frazil.predictor.output import content, earlier_rows, files_are_there, write_samples
from frazil.predictor.placing import placed
from frazil.predictor.report import SampleReport, report
from frazil.predictor.requests import Request, refuse_unfit, request_of, start_structure, unseen_entities
from frazil.predictor.settings import PredictSettings, potential_name
from frazil.sampler import stable_seed

ROWS_AT_ONCE: Final = {"cpu": 2304, "cuda": 1 << 16}
"""Tokens x samples in one call of the network: what keeps a processor's caches, or a GPU, busy."""
REFERENCES: Final = 5
"""Reference conformers of a ligand: samples stay near the one that the network reads, and a few cost little."""
Item = TypeVar("Item")
_OF_NO_CONSEQUENCE: Final = ("overwrite", "device", "max_parallel_samples", "compile")
"""Settings that leave the samples as they are."""


@dataclass(frozen=True, eq=False)
class Planned:
    """A ligand with all that is to be known before its samples are drawn."""

    ligand: Ligand
    requests: tuple[Request, ...]
    """One for each reference conformer, which the samples share out among them."""
    seconds: float = 0.0
    """That it took."""

    @property
    def request(self) -> Request:
        """The first, which bears the ligand's name."""
        return self.requests[0]


@dataclass(frozen=True, eq=False)
class Conformers:
    """The samples of one ligand."""

    planned: Planned
    drawn: Drawn
    reports: tuple[SampleReport, ...]
    finished: Finished
    seconds: float


@final
class LigandSampler:
    """Draws, finishes and judges conformers with a model that is at hand.

    Parameters
    ----------
    model : StructureModel
        In evaluation mode, on the device to compute on.
    record : RunRecord
        Of its training.
    checkpoint : Path
        Named in errors.
    settings : PredictSettings
    finishing : Finishing
    """

    def __init__(
        self,
        model: StructureModel,
        record: RunRecord,
        checkpoint: Path,
        settings: PredictSettings,
        finishing: Finishing,
    ) -> None:
        self._model, self._record, self._checkpoint = model, record, checkpoint
        self._settings, self._finishing = settings, finishing

    @classmethod
    def load(cls, checkpoint: Path | None, settings: PredictSettings, finishing: Finishing) -> LigandSampler:
        """With the model of a checkpoint, or the built-in one, on the device of the settings.

        Raises
        ------
        InputError
            If it cannot be loaded, or the device be used.
        """
        path = builtin_model() if checkpoint is None else checkpoint
        model, record = load_model(path)
        return cls(placed(model, settings.device), record, path, settings, finishing)

    def plan(self, name: str, ligand: Ligand, source: str, folder: Path = Path()) -> Planned:
        """Complete the stereo, make a reference conformer and restraints.

        Raises
        ------
        InputError
            If the model or the settings do not fit the molecule.
        """
        began = time.monotonic()
        seed = self._settings.seed
        ligand = complete(ligand, seed)
        structure = ligand.structure(name=name, source=source, seed=seed)
        request = request_of(name, structure, folder, self._settings.steering, self._start)
        refuse_unfit([request], self._record.config, self._checkpoint)
        if len(self._record.entities) == 1:
            unseen_entities([request], self._record, self._checkpoint, lambda line: None)
        return Planned(ligand, self._with_references(request, ligand), time.monotonic() - began)

    def draw(self, planned: Iterable[Planned]) -> Iterator[Conformers | tuple[Planned, FrazilError]]:
        """The samples of each ligand, in any order, or why there are none."""
        for group in self._groups(planned):
            began = time.monotonic()
            for one, drawn in self._drawn(group):
                share = (time.monotonic() - began) / len(group)
                if isinstance(drawn, FrazilError):
                    yield one, drawn
                else:
                    yield self._finished(one, drawn, share)

    def _with_references(self, request: Request, ligand: Ligand) -> tuple[Request, ...]:
        """The request with each of several reference conformers, as many as there are samples for."""
        if not can_be_joined(request, self._settings):
            return (request,)
        others = [
            replace(
                request,
                name=f"{request.name}/{number}",
                structure=replace(request.structure, ref_pos=ligand.conformer(self._settings.seed + number)),
            )
            for number in range(1, min(REFERENCES, self._settings.num_samples))
        ]
        return (request, *others)

    @cached_property
    def _start(self) -> Structure | None:
        start = self._settings.start
        return None if start is None else start_structure(start, self._settings.seed)

    def _groups(self, planned: Iterable[Planned]) -> Iterator[list[Planned]]:
        """Ligands of the same room, as many as are worth it."""
        waiting: dict[int, list[Planned]] = {}
        for one in planned:
            if not can_be_joined(one.request, self._settings):
                yield [one]
                continue
            size = room(one.ligand.num_atoms)
            group = waiting.setdefault(size, [])
            group.append(one)
            if len(group) >= together(size, self._settings):
                yield waiting.pop(size)
        yield from waiting.values()

    def _drawn(self, group: Sequence[Planned]) -> list[tuple[Planned, Drawn | FrazilError]]:
        """The samples of a group; if it fails as a whole, of each ligand alone."""
        requests = [request for one in group for request in one.requests]
        asked = self._settings.num_samples
        each = replace(self._settings, num_samples=share(asked, len(group[0].requests)))
        try:
            drawn = iter(draw_together(self._model, requests, each))
        except FrazilError as error:
            if len(group) == 1:
                return [(group[0], error)]
            return [found for one in group for found in self._drawn([one])]
        return [(one, interleaved([next(drawn) for _ in one.requests], asked)) for one in group]

    def _finished(self, planned: Planned, drawn: Drawn, share: float) -> Conformers:
        began = time.monotonic()
        drawn, finished = finish(planned.ligand, planned.request.name, drawn, self._finishing)
        reports = report(planned.request, drawn)
        if self._finishing.cluster is not None:
            finished = finished.clustered(self._finishing.cluster, reports)
        seconds = planned.seconds + share + time.monotonic() - began
        return Conformers(planned, drawn, reports, finished, seconds)


def together(num_tokens: int, settings: PredictSettings) -> int:
    """How many ligands of that many tokens are drawn in one call of the network, on the device of the settings.

    >>> together(28, PredictSettings(num_samples=10)), together(28, PredictSettings(num_samples=10, device="cuda:0"))
    (8, 234)
    """
    kind = (settings.device or "cpu").partition(":")[0]
    rows = ROWS_AT_ONCE.get(kind, ROWS_AT_ONCE["cuda"])
    return max(1, rows // (num_tokens * settings.num_samples * settings.steering.particles))


def in_batches(items: Sequence[Item], sizes: Sequence[int], settings: PredictSettings) -> list[Sequence[Item]]:
    """Ligands of so many tokens each, in groups that are drawn in one call of the network; the largest first.

    >>> in_batches(["benzene", "AMP", "toluene"], [6, 23, 7], PredictSettings())
    [('AMP',), ('benzene', 'toluene')]
    """
    rooms: dict[int, list[Item]] = {}
    for item, size in zip(items, sizes, strict=True):
        rooms.setdefault(room(size), []).append(item)
    found: list[Sequence[Item]] = []
    for size, group in sorted(rooms.items(), reverse=True):
        count = together(size, settings)
        found += [tuple(group[start : start + count]) for start in range(0, len(group), count)]
    return found


@final
@dataclass(frozen=True)
class LigandJob:
    """Conformers of entries, written to a folder each; see `frazil.predictor.engine.Job`."""

    checkpoint: Path | None
    """RUN folder or file of weights; None for the model that comes with the package, wherever that is."""
    out: Path
    settings: PredictSettings
    finishing: Finishing = Finishing()  # noqa: RUF009 (frozen)

    def open(self) -> LigandWorker:
        """Load the model.

        Raises
        ------
        InputError
            If it cannot be loaded, the device not be used, or this machine does not see the folder of the results.
        """
        if not self.out.is_dir():
            raise InputError(f"{self.out}: no such folder on {platform.node()}; choose one that all machines share")
        sampler = LigandSampler.load(self.checkpoint, self.settings, self.finishing)
        return LigandWorker(self, sampler, self.files())

    def files(self) -> tuple[str, ...]:
        """Digests of the weights and of the start, as they are now."""
        weights = builtin_model() if self.checkpoint is None else self.checkpoint
        weights = weights / MODEL_FILE if weights.is_dir() else weights
        return tuple(content(path) for path in (weights, self.settings.start) if path is not None)

    def asked(self, entry: Entry, files: Sequence[str]) -> str:
        """A digest of all that decides the samples of an entry; `files` are those that the worker has read."""
        names = [field.name for field in fields(PredictSettings) if field.name not in _OF_NO_CONSEQUENCE]
        steering = replace(self.settings.steering, potentials=())
        values = [repr(getattr(self.settings, name)) for name in names if name != "steering"]
        own = [potential_name(one) for one in self.settings.steering.potentials]
        key = stable_seed(entry.source, *files, *values, repr(steering), repr(own), repr(self.finishing))
        return f"{key:016x}"


@final
class LigandWorker:
    """A `LigandJob` with its model; see `frazil.predictor.engine.Worker`."""

    def __init__(self, job: LigandJob, sampler: LigandSampler, files: Sequence[str]) -> None:
        self._job, self._sampler, self._files = job, sampler, files

    def work(self, batch: Batch) -> list[Outcome]:
        """See `Worker.work`."""
        outcomes: list[Outcome] = []
        planned: list[Planned] = []
        by_name = {entry.name: entry for entry in batch}
        for entry in batch:
            try:
                earlier = self._earlier(entry)
                if earlier is None:
                    folder = self._job.out / entry.name
                    planned.append(self._sampler.plan(entry.name, ligand_of(entry.source), entry.origin, folder))
                else:
                    outcomes.append(earlier)
            except InputError as error:
                outcomes.append(Outcome(entry.name, entry.origin, FAILED, str(error)))
        for found in self._sampler.draw(planned):
            if isinstance(found, Conformers):
                outcomes.append(self._written(by_name[found.planned.request.name], found))
            else:
                entry = by_name[found[0].request.name]
                outcomes.append(Outcome(entry.name, entry.origin, FAILED, str(found[1])))
        return outcomes

    def _earlier(self, entry: Entry) -> Outcome | None:
        """What is there already of an entry; None if it is to be drawn."""
        if self._job.settings.overwrite:
            return None
        folder = self._job.out / entry.name
        rows = earlier_rows(folder)
        if rows is None:
            return None
        if rows[0].get("asked") != self._job.asked(entry, self._files):
            raise InputError(
                f"{folder}: holds results of another input or of other settings; choose another --out, or replace "
                "them with --overwrite"
            )
        if not files_are_there(folder, rows):
            return None
        finite = [row for row in rows if row.get("finite")]
        wrong = sum(bool(row.get("stereo_violations", 0) + row.get("chirality_errors", 0)) for row in finite)
        clashes = sum(row.get("clashes", 0) for row in finite)
        remark = str(rows[0].get("remark", ""))
        return _outcome(entry, KEPT, remark, len(rows), len(finite), wrong, clashes, 0.0)

    def _written(self, entry: Entry, found: Conformers) -> Outcome:
        began = time.monotonic()
        finished = replace(found.finished, asked=self._job.asked(entry, self._files))
        write_samples(found.planned.request, found.drawn, self._job.settings, found.reports, finished)
        wrong = sum(bool(one.verdict.stereo_violations + one.chirality_errors) for one in found.reports)
        clashes = sum(one.clashes for one in found.reports)
        finite, seconds = int(found.drawn.finite.sum()), found.seconds + time.monotonic() - began
        remark = _remark(found)
        return _outcome(entry, DONE, remark, len(found.drawn.finite), finite, wrong, clashes, seconds)


def _outcome(
    entry: Entry, status: str, remark: str, samples: int, finite: int, wrong: int, clashes: int, seconds: float
) -> Outcome:
    """The row of an entry with samples; without a finite one it has failed after all."""
    if not finite:
        status, remark = FAILED, f"none of {samples} samples is finite; see samples.json, or try another seed"
    return Outcome(entry.name, entry.origin, status, remark, samples, finite, wrong, clashes, round(seconds, 3))


def _remark(found: Conformers) -> str:
    """What a person should know of the samples: chosen stereo, minimisation, clusters, restraints that do not hold."""
    minimized = found.finished.minimized
    remarks = [found.planned.ligand.remark, minimized.remark if minimized else ""]
    if found.finished.cluster_of is not None:
        remarks.append(f"{len(found.finished.kept)} of {len(found.finished.samples)} samples kept, one of each cluster")
    broken = sum(bool(one.verdict.unsatisfied) for one in found.reports)
    if broken:
        remarks.append(f"restraints do not hold in {broken} of {len(found.reports)} samples")
    return "; ".join(filter(None, remarks))
