"""What is measured: a network, trained or random, and inputs of any size for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from frazil import chemistry
from frazil.checkpoint import load_model
from frazil.denoiser import Denoiser, ModelConfig
from frazil.features import Features
from frazil.nn.conditioning import Conditioning, DiffusionConditioning, TrunkOutput
from frazil.nn.config import NetworkConfig
from frazil.nn.score import ScoreNetwork
from frazil.noise import Preconditioning

ATOMS_PER_TOKEN = 8
"""About that of a protein residue."""
COORDS_RMS = 15.0
"""Angstrom from the centre: a small protein."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to measure."""

    name: str
    """For tables."""
    network: NetworkConfig
    """Sizes."""
    denoiser: Denoiser
    """The network under its scalings."""
    conditioner: DiffusionConditioning
    """Makes what the denoiser is bound to."""

    @property
    def num_parameters(self) -> int:
        """Of the denoiser."""
        return sum(parameter.numel() for parameter in self.denoiser.parameters())


def random_subject(name: str, config: ModelConfig, device: torch.device) -> Subject:
    """A network of random weights: matrices of N(0, 1 / inputs), norms and biases of N(0, 0.1) about their start."""
    with torch.device("meta"):
        denoiser = Denoiser(ScoreNetwork(config.network), Preconditioning(config.sigma_data))
        conditioner = DiffusionConditioning(config.network)
    generator = torch.Generator(device).manual_seed(0)
    for module in (denoiser, conditioner):
        module.to_empty(device=device).eval().requires_grad_(False)
        _fill(module, generator)
    return Subject(name, config.network, denoiser, conditioner)


def trained_subject(run: str | Path, device: torch.device) -> Subject:
    """The network of a run.

    Raises
    ------
    InputError
        If there is no such run, or its file cannot be used.
    """
    model, record = load_model(run)
    model = model.to(device).requires_grad_(False)
    return Subject(Path(run).name, record.config.network, model.denoiser, model.conditioner)


def random_conditioning(subject: Subject, tokens: int, atoms_per_token: int = ATOMS_PER_TOKEN) -> Conditioning:
    """What the denoiser is bound to, for a made-up structure and random representations of it.

    Parameters
    ----------
    subject : Subject
        Whose conditioner runs.
    tokens, atoms_per_token : int
        Size; the atoms are padded to whole windows.
    """
    device = next(subject.denoiser.parameters()).device
    features = _features(tokens, atoms_per_token).pad_to_multiple(subject.network.atoms_per_window_queries).to(device)
    generator = torch.Generator(device).manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    single, pair = subject.network.token_s, subject.network.token_z
    trunk = TrunkOutput(
        s_inputs=draw(1, tokens, single),
        s=draw(1, tokens, single),
        z=draw(1, tokens, tokens, pair),
        relative_positions=draw(1, tokens, tokens, pair),
    )
    made: Conditioning = subject.conditioner(features, trunk)
    return made


def random_coords(conditioning: Conditioning, samples: int) -> Tensor:
    """[1, S, A, 3] coordinates of `COORDS_RMS`."""
    mask = conditioning.atom_mask
    generator = torch.Generator(mask.device).manual_seed(2)
    shape = (1, samples, mask.shape[1], 3)
    return COORDS_RMS / math.sqrt(3) * torch.randn(shape, generator=generator, device=mask.device)


def _fill(module: nn.Module, generator: torch.Generator) -> None:
    norms = {id(m.weight) for m in module.modules() if isinstance(m, nn.LayerNorm) and m.weight is not None}
    for parameter in module.parameters():
        if parameter.dim() == 2:
            parameter.normal_(std=parameter.shape[1] ** -0.5, generator=generator)
        else:
            parameter.normal_(mean=float(id(parameter) in norms), std=0.1, generator=generator)


def _features(tokens: int, atoms_per_token: int) -> Features:
    """One chain of residues of equal size; every class is its first."""
    token = torch.arange(tokens)[None]
    per_token, alone = torch.zeros_like(token), torch.zeros(1, dtype=torch.int64)
    atom_token = token.repeat_interleave(atoms_per_token, dim=1)
    per_atom, present = torch.zeros_like(atom_token), torch.ones_like(atom_token, dtype=torch.bool)
    generator = torch.Generator().manual_seed(3)
    return Features(
        token_mask=torch.ones_like(token, dtype=torch.bool),
        token_index=token,
        residue_index=token,
        asym_id=per_token,
        entity_id=per_token,
        sym_id=per_token,
        mol_type=per_token + chemistry.PROTEIN,
        res_type=per_token,
        modified=per_token.bool(),
        cyclic_period=per_token,
        representative_atom_index=token * atoms_per_token,
        token_bonds=torch.full((1, 0, 2), -1),
        token_bond_type=per_token[:, :0],
        atom_mask=present,
        atom_token_index=atom_token,
        ref_pos=2 * torch.randn((*atom_token.shape, 3), generator=generator),
        ref_element=per_atom + 6,
        ref_charge=per_atom.float(),
        ref_atom_name_chars=per_atom[..., None].expand(-1, -1, chemistry.NAME_LENGTH),
        ref_space_uid=atom_token,
        ref_chirality=per_atom,
        backbone_index=per_atom,
        plddt=100.0 * present,
        coords=torch.zeros((1, 1, *atom_token.shape[1:], 3)),
        resolved_mask=present[:, None],
        ensemble_size=alone + 1,
    )
