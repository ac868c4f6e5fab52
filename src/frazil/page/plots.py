"""Plots of the samples of one input; what stands for a sample, a pair or a frame is marked, to be clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from frazil.errors import InputError
from frazil.page.figures import BLUE, FAINT, INK, RED, drawing
from frazil.page.overlay import Overlay
from frazil.page.rows import Row, number
from frazil.page.samples import Samples
from frazil.sampler.presets import chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE: Final = (4.2, 3.2)
MOST_LEVELS: Final = 10_000
"""Steps of a plot of the noise levels; more would be one band."""
_COLOURS: Final = ("#1f6fb4", "#d9822b", "#3a8f5c", "#c8473a", "#7a5aa6", "#8c6d46", "#c45a93", "#5f6b78")


@dataclass(frozen=True)
class Plot:
    """One figure of a page."""

    title: str
    caption: str
    svg: str


def sample_plots(samples: Samples, laid: Overlay, trajectories: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Those that say something about these samples."""
    made = [
        _distances(samples, laid),
        _energies(samples),
        _profile(samples, laid),
        _noise(samples, trajectories),
    ]
    return [one for one in made if one is not None]


def total_energy(row: Row) -> float | None:
    """Sum of the energies of a sample by all potentials, None if there are none."""
    energies = row.get("energies")
    values = [number(value) for value in energies.values()] if isinstance(energies, Mapping) else []
    finite = [value for value in values if value is not None]
    return sum(finite) if finite else None


def landscape(samples: Samples, laid: Overlay) -> Plot | None:
    """Agreement, or else energy, over the distance to the best sample; None where there is nothing to compare."""
    count = len(laid.rmsd)
    rows = [samples.rows[index] for index in samples.shown[:count]]
    energies = [total_energy(row) for row in rows]
    alike = [number(row.get("mean_lddt")) for row in rows]
    told = alike if any(value is not None for value in alike) else energies
    if count < 2 or all(value is None for value in told):
        return None
    with drawing(5.6, 2.1, "landscape") as made:
        for index, value in enumerate(told):
            if value is not None:
                _point(made.axes, laid.rmsd[0, index], value, samples.shown[index], BLUE)
        label = "mean lDDT to the others" if told is alike else "energy of all potentials"
        made.axes.set(xlabel="RMSD to the best / Å", ylabel=label)
        made.axes.margins(0.08)
    return Plot("Landscape", "Each point is a sample: click it to see it.", made.svg)


def _distances(samples: Samples, laid: Overlay) -> Plot | None:
    """Heat map of the RMSDs, alike samples next to each other."""
    from matplotlib.patches import Rectangle

    count = len(laid.rmsd)
    if count < 3:
        return None
    most = float(laid.rmsd.max()) or 1.0
    with drawing(4.2, 3.4, "distances", right=0.3) as made:
        axes = made.axes
        axes.grid(False)
        colours = axes.imshow(np.zeros((1, 1)), cmap="YlGnBu_r", vmin=0, vmax=most, visible=False)
        for row, i in enumerate(laid.order.tolist()):
            for column, j in enumerate(laid.order.tolist()):
                cell = Rectangle((column - 0.5, row - 0.5), 1, 1, color=colours.to_rgba(laid.rmsd[i, j]), linewidth=0)
                cell.set_gid(f"mark-pair-{samples.shown[i]}-{samples.shown[j]}-{laid.rmsd[i, j]:.2f}")
                axes.add_patch(cell)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
        labels = [str(samples.rows[samples.shown[i]].get("sample", i)) for i in laid.order.tolist()]
        every = -(-count // 20)
        axes.set_xticks(range(0, count, every), labels[::every], fontsize=7)
        axes.set_yticks(range(0, count, every), labels[::every], fontsize=7)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        made.figure.colorbar(colours, ax=axes, fraction=0.05, pad=0.04)
    some = "" if count == len(samples.shown) else f" The best {count} samples."
    caption = f"Heavy atoms, symmetric atoms matched; alike samples stand together.{some} Click a cell to see both."
    return Plot("RMSD between samples / Å", caption, made.svg)


def _energies(samples: Samples) -> Plot | None:
    """Energy of each potential in each sample."""
    rows = [
        (index, samples.rows[index])
        for index in samples.shown
        if isinstance(samples.rows[index].get("energies"), Mapping)
    ]
    names = list(dict.fromkeys(name for _, row in rows for name in row["energies"]))
    if not any(number(row["energies"].get(name)) for _, row in rows for name in names):
        return None
    with drawing(*WIDE, "energies", top=0.55) as made:
        for name, colour in zip(names, _COLOURS, strict=False):
            for place, (index, row) in enumerate(rows):
                value = number(row["energies"].get(name))
                if value is not None:
                    _point(made.axes, place, value, index, colour, size=4.5)
            made.axes.plot([], [], "o", color=colour, markersize=4.5, label=_plain(name.replace("_", " ")))
        made.axes.set_yscale("symlog", linthresh=1)
        made.axes.yaxis.set_major_formatter("{x:g}")
        made.axes.set_ylim(bottom=-0.3)
        _sample_ticks(made.axes, samples)
        made.axes.set(ylabel="energy (no unit)")
        made.figure.legend(loc="upper center", ncols=3, handletextpad=0.2, columnspacing=1)
    return Plot(
        "Energies", "What the potentials say of each sample, without weights; 0 is what they ask for.", made.svg
    )


def _profile(samples: Samples, laid: Overlay) -> Plot | None:
    """Fluctuation and agreement along the atoms of a ligand or the residues of polymers."""
    if len(samples.shown) < 2:
        return None
    residue = samples.drawable.topology.residue
    groups = np.arange(len(residue)) if samples.is_ligand else residue
    firsts = np.unique(groups, return_index=True)[1]
    spread = np.array([laid.spread[groups == group].mean() for group in groups[firsts]])
    names = [name if samples.is_ligand else name.rsplit(":", 1)[0] for name in samples.drawable.names]
    with drawing(*WIDE, "profile") as made:
        bars = made.axes.bar(range(len(firsts)), spread, width=0.85, color=BLUE)
        for bar, atom in zip(bars, firsts.tolist(), strict=True):
            bar.set_gid(f"mark-atom-{atom}-{names[atom]} {bar.get_height():.2f} Å")
        every = -(-len(firsts) // 24)
        labels = [_plain(_short(names[atom], samples.is_ligand)) for atom in firsts.tolist()]
        made.axes.set_xticks(range(0, len(firsts), every), labels[::every], rotation=90, fontsize=7)
        made.axes.set(ylabel="RMSF / Å", xlim=(-0.7, len(firsts) - 0.3))
        made.axes.grid(axis="x", visible=False)
    what = "atom" if samples.is_ligand else "residue"
    return Plot(
        f"Fluctuation by {what}", f"Over the samples laid on the best. Click a bar to see the {what}.", made.svg
    )


def _noise(samples: Samples, trajectories: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Noise level at each step."""
    from matplotlib.ticker import MaxNLocator

    unit = "step"
    if trajectories:
        steps, sigmas, unit = (trajectories[0][key] for key in ("step", "sigma", "unit"))
        label = "noise level σ / Å"
    else:
        levels = _schedule(samples.rows[0])
        if levels is None:
            return None
        steps, sigmas, label = list(range(1, len(levels) + 1)), levels, "noise level σ / σ of the data"
    with drawing(*WIDE, "noise") as made:
        made.axes.plot(steps, sigmas, color=FAINT, linewidth=1)
        for frame, (step, sigma) in enumerate(zip(steps, sigmas, strict=True)):
            made.axes.plot([step], [sigma], "o", color=RED, markersize=4, gid=f"mark-frame-{frame}-σ = {sigma:.3g}")
        made.axes.set(xlabel=unit if unit == "step" else f"{unit} of the trajectory", ylabel=label, yscale="log")
        made.axes.xaxis.set_major_locator(MaxNLocator(steps=(1, 2, 5, 10), integer=True))
    hint = f" Click a point to see the sample at that {unit}." if trajectories else ""
    return Plot("Noise schedule", f"From noise to structure.{hint}", made.svg)


def _schedule(row: Row) -> list[float] | None:
    """Noise levels of a preset or method in standard deviations of the data, without the final zero."""
    name, steps = row.get("sampler"), number(row.get("steps"))
    if steps is not None and steps > MOST_LEVELS:
        return None
    try:
        preset = chosen(str(name), None if steps is None else int(steps))
    except InputError:
        return None
    if number(row.get("start_sigma")) is not None:
        return None
    sigmas = replace(preset.schedule, sigma_data=1.0).sigmas(preset.steps)
    return [float(value) for value in sigmas.tolist() if value > 0]


def _point(axes: Axes, x: float, y: float, row: int, colour: str, size: float = 7) -> None:
    axes.plot(
        [x], [y], "o", color=colour, markersize=size, alpha=0.85, markeredgecolor="white", markeredgewidth=0.6,
        gid=f"mark-sample-{row}-{x:.3g}, {y:.3g}",
    )  # fmt: skip


def _sample_ticks(axes: Axes, samples: Samples) -> None:
    labels = [str(samples.rows[index].get("sample", index)) for index in samples.shown]
    every = -(-len(labels) // 25)
    axes.set_xticks(range(0, len(labels), every), labels[::every], fontsize=7, color=INK)
    axes.set(xlabel="sample, the best first")


def _plain(name: str) -> str:
    """A name for matplotlib, to which a dollar begins a formula.

    >>> print(_plain("$x"))
    \\$x
    """
    return name.replace("$", r"\$")


def _short(name: str, is_ligand: bool) -> str:
    """Atom name of a ligand; chain and number of a residue.

    >>> _short("A:1:C2", True), _short("A:14", False)
    ('C2', 'A14')
    """
    return name.rsplit(":", 1)[-1] if is_ligand else name.replace(":", "")
