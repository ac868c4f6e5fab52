"""Files, SMILES, CCD codes and sequences -> `Structure` -> `Features`; the only room that knows biotite and RDKit."""

from frazil.data.crop import contiguous_crop, spatial_crop
from frazil.data.featurize import featurize, on_reference
from frazil.data.reading import read, read_all
from frazil.data.reference import randomize_reference, share_reference_frame, turn_torsions
from frazil.data.restraints import (
    REQUEST_KINDS,
    Contact,
    CovalentBond,
    Dihedral,
    DistanceWindow,
    Pocket,
    Position,
    RadiusOfGyration,
    Request,
    Selector,
    TemplateRequest,
    all_restraints,
    held_atoms,
    parse_contact,
    parse_min_distance,
    parse_template,
    physical_restraints,
    request_from,
    restraints_of,
    with_requests,
)
from frazil.data.structure import Chain, Structure

__all__ = [
    "REQUEST_KINDS",
    "Chain",
    "Contact",
    "CovalentBond",
    "Dihedral",
    "DistanceWindow",
    "Pocket",
    "Position",
    "RadiusOfGyration",
    "Request",
    "Selector",
    "Structure",
    "TemplateRequest",
    "all_restraints",
    "contiguous_crop",
    "featurize",
    "held_atoms",
    "on_reference",
    "parse_contact",
    "parse_min_distance",
    "parse_template",
    "physical_restraints",
    "randomize_reference",
    "read",
    "read_all",
    "request_from",
    "restraints_of",
    "share_reference_frame",
    "spatial_crop",
    "turn_torsions",
    "with_requests",
]
