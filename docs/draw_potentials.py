"""Draws docs/potentials.png, the energy of each potential over its variable: `python docs/draw_potentials.py`."""

from dataclasses import replace
from math import pi
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt

from frazil.data import featurize, read
from frazil.features import Features
from frazil.potentials import (
    Chirality,
    Clashes,
    Connections,
    Contacts,
    Dihedrals,
    DistanceBounds,
    Distances,
    Gyration,
    PlanarBonds,
    Positions,
    Potential,
    StereoBonds,
    SymmetricChains,
    Template,
    VDWOverlap,
)  # fmt: skip
from frazil.restraints import PlaceTerms, Restraints, Terms

PAIR, FOUR = torch.tensor([[0, 1]]), torch.tensor([[0, 1, 2, 3]])
TIMES = (1.0, 0.5, 0.05)


def carbons(smiles: str, **restraints: Terms | PlaceTerms) -> Features:
    """Carbon atoms by SMILES, held to these restraints alone."""
    return replace(featurize(read(smiles)), restraints=replace(Restraints.none(), **restraints))


def apart(distances: torch.Tensor, sizes: tuple[int, int] = (1, 1)) -> torch.Tensor:
    """Two rigid sets of atoms at these distances, [1, S, A, 3]."""
    first, second = (torch.tensor([[0.0, 3.0 * i, 0.0] for i in range(size)]) for size in sizes)
    shift = torch.stack([distances, torch.zeros_like(distances), torch.zeros_like(distances)], dim=-1)
    still = first.expand(len(distances), -1, -1)
    return torch.cat([still, second + shift[:, None]], dim=1)[None]


def twisted(angles: torch.Tensor) -> torch.Tensor:
    """Four atoms with these dihedrals, [1, S, 4, 3]."""
    still = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1]]).expand(len(angles), -1, -1)
    last = torch.stack([angles.cos(), angles.sin(), torch.ones_like(angles)], dim=-1)
    return torch.cat([still, last[:, None]], dim=1)[None]


def panels() -> list[tuple[str, str, torch.Tensor, torch.Tensor, Potential]]:
    """Title, axis, what is on it, coordinates, potential."""
    near, turn = torch.linspace(0, 14, 281), torch.linspace(-3.14, 3.14, 361)
    degrees = turn * 180 / pi
    triangle = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
    bent = triangle.expand(len(near), 3, 3).clone()
    bent[:, 2, 1] = near
    place = PlaceTerms(Terms.of(torch.tensor([[1]]), upper=2.0), torch.zeros(1, 3), torch.tensor([False]))
    shape = PlaceTerms(
        Terms.of(torch.arange(3)[:, None], upper=1.0, group=torch.zeros(3, dtype=torch.int64)), triangle,
        torch.tensor([True]),
    )  # fmt: skip
    either = Terms.of(torch.tensor([[0, 1], [0, 2]]), upper=6.0, group=torch.tensor([0, 0]))
    third = torch.cat([apart(near), torch.tensor([9.0, 0, 0]).expand(1, len(near), 1, 3)], dim=2)
    two = apart(near)
    pairs, pull = "distance (Å)", "dihedral (°)"
    return [
        ("van_der_waals (C, C)", pairs, near, apart(near, (2, 2)), VDWOverlap(carbons("CC.CC"))),
        ("clashes (C, C)", pairs, near, two, Clashes(carbons("C.C"))),
        ("symmetric_chains", "distance of centres (Å)", near, apart(near, (2, 2)), SymmetricChains(carbons("CC.CC"))),
        ("connections (at most 2 Å)", pairs, near, two,
         Connections(carbons("C.C", connections=Terms.of(PAIR, upper=2.0)))),
        ("bonded_bounds, non_bonded_bounds", pairs, near, two,
         DistanceBounds(carbons("CC", distance_bounds=Terms.of(PAIR, 3.0, 4.0)))),
        ("contacts (6 Å, other pair at 9 Å)", pairs, near, third, Contacts(carbons("[CH3]CC", contacts=either))),
        ("distances (5 to 9 Å)", pairs, near, two, Distances(carbons("CC", distances=Terms.of(PAIR, 5.0, 9.0)))),
        ("positions (within 2 Å)", "distance from its place (Å)", near, two, Positions(carbons("CC", positions=place))),
        ("template (within 1 Å)", "position of one of three atoms (Å)", near, bent[None],
         Template(carbons("[CH3]CC", templates=shape))),
        ("gyration (3 to 4 Å)", pairs, near, two,
         Gyration(carbons("CC", gyration=Terms.of(torch.tensor([[0], [1]]), 3.0, 4.0, group=torch.tensor([0, 0]))))),
        ("chirality (R: 30° or more)", "improper (°)", degrees, twisted(turn),
         Chirality(carbons("CCCC", chirality=Terms.of(FOUR, lower=pi / 6)))),
        ("stereo_bonds (E)", pull, degrees, twisted(turn),
         StereoBonds(carbons("CCCC", stereo_bonds=Terms.of(FOUR, lower=5 * pi / 6)))),
        ("planar_bonds (15° at most)", "improper (°)", degrees, twisted(turn),
         PlanarBonds(carbons("CCCC", planar_bonds=Terms.of(FOUR, upper=pi / 12)))),
        ("dihedrals (-60° to 30°)", pull, degrees, twisted(turn),
         Dihedrals(carbons("CCCC", dihedrals=Terms.of(FOUR, -pi / 3, pi / 6)))),
    ]  # fmt: skip


def main() -> None:
    """Draw all panels into one picture."""
    figure, axes = plt.subplots(4, 4, figsize=(14, 11), layout="constrained")
    drawn = panels()
    for axis, (title, label, values, coords, potential) in zip(axes.flat, drawn, strict=False):
        energies = [potential.energy(coords, t)[0] for t in TIMES]
        for t, energy, style in zip(TIMES, energies, ("-", "--", ":"), strict=True):
            axis.plot(values, energy, style, label=f"t = {t:g}")
            if torch.equal(energies[0], energies[-1]):
                break
        else:
            axis.legend()
        axis.set(title=title, xlabel=label, ylabel="energy")
    for axis in axes.flat[len(drawn) :]:
        axis.remove()
    figure.savefig(Path(__file__).with_name("potentials.png"), dpi=70)


if __name__ == "__main__":
    main()
