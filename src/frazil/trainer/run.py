"""`train`: from structure files to a RUN folder."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.console import Console

from frazil.allocator import keep_freed_memory
from frazil.atomic import atomic
from frazil.checkpoint import RunRecord
from frazil.denoiser import StructureModel
from frazil.errors import InputError
from frazil.nn.compute import Compute
from frazil.sampler import stable_seed
from frazil.trainer.conductor import STATE_FILE, Conductor
from frazil.trainer.dataset import Dataset, load_dataset
from frazil.trainer.module import TrainingModule
from frazil.trainer.precision import float32_products
from frazil.trainer.progress import Reporter, clock
from frazil.trainer.resume import SafetensorsCheckpointIO
from frazil.trainer.settings import TrainSettings, first_difference
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


def train(
    data: Sequence[Path],
    out: Path,
    settings: TrainSettings,
    *,
    val_data: Sequence[Path] = (),
    val_fraction: float = 0.0,
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
    val_data : sequence of Path
        Held-out structures for validation by sampling.
    val_fraction : float
        Part of `data` to hold out instead, 0..1.
    resume : bool
        Go on with the run in `out`; its data and settings must be the same, but for what bounds and watches it.
    console : rich.console.Console, optional
        Where progress is shown.

    Raises
    ------
    InputError
        If data, folder or settings cannot be used, or the disk is full; earlier files stay whole.
    """
    started = time.monotonic()
    # the processes that Lightning starts beside this one run the same function, and leave the folder to it
    main = os.environ.get("LOCAL_RANK", "0") == "0"
    console = (console or Console(stderr=True)) if main else Console(quiet=True)
    if main:
        _check_folder(out, resume)
    dataset = load_dataset(data, val_data, val_fraction, settings, console)
    module = TrainingModule(_new_model(settings), dataset.features, settings)
    if main:
        _describe(out, settings, dataset, resume)
    for note in dataset.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    record = RunRecord(
        config=settings.model, entities=dataset.entities, structures=len(dataset.features), seed=settings.seed
    )
    conductor = Conductor(out, record, dataset.held_out, Reporter(console), started)
    keep_freed_memory()
    with _quiet_lightning(), _signals_restored(), float32_products(Compute(settings.precision)):
        _fit(_trainer(settings, out, conductor), module, out / STATE_FILE if resume else None)
    result = TrainResult(
        out, module.steps, module.skipped, conductor.elapsed, conductor.stopped, conductor.signal, conductor.validation
    )
    console.print(result.text(), markup=False, highlight=False, soft_wrap=True)
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
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{out / RUN_FILE}: missing or damaged; train anew in another folder") from error


def _check_folder(out: Path, resume: bool) -> None:
    if resume:
        read_run(out)
        return
    try:
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out}: exists and is not empty; add --resume to go on with it, or choose another folder")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder ({error.strerror}); choose another --out") from error


def _describe(out: Path, settings: TrainSettings, dataset: Dataset, resume: bool) -> None:
    """Write what the run is made of; when resuming, first compare it with what it was made of."""
    if resume:
        stored = read_run(out)
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


def _new_model(settings: TrainSettings) -> StructureModel:
    """A model with random weights that depend on the seed alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(stable_seed(settings.seed, "weights"))
        return StructureModel(settings.model)


def _trainer(settings: TrainSettings, out: Path, conductor: Conductor) -> Trainer:
    try:
        return Trainer(
            accelerator="auto",
            devices=settings.devices,
            # a batch without ligand bonds, say, leaves some parameters out
            strategy="auto" if settings.devices == 1 else "ddp_find_unused_parameters_true",
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            use_distributed_sampler=False,
            default_root_dir=out,
            callbacks=[conductor],
            plugins=[SafetensorsCheckpointIO()],
        )
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--devices {settings.devices} does not fit this machine: {reason}") from error


def _fit(trainer: Trainer, module: TrainingModule, state: Path | None) -> None:
    try:
        trainer.fit(module, ckpt_path=None if state is None else str(state))
    except SystemExit as error:
        # how Lightning answers to a second Ctrl-C
        raise KeyboardInterrupt from error


@contextmanager
def _signals_restored() -> Iterator[None]:
    """Handlers of Ctrl-C and SIGTERM are afterwards what they were before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Neither Lightning's tips and device lines nor its warnings, which are about choices made here on purpose."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torch\.utils\.data).*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
