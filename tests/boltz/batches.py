"""Real batches of Boltz's own featurizer for the inputs of `inputs`, and small Boltz-2 models to run on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from inputs import write_inputs
from small_boltz import randomise, small_hyper_parameters

Batch = dict[str, Any]
PREPARED = ("protein_ligand", "contact", "affinity")
"""Inputs of which the fixture `prepared` has batches."""
STEERING = {
    "fk_steering": False,
    "num_particles": 3,
    "fk_lambda": 4.0,
    "fk_resampling_interval": 3,
    "physical_guidance_update": False,
    "contact_guidance_update": True,
    "num_gd_steps": 20,
}
"""What `boltz predict` sets without options."""
POTENTIALS = STEERING | {"fk_steering": True, "physical_guidance_update": True}
"""What `boltz predict --use_potentials` sets."""
UNSTEERED = STEERING | {"contact_guidance_update": False}
"""Nothing that pushes: a force jumps at its bound, and now and then rounding decides on which side that is."""


def batches(folder: Path, molecules: Path, names: Iterable[str]) -> dict[str, Batch]:
    """Name of the input -> its batch, as `boltz predict` hands it to the model; `molecules` is the cache's `mols`."""
    from boltz.data.module.inferencev2 import Boltz2InferenceDataModule
    from boltz.data.types import Manifest
    from boltz.main import process_inputs

    out = folder / "out"
    process_inputs(
        data=sorted(write_inputs(folder / "inputs", names).iterdir()),
        out_dir=out,
        ccd_path=folder / "ccd.pkl",
        mol_dir=molecules,
        msa_server_url="",
        msa_pairing_strategy="greedy",
        boltz2=True,
    )
    done = out / "processed"
    module = Boltz2InferenceDataModule(
        manifest=Manifest.load(done / "manifest.json"),
        target_dir=done / "structures",
        msa_dir=done / "msa",
        mol_dir=molecules,
        num_workers=0,
        constraints_dir=done / "constraints",
        extra_mols_dir=done / "mols",
    )
    torch.manual_seed(0)  # the featurizer turns the reference conformers
    return {batch["record"][0].id: batch for batch in module.predict_dataloader()}


def small_model(*, seed: int = 0, affinity: bool = False, **changes: Any) -> Any:
    """A `Boltz2` of random weights with few blocks of the trunk only, ready for `predict_step`."""
    from boltz.model.models.boltz2 import Boltz2
    from omegaconf import OmegaConf

    settings = small_hyper_parameters(affinity)
    settings["pairformer_args"] = settings["pairformer_args"] | {"num_blocks": 1}
    settings["msa_args"] = settings["msa_args"] | {"msa_blocks": 1}
    settings["steering_args"] = dict(UNSTEERED)
    settings["predict_args"] = {
        "recycling_steps": 0,
        "sampling_steps": 10,
        "diffusion_samples": 2,
        "max_parallel_samples": None,
    }
    settings["training_args"] = OmegaConf.create(settings["training_args"] | {"diffusion_multiplicity": 3})
    for name, value in changes.items():
        settings[name] = settings[name] | value if isinstance(value, Mapping) else value
    model = Boltz2(**settings)
    randomise(model, seed)
    return model.eval()


def predict(model: Any, batch: Batch, *, seed: int = 3, **predict_args: Any) -> dict[str, Any]:
    """What `predict_step` gives after that global seed."""
    model.predict_args = model.predict_args | predict_args
    torch.manual_seed(seed)
    with torch.no_grad():
        return model.predict_step(dict(batch), 0)


def worst(theirs: dict[str, Any], ours: dict[str, Any], batch: Batch) -> float:
    """Largest deviation of an existing atom, angstrom."""
    present = batch["atom_pad_mask"].bool().repeat_interleave(len(ours["coords"]), 0)
    return float((theirs["coords"] - ours["coords"]).abs()[present].max())


def _leaves_autocast() -> bool:
    try:
        from boltz.model.modules import utils
    except ImportError:
        return False
    return hasattr(utils, "autocast_device_type")


keeps_float32 = pytest.mark.skipif(
    not _leaves_autocast(), reason="boltz 2.2.1 runs the diffusion module itself in bf16 on a CPU"
)
