"""A small model with random weights, for tests that need no training."""

from __future__ import annotations

import torch

from frazil.denoiser import ModelConfig, StructureModel
from frazil.nn.config import NetworkConfig, TrunkConfig

TINY = ModelConfig(
    network=NetworkConfig(
        token_s=16, token_z=8, atom_s=16, atom_z=8, dim_fourier=16, token_transformer_depth=2,
        token_transformer_heads=2, atom_encoder_depth=1, atom_encoder_heads=2, atom_decoder_depth=1,
        atom_decoder_heads=2, conditioning_transition_layers=1,
    ),
    trunk=TrunkConfig(depth=1, heads=2, atom_s=8),
)  # fmt: skip


def random_model(config: ModelConfig = TINY, seed: int = 0) -> StructureModel:
    """A model whose zero-initialised layers are random too."""
    generator = torch.Generator().manual_seed(seed)
    model = StructureModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            fan = parameter.shape[-1] if parameter.dim() > 1 else 25
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
    return model
