"""Samples against references: of one input, and of many."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from frazil.data.checks import PoseChecks
from frazil.data.restraints import Request
from frazil.errors import InputError
from frazil.evaluator.files import result_folders, sample_files
from frazil.evaluator.judge import Judge
from frazil.evaluator.references import References
from frazil.evaluator.summary import InputScore, SummaryReport
from frazil.processors import work_for_parent
from frazil.scores import EvaluationReport

Progress = Callable[[int, int], None]


def evaluate(
    samples: str | Path | Sequence[str | Path],
    reference: str | Path,
    out: str | Path | None = None,
    *,
    requests: Sequence[Request] = (),
    checks: PoseChecks | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Compare samples with each model of a reference, and write `evaluation.json` and `evaluation.csv`.

    Heavy-atom RMSD after optimal superposition, of the whole and of each polymer and ligand by itself; lDDT (pairs
    inside a residue left out, unless there is but one); TM-score of proteins (with the extra `eval`); for a lone ligand
    coverage and matching (`metrics.coverage`); clashes (`metrics.clashes`); wrong or flat stereocentres, the right hand
    being that of the majority of the reference's models. Equal chains, equal ligands and symmetric atoms are matched
    for the lowest RMSD; unresolved atoms do not count.

    Besides, what each sample keeps of the restraints that follow from the molecules (stereo of ligands and modified
    residues, lengths, planes), of those in `requests`, and, as `frazil sample` found them, of those that `samples.json`
    beside it records; energies of the potentials; and a rank.

    Parameters
    ----------
    samples : path or sequence of paths
        Structure files (all their models), or a folder: its `sample_*.cif`, else its `samples.sdf`, else all its
        structure files, else those of its only subfolder.
    reference : path
        Structure file; every model counts. Of several molecules in it the one that the samples are.
    out : path, optional
        Folder for the two files; by default that of the first sample.
    requests : sequence of Request, optional
        Restraints to judge by, in the names of the reference.
    checks : PoseChecks, optional
        PoseBusters' checks of the ligands, such as `PoseChecks("mol")`.
    progress : callable, optional
        Called with (done, total) after each file.

    Raises
    ------
    InputError
        If there are no samples, a file cannot be read or has no coordinates, molecules differ, or a restraint names no
        atom.
    """
    files = sample_files(samples)
    name = files[0].parent.name
    report = _Evaluation(References(reference), tuple(requests), checks).report(name, files, progress)
    report.write(files[0].parent if out is None else out)
    return report


def evaluate_inputs(
    folder: str | Path,
    reference: str | Path,
    out: str | Path | None = None,
    *,
    requests: Sequence[Request] = (),
    checks: PoseChecks | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> SummaryReport:
    """Compare the samples of many inputs with their references, each as `evaluate` does, and sum up.

    An input is a folder in `folder`; its reference is that of its name (the title of an SDF record, the stem of a
    file), else the one that is the same molecule. The files of each go into its folder, those of all into `folder`,
    one row an input. An input that cannot be judged is a row with the reason, and the others go on.

    Parameters
    ----------
    folder : path
        Output of `frazil sample` of several inputs.
    reference : path
        SDF of all the molecules, another structure file, or a folder of such files.
    out : path, optional
        Folder for all results instead of `folder`, with one folder an input.
    requests, checks, progress
        As for `evaluate`; progress counts inputs.
    workers : int
        Processes; with more than one, scripts need the `__main__` guard of multiprocessing.

    Raises
    ------
    InputError
        If there are no results in the folder, or the references cannot be read.
    """
    inputs = result_folders(Path(folder))
    if not inputs:
        raise InputError(f"{folder}: holds no folders with results of frazil sample; give the folder of its --out")
    references = References(reference)
    evaluation = _Evaluation(references, tuple(requests), checks, None if out is None else Path(out))
    # a process takes seconds to start
    size = min(workers, len(inputs) // 2)
    alone = (evaluation.row(*one) for one in inputs.items())
    found = _in_processes(evaluation, inputs, size) if size > 1 else alone
    rows: dict[str, InputScore] = {}
    for done, row in enumerate(found, start=1):
        rows[row.name] = row
        if progress is not None:
            progress(done, len(inputs))
    unused = sorted(set(references.names) - {row.molecule for row in rows.values()})
    summary = SummaryReport(str(reference), tuple(rows[name] for name in inputs), tuple(unused))
    summary.write(folder if out is None else out)
    return summary


@dataclass(frozen=True)
class _Evaluation:
    """What all inputs share."""

    references: References
    requests: tuple[Request, ...]
    checks: PoseChecks | None
    out: Path | None = None
    """Instead of the inputs' own folders."""

    def report(self, name: str, files: Sequence[Path], progress: Progress | None = None) -> EvaluationReport:
        judge = Judge(self.references.find(name, files[0]), self.requests, self.checks)
        for done, file in enumerate(files, start=1):
            judge.see(file)
            if progress is not None:
                progress(done, len(files))
        return judge.report()

    def row(self, name: str, files: Sequence[Path]) -> InputScore:
        """One of many inputs; what is wrong with it is no error of the others."""
        try:
            report = self.report(name, files)
            report.write(files[0].parent if self.out is None else self.out / name)
        except InputError as error:
            return InputScore(name, reason=str(error))
        return InputScore(name, report)


def _in_processes(evaluation: _Evaluation, inputs: Mapping[str, Sequence[Path]], size: int) -> Iterator[InputScore]:
    """The rows as they are ready; references travel once to each process."""
    # a forked process would inherit torch's threads half-way
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(size, mp_context=context, initializer=_begin, initargs=(evaluation,)) as pool:
        futures = [pool.submit(_row, name, files) for name, files in inputs.items()]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise InputError("a process of the evaluation died, perhaps for want of memory; give --workers 1") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_shared: list[_Evaluation] = []
"""In a process of the pool: what it has to do."""


def _begin(evaluation: _Evaluation) -> None:
    work_for_parent()
    torch.set_num_threads(1)
    _shared.append(evaluation)


def _row(name: str, files: Sequence[Path]) -> InputScore:
    return _shared[0].row(name, files)
