"""What happens between two steps: log, progress, checkpoints, validation, and when to stop."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from frazil.checkpoint import MODEL_FILE, RunRecord, save_model
from frazil.features import Features
from frazil.trainer.levels import NOISE_FILE, NOISE_HEADER, NOISE_STEPS
from frazil.trainer.log import CsvLog, LogRow, plot_loss
from frazil.trainer.module import TrainingModule
from frazil.trainer.progress import Reporter, Status
from frazil.trainer.schedule import LearningRate
from frazil.trainer.validation import MOST_STRUCTURES, Validation, validate

STATE_FILE = "last.ckpt"
LOG_FILE = "log.csv"
PLOT_FILE = "loss.png"
FIRST_CHECKPOINT_SECONDS = 15.0
PLOT_SECONDS = 60.0
SPEED_WINDOW = 50


@dataclass(frozen=True)
class Orders:
    """What all processes do after a step; rank 0 decides."""

    rate: LearningRate
    checkpoint: bool
    validate: bool
    stop: str
    """Why the run ends ("steps", "time", "signal"), or empty."""


class Conductor(Callback):
    """Keeps the RUN folder and the clock.

    Parameters
    ----------
    out : Path
        The RUN folder.
    record : RunRecord
        What the weights' file shall remember; steps and time are filled in.
    held_out : sequence of (name, Features)
        Structures to validate on, the first eight of them; may be empty.
    reporter : Reporter
        Shows progress.
    started : float
        `time.monotonic()` at the start of the command, so that reading the data counts.
    """

    def __init__(
        self, out: Path, record: RunRecord, held_out: Sequence[tuple[str, Features]], reporter: Reporter, started: float
    ) -> None:
        self.stopped = ""
        """Why the run ended; empty while it runs."""
        self.signal: int | None = None
        """Signal that ended it."""
        self.validation: Validation | None = None
        """Latest validation."""
        self._out, self._record, self._reporter = out, record, reporter
        self._held_out = held_out[:MOST_STRUCTURES]
        self._started = started
        self._before = 0.0
        self._first_step, self._first_time, self._latest_speed = 0, 0.0, 0.0
        self._ends: deque[float] = deque(maxlen=SPEED_WINDOW)
        self._cost = {"save": 0.5, "plot": 1.5, "validate": 0.0}
        self._log: CsvLog | None = None
        self._noise: CsvLog | None = None

    @property
    def elapsed(self) -> float:
        """Seconds of training over all sessions."""
        return self._before + time.monotonic() - self._started

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Open the log, put the clock where the checkpoint left it, listen to signals."""
        assert isinstance(module, TrainingModule)
        self._before = module.elapsed
        self._first_step, self._first_time = module.steps, self.elapsed
        if trainer.is_global_zero:
            self._log = CsvLog(self._out / LOG_FILE, last_step=module.steps)
            self._noise = CsvLog(self._out / NOISE_FILE, last_step=module.steps, header=NOISE_HEADER)
            self._reporter.start()
        first = min(FIRST_CHECKPOINT_SECONDS, 60 * module.settings.checkpoint_minutes)
        self._next_checkpoint = self.elapsed + first
        self._next_validation = self.elapsed + 60 * module.settings.validate_minutes
        self._next_plot = self.elapsed
        self._listen()
        # a run that just begins takes one step at least, so that there is something to keep
        reason = self._reason_to_stop(module) if module.steps else ""
        self.stopped = trainer.strategy.broadcast(reason) if trainer.world_size > 1 else reason
        trainer.should_stop = bool(self.stopped)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Everything that follows a step."""
        assert isinstance(module, TrainingModule)
        self._ends.append(time.monotonic())
        if trainer.is_global_zero:
            self._write_row(module)
            self._reporter.update(self._status(module))
        orders = self._orders(module)
        if trainer.world_size > 1:
            orders = trainer.strategy.broadcast(orders)
        module.rate = orders.rate
        if orders.validate:
            self._timed("validate", lambda: self._validate(trainer, module))
        if orders.checkpoint or module.steps % NOISE_STEPS == 0:
            self._write_noise(trainer, module)
        if orders.checkpoint:
            self._timed("save", lambda: self._save(trainer, module))
            if trainer.is_global_zero and (orders.stop or self.elapsed >= self._next_plot):
                self._timed("plot", lambda: plot_loss(self._out / LOG_FILE, self._out / PLOT_FILE))
                self._next_plot = self.elapsed + PLOT_SECONDS
        if orders.stop:
            self.stopped = orders.stop
            trainer.should_stop = True

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Close the log, take the bar away."""
        self._close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """The same when something went wrong."""
        self._close()

    def _close(self) -> None:
        for log in (self._log, self._noise):
            if log is not None:
                log.close()
        self._reporter.stop()

    def _orders(self, module: TrainingModule) -> Orders:
        settings, elapsed = module.settings, self.elapsed
        seconds = None if settings.max_minutes is None else 60 * settings.max_minutes - self._reserve(module)
        rate = module.rate.begin(
            module.steps, elapsed, max_steps=settings.max_steps, max_seconds=seconds,
            steps_per_second=self._mean_speed(module),
        )  # fmt: skip
        stop = self._reason_to_stop(module)
        by_steps = settings.checkpoint_steps is not None and module.steps % settings.checkpoint_steps == 0
        # once the clock has decided when the decay begins, a resumed run must not decide again
        due = bool(stop) or by_steps or rate != module.rate or elapsed >= self._next_checkpoint
        judge = bool(self._held_out) and stop != "signal" and (bool(stop) or elapsed >= self._next_validation)
        return Orders(rate, due, judge, stop)

    def _reason_to_stop(self, module: TrainingModule) -> str:
        settings = module.settings
        if self.signal is not None:
            return "signal"
        if settings.max_steps is not None and module.steps >= settings.max_steps:
            return "steps"
        if settings.max_minutes is not None:
            step = 1 / self._mean_speed(module) if self._mean_speed(module) else 0.0
            if self.elapsed + step + self._reserve(module) >= 60 * settings.max_minutes:
                return "time"
        return ""

    def _reserve(self, module: TrainingModule) -> float:
        """Seconds that the end of the run needs: validation, checkpoint and plot."""
        settings, speed = module.settings, self._speed()
        if not self._cost["validate"] and self._held_out and speed:
            calls = len(self._held_out) * settings.val_steps * math.ceil(settings.val_samples / settings.copies)
            # a call without gradient costs about a third of a step
            return 1.5 * sum(self._cost.values()) + 0.5 * calls / speed
        return 1.5 * sum(self._cost.values())

    def _speed(self) -> float:
        """Steps per second of late; 0 before it is known."""
        if len(self._ends) >= SPEED_WINDOW // 10:
            self._latest_speed = (len(self._ends) - 1) / max(1e-9, self._ends[-1] - self._ends[0])
        return self._latest_speed

    def _mean_speed(self, module: TrainingModule) -> float:
        """Steps per second of this session, pauses included; 0 before the first step."""
        return (module.steps - self._first_step) / max(1e-9, self.elapsed - self._first_time)

    def _timed(self, what: str, work: Callable[[], None]) -> None:
        begun = time.monotonic()
        work()
        self._cost[what] = max(self._cost[what] if what == "validate" else 0.0, time.monotonic() - begun)
        # a pause between two steps is not the speed of the steps
        self._ends.clear()

    def _save(self, trainer: Trainer, module: TrainingModule) -> None:
        """Log to disk first, then the state to resume from, then the weights to sample with."""
        module.elapsed = self.elapsed
        for log in (self._log, self._noise):
            if log is not None:
                log.sync()
        trainer.save_checkpoint(self._out / STATE_FILE)
        weights = module.averaged_weights(keep=trainer.is_global_zero)
        if trainer.is_global_zero:
            record = replace(self._record, steps=module.steps, skipped=module.skipped, seconds=module.elapsed)
            save_model(self._out / MODEL_FILE, module.model, record, weights)
        self._next_checkpoint = self.elapsed + 60 * module.settings.checkpoint_minutes

    def _validate(self, trainer: Trainer, module: TrainingModule) -> None:
        with module.averaged(keep=trainer.is_global_zero) as model:
            if trainer.is_global_zero:
                self.validation = validate(model, self._held_out, module.settings, module.device)
                self._reporter.say(f"step {module.steps}  {self.validation.text()}")
        self._next_validation = self.elapsed + 60 * module.settings.validate_minutes

    def _write_noise(self, trainer: Trainer, module: TrainingModule) -> None:
        rows = module.levels.take(module.steps, lambda sums: trainer.strategy.reduce(sums, reduce_op="sum"))
        if self._noise is not None:
            for row in rows:
                self._noise.write(row)

    def _write_row(self, module: TrainingModule) -> None:
        assert module.last is not None and self._log is not None
        last = module.last
        self._log.write(
            LogRow(
                step=module.steps,
                elapsed=self.elapsed,
                lr=last.lr,
                loss=last.loss,
                mse=last.mse,
                smooth_lddt=last.smooth_lddt,
                grad_norm=last.grad_norm,
                skipped=module.skipped,
            )
        )

    def _status(self, module: TrainingModule) -> Status:
        settings, elapsed = module.settings, self.elapsed
        speed = self._speed() or self._mean_speed(module)
        left, shares = [], []
        if settings.max_minutes is not None:
            left.append(60 * settings.max_minutes - elapsed)
            shares.append(elapsed / (60 * settings.max_minutes))
        if settings.max_steps is not None:
            left.append((settings.max_steps - module.steps) / speed if speed else math.inf)
            shares.append(module.steps / settings.max_steps)
        loss = module.last.loss if module.last else math.nan
        return Status(module.steps, elapsed, loss, speed, min(left, default=math.inf), max(shares, default=math.nan))

    def _listen(self) -> None:
        """Ctrl-C and SIGTERM end the run after the present step; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        self._reporter.say("stopping after this step and its checkpoint (once more: at once)")
