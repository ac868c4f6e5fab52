"""One run of prediction: inputs -> samples -> files."""

from frazil.predictor.conditioned import Conditioned, read_conditioning, write_conditioning
from frazil.predictor.custom import potential_class
from frazil.predictor.drawing import Drawn, draw
from frazil.predictor.prediction import PredictionSummary, predict, run
from frazil.predictor.report import SampleReport
from frazil.predictor.requests import Request, plan, unseen_entities
from frazil.predictor.settings import PLAIN_WEIGHTS, PotentialFactory, PredictSettings, SteeringSettings, potential_name

__all__ = [
    "PLAIN_WEIGHTS",
    "Conditioned",
    "Drawn",
    "PotentialFactory",
    "PredictSettings",
    "PredictionSummary",
    "Request",
    "SampleReport",
    "SteeringSettings",
    "draw",
    "plan",
    "potential_class",
    "potential_name",
    "predict",
    "read_conditioning",
    "run",
    "unseen_entities",
    "write_conditioning",
]
