"""A cache folder for `boltz predict` with a narrow Boltz-2 of random weights, made without a network or training.

    python tests/boltz/small_boltz.py FOLDER

The checkpoints are saved by Lightning from the package's own `Boltz2`, and hold omegaconf nodes as the published ones
do; the molecules are those of the Chemical Component Dictionary that biotite ships. Both package lines load them.
"""

from __future__ import annotations

import pickle
import sys
import tarfile
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

_AMINO_ACIDS = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL UNK"
_NUCLEOTIDES = "A G C U N DA DG DC DT DN"
_OTHERS = "MSE SEP TPO ATP MG NAG"
CODES = tuple(f"{_AMINO_ACIDS} {_NUCLEOTIDES} {_OTHERS}".split())
"""Boltz asks for every amino acid, the unknown one included; the rest is what the inputs of the tests name."""


def small_hyper_parameters(affinity: bool = False, **sizes: Any) -> dict[str, Any]:
    """Arguments of `Boltz2` as the published checkpoints have them, but narrow.

    Parameters
    ----------
    affinity
        Those of the affinity model, with two affinity heads as the published one has.
    **sizes
        `token_s`, `token_z`, `atom_s`, `atom_z` (the first a multiple of 16: `predict` insists on 16 heads) and any
        argument of the diffusion module, such as `token_transformer_depth`; the defaults are narrow.
    """
    widths = {name: sizes.pop(name, size) for name, size in _WIDTHS.items()}
    # the older line knows two kinds of layer and builds the other one unless `v2` is said
    stack = {"num_blocks": 1, "num_heads": 4, "dropout": 0.0, "activation_checkpointing": False, "v2": True}
    head = {
        "num_dist_bins": 64,
        "max_dist": 22,
        "pairformer_args": dict(stack),
        "transformer_args": {"token_s": 16, "num_blocks": 1, "num_heads": 2, "activation_checkpointing": False},
        "groups": {0: 1},
    }
    return {
        **widths,
        "num_bins": 64,
        "atom_feature_dim": 388,
        "alpha_pae": 1.0,
        "bond_type_feature": True,
        "fix_sym_check": True,
        "cyclic_pos_enc": True,
        "validate_structure": False,
        "confidence_prediction": True,
        "affinity_prediction": affinity,
        "affinity_ensemble": affinity,
        "affinity_mw_correction": True,
        "ema": True,
        "training_args": _training(),
        "validation_args": {"recycling_steps": 0, "sampling_steps": 5, "diffusion_samples": 1},
        "embedder_args": _EMBEDDER,
        "msa_args": _MSA,
        "pairformer_args": {**stack, "num_blocks": 64, "num_heads": 16},
        "score_model_args": {**_SCORE_MODEL, **sizes},
        "diffusion_process_args": _DIFFUSION,
        "diffusion_loss_args": {"add_smooth_lddt_loss": True, "nucleotide_loss_weight": 5.0, "ligand_loss_weight": 10},
        "confidence_model_args": {**_CONFIDENCE, "pairformer_args": dict(stack)},
        "affinity_model_args": dict(head) if affinity else None,
        "affinity_model_args1": dict(head) if affinity else None,
        "affinity_model_args2": dict(head) if affinity else None,
    }


_WIDTHS = {"token_s": 32, "token_z": 16, "atom_s": 16, "atom_z": 8}
_EMBEDDER = {
    "atom_encoder_depth": 1,
    "atom_encoder_heads": 2,
    "activation_checkpointing": False,
    "add_method_conditioning": True,
    "add_modified_flag": True,
    "add_cyclic_flag": True,
    "add_mol_type_feat": True,
}
_MSA = {"msa_s": 64, "msa_blocks": 4, "msa_dropout": 0.15, "z_dropout": 0.25, "use_paired_feature": True}
_SCORE_MODEL = {
    "sigma_data": 16,
    "dim_fourier": 24,
    "atom_encoder_depth": 2,
    "atom_encoder_heads": 2,
    "token_transformer_depth": 2,
    "token_transformer_heads": 4,
    "atom_decoder_depth": 2,
    "atom_decoder_heads": 2,
    "conditioning_transition_layers": 2,
    "activation_checkpointing": False,
}
_DIFFUSION = {
    "gamma_0": 0.8,
    "gamma_min": 1.0,
    "noise_scale": 1.003,
    "rho": 7,
    "step_scale": 1.5,
    "sigma_min": 0.0001,
    "sigma_max": 160.0,
    "sigma_data": 16.0,
    "P_mean": -1.2,
    "P_std": 1.5,
    "coordinate_augmentation": True,
    "alignment_reverse_diff": True,
    "synchronize_sigmas": True,
}
_CONFIDENCE = {
    "num_dist_bins": 64,
    "max_dist": 22,
    "add_s_to_z_prod": True,
    "add_s_input_to_s": True,
    "add_z_input_to_z": True,
    "confidence_args": {"num_plddt_bins": 50, "num_pde_bins": 64, "num_pae_bins": 64, "use_separate_heads": True},
}


def _training() -> dict[str, Any]:
    optimiser = {"adam_beta_1": 0.9, "adam_beta_2": 0.95, "adam_eps": 1e-8, "base_lr": 0.0, "max_lr": 0.0018}
    schedule = {"lr_scheduler": "af3", "lr_warmup_no_steps": 1000, "lr_start_decay_after_n_steps": 50000}
    sampling = {"recycling_steps": 3, "sampling_steps": 20, "sampling_steps_random": [20, 40], "diffusion_samples": 1}
    losses = {"confidence_loss_weight": 0.003, "diffusion_loss_weight": 4.0, "distogram_loss_weight": 0.03}
    decay = {"lr_decay_every_n_steps": 50000, "lr_decay_factor": 0.95, "weight_decay": 0.0}
    return {
        **optimiser,
        **schedule,
        **decay,
        **sampling,
        **losses,
        "diffusion_multiplicity": 16,
        "symmetry_correction": True,
    }


def small_boltz(*, seed: int = 0, affinity: bool = False, **sizes: Any) -> Any:
    """A `Boltz2` in evaluation mode with random weights, its settings in omegaconf nodes where they are nested."""
    from boltz.model.models.boltz2 import Boltz2
    from omegaconf import OmegaConf

    settings = small_hyper_parameters(affinity, **sizes)
    nested = {name: OmegaConf.create(value) for name, value in settings.items() if isinstance(value, dict)}
    model = Boltz2(**{**settings, **nested})
    randomise(model, seed)
    return model.eval()


def randomise(model: Any, seed: int) -> None:
    """Matrices N(0, 1/fan_in), biases 0.1 N(0, 1), norm scales 1 + 0.1 N(0, 1), each from a seed of its own."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode(), seed))
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))


def write_checkpoint(model: Any, path: Path) -> Path:
    """`path`, where Lightning has saved the model as its `ModelCheckpoint` does."""
    from pytorch_lightning import Trainer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
        trainer.strategy.connect(model)
        trainer.save_checkpoint(path, weights_only=True)
    return path


def write_cache(folder: Path, *, seed: int = 0, codes: Iterable[str] = CODES, **sizes: Any) -> Path:
    """`folder`, holding all that `boltz predict --cache` looks for: molecules, and both checkpoints."""
    write_molecules(folder, codes)
    for name, affinity in (("boltz2_conf.ckpt", False), ("boltz2_aff.ckpt", True)):
        write_checkpoint(small_boltz(seed=seed + affinity, affinity=affinity, **sizes), folder / name)
    return folder


def write_molecules(folder: Path, codes: Iterable[str] = CODES) -> Path:
    """`folder/mols` with one pickled molecule for each code, beside the (empty) archive they usually come in."""
    from rdkit import Chem

    Chem.SetDefaultPickleProperties(Chem.PropertyPickleOptions.AllProps)
    (folder / "mols").mkdir(parents=True, exist_ok=True)
    for code in codes:
        (folder / "mols" / f"{code}.pkl").write_bytes(pickle.dumps(molecule(code)))
    with tarfile.open(folder / "mols.tar", "w"):
        pass
    return folder / "mols"


def molecule(code: str) -> Any:
    """The component as Boltz keeps it: hydrogens, names, leaving atoms, ideal coordinates, stereo from those."""
    from biotite.structure.info import residue
    from biotite.structure.info.ccd import get_from_ccd
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    atoms = residue(code, allow_missing_coord=True)
    table = get_from_ccd("chem_comp_atom", code)
    leaving = dict(zip(table["atom_id"].as_array(), table["pdbx_leaving_atom_flag"].as_array() == "Y", strict=True))
    editable = Chem.RWMol()
    for atom in atoms:
        made = Chem.Atom(str(atom.element).capitalize())
        made.SetFormalCharge(int(atom.charge))
        made.SetNoImplicit(True)
        made.SetProp("name", str(atom.atom_name))
        made.SetBoolProp("leaving_atom", bool(leaving[atom.atom_name]))
        editable.AddAtom(made)
    for first, second, kind in atoms.bonds.as_array():
        editable.AddBond(int(first), int(second), _bond_type(int(kind)))
    conformer = Chem.Conformer(len(atoms))
    for index, position in enumerate(np.nan_to_num(atoms.coord)):
        conformer.SetAtomPosition(index, Point3D(*map(float, position)))
    conformer.SetProp("name", "Ideal")
    editable.AddConformer(conformer)
    made = editable.GetMol()
    Chem.SanitizeMol(made)
    Chem.AssignStereochemistryFrom3D(made)
    return made


def _bond_type(kind: int) -> Any:
    from biotite.structure import BondType
    from rdkit import Chem

    double = (BondType.DOUBLE, BondType.AROMATIC_DOUBLE)
    triple = (BondType.TRIPLE, BondType.AROMATIC_TRIPLE)
    order = "DOUBLE" if kind in double else "TRIPLE" if kind in triple else "SINGLE"
    return getattr(Chem.BondType, order)


if __name__ == "__main__":
    print(write_cache(Path(sys.argv[1])))
