"""Fully sharded training (FSDP): weights, gradients, running mean and optimiser state divided among all processes.

By torch's `fully_shard` inside Lightning's `ModelParallelStrategy`. Each block of the transformers is gathered when it
is needed, everything else once a step. Checkpoints are whole, one file, the same as of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, final

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as sharded
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from frazil.errors import InputError
from frazil.nn.attention import DiffusionTransformerLayer
from frazil.nn.trunk import TrunkBlock

BLOCKS = (DiffusionTransformerLayer, TrunkBlock)


@final
class FullyShardedStrategy(ModelParallelStrategy):
    """FSDP over all processes of a run, of accelerators or of processors.

    Parameters
    ----------
    num_processes : int
        Of the whole run.
    timeout : timedelta
        Longest wait of one process for another.

    Raises
    ------
    InputError
        If this torch is too old.
    """

    def __init__(self, num_processes: int, timeout: timedelta) -> None:
        if not hasattr(torch.distributed.fsdp, "fully_shard"):
            raise InputError(f"--strategy fsdp needs torch 2.6 or later, this is {torch.__version__}: give ddp")
        super().__init__(
            data_parallel_size=num_processes, tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=timeout
        )

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state of the optimiser, parameters by number as one process has it; empty but for the first."""
        assert self.model is not None
        options = sharded.StateDictOptions(full_state_dict=True, cpu_offload=True)
        state: dict[str, Any] = sharded.get_optimizer_state_dict(self.model, optimizer, options=options)
        names = [name for group in state.get("param_groups", ()) for name in group["params"]]
        return _renamed(state, {name: number for number, name in enumerate(names)}) if state else {}

    def load_checkpoint(
        self, checkpoint_path: str | os.PathLike[str], weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a whole checkpoint; each process takes its part of weights and optimiser state."""
        checkpoint = self.checkpoint_io.load_checkpoint(Path(checkpoint_path))
        assert self.model is not None
        options = sharded.StateDictOptions(full_state_dict=True)
        sharded.set_model_state_dict(self.model, checkpoint["state_dict"], options=options)
        # there is no state yet of an optimiser that has skipped every step
        options = sharded.StateDictOptions(full_state_dict=True, strict=False)
        known = {parameter: name for name, parameter in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            ordered = (known[parameter] for group in optimizer.param_groups for parameter in group["params"])
            by_name = _renamed(state, dict(enumerate(ordered)))
            sharded.set_optimizer_state_dict(self.model, optimizer, optim_state_dict=by_name, options=options)
        return checkpoint


def _renamed(state: Mapping[str, Any], names: Mapping[Any, Any]) -> dict[str, Any]:
    """An optimiser's state with other names for its parameters."""
    groups = [{**group, "params": [names[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {names[name]: values for name, values in state["state"].items()}, "param_groups": groups}


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Divide the parameters of a model, in place; its `forward` gathers them.

    Parameters
    ----------
    model : nn.Module
        A `StructureModel`.
    mesh : DeviceMesh
        The processes, in one dimension.
    """
    from torch.distributed.fsdp import fully_shard

    for module in model.modules():
        if isinstance(module, BLOCKS):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which this process may hold a part only; then all processes call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Iterable[tuple[str, Tensor]], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors by name, parts gathered on the CPU one after the other; all processes call this together.

    Parameters
    ----------
    tensors : iterable of (name, Tensor)
        Whole or in parts.
    keep : bool
        Whether this process wants them; for others the result is empty.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors:
        made = whole(tensor.detach())
        if keep:
            kept[name] = made.cpu() if isinstance(tensor, DTensor) else made
    return kept


def divided_like(tensor: Tensor, example: Tensor) -> Tensor:
    """A whole tensor in the parts of another; whole where that is."""
    if not isinstance(example, DTensor):
        return tensor
    return distribute_tensor(tensor.to(example.device), example.device_mesh, example.placements)
