"""Which network the settings name: the one place that chooses."""

from __future__ import annotations

from grok_sweep.config import RunConfig
from grok_sweep.models import transformer
from grok_sweep.models.parameters import Shapes, Weights


def shapes(config: RunConfig) -> Shapes:
    """Names and shapes of the parameters."""
    return transformer.shapes(config.model, config.data.p)


def init(config: RunConfig) -> Weights:
    """Initial weights, float32 on the CPU."""
    return transformer.init(config.model, config.data.p)
