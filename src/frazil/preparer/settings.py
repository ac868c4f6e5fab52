"""What a store is to hold, and with how many processes it is made."""

from __future__ import annotations

from dataclasses import dataclass

from frazil.errors import InputError
from frazil.processors import workers_asked


class OutsideLimits(InputError):
    """An entry that is whole, but smaller or larger than asked for."""

    def __init__(self, num_atoms: int, limit: str) -> None:
        super().__init__(f"{num_atoms} heavy atoms, {limit}")
        self.num_atoms = num_atoms


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of `frazil prepare`.

    Examples
    --------
    >>> PrepareSettings(max_atoms=20).admits(21)
    False
    """

    conformers: int = 2
    """Reference conformers of each ligand."""
    min_atoms: int = 1
    """Heavy atoms of the smallest entry to store."""
    max_atoms: int | None = None
    """Heavy atoms of the largest."""
    workers: int | None = None
    """Processes; as many as there are processors by default."""
    retry_failed: bool = False
    """Whether entries that failed in an earlier run are tried again."""

    def __post_init__(self) -> None:
        for option, value in (("--conformers", self.conformers), ("--min-atoms", self.min_atoms)):
            if value < 1:
                raise InputError(f"{option} {value}: give 1 or more")
        workers_asked(self.workers)
        if self.max_atoms is not None and self.max_atoms < self.min_atoms:
            raise InputError(f"--max-atoms {self.max_atoms}: is below --min-atoms {self.min_atoms}")

    @property
    def num_workers(self) -> int:
        """Processes to start."""
        return workers_asked(self.workers)

    def admits(self, num_atoms: int) -> bool:
        """Whether an entry of so many heavy atoms is wanted."""
        return self.min_atoms <= num_atoms and (self.max_atoms is None or num_atoms <= self.max_atoms)

    def check_size(self, num_atoms: int) -> None:
        """Refuse an entry outside the limits.

        Raises
        ------
        OutsideLimits
            If it has too few or too many heavy atoms.
        """
        if not self.admits(num_atoms):
            small = num_atoms < self.min_atoms
            limit = f"below --min-atoms {self.min_atoms}" if small else f"above --max-atoms {self.max_atoms}"
            raise OutsideLimits(num_atoms, limit)
