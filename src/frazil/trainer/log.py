"""`log.csv`, one row an optimiser step, and `loss.png` drawn from it; and the files of such rows in general."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from frazil.atomic import atomic
from frazil.errors import InputError


@dataclass(frozen=True)
class LogRow:
    """One optimiser step."""

    step: int
    """From 1."""
    elapsed: float
    """Seconds since the run began, over all its sessions."""
    lr: float
    """Learning rate of the step."""
    loss: float
    """Sum of the terms, mean over micro-batches and processes."""
    mse: float
    """Weighted, aligned mean square error term."""
    smooth_lddt: float
    """Smooth lDDT term; 0 where it is switched off."""
    grad_norm: float
    """Norm of the gradient before clipping."""
    skipped: int
    """Steps skipped so far because loss or gradient was not finite."""

    def cells(self) -> list[str]:
        """The row as text; the numbers that training computes keep all their digits."""
        exact = [repr(float(x)) for x in (self.lr, self.loss, self.mse, self.smooth_lddt, self.grad_norm)]
        return [str(self.step), f"{self.elapsed:.3f}", *exact, str(self.skipped)]


HEADER = [field.name for field in fields(LogRow)]


class Row(Protocol):
    """A row of a log."""

    def cells(self) -> list[str]:
        """The row as text, the step first."""


class CsvLog:
    """Append-only log that never holds a step twice.

    Parameters
    ----------
    path : Path
        The CSV file.
    last_step : int
        Rows after this step, written by a session that was killed before its next checkpoint, are removed.
    header : sequence of str
        Names of the columns; those of `LogRow` by default.

    Raises
    ------
    InputError
        If the file cannot be written.
    """

    def __init__(self, path: Path, last_step: int = 0, header: Sequence[str] = HEADER) -> None:
        self._path = path
        kept = [cells for cells in read_rows(path, len(header)) if int(cells[0]) <= last_step] if last_step else []
        with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *kept])
        self._file = path.open("a", buffering=1, newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, row: Row) -> None:
        """Append a row; it is in the system's hands at once, on disk after `sync`."""
        try:
            self._writer.writerow(row.cells())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror}); free some space") from error

    def sync(self) -> None:
        """Force the rows to disk; comes before each checkpoint, so that no row before it is ever lost."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror}); free some space") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_rows(path: Path, columns: int = len(HEADER)) -> list[list[str]]:
    """Rows of a log as text, without the header and without a last line that was cut short."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = [cells for cells in csv.reader(file) if len(cells) == columns]
    return [cells for cells in rows if cells[0].isdecimal()]


def running_median(values: ArrayLike, width: int) -> np.ndarray:
    """Median of each value and up to `width` - 1 values before it, NaN left out.

    >>> running_median([1.0, 9.0, 2.0], 3).tolist()
    [1.0, 5.0, 2.0]
    """
    padded = np.concatenate([np.full(width - 1, np.nan), np.asarray(values, dtype=np.float64)])
    return np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, width), axis=-1)


def plot_loss(log: Path, picture: Path, *, most_points: int = 4000) -> None:
    """Draw loss and running median against the step, on a logarithmic axis, into a PNG (written atomically)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = np.array([[float(cell) for cell in cells] for cells in read_rows(log)])
    table = table[np.isfinite(table[:, 3])] if len(table) else table
    if not len(table):
        return
    table = table[:: -(-len(table) // most_points)]
    step, loss = table[:, 0], table[:, 3]
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(step, loss, ".", markersize=2, alpha=0.3, color="tab:blue", label="each step")
    axes.plot(step, running_median(loss, max(3, len(loss) // 40)), color="tab:red", label="running median")
    axes.set(xlabel="optimiser step", ylabel="loss", yscale="log" if loss.min() > 0 else "linear")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(picture) as part:
        figure.savefig(part, format="png")
