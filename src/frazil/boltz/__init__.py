"""Boltz-2's diffusion module with Frazil inside: the same weights, call signatures and, with parity, results.

`accelerate` swaps the two modules of a loaded model; `convert` makes independent copies of them. The reference is the
installed package `boltz` (boltz-community 2.12 or boltz 2.2.1); its instances are handed in, so it is not imported.
"""

from __future__ import annotations

from torch import nn

from frazil.boltz.drop_in import accelerate, restore
from frazil.boltz.modules import BoltzDiffusionConditioning, BoltzStructureModule
from frazil.boltz.names import CONDITIONING_NAMES, SCORE_NAMES, load_reference_weights, reference_name
from frazil.boltz.sampling import SamplingRecord, SamplingSettings
from frazil.boltz.settings import read_settings, read_sizes, score_model_of
from frazil.nn.compute import Compute

__all__ = [
    "CONDITIONING_NAMES",
    "SCORE_NAMES",
    "BoltzDiffusionConditioning",
    "BoltzStructureModule",
    "SamplingRecord",
    "accelerate",
    "convert",
    "load_reference_weights",
    "reference_name",
    "restore",
]


def convert(
    structure_module: nn.Module,
    diffusion_conditioning: nn.Module,
    *,
    parity: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> tuple[BoltzStructureModule, BoltzDiffusionConditioning]:
    """Our modules with the weights, settings and call signatures of Boltz-2's.

    Parameters
    ----------
    structure_module, diffusion_conditioning : nn.Module
        `model.structure_module` (AtomDiffusion) and `model.diffusion_conditioning` of a Boltz-2 model. They are not
        changed; weights are copied.
    parity : bool
        Draw from torch's global generator in the reference's order and centre as it does, so that the same global seed
        gives the same coordinates. Otherwise each call takes one base seed from the global generator, every sample has
        its own generator, and padding does not count. `sample(steering_args=...)` likewise: the reference's potentials,
        weights and draws, or ours (`frazil.boltz.steering`).
    precision : str
        Of the products in `sample`: `float32`, `tf32` or `bf16` (`frazil.nn.compute.Compute`). A single call of the
        network, which is what training makes, is float32 in any case.
    compile : bool
        Whether torch.compile may fuse what lies between the products in `sample`.

    Returns
    -------
    tuple
        (structure module, diffusion conditioning), in the training mode and on the device of the reference's.

    Raises
    ------
    InputError
        If the modules are not those of Boltz-2, or there is no such precision.

    Examples
    --------
    >>> from boltz.model.models.boltz2 import Boltz2                                         # doctest: +SKIP
    >>> model = Boltz2.load_from_checkpoint("boltz2_conf.ckpt", weights_only=False)          # doctest: +SKIP
    >>> module, conditioning = convert(model.structure_module, model.diffusion_conditioning)  # doctest: +SKIP
    """
    sampling = SamplingSettings(parity, Compute(precision, compile))
    score = score_model_of(structure_module)
    sizes = read_sizes(score, diffusion_conditioning)
    device = next(score.parameters()).device
    ours = BoltzStructureModule(sizes, read_settings(structure_module), sampling)
    load_reference_weights(ours.score_model, score.state_dict(), SCORE_NAMES)
    conditioning = BoltzDiffusionConditioning(sizes, parity=parity)
    load_reference_weights(conditioning.network, diffusion_conditioning.state_dict(), CONDITIONING_NAMES)
    ours.to(device).train(structure_module.training)
    conditioning.to(device).train(diffusion_conditioning.training)
    return ours, conditioning
