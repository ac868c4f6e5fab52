"""`report.html` of a training run: loss, loss by noise level, learning rate and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from frazil.errors import InputError
from frazil.page.document import REPORT, Chip, write_page
from frazil.page.figures import BLUE, GREEN, RED, drawing, plain_numbers
from frazil.page.plots import Plot
from frazil.page.rows import LARGEST, read_json
from frazil.page.tables import read_columns

LOG: Final = "log.csv"
NOISE: Final = "noise.csv"
RUN: Final = "run.json"
MOST_POINTS: Final = 500
LATEST: Final = 1e12
"""Steps or seconds that no run reaches."""
LOG_COLUMNS: Final = ("step", "elapsed", "lr", "loss", "mse", "smooth_lddt", "grad_norm", "skipped")
NOISE_COLUMNS: Final = ("step", "sigma_low", "sigma_high", "mse", "count")
MOMENTS: Final = 5
"""Parts of the run that the loss by noise level is shown for."""

Columns = Mapping[str, NDArray[np.float64]]


def write_training_page(run: str | Path) -> Path:
    """Make `report.html` in the folder of a run of `frazil train`, finished or not.

    Parameters
    ----------
    run : str or Path
        With `log.csv`; `noise.csv` and `run.json` if there are any.

    Returns
    -------
    Path
        The page: one file that needs no other and no network.

    Raises
    ------
    InputError
        If there is no log with a step in it, a number in it is none that a run writes, or the page cannot be written.
    """
    run = Path(run)
    rows = _possible(run / LOG, LOG_COLUMNS, ("step", "elapsed", "lr", "skipped"))
    log = _only(rows, np.isfinite(rows["step"]))
    if not len(log["step"]):
        raise InputError(f"{run / LOG}: no step of training in it; give the RUN folder of frazil train")
    noise = None
    if (run / NOISE).is_file():
        noise = _possible(run / NOISE, NOISE_COLUMNS, ("step", "sigma_low", "sigma_high", "count"))
    plots = [
        _losses(log),
        *(_levels(noise) if noise is not None and len(noise["step"]) else []),
        _terms(log),
        _rates(log),
        _speed(log),
    ]
    return write_page(
        run / REPORT,
        "training.html",
        title=f"Training of {run.resolve().name}",
        source=_data(run),
        chips=_chips(log),
        plots=plots,
        size="big",
    )


def _possible(path: Path, names: tuple[str, ...], measured: tuple[str, ...]) -> Columns:
    """Columns of a file; NaN where a loss is infinite or larger than can be drawn, which it may be in a bad run.

    Raises
    ------
    InputError
        If one of the columns that are measured, not computed, holds what no run writes.
    """
    found = read_columns(path, names)
    for name in measured:
        wrong = np.flatnonzero(np.abs(found[name]) > LATEST)
        if len(wrong):
            value = found[name][wrong[0]]
            raise InputError(f"{path}: {name} is {value:g} in row {wrong[0] + 1}; take this row out of the file")
    return {name: np.where(np.abs(values) <= LARGEST, values, np.nan) for name, values in found.items()}


def _chips(log: Columns) -> list[Chip]:
    loss = log["loss"][np.isfinite(log["loss"])]
    last = loss[-max(1, len(loss) // 20) :]
    skipped = int(np.nan_to_num(log["skipped"][-1]))
    found = [
        Chip("steps", f"{log['step'][-1]:.0f}"),
        Chip("time", str(timedelta(seconds=round(float(np.nanmax(log["elapsed"], initial=0)))))),
        Chip("steps skipped", str(skipped), "bad" if skipped else "good"),
    ]
    if len(loss):
        found.insert(1, Chip("loss of the last steps", f"{np.median(last):.4g}"))
    return found


def _data(run: Path) -> str:
    """What the run was trained on, as far as `run.json` says."""
    try:
        known = read_json(run / RUN)
    except (OSError, ValueError):
        return ""
    paths = known.get("paths") if isinstance(known, dict) else None
    if not isinstance(paths, list):
        return ""
    return ", ".join(str(path) for path in paths[:5]) + (", …" if len(paths) > 5 else "")


def _losses(log: Columns) -> Plot:
    with drawing(6.2, 3.4, "losses") as made:
        _curve(made.axes, log, "loss", BLUE, "loss")
        made.axes.set(xlabel="optimiser step", ylabel="loss")
        _legend(made.axes)
    return Plot("Loss", "Every step, and the running median.", made.svg)


def _terms(log: Columns) -> Plot:
    with drawing(6.2, 3.4, "terms") as made:
        _curve(made.axes, log, "mse", BLUE, "mean square error, weighted and aligned")
        if np.nansum(log["smooth_lddt"]):
            _curve(made.axes, log, "smooth_lddt", GREEN, "smooth lDDT")
        made.axes.set(xlabel="optimiser step", ylabel="term of the loss")
        _legend(made.axes)
    return Plot("Terms of the loss", "Their sum is the loss.", made.svg)


def _rates(log: Columns) -> Plot:
    with drawing(6.2, 3.4, "rates", right=0.85) as made:
        _curve(made.axes, log, "grad_norm", RED, "norm of the gradient")
        made.axes.set(xlabel="optimiser step", ylabel="norm before clipping")
        right = made.axes.twinx()
        kept = _thinned(len(log["step"]))
        right.plot(log["step"][kept], log["lr"][kept], color=BLUE, linewidth=1.3)
        right.set(ylabel="learning rate (blue)", ylim=(0, None))
        right.spines["right"].set_visible(True)
        _legend(made.axes, loc="lower left")
    return Plot(
        "Gradient and learning rate", "A gradient that grows while the rate is high tells of instability.", made.svg
    )


def _speed(log: Columns) -> Plot:
    step, elapsed = log["step"], log["elapsed"]
    kept = np.unique(np.linspace(0, len(step) - 1, min(len(step), 200)).astype(int))
    with drawing(6.2, 3.4, "speed") as made:
        if len(kept) > 1:
            seconds = np.maximum(np.diff(elapsed[kept]), 1e-6)
            made.axes.plot(step[kept][1:], np.diff(step[kept]) / seconds, color=GREEN, linewidth=1.2)
        made.axes.set(xlabel="optimiser step", ylabel="steps/s", ylim=(0, None))
    return Plot("Speed", "Dips are checkpoints, validation, or other work on the machine.", made.svg)


def _levels(noise: Columns) -> list[Plot]:
    """Loss by noise level, for a few parts of the run; and over the steps, for a few levels."""
    middle = np.sqrt(noise["sigma_low"] * noise["sigma_high"])
    usable = np.isfinite(middle) & (middle > 0) & np.isfinite(noise["mse"]) & (noise["count"] > 0)
    usable &= np.isfinite(noise["step"])
    noise, middle = _only(noise, usable), middle[usable]
    if not len(middle):
        return []
    return [_by_level(noise, middle), _by_step(noise, middle)]


def _by_level(noise: Columns, middle: NDArray[np.float64]) -> Plot:
    from matplotlib import colormaps

    ends = np.linspace(noise["step"].min() - 1, noise["step"].max(), MOMENTS + 1)
    # a row counts all steps since the rows before it
    start = 1
    with drawing(6.2, 3.4, "levels") as made:
        for part, (first, last) in enumerate(pairwise(ends.tolist())):
            inside = (noise["step"] > first) & (noise["step"] <= last)
            if inside.any():
                levels, values = _averaged(middle[inside], noise["mse"][inside], noise["count"][inside])
                colour = colormaps["viridis_r"](0.12 + 0.88 * part / (MOMENTS - 1))
                end = int(noise["step"][inside].max())
                label = f"steps {start} to {end}"
                made.axes.plot(levels, values, "o-", color=colour, markersize=3, linewidth=1.4, label=label)
                start = end + 1
        made.axes.set(xlabel="noise level σ / Å", ylabel="weighted mean square error", xscale="log", yscale="log")
        plain_numbers(made.axes.yaxis)
        _legend(made.axes)
    return Plot(
        "Loss by noise level", "Where it no longer falls, the model has learnt what it can at that level.", made.svg
    )


def _by_step(noise: Columns, middle: NDArray[np.float64]) -> Plot:
    from matplotlib import colormaps

    levels = np.unique(middle)
    shown = levels[np.unique(np.linspace(0, len(levels) - 1, min(6, len(levels))).astype(int))]
    with drawing(6.2, 3.4, "steps") as made:
        for place, level in enumerate(shown.tolist()):
            own = middle == level
            order = np.argsort(noise["step"][own], kind="stable")
            step, values = noise["step"][own][order], noise["mse"][own][order]
            colour = colormaps["plasma"](0.05 + 0.8 * place / max(1, len(shown) - 1))
            smooth = median_filter(values, size=max(1, len(values) // 40), mode="nearest")
            kept = _thinned(len(step))
            made.axes.plot(step[kept], smooth[kept], color=colour, linewidth=1.3, label=f"σ = {level:.3g} Å")
        made.axes.set(xlabel="optimiser step", ylabel="weighted mean square error", yscale="log")
        plain_numbers(made.axes.yaxis)
        _legend(made.axes, ncols=2)
    return Plot("Loss over the steps, by noise level", "Running medians.", made.svg)


def _averaged(
    level: NDArray[np.float64], value: NDArray[np.float64], count: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean value of each level, weighted by the number of copies."""
    found, where = np.unique(level, return_inverse=True)
    return found, np.bincount(where, value * count) / np.bincount(where, count)


def _curve(axes: Any, log: Columns, name: str, colour: str, label: str) -> None:
    """Points and their running median, on a logarithmic axis where they are positive."""
    usable = np.isfinite(log[name])
    step, values = log["step"][usable], log[name][usable]
    if not len(step):
        return
    kept = _thinned(len(step))
    axes.plot(step[kept], values[kept], ".", markersize=2.2, alpha=0.25, color=colour)
    smooth = median_filter(values, size=max(3, len(values) // 40), mode="nearest")
    axes.plot(step[kept], smooth[kept], color=colour, linewidth=1.6, label=label)
    if (values > 0).all():
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)


def _legend(axes: Any, **where: Any) -> None:
    """The names of the curves, if there are any."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**where)


def _thinned(count: int) -> NDArray[np.int64]:
    """Indices, evenly spread, of at most `MOST_POINTS` of so many points."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(np.int64))


def _only(columns: Columns, mask: NDArray[np.bool_]) -> Columns:
    return {name: values[mask] for name, values in columns.items()}
