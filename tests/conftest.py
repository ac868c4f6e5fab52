"""Shared set-up: helper modules beside the tests are importable, and torch uses the machine's threads sparingly."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "boltz")]
