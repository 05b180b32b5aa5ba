"""What a run finds in its process: the same in a worker's thousandth run as in its first."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import Any

import torch

SEED = 0
"""Of the global generators, from which nothing of ours draws: a network or a measure of the user's own may."""

_KEPT: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
    (os.getcwd, os.chdir),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, lambda device: torch.set_default_device(device if device.type != "cpu" else None)),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
]
"""How each is read, and set."""


class ProcessState:
    """What code of the user's own may change in its process, as it is when this is made.

    Where it leaked from one run into the next, numbers would depend on which worker trained which runs.
    """

    def __init__(self) -> None:
        self._values = [get() for get, _ in _KEPT]

    def restore(self) -> None:
        """Before each run: all as it was, the global generators seeded, a GPU's cached memory given back."""
        for value, (get, put) in zip(self._values, _KEPT, strict=True):
            if get() != value:
                put(value)
        torch.manual_seed(SEED)
        random.seed(SEED)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(SEED)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
