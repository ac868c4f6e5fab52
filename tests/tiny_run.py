"""A training run that takes a second: an ensemble of a four-residue peptide and a network of a few thousand weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from frazil.data import read
from frazil.data.write import write_cif
from frazil.denoiser import ModelConfig
from frazil.nn.config import NetworkConfig, TrunkConfig
from frazil.trainer import TrainSettings, train

TINY = ModelConfig(
    network=NetworkConfig(
        token_s=16, token_z=8, atom_s=16, atom_z=4, dim_fourier=8, atom_encoder_depth=1, atom_encoder_heads=2,
        token_transformer_depth=1, token_transformer_heads=2, atom_decoder_depth=1, atom_decoder_heads=2,
        conditioning_transition_layers=1,
    ),
    trunk=TrunkConfig(depth=1, heads=2, atom_s=16),
)  # fmt: skip


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch has one thread in the block, as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def write_ensemble(folder: Path, sequence: str = "AGSV", models: int = 2) -> Path:
    """An mmCIF file of a made-up peptide, written without any coordinates of the PDB."""
    fasta = folder / f"{sequence}.fasta"
    fasta.write_text(f">A|protein\n{sequence}\n")
    structure = read(fasta)
    stretched = structure.ref_pos + 3.8 * structure.residue_index[:, None] * np.array([1.0, 0.0, 0.0])
    shaken = [stretched + np.random.default_rng(i).normal(size=stretched.shape) * 0.2 for i in range(models)]
    path = folder / f"{sequence}.cif"
    write_cif(path, structure, np.stack(shaken).astype(np.float32))
    fasta.unlink()
    return path


def tiny_settings(**changes: Any) -> TrainSettings:
    """Settings of a second-long run."""
    values: dict[str, Any] = {"model": TINY, "copies": 2, "max_steps": 12, "warmup_steps": 3, "val_samples": 2}
    return TrainSettings(**(values | {"val_steps": 2} | changes))


def run_quietly(data: Path | list[Path], out: Path, settings: TrainSettings, **options: Any) -> Any:
    """`train` without a word on the terminal."""
    paths = data if isinstance(data, list) else [data]
    return train(paths, out, settings, console=Console(quiet=True), **options)


def loss_columns(out: Path) -> list[tuple[str, ...]]:
    """Step and every number of the log that training computes, as text; the wall time is left out."""
    rows = [line.split(",") for line in (out / "log.csv").read_text().splitlines()]
    return [(row[0], *row[2:]) for row in rows]
