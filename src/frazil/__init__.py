"""Frazil: the diffusion module of AlphaFold-3-style structure models as a library of its own."""

from frazil._version import __version__

__all__ = ["__version__"]
