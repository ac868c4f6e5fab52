"""Many structures, featurised once and in parallel, into a store that training reads."""

from frazil.preparer.run import Prepared, prepare
from frazil.preparer.settings import PrepareSettings

__all__ = ["PrepareSettings", "Prepared", "prepare"]
