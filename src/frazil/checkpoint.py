"""Trained models on disk: safetensors for the weights, JSON in its header for the rest; and their running mean.

A RUN folder holds `model.safetensors` (the averaged weights, the network's sizes and the record of the run), which is
all that sampling needs. Nothing here is ever pickled, so opening a file from a stranger runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from frazil import chemistry
from frazil._version import __version__
from frazil.atomic import atomic
from frazil.denoiser import ModelConfig, StructureModel
from frazil.errors import InputError

FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"
HEADER_KEY = "frazil"
"""Key of our JSON in the header of a safetensors file."""


@dataclass(frozen=True)
class RunRecord:
    """What a file of weights remembers of the run that made it."""

    config: ModelConfig
    """Sizes of the network, sigma_data among them."""
    entities: tuple[str, ...] = ()
    """Distinct chains and ligands seen in training, `entity_name` of each, sorted; empty where nothing tells."""
    structures: int = 0
    """Structures trained on."""
    steps: int = 0
    """Optimiser steps, skipped ones included."""
    skipped: int = 0
    """Steps left out because loss or gradient was not finite."""
    seed: int = 0
    """Seed of the run."""
    seconds: float = 0.0
    """Wall time spent in training, in seconds."""
    frazil_version: str = __version__
    """Version that wrote the file."""
    format_version: int = FORMAT_VERSION
    """Version of the layout of the file."""


def entity_name(mol_type: int, sequence: Sequence[str], label: str | None = None) -> str:
    """Name of a chain's entity, equal for chains of equal chemistry.

    Parameters
    ----------
    mol_type : int
        `chemistry.PROTEIN`, `DNA`, `RNA` or `NONPOLYMER`.
    sequence : sequence of str
        Residue names (chemical component codes).
    label : str or None
        SMILES of a molecule without a code; stands in for the residue names.

    Examples
    --------
    >>> entity_name(chemistry.PROTEIN, ("GLU", "CYS"))
    'protein:GLU-CYS'
    >>> entity_name(chemistry.NONPOLYMER, ("LIG",), "CCO")
    'nonpolymer:CCO'
    """
    return f"{chemistry.MOLECULE_TYPES[mol_type]}:{label or '-'.join(sequence)}"


def entities_of(chains: Iterable[tuple[int, Sequence[str], str | None]]) -> tuple[str, ...]:
    """Distinct entity names of (mol_type, sequence, label) triples, sorted."""
    return tuple(sorted({entity_name(*chain) for chain in chains}))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Any) -> None:
    """Write tensors and a JSON-able header as one safetensors file, atomically.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        # safetensors refuses tensors that share memory
        shared = tensor.untyped_storage().data_ptr() in seen
        plain[name] = tensor.clone() if shared else tensor
        seen.add(plain[name].untyped_storage().data_ptr())
    with atomic(Path(path)) as part:
        part.touch()
        mode = part.stat().st_mode
        try:
            save_file(plain, part, metadata={HEADER_KEY: json.dumps(header)})
        except SafetensorError as error:
            raise OSError(str(error)) from error
        # safetensors makes files private
        part.chmod(mode)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `save_tensors` wrote.

    Raises
    ------
    InputError
        If the file is missing, truncated, not safetensors, or not made by frazil.
    """
    with _opened(path) as (file, header):
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 (not a mapping)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A safetensors file and our JSON in its header; no tensor is read, and what fails in the block is one line."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if HEADER_KEY not in metadata:
                raise InputError(f"{path}: safetensors, but not written by frazil (its header holds no run record)")
            yield file, json.loads(metadata[HEADER_KEY])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: truncated, or not a frazil checkpoint ({reason}); use the file of another run"
        ) from error


def save_model(
    path: Path, model: StructureModel, record: RunRecord, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write a model and the record of its run, atomically.

    Parameters
    ----------
    path : Path
        File to write, usually RUN/model.safetensors.
    model : StructureModel
        Gives names and weights.
    record : RunRecord
        Record of the run; its `config` must be the model's.
    weights : mapping of str to Tensor, optional
        Replaces the weights of that name, for instance with their running mean.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    save_tensors(path, {**model.state_dict(), **(weights or {})}, asdict(record))


def compact_model(run: str | Path, out: str | Path) -> Path:
    """Write a trained model at half the size: its trained matrices in bfloat16, all else as it is.

    Parameters
    ----------
    run : str or Path
        RUN folder of `frazil train`, or its file of weights.
    out : str or Path
        File to write; `load_model` reads it as any other.

    Raises
    ------
    InputError
        If the model cannot be read or the file not be written.
    """
    model, record = load_model(run)
    matrices = {name for name, weight in model.named_parameters() if weight.requires_grad and weight.dim() > 1}
    tensors = {n: t.to(torch.bfloat16) if n in matrices else t for n, t in model.state_dict().items()}
    save_tensors(Path(out), tensors, asdict(record))
    return Path(out)


def builtin_model() -> Path:
    """The weights that come with the package: conformers of ligands; see docs/ligand-model.md."""
    return Path(str(resources.files("frazil") / "assets" / "ligand.safetensors"))


def read_record(path: str | Path) -> RunRecord:
    """The record alone of a RUN folder or of a file of weights; the weights are not read.

    Raises
    ------
    InputError
        If there is no such run, or the file is truncated, foreign, or holds a record that cannot be right.
    """
    file = _model_file(Path(path))
    with _opened(file) as (_, header):
        return _record_from(header, file)


def load_model(path: str | Path) -> tuple[StructureModel, RunRecord]:
    """The model of a RUN folder or of a file of weights, in evaluation mode on the CPU, and the record of its run.

    Raises
    ------
    InputError
        If there is no such run, or the file is truncated, foreign, holds NaN or does not fit its own configuration.
    """
    file = _model_file(Path(path))
    tensors, header = load_tensors(file)
    record = _record_from(header, file)
    # a compact file; computing is another choice than storing
    tensors = {name: t.float() if t.dtype == torch.bfloat16 else t for name, t in tensors.items()}
    try:
        with torch.random.fork_rng(devices=[]):
            model = StructureModel(record.config)
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError, MemoryError) as error:
        raise InputError(f"{file}: its configuration gives no network ({_first_line(error)})") from error
    difference = _difference(model.state_dict(), tensors)
    if difference:
        raise InputError(f"{file}: the weights do not fit the configuration: {difference}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{file}: the weight {name} holds NaN or infinity; use an earlier checkpoint")
    model.load_state_dict(tensors)
    return model.eval(), record


def _model_file(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such run folder or checkpoint file")
    if not path.is_dir():
        return path
    file = path / MODEL_FILE
    if not file.is_file():
        raise InputError(f"{path}: holds no {MODEL_FILE}; give the folder that `frazil train --out` made")
    return file


def _record_from(header: Any, file: Path) -> RunRecord:
    if not isinstance(header, dict) or not isinstance(header.get("config"), dict):
        hint = "; a conditioning file is an input" if isinstance(header, dict) and "cif" in header else ""
        raise InputError(f"{file}: not a model of frazil (its header holds no configuration){hint}")
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(f"{file}: written in format {version!r}, this frazil reads {FORMAT_VERSION}; update frazil")
    known = {field.name for field in fields(RunRecord)}
    unknown = sorted(set(header) - known)
    if unknown:
        raise InputError(f"{file}: unknown key {unknown[0]!r} in its run record")
    try:
        config = ModelConfig.from_dict(header["config"])
        entities = tuple(str(name) for name in header.get("entities", ()))
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{file}: {_first_line(error)}") from error
    return RunRecord(**{**header, "config": config, "entities": entities})


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Readable difference of two sets of weights, empty if names, shapes and dtypes agree."""
    parts = []
    for kind, names in (("missing", set(expected) - set(found)), ("unknown", set(found) - set(expected))):
        if names:
            shown = ", ".join(sorted(names)[:3])
            parts.append(f"{len(names)} {kind} ({shown}{', ...' if len(names) > 3 else ''})")
    for name in sorted(set(expected) & set(found)):
        want, have = expected[name], found[name]
        if (want.shape, want.dtype) != (have.shape, have.dtype):
            parts.append(f"{name} is {list(have.shape)} {have.dtype}, not {list(want.shape)} {want.dtype}")
            break
    return "; ".join(parts)


class EMA:
    """Running mean of a model's parameters, updated once per optimiser step.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the random start is soon forgotten.

    Parameters
    ----------
    model : nn.Module
        Module whose trainable parameters are followed, in place.
    decay : float
        Decay per step once warm; 0 makes the mean the weights themselves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        followed = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.decay = decay
        self.updates = 0
        self._names = [name for name, _ in followed]
        self._parameters = [p for _, p in followed]
        self._mean = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Move the mean towards the present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._mean, [p.detach() for p in self._parameters], 1 - decay)
        self.updates += 1

    def weights(self) -> dict[str, Tensor]:
        """The mean by parameter name; the tensors are the live ones."""
        return dict(zip(self._names, self._mean, strict=True))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model carries the mean inside the block, and its own weights again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for parameter, index in zip(self._parameters, range(len(self._mean)), strict=True):
            parameter.data, self._mean[index] = self._mean[index], parameter.data

    def state(self) -> dict[str, Any]:
        """Plain state: the number of updates and the mean by name."""
        return {"updates": self.updates, "mean": self.weights()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave, bit for bit.

        Raises
        ------
        ValueError
            If the names differ from this model's.
        """
        if set(state["mean"]) != set(self._names):
            raise ValueError("the running mean belongs to another model")
        self.updates = int(state["updates"])
        for name, mean in zip(self._names, self._mean, strict=True):
            mean.copy_(state["mean"][name])
