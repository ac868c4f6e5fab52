"""A small model of the kind that draws ligands, with random weights: enough for all that is not quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from frazil.checkpoint import MODEL_FILE, RunRecord, save_model
from frazil.denoiser import ModelConfig
from frazil.nn.config import TrunkConfig
from frazil.predictor import PredictSettings
from random_model import TINY, random_model

LIGAND_TINY = ModelConfig(
    network=replace(TINY.network, atoms_per_window_queries=16, atoms_per_window_keys=48),
    trunk=TrunkConfig(depth=1, heads=2, atom_s=8, molecule_graph=True),
    sigma_data=3.0,
    coordinate_augmentation=False,
    reference_frame=True,
)
QUICK = PredictSettings(num_samples=2, sampler="fast", steps=3)


def ligand_checkpoint(folder: Path) -> Path:
    """A RUN folder with the model."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / MODEL_FILE, random_model(LIGAND_TINY), RunRecord(config=LIGAND_TINY))
    return folder
