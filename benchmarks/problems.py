"""What is computed: sizes of the network and of its input. Read by every program that takes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oracle import FULL, SMALL

NETWORKS: Final = {
    "full": FULL,
    "atoms": FULL | {"token_transformer_depth": 1},
    "small": SMALL,
}
"""Boltz-2's sizes; the same with hardly a token transformer; and one to try things out."""


@dataclass(frozen=True)
class Problem:
    """Some work on one structure."""

    kind: str
    """`denoise` (one call), `train` (conditioning, noise, forward, loss, backward), `sample` (the whole loop)."""
    tokens: int
    """N."""
    atoms_per_token: int = 8
    """A / N."""
    samples: int = 1
    """S: samples at once, or noised copies."""
    steps: int = 1
    """Of `sample`."""
    network: str = "full"
    """Key of `NETWORKS`."""

    @property
    def atoms(self) -> int:
        """A, padded to whole windows."""
        return -(-self.tokens * self.atoms_per_token // 32) * 32

    @property
    def name(self) -> str:
        """Short and unique: `denoise-256x8-5` is 256 tokens of 8 atoms, 5 samples."""
        network = "" if self.network == "full" else f"-{self.network}"
        steps = f"-{self.steps}steps" if self.kind == "sample" else ""
        return f"{self.kind}-{self.tokens}x{self.atoms_per_token}-{self.samples}{steps}{network}"

    @property
    def cost(self) -> float:
        """Work in token-samples, by which problems are sorted."""
        each = {"denoise": 1, "train": 3, "sample": self.steps}[self.kind]
        return each * self.tokens * self.samples * (1 + self.tokens / 2048 + self.atoms_per_token / 64)
