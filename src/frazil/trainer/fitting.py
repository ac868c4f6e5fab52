"""Lightning at work on a run: its strategy, its silence, signals, and a lost process as one line."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from frazil.errors import InputError
from frazil.nn.compute import Compute
from frazil.trainer.conductor import STATE_FILE, Conductor
from frazil.trainer.module import TrainingModule
from frazil.trainer.precision import float32_products
from frazil.trainer.processes import PATIENCE, ContactLost, Standing, Workers, contact_failed
from frazil.trainer.request import Request
from frazil.trainer.resume import SafetensorsCheckpointIO
from frazil.trainer.settings import TrainSettings
from frazil.trainer.sharding import FullyShardedStrategy

DEATH_SECONDS = 3.0
"""Wait for a process to be seen dead, once contact with it has failed."""


def fit(module: TrainingModule, conductor: Conductor, standing: Standing, request: Request) -> None:
    """Train until the conductor says stop.

    Parameters
    ----------
    module : TrainingModule
        What a step is.
    conductor : Conductor
        What is between two steps.
    standing : Standing
        This process.
    request : Request
        The run; goes to the processes that this one starts.

    Raises
    ------
    InputError
        If there are fewer devices than asked for.
    ContactLost
        If another process is lost.
    """
    settings, out = request.settings, request.out
    trainer = _trainer(settings, out, conductor, standing)
    state = str(out / STATE_FILE) if request.resume else None
    workers = Workers(standing, request, lambda: what_to_do(out)) if standing.starts_others else None
    products = float32_products(Compute(settings.precision))
    with _quiet_lightning(), _signals_restored(), products, workers or nullcontext():
        try:
            trainer.fit(module, ckpt_path=state)
        except SystemExit as error:
            # how Lightning answers to a second Ctrl-C
            raise KeyboardInterrupt from error
        except Exception as error:
            if standing.size == 1 or not contact_failed(error):
                raise
            lost = workers.lost(DEATH_SECONDS) if workers else ""
            lost = lost or f"contact with the other processes is lost ({' '.join(str(error).split())[:200]})"
            raise ContactLost(f"{lost}; {what_to_do(out)}") from error
        finally:
            if standing.size > 1 and torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


def what_to_do(out: Path) -> str:
    """How to go on with a run that broke off."""
    if (out / STATE_FILE).is_file():
        return f"the checkpoint in {out} is whole, --resume goes on with it"
    return f"{out} holds no checkpoint yet, start anew in another folder"


def _trainer(settings: TrainSettings, out: Path, conductor: Conductor, standing: Standing) -> Trainer:
    try:
        with _quiet_lightning():
            return Trainer(
                accelerator="auto",
                devices=settings.devices,
                num_nodes=settings.num_nodes,
                strategy=_strategy(settings),
                max_epochs=-1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                limit_val_batches=0,
                use_distributed_sampler=False,
                default_root_dir=out,
                callbacks=[conductor],
                plugins=[SafetensorsCheckpointIO(), standing.environment],
            )
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--devices {settings.devices} does not fit this machine: {reason}") from error


def _strategy(settings: TrainSettings) -> Strategy | str:
    if settings.num_processes == 1:
        return "auto"
    if settings.strategy == "fsdp":
        return FullyShardedStrategy(settings.num_processes, PATIENCE)
    return DDPStrategy(timeout=PATIENCE)


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
