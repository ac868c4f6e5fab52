"""Frazil beside other programs: `python -m benchmarks`."""

import sys
from pathlib import Path

# how the reference's modules and inputs for them are made is written down with the parity tests
sys.path.append(str(Path(__file__).parents[1] / "tests" / "boltz"))
