"""The network F of EDM: scaled noisy coordinates and noise level to a coordinate update."""

from __future__ import annotations

from torch import Tensor, nn

from frazil.nn.atoms import AtomAttentionDecoder, AtomAttentionEncoder
from frazil.nn.attention import DiffusionTransformer, WholeSequence, run_checkpointed
from frazil.nn.conditioning import Conditioning, SingleConditioning
from frazil.nn.config import NetworkConfig
from frazil.nn.primitives import residual_linear


class ScoreNetwork(nn.Module):
    """Atom encoder, token transformer, atom decoder (AlphaFold 3, Algorithm 20).

    Parameters
    ----------
    config : NetworkConfig
        Sizes and options.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dim = 2 * config.token_s
        self.activation_checkpointing = config.activation_checkpointing
        self.layout = WholeSequence()
        self.single = SingleConditioning(config)
        self.encoder = AtomAttentionEncoder(config)
        self.single_norm = nn.LayerNorm(dim)
        self.single_to_token = residual_linear(dim, dim)
        self.transformer = DiffusionTransformer(
            config.token_transformer_depth, dim, dim, config.token_transformer_heads,
            activation_checkpointing=config.activation_checkpointing,
        )  # fmt: skip
        self.token_norm = nn.LayerNorm(dim)
        self.decoder = AtomAttentionDecoder(config)

    def forward(self, r: Tensor, c_noise: Tensor, conditioning: Conditioning) -> Tensor:
        """One call.

        Parameters
        ----------
        r : Tensor
            [B, S, A, 3] float32, noisy coordinates scaled to unit variance.
        c_noise : Tensor
            [B, S] noise-level signal, or [B, 1] where the samples share it.
        conditioning : Conditioning
            Made once per input.

        Returns
        -------
        Tensor
            [B, S, A, 3] update, of unit variance in training.
        """
        where = (conditioning.atom_token_index, conditioning.atom_mask)
        s = self._single(c_noise, conditioning)
        a, q = self.encoder(
            r, conditioning.atom_q, conditioning.atom_c, conditioning.atom_encoder_bias,
            conditioning.atom_key_bias, *where, conditioning.num_tokens,
        )  # fmt: skip
        a = a + self.single_to_token(self.single_norm(s))
        a = self.transformer(a, s, conditioning.token_bias, conditioning.token_key_bias, self.layout)
        return self.decoder(
            self.token_norm(a), q, conditioning.atom_c, conditioning.atom_decoder_bias,
            conditioning.atom_key_bias, *where,
        )  # fmt: skip

    def _single(self, c_noise: Tensor, conditioning: Conditioning) -> Tensor:
        inputs = (c_noise, conditioning.s_trunk, conditioning.s_inputs)
        if self.activation_checkpointing and self.training:
            return run_checkpointed(self.single, *inputs)
        return self.single(*inputs)
