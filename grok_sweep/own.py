"""Tasks and networks of the user's own, tried before any work. Imports torch only where there are some."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from grok_sweep.config import DataConfig, ModelConfig, RunConfig


def own_problems(config: RunConfig) -> list[str]:
    """What is wrong with the operation and the network that resolved settings name by a dotted path."""
    found = []
    # A sweep's seeds are one task and one network.
    if "." in config.data.operation:
        found += _task_problems(tuple(vars(replace(config.data, split_seed=0)).items()))
    if "." in config.model.architecture:
        found += _network_problems(tuple(vars(replace(config.model, init_seed=0)).items()), config.data.p)
    return found


@lru_cache(maxsize=256)
def _task_problems(settings: tuple[tuple[str, Any], ...]) -> list[str]:
    from grok_sweep.tasks import make_task

    try:
        make_task(DataConfig(**dict(settings)))
    except ValueError as error:
        return [str(error)]
    return []


@lru_cache(maxsize=256)
def _network_problems(settings: tuple[tuple[str, Any], ...], p: int) -> list[str]:
    from grok_sweep.models import build

    try:
        build.check(build.network(ModelConfig(**dict(settings)), p))
    except ValueError as error:
        return [str(error)]
    return []
