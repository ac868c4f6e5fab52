"""`accelerate` and `restore`: ours in the place of the two diffusion modules of a Boltz-2, on its own parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

import torch
from torch import nn

from frazil.boltz.modules import BoltzDiffusionConditioning, BoltzStructureModule
from frazil.boltz.names import CONDITIONING_NAMES, SCORE_NAMES, matching_names
from frazil.boltz.sampling import SamplingSettings
from frazil.boltz.settings import HYPER_PARAMETERS, read_settings, read_sizes, score_model_of
from frazil.errors import InputError
from frazil.nn.compute import Compute

Model = TypeVar("Model", bound=nn.Module)
_PLACES: Final = ("structure_module", "diffusion_conditioning")


def accelerate(
    model: Model,
    *,
    parity: bool = True,
    precision: str = "float32",
    sampler: str = "reference",
    steps: int | None = None,
    steering: str | None = None,
) -> Model:
    """Put Frazil into a loaded Boltz-2, in place.

    Parameters stay the same objects under the same names and in the same order: no weight is copied, optimisers made
    before or after go on, and checkpoints and their averages fit a plain Boltz-2. Confidence, affinity and the trunk
    are not touched. A second call replaces the first one's settings.

    Parameters
    ----------
    model : Boltz2
        Of `boltz` 2.2 or `boltz-community` 2.12, for structure or affinity.
    parity : bool
        Draw from torch's global generator in the reference's order, so that the same seed gives the same structures.
        Otherwise every sample has a generator of its own, and padding does not count.
    precision : str
        Of the products in sampling: `float32`, `tf32` or `bf16`. Training is float32, as in Boltz-2.
    sampler : str
        A preset or a method of stepping by its name in `frazil.sampler`; `reference` for the model's own settings.
    steps : int, optional
        Sampling steps; by default what Boltz-2 asks for, or with another `sampler` the usual number of that.
    steering : str, optional
        Whose potentials act on the model's `steering_args`: `reference` or `ours`; by default the reference's with
        parity, else ours.

    Returns
    -------
    Boltz2
        The same model. `model.structure_module.last_sampling` tells what the last sampling did (`SamplingRecord`).

    Raises
    ------
    InputError
        If it is another model, such as Boltz-1, or of a version whose hyper-parameters are unknown, or a name is.

    Examples
    --------
    >>> from boltz.model.models.boltz2 import Boltz2                  # doctest: +SKIP
    >>> model = Boltz2.load_from_checkpoint("boltz2_conf.ckpt", weights_only=False)    # doctest: +SKIP
    >>> accelerate(model, precision="bf16", sampler="fast")           # doctest: +SKIP
    """
    settings = SamplingSettings(parity, Compute(precision), sampler, steps, steering)
    structure, conditioning = (getattr(restore(model), name, None) for name in _PLACES)
    if structure is None or conditioning is None:
        kind = type(model).__name__
        raise InputError(f"{kind} is not a model of Boltz-2; give a Boltz2 of boltz-community 2.12 or boltz 2.2")
    score = score_model_of(structure)
    sizes = read_sizes(score, conditioning)
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        sampling = BoltzStructureModule(sizes, read_settings(structure), settings)
        embedding = BoltzDiffusionConditioning(sizes, parity=parity)
    scoring = _links(sampling.score_model, score, SCORE_NAMES)
    conditioned = _links(embedding.network, conditioning, CONDITIONING_NAMES)
    model.structure_module = Inside(structure, sampling, scoring)
    model.diffusion_conditioning = Inside(conditioning, embedding, conditioned)
    return model


def restore(model: Model) -> Model:
    """Undo `accelerate`, in place: the very modules of before, with the weights, device and mode of now.

    Parameters
    ----------
    model : Boltz2
        Accelerated, or not: then nothing happens.

    Returns
    -------
    Boltz2
        The same model.

    Examples
    --------
    >>> restore(accelerate(model)) is model                           # doctest: +SKIP
    True
    """
    for name in _PLACES:
        module = getattr(model, name, None)
        if isinstance(module, Inside):
            setattr(model, name, module.given_back())
    return model


@dataclass(frozen=True, eq=False)
class Link:
    """A parameter of ours that has to be the reference's."""

    ours: nn.Module
    name: str
    theirs: nn.Module
    their_name: str


@final
class Inside(nn.Module):
    """Ours where a module of the reference was: what is registered is the reference's, what computes is ours.

    So names and order of parameters, and all that goes by them, are those of a plain Boltz-2. Attributes are those of
    ours, or else the reference's.
    """

    def __init__(self, original: nn.Module, ours: nn.Module, links: tuple[Link, ...]) -> None:
        super().__init__()
        for name, child in original.named_children():
            self.add_module(name, child)
        # torch does not look into tuples, and so does not register the same parameters under other names
        self._hidden = (original, ours)
        self._links = links
        self.training = original.training
        ours.train(self.training)

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """As the module that was here."""
        return self._linked()(*arguments, **named)

    def train(self, mode: bool = True) -> Inside:
        """See `nn.Module.train`."""
        super().train(mode)
        self._hidden[1].train(mode)
        return self

    def given_back(self) -> nn.Module:
        """The module that was here, on the device and in the mode of now."""
        original = self._hidden[0]
        original.training = self.training
        return original.to(next(self.parameters()).device)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # a copy that is being made is without attributes, and is asked for private ones
            if name.startswith("_") or "_hidden" not in self.__dict__:
                raise
        ours = self._linked()
        return getattr(ours if hasattr(ours, name) else self._hidden[0], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in HYPER_PARAMETERS["AtomDiffusion"]:
            raise InputError(f"{name} = {value!r} while accelerated: restore the model, set it, accelerate it again")
        super().__setattr__(name, value)

    def _linked(self) -> nn.Module:
        """Ours, on the parameters as they are now: some ways of loading and moving a model replace them."""
        for link in self._links:
            link.ours._parameters[link.name] = link.theirs._parameters[link.their_name]
        return self._hidden[1]


def _links(network: nn.Module, reference: nn.Module, patterns: Iterable[tuple[str, str]]) -> tuple[Link, ...]:
    """One for each parameter of our network, which has no other state."""
    matching = matching_names(network, reference.state_dict(), patterns)
    return tuple(Link(*_owner(network, ours), *_owner(reference, theirs)) for theirs, ours in matching.items())


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf
