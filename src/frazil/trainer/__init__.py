"""Training: structures in, a RUN folder out."""

from frazil.trainer.run import StoredRun, TrainResult, read_run, train
from frazil.trainer.settings import TrainSettings

__all__ = ["StoredRun", "TrainResult", "TrainSettings", "read_run", "train"]
