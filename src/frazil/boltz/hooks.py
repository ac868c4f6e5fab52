"""Where Boltz-2's own command is entered while it runs; afterwards all is as it was."""

from __future__ import annotations

import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from frazil.errors import FrazilError, InputError

LONGEST: Final = 300
"""Characters of somebody else's message."""
_ABSENT: Final = object()


class Guest(Protocol):
    """What is told of a run of Boltz's command."""

    def loaded(self, model: nn.Module) -> None:
        """A model has been read from its checkpoint."""
        ...

    def skipped(self, names: list[str]) -> None:
        """Boltz has given up inputs, for want of memory."""
        ...

    def predicted(self, made: Made) -> None:
        """A batch is about to be written."""
        ...

    def written(self, made: Made) -> None:
        """A batch has been written."""
        ...


@dataclass(frozen=True, eq=False)
class Made:
    """A batch of inputs as Boltz's writer gets it."""

    writer: Any
    """Boltz's `BoltzWriter`."""
    model: Any
    """The `Boltz2` that predicted."""
    prediction: Mapping[str, Any]
    """What its `predict_step` gave: `coords` [B * S, A, 3], `masks` [B, A], perhaps `confidence_score` [B * S]."""
    batch: Mapping[str, Any]
    """Boltz-2's features, and `record`, a list of B records."""

    @property
    def names(self) -> list[str]:
        """[B] names of the inputs."""
        return [record.id for record in self.batch["record"]]

    @property
    def num_samples(self) -> int:
        """S."""
        return int(self.prediction["coords"].shape[0]) // len(self.names)

    def coords(self, index: int) -> Tensor:
        """[S, A, 3] samples of one input, angstrom."""
        return self.prediction["coords"][self._rows(index)].detach()

    def confidence(self, index: int) -> Tensor | None:
        """[S] confidence scores of one input; None for a model that gives none."""
        scores = self.prediction.get("confidence_score")
        return None if scores is None else scores[self._rows(index)]

    def feats(self, index: int) -> Mapping[str, Tensor]:
        """The features of one input, with a batch axis of length 1."""
        return _Row(self.batch, index)

    def ranks(self, index: int) -> list[int]:
        """[S] number that Boltz gives each sample of one input in its file names: 0 for the highest confidence."""
        confidence = self.confidence(index)
        if confidence is None:
            return list(range(self.num_samples))
        # the very call of Boltz's writer, which decides where NaN and equal numbers go
        order = torch.argsort(confidence, descending=True).tolist()
        return [order.index(sample) for sample in range(self.num_samples)]

    def mmcif(self, index: int) -> str:
        """The text of an mmCIF file by Boltz's own writer, whatever format it writes for the user."""
        name = self.names[index]
        one = {
            "exception": False,
            "coords": torch.nan_to_num(self.coords(index)[:1]),
            "masks": self.prediction["masks"][index : index + 1],
        }
        with TemporaryDirectory() as folder:
            writer = type(self.writer)(data_dir=self.writer.data_dir, output_dir=folder, boltz2=True)
            _plain(type(self.writer).write_on_batch_end)(
                writer, None, self.model, one, [0], {"record": [self.batch["record"][index]]}, 0, 0
            )
            return (Path(folder) / name / f"{name}_model_0.cif").read_text(encoding="utf-8")

    def _rows(self, index: int) -> slice:
        return slice(index * self.num_samples, (index + 1) * self.num_samples)


class _Row(Mapping[str, Tensor]):
    """One structure of a batch, on the CPU; only what is read is moved."""

    def __init__(self, batch: Mapping[str, Any], index: int) -> None:
        self._tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        self._index = index

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name][self._index : self._index + 1].cpu()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


@contextmanager
def entered(guest: Guest) -> Iterator[None]:
    """Tell `guest` of every model that Boltz loads and of every batch that it writes, inside."""
    import boltz.main
    from boltz.data.module.inferencev2 import PredictionDataset
    from boltz.data.write.writer import BoltzWriter
    from boltz.model.models.boltz2 import Boltz2

    hooks = (
        (Boltz2, "load_from_checkpoint", staticmethod(_loading(Boltz2.load_from_checkpoint, guest))),
        (BoltzWriter, "write_on_batch_end", _writing(BoltzWriter.write_on_batch_end, guest)),
        (_read_input, "__wrapped__", boltz.main.process_input),
        (boltz.main, "process_input", _read_input),
        (PredictionDataset, "__getitem__", _preparing(PredictionDataset.__getitem__)),
        # boltz 2.2 prints the trace of an error in an input, and then its message
        (traceback, "print_exc", lambda *where, **how: None),
    )
    with ExitStack() as stack:
        stack.enter_context(_process_kept())
        for owner, name, hook in hooks:
            stack.enter_context(_replaced(owner, name, hook))
        yield


def _loading(load: Callable[..., nn.Module], guest: Guest) -> Callable[..., nn.Module]:
    def load_from_checkpoint(checkpoint_path: Any, *arguments: Any, **named: Any) -> nn.Module:
        try:
            model = load(checkpoint_path, *arguments, **named)
        except Exception as error:
            raise InputError(f"{checkpoint_path}: boltz cannot load this checkpoint: {brief(error)}") from error
        guest.loaded(model)
        return model

    return load_from_checkpoint


def _writing(write: Callable[..., None], guest: Guest) -> Callable[..., None]:
    def write_on_batch_end(
        self: Any, trainer: Any, module: Any, prediction: Mapping[str, Any], indices: Any, batch: Any, *more: Any
    ) -> None:
        made = Made(self, module, prediction, batch)
        if prediction["exception"]:
            write(self, trainer, module, prediction, indices, batch, *more)
            guest.skipped(made.names)
            return
        guest.predicted(made)
        write(self, trainer, module, prediction, indices, batch, *more)
        guest.written(made)

    write_on_batch_end.__wrapped__ = write  # type: ignore[attr-defined]
    return write_on_batch_end


def _read_input(path: Path, *arguments: Any, **named: Any) -> Any:
    """Boltz's `process_input`, with the file's name in its errors; may run in a process of its own, started anyhow."""
    import boltz.main

    read = getattr(boltz.main.process_input, "__wrapped__", boltz.main.process_input)
    try:
        return read(path, *arguments, **named)
    except Exception as error:
        raise InputError(f"{path}: boltz refuses it: {brief(error)}") from error


def _preparing(read: Callable[..., Any]) -> Callable[..., Any]:
    reading: set[int] = set()

    def __getitem__(self: Any, index: int) -> Any:
        name = self.manifest.records[index].id
        if index in reading:
            # boltz 2.2 takes the first input for one that fails, without end if that is the one
            raise InputError(f"{name}: boltz cannot prepare it, its line above says why")
        reading.add(index)
        try:
            return read(self, index)
        except FrazilError:
            raise
        except Exception as error:
            raise InputError(f"{name}: boltz cannot prepare it: {brief(error)}") from error
        finally:
            reading.discard(index)

    return __getitem__


def brief(error: BaseException) -> str:
    """What an error says, on one line and not without end; of one from another process, without its traceback."""
    text = str(error).strip()
    if text.startswith("Caught ") and " DataLoader worker " in text:
        text = text.splitlines()[-1].partition(": ")[2]
    text = " ".join(text.split())
    if isinstance(error, KeyError) or not text:
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _plain(function: Callable[..., None]) -> Callable[..., None]:
    return getattr(function, "__wrapped__", function)


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = vars(owner).get(name, _ABSENT)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


@contextmanager
def _process_kept() -> Iterator[None]:
    """What Boltz's command changes for the whole process is undone: above all a torch.load that runs pickles."""
    load, grad, products = torch.load, torch.is_grad_enabled(), torch.get_float32_matmul_precision()
    # Lightning ignores further interrupts after the first one
    interrupt = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    try:
        with warnings.catch_warnings():
            yield
    finally:
        torch.load = load
        torch.set_grad_enabled(grad)
        torch.set_float32_matmul_precision(products)
        if interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)
