"""Small molecules: conformers like those in crystal structures, by the built-in model or one of your own."""

from frazil.ligands.command import SampleChoices, draws_ligands, reads_molecules, sample
from frazil.ligands.defaults import fast_precision, ligand_defaults, ligand_steering
from frazil.ligands.molecules import conformers
from frazil.ligands.pages import write_pages

__all__ = [
    "SampleChoices",
    "conformers",
    "draws_ligands",
    "fast_precision",
    "ligand_defaults",
    "ligand_steering",
    "reads_molecules",
    "sample",
    "write_pages",
]
