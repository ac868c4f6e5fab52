"""What Boltz-2's trunk hands to its diffusion module, kept as it goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trunk:
    """The trunk's output for a batch of B inputs with N tokens, padding included."""

    s_inputs: Tensor
    """[B, N, token_s]."""
    s: Tensor
    """[B, N, token_s]."""
    z: Tensor
    """[B, N, N, token_z]."""
    relative_positions: Tensor
    """[B, N, N, token_z], encoded."""

    def one(self, index: int) -> Trunk:
        """That of one input, with a batch axis of length 1, in float32 on the CPU."""
        parts = (self.s_inputs, self.s, self.z, self.relative_positions)
        return Trunk(*(part[index : index + 1].detach().float().cpu() for part in parts))


class TrunkCapture:
    """Keeps the last `Trunk` that went through a model.

    Parameters
    ----------
    model : Boltz2
        Accelerated, for hooks are set on the modules that it has now.
    """

    def __init__(self, model: Any) -> None:
        self._s_inputs: Tensor | None = None
        self._last: Trunk | None = None
        model.input_embedder.register_forward_hook(self._embedded)
        model.diffusion_conditioning.register_forward_pre_hook(self._conditioned, with_kwargs=True)

    @property
    def last(self) -> Trunk:
        """Of the last prediction."""
        if self._last is None:
            raise RuntimeError("the model has not predicted yet")
        return self._last

    def _embedded(self, module: Any, given: Any, s_inputs: Tensor) -> None:
        self._s_inputs = s_inputs

    def _conditioned(self, module: Any, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        s, z, relative_positions = (
            named[name] if name in named else given[place]
            for place, name in enumerate(("s_trunk", "z_trunk", "relative_position_encoding"))
        )
        assert self._s_inputs is not None
        self._last = Trunk(self._s_inputs, s, z, relative_positions)
