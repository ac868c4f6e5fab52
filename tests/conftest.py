"""Shared set-up: helper modules beside the tests are importable, and torch uses the machine's threads sparingly."""

import sys
from pathlib import Path

from hypothesis import settings

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "boltz")]

# the first example pays for imports and caches, and CI machines are shared
settings.register_profile("frazil", deadline=None)
settings.load_profile("frazil")
