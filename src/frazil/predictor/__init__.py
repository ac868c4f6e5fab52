"""One run of prediction: inputs -> samples -> files."""

from frazil.predictor.drawing import Drawn, draw
from frazil.predictor.prediction import PredictionSummary, predict, run
from frazil.predictor.requests import Request, plan, unseen_entities
from frazil.predictor.settings import PredictSettings

__all__ = [
    "Drawn",
    "PredictSettings",
    "PredictionSummary",
    "Request",
    "draw",
    "plan",
    "predict",
    "run",
    "unseen_entities",
]
