"""Files, SMILES, CCD codes and sequences -> `Structure` -> `Features`; the only room that knows biotite and RDKit."""

from frazil.data.crop import contiguous_crop, spatial_crop
from frazil.data.featurize import featurize
from frazil.data.reading import read, read_all
from frazil.data.reference import randomize_reference
from frazil.data.structure import Chain, Structure

__all__ = [
    "Chain",
    "Structure",
    "contiguous_crop",
    "featurize",
    "randomize_reference",
    "read",
    "read_all",
    "spatial_crop",
]
