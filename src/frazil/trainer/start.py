"""Where the weights of a run begin: at random, or at those of a model that is trained already."""

from __future__ import annotations

from pathlib import Path

import torch

from frazil.checkpoint import load_model, read_record
from frazil.denoiser import StructureModel
from frazil.errors import InputError
from frazil.sampler import stable_seed
from frazil.trainer.settings import TrainSettings, model_difference


def starting_settings(init: Path | None) -> TrainSettings:
    """The settings of a new run of which nothing is said: the defaults, with the model whose weights it starts from.

    Parameters
    ----------
    init : Path or None
        RUN folder or file of weights; None for random ones.

    Raises
    ------
    InputError
        If it holds no model.
    """
    return TrainSettings() if init is None else TrainSettings(model=read_record(init).config)


def refuse_start(init: Path, settings: TrainSettings, resume: bool) -> None:
    """Refuse weights that a run cannot start from, before anything is read or made.

    Raises
    ------
    InputError
        If the run is to be resumed, or the weights are missing, of another model, or of one without a trunk.
    """
    if resume:
        raise InputError(f"--init {init}: a resumed run goes on with its own weights; leave out --init or --resume")
    config = read_record(init).config
    if config.trunk is None:
        raise InputError(f"--init {init}: has no trunk to read structures with; give a model of `frazil train`")
    difference = model_difference(config, settings.model)
    if difference:
        raise InputError(
            f"--init {init}: holds another model: {difference}; leave out --preset and [model] to take its own"
        )


def first_model(settings: TrainSettings, init: Path | None = None) -> StructureModel:
    """The model of step 0; the global generator is left as it was.

    Parameters
    ----------
    settings : TrainSettings
        Sizes, and the seed, on which random weights depend alone.
    init : Path, optional
        RUN folder or file of weights to take instead.

    Raises
    ------
    InputError
        If the weights cannot be used.
    """
    if init is not None:
        return load_model(init)[0].train()
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(stable_seed(settings.seed, "weights"))
        return StructureModel(settings.model)
