"""A model on the device that was asked for."""

from __future__ import annotations

from frazil.denoiser import StructureModel
from frazil.errors import InputError


def placed(model: StructureModel, device: str | None) -> StructureModel:
    """The model on a device, in torch's words; None leaves it where it is.

    Raises
    ------
    InputError
        If the device cannot be used.
    """
    if device is None:
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device}: cannot be used ({reason}); leave it out for the CPU") from error
