"""Training: structures in, a RUN folder out."""

from frazil.trainer.run import StoredRun, TrainResult, read_run, train
from frazil.trainer.settings import TrainSettings
from frazil.trainer.start import starting_settings

__all__ = ["StoredRun", "TrainResult", "TrainSettings", "read_run", "starting_settings", "train"]
