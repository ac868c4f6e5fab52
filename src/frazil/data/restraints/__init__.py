"""What samples are held to: by their own chemistry (`physical`) and by what a person asks (`requests`)."""

from frazil.data.restraints.asked import all_restraints, restraints_of, with_requests
from frazil.data.restraints.physical import physical_restraints
from frazil.data.restraints.requests import (
    REQUEST_KINDS,
    Contact,
    CovalentBond,
    Dihedral,
    DistanceWindow,
    Pocket,
    Position,
    RadiusOfGyration,
    Request,
    TemplateRequest,
)
from frazil.data.restraints.selection import Selector, held_atoms
from frazil.data.restraints.texts import parse_contact, parse_min_distance, parse_template, request_from

__all__ = [
    "REQUEST_KINDS",
    "Contact",
    "CovalentBond",
    "Dihedral",
    "DistanceWindow",
    "Pocket",
    "Position",
    "RadiusOfGyration",
    "Request",
    "Selector",
    "TemplateRequest",
    "all_restraints",
    "held_atoms",
    "parse_contact",
    "parse_min_distance",
    "parse_template",
    "physical_restraints",
    "request_from",
    "restraints_of",
    "with_requests",
]
