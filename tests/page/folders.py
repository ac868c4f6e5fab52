"""Folders as `frazil sample` leaves them, made without a network: conformers by RDKit, models of an ensemble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from frazil.data import Structure, read
from frazil.data.write import write_cif, write_sdf

IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"
SIGMAS = tuple(float(x) for x in np.geomspace(80, 0.05, 8))


def ligand_folder(folder: Path, smiles: str = IBUPROFEN, samples: int = 5, **options: Any) -> Path:
    """Conformers of a small molecule: `samples.sdf`, `samples.json`, trajectories if asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    structure = read(smiles)
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, samples, randomSeed=7)
    heavy = len(structure.atoms)
    coords = np.stack([conformer.GetPositions()[:heavy] for conformer in mol.GetConformers()])
    turned = coords @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    write_sdf(folder / "samples.sdf", structure, turned)
    rows = [row | {"file": "samples.sdf", "record": row["sample"] + 1} for row in _rows(structure, smiles, samples)]
    return _finish(folder, structure, turned, rows, **options)


def polymer_folder(folder: Path, source: str | Path, samples: int = 4, **options: Any) -> Path:
    """Models of an ensemble: `sample_<k>.cif`, `samples.json`, trajectories if asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    structure = read(source)
    coords = structure.coords[:samples].astype(np.float64)
    rows = []
    for row in _rows(structure, str(source), len(coords)):
        name = f"sample_{row['sample']}.cif"
        write_cif(folder / name, structure, coords[row["sample"]])
        rows.append(row | {"file": name})
    return _finish(folder, structure, coords, rows, **options)


def _rows(structure: Structure, source: str, samples: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for sample in range(samples):
        broken = sample == samples - 1
        contact = {
            "kind": "contacts", "label": _pair(structure), "value": 6.2 if broken else 3.4, "lower": None, "upper": 4.0,
            "unit": "angstrom", "satisfied": not broken, "enforced": True,
        }  # fmt: skip
        rows.append(
            {
                "input": source, "name": structure.name, "sample": sample, "seed": 0, "sampler": "fast", "steps": 20,
                "precision": "float32", "finite": True, "rank": samples - sample, "chirality_errors": 0,
                "clashes": int(broken), "mean_lddt": round(0.95 - 0.04 * sample, 4),
                "energies": {"clashes": float(broken) * 2.5, "bonded_bounds": round(float(rng.gamma(2.0)), 4)},
                "restraints_satisfied": int(not broken), "restraints_total": 1, "stereo_violations": 0,
                "restraints": [contact], "physical": {},
            }
        )  # fmt: skip
    return rows


def _pair(structure: Structure) -> str:
    atoms = structure.atoms
    return ",".join(f"{atoms.chain_id[k]}:{atoms.res_id[k]}:{atoms.atom_name[k]}" for k in (0, len(atoms) - 1))


def _finish(
    folder: Path,
    structure: Structure,
    coords: NDArray[np.float64],
    rows: list[dict[str, Any]],
    trajectory: bool = False,
    lost: int = 0,
) -> Path:
    """`samples.json`, with `lost` samples that are not finite, and the trajectories."""
    for row, sample in zip(rows, coords if trajectory else (), strict=False):
        row["trajectory"] = _trajectory(folder, structure, sample, row["sample"])
    for extra in range(lost):
        asked = {key: rows[0][key] for key in ("input", "name", "seed", "sampler", "steps", "precision")}
        rows.append(asked | {"sample": len(coords) + extra, "finite": False, "file": None})
    (folder / "samples.json").write_text(json.dumps(rows))
    return folder


def _trajectory(folder: Path, structure: Structure, sample: NDArray[np.float64], number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    middle = sample.mean(axis=0)
    share = 1 / (1 + np.array(SIGMAS)[:, None, None] / 3)
    denoised = middle + share * (sample - middle)
    noisy = denoised + np.array(SIGMAS)[:, None, None] * rng.normal(size=denoised.shape)
    told: dict[str, Any] = {"sigma": list(SIGMAS)}
    for kind, frames in (("noisy", noisy), ("denoised", denoised)):
        told[kind] = f"trajectory_{number}_{kind}.cif"
        write_cif(folder / told[kind], structure, frames)
    return told
