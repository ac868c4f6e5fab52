"""`train`: from structure files to a RUN folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from frazil.allocator import keep_freed_memory
from frazil.atomic import atomic
from frazil.checkpoint import RunRecord
from frazil.errors import InputError
from frazil.progress import teller
from frazil.trainer.conductor import STATE_FILE, Conductor
from frazil.trainer.dataset import Dataset, load_dataset
from frazil.trainer.fitting import fit
from frazil.trainer.module import TrainingModule
from frazil.trainer.processes import Standing
from frazil.trainer.progress import Reporter, clock
from frazil.trainer.request import Request
from frazil.trainer.settings import TrainSettings, first_difference
from frazil.trainer.start import first_model, refuse_start
from frazil.trainer.validation import Validation

RUN_FILE = "run.json"


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    out: Path
    """The RUN folder."""
    steps: int
    """Optimiser steps over all sessions, skipped ones included."""
    skipped: int
    """Steps skipped because loss or gradient was not finite."""
    seconds: float
    """Seconds over all sessions."""
    stopped: str
    """`steps`, `time` or `signal`."""
    signal: int | None
    """Signal that ended it, if one did."""
    validation: Validation | None
    """Latest validation of this session."""

    def text(self) -> str:
        """Closing line for a person."""
        why = {"steps": "all steps done", "time": "time is up", "signal": "stopped; --resume goes on"}[self.stopped]
        lost = f", {self.skipped} skipped as not finite" if self.skipped else ""
        return f"{self.out}: {self.steps} steps{lost} in {clock(self.seconds)} ({why}), checkpoint whole"


@dataclass(frozen=True)
class StoredRun:
    """What a run was started with, as its folder remembers it."""

    settings: TrainSettings
    paths: tuple[Path, ...]
    """Training data."""
    val_paths: tuple[Path, ...]
    """Held-out data."""
    val_fraction: float
    """Part of the training data held out."""
    fingerprints: tuple[tuple[str, str], ...]
    """Name and digest of each training structure."""
    init: Path | None
    """Trained model whose weights it started from; None for random ones."""


def train(
    data: Sequence[Path],
    out: Path,
    settings: TrainSettings,
    *,
    val_data: Sequence[Path] = (),
    val_fraction: float = 0.0,
    init: Path | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> TrainResult:
    """Train a model on structures.

    Parameters
    ----------
    data : sequence of Path
        Structure files, and folders of them.
    out : Path
        RUN folder: weights, state to resume from, log and plot. Made if it does not exist.
    settings : TrainSettings
        Choices of the run. Bounded by `max_steps`, the same settings and seed give the same run, bit for bit on one
        CPU, whether or not it was killed and resumed on the way. Bounded by `max_minutes`, the clock decides at which
        step the learning rate begins to fall; from the checkpoint written at that moment on, this holds again.
        With `devices` x `num_nodes` processes of `batch_size` structures each it is the run of one process with as
        many structures, but for the order of sums (2e-4 relative in losses over the first steps, in float32).
    val_data : sequence of Path
        Held-out structures for validation by sampling.
    val_fraction : float
        Part of `data` to hold out instead, 0..1.
    init : Path, optional
        RUN folder or file of weights to start from instead of random ones; optimiser, schedule and count of steps are
        those of a new run. Its model must be that of the settings; see `starting_settings`.
    resume : bool
        Go on with the run in `out`; its data and settings must be the same, but for what bounds and watches it.
    console : rich.console.Console, optional
        Where progress is shown.

    Raises
    ------
    InputError
        If data, folder or settings cannot be used, or the disk is full; earlier files stay whole.
    ContactLost
        An `InputError`: if another process of the run has died; the last checkpoint stays whole.
    """
    started = time.monotonic()
    if init is not None:
        refuse_start(init, settings, resume)
    standing = Standing.find(settings.devices, settings.num_nodes)
    # the other processes run the same function, and leave folder and terminal to the first
    console = (console or Console(stderr=True)) if standing.main else Console(quiet=True)
    stored = _opened_folder(out, resume) if standing.main else None
    dataset = load_dataset(data, val_data, val_fraction, settings, console)
    module = TrainingModule(first_model(settings, init), dataset.structures, settings)
    init_once = stored.init if stored else init
    if standing.main:
        _describe(out, settings, dataset, stored, init_once)
    say = teller(console)
    begin = () if init is None else (f"starting from the weights of {init}",)
    for note in (*begin, *dataset.notes):
        say(note)
    structures = len(dataset.structures.num_tokens)
    # weights that come from elsewhere have seen other molecules, too
    entities = () if init_once else dataset.entities
    record = RunRecord(config=settings.model, entities=entities, structures=structures, seed=settings.seed)
    conductor = Conductor(out, record, dataset.held_out, Reporter(console), started)
    keep_freed_memory()
    request = Request(tuple(data), out, settings, tuple(val_data), val_fraction, init, resume, os.getpid())
    fit(module, conductor, standing, request)
    result = TrainResult(
        out, module.steps, module.skipped, conductor.elapsed, conductor.stopped, conductor.signal, conductor.validation
    )
    say(result.text())
    return result


def read_run(out: Path) -> StoredRun:
    """What the run in a folder was started with.

    Raises
    ------
    InputError
        If the folder holds no run that could be resumed.
    """
    if not (out / STATE_FILE).is_file():
        raise InputError(f"{out}: nothing to resume, it holds no {STATE_FILE}; start anew without --resume")
    try:
        stored = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        return StoredRun(
            settings=TrainSettings.from_dict(stored["settings"]),
            paths=tuple(Path(path) for path in stored["paths"]),
            val_paths=tuple(Path(path) for path in stored["val_paths"]),
            val_fraction=float(stored["val_fraction"]),
            fingerprints=tuple((str(name), str(digest)) for name, digest in stored["fingerprints"]),
            # runs of before do not have it
            init=None if stored.get("init") is None else Path(stored["init"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{out / RUN_FILE}: missing or damaged; train anew in another folder") from error


def _opened_folder(out: Path, resume: bool) -> StoredRun | None:
    """Make the RUN folder, or say what the run in it was started with."""
    if resume:
        return read_run(out)
    try:
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out}: exists and is not empty; add --resume to go on with it, or choose another folder")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder ({error.strerror}); choose another --out") from error
    return None


def _describe(
    out: Path, settings: TrainSettings, dataset: Dataset, stored: StoredRun | None, init: Path | None
) -> None:
    """Write what the run is made of; when resuming, first compare it with what it was made of."""
    if stored:
        difference = first_difference(stored.settings, settings)
        if difference:
            raise InputError(f"{out}: cannot resume with other settings: {difference}; keep it or choose another --out")
        changed = _changed(stored.fingerprints, dataset.fingerprints)
        if changed:
            raise InputError(f"{out}: cannot resume on other data: {changed}; keep the old or choose another --out")
    content = {
        "settings": settings.to_dict(),
        "paths": [str(path) for path in dataset.paths],
        "val_paths": [str(path) for path in dataset.val_paths],
        "val_fraction": dataset.val_fraction,
        "fingerprints": dataset.fingerprints,
        "init": None if init is None else str(init.absolute()),
    }
    with atomic(out / RUN_FILE) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _changed(before: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]) -> str:
    """Readable difference of two lists of (name, digest); empty if there is none."""
    if len(before) != len(now):
        return f"{len(before)} structures then, {len(now)} now"
    for (old_name, old_digest), (name, digest) in zip(before, now, strict=True):
        if old_name != name:
            return f"{old_name} then, {name} now"
        if old_digest != digest:
            return f"{name} has changed"
    return ""
