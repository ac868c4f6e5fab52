"""What the viewer draws, as JSON: atoms, bonds, coordinates of every sample, trajectories; arrays packed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from frazil.data.drawable import Drawable, read_frames
from frazil.page.overlay import Overlay
from frazil.page.rows import number
from frazil.page.samples import Samples, inside

MOST_FRAME_POSITIONS: Final = 300_000
"""Atoms times frames times samples of trajectories; beyond, frames are left out evenly, then samples."""
LEAST_FRAMES: Final = 20
MOST_TRAJECTORIES: Final = 20
"""Samples, the best ones, whose trajectories are shown."""
FINEST: Final = 32_767
"""Steps on either side of zero that a packed number has."""


def scene(samples: Samples, laid: Overlay) -> dict[str, Any]:
    """The molecules of one input for the page's script.

    Parameters
    ----------
    samples : Samples
        As read.
    laid : Overlay
        Their coordinates on each other.
    """
    drawable = samples.drawable
    return {
        "atoms": _atoms(drawable),
        "bonds": drawable.bonds.ravel().tolist(),
        "names": drawable.names,
        "heavy": drawable.heavy.tolist(),
        "ligand": samples.is_ligand,
        "chains": list(dict.fromkeys(drawable.structure.atoms.chain_id.tolist())),
        "coords": packed_positions(laid.coords),
        "local": _packed_shares(laid.local[:, drawable.parent]),
        "trajectories": _trajectories(samples, laid),
    }


def packed_positions(values: NDArray[np.floating]) -> dict[str, Any]:
    """An array as 16-bit numbers in base64, with the angstrom that one step stands for.

    >>> packed_positions(np.zeros(3))
    {'step': 1.0, 'data': 'AAAAAAAA'}
    """
    extent = float(np.abs(values).max(initial=0.0))
    step = extent / FINEST or 1.0
    whole = np.rint(values / step).astype("<i2")
    return {"step": step, "data": base64.b64encode(whole.tobytes()).decode("ascii")}


def _packed_shares(values: NDArray[np.floating]) -> str:
    """Shares 0..1 as bytes 0..200 in base64; 255 where there is none."""
    whole = np.where(np.isfinite(values), np.rint(np.nan_to_num(values) * 200), 255)
    return base64.b64encode(whole.astype(np.uint8).tobytes()).decode("ascii")


def _atoms(drawable: Drawable) -> dict[str, list[Any]]:
    atoms, parent = drawable.structure.atoms, drawable.parent
    polymer = drawable.polymer[drawable.parent]
    heavy = np.zeros(len(drawable.parent), dtype=bool)
    heavy[drawable.heavy] = True
    return {
        "element": drawable.element,
        "name": [name if own else "H" for name, own in zip(atoms.atom_name[parent].tolist(), heavy, strict=True)],
        "residue": atoms.res_name[parent].tolist(),
        "number": atoms.res_id[parent].tolist(),
        "chain": atoms.chain_id[parent].tolist(),
        "polymer": polymer.astype(int).tolist(),
        "fold": drawable.fold,
        "parent": parent.tolist(),
    }


def _trajectories(samples: Samples, laid: Overlay) -> list[dict[str, Any]]:
    """One for each shown sample that has one, as many as the page takes."""
    found: list[dict[str, Any]] = []
    left = MOST_FRAME_POSITIONS
    best = samples.shown[:MOST_TRAJECTORIES]
    for place, row in enumerate(best):
        told = samples.rows[row].get("trajectory")
        frames = _frames(samples, place, told, laid) if isinstance(told, Mapping) else None
        if frames is None:
            continue
        sigma, noisy, denoised = frames
        each = 2 * noisy.shape[1]
        every = max(1, -(-len(sigma) * each * len(best) // MOST_FRAME_POSITIONS))
        every = min(every, max(1, len(sigma) // LEAST_FRAMES))
        kept = np.unique([*range(0, len(sigma), every), len(sigma) - 1])
        left -= each * len(kept)
        if left < 0 and found:
            break
        # with `--trajectory K` there is a frame of every K-th step, and which steps they are is not written
        unit = "step" if number(samples.rows[row].get("steps")) == len(sigma) else "frame"
        found.append(_packed_trajectory(place, sigma[kept], noisy[kept], denoised[kept], kept, unit))
    return found


def _frames(
    samples: Samples, place: int, told: Mapping[str, Any], laid: Overlay
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Noise levels [F], noisy and denoised coordinates [F, H, 3] moved with their sample; None if they do not fit."""
    sigma = np.array(told["sigma"], dtype=np.float64)
    paths = [inside(samples.folder, told[kind]) for kind in ("noisy", "denoised")]
    structure = samples.drawable.structure
    parts = [None if path is None else read_frames(path, structure) for path in paths]
    if not len(sigma) or any(part is None or len(part) != len(sigma) for part in parts):
        return None
    noisy, denoised = (laid.motions[place](np.asarray(part, dtype=np.float64)) for part in parts)
    return sigma, noisy, denoised


def _packed_trajectory(
    place: int,
    sigma: NDArray[np.float64],
    noisy: NDArray[np.float64],
    denoised: NDArray[np.float64],
    kept: Sequence[int] | NDArray[np.int64],
    unit: str,
) -> dict[str, Any]:
    """Noisy frames are drawn closer by sd / sqrt(sd^2 + sigma^2), as the network sees them (Karras et al. 2022)."""
    sd = max(float(denoised[-1].std()), 0.5)
    shrink = sd / np.sqrt(sd**2 + sigma**2)
    return {
        "sample": place,
        "step": [int(frame) + 1 for frame in kept],
        "unit": unit,
        "sigma": [round(float(value), 4) for value in sigma],
        "noisy": packed_positions(noisy * shrink[:, None, None]),
        "denoised": packed_positions(denoised),
    }
