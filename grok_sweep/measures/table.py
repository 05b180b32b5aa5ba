"""The one list of measures: what each is, what it sees, where it comes from. Imports no torch.

Kinds: *K-free* needs no key frequencies; *online K* uses the network's own at that step. (*hindsight K*,
the final network's, comes from a second pass under names that end in _final.)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """A line of the table.

    Attributes:
        function: "module:name" under grok_sweep.measures; takes an Evaluation. Where it returns a dict, each
            entry is logged as <measure>.<entry>.
        kind: "K-free" or "online K".
        sees: what the value depends on: "weights", "train pairs", "test inputs", "test labels".
        source: where it is defined.
        is_vector: a list with one number a frequency; stands in every `measures.vector_every`-th row.
    """

    function: str
    kind: str
    sees: str
    source: str
    is_vector: bool = False

    def load(self) -> Callable[[Any], Any]:
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(f"grok_sweep.measures.{module}"), name)


_PAPER = "Nanda et al. 2023"
MEASURES: dict[str, Measure] = {
    "restricted_loss": Measure(
        "losses:restricted_loss", "online K", "test inputs, test labels", f"{_PAPER}, section 5.1"
    ),
    "excluded_loss": Measure(
        "losses:excluded_loss", "online K", "train pairs, test inputs", f"{_PAPER}, section 5.1"
    ),
    "excluded_loss_max": Measure(
        "losses:excluded_loss_max", "K-free", "train pairs, test inputs", f"{_PAPER}, footnote 3"
    ),
    "excluded_loss_k": Measure(
        "losses:excluded_loss_k", "K-free", "train pairs, test inputs", f"{_PAPER}, figure 15", is_vector=True
    ),
    "key_gap": Measure("losses:key_gap", "K-free", "train pairs, test inputs", "ours: the largest gap"),
    "n_key_freqs": Measure("losses:n_key_freqs", "online K", "train pairs, test inputs", "ours: the largest gap"),
    "key_freqs": Measure("losses:key_freqs", "online K", "train pairs, test inputs", "ours: the largest gap"),
    "fve_logits": Measure(
        "fit:fve_logits", "online K", "train pairs, test inputs", f"{_PAPER}, sections 4.1 and 4.2"
    ),
    "fit_loss": Measure("fit:fit_loss", "online K", "train pairs, test inputs", f"{_PAPER}, section 4.4"),
    "cos_sim_k": Measure("fit:cos_sim_k", "K-free", "test inputs", f"{_PAPER}, authors' notebook", is_vector=True),
    "W_L_residual": Measure(
        "fit:W_L_residual", "online K", "weights, train pairs, test inputs", f"{_PAPER}, section 4.2, equation 2"
    ),
    "gini_W_E": Measure("sparsity:gini_W_E", "K-free", "weights", f"{_PAPER}, appendix C.2"),
    "gini_W_L": Measure("sparsity:gini_W_L", "K-free", "weights", f"{_PAPER}, appendix C.2"),
    "sum_sq_weights": Measure("sparsity:sum_sq_weights", "K-free", "weights", f"{_PAPER}, figure 7"),
    "sum_sq": Measure("sparsity:sum_sq", "K-free", "weights", f"{_PAPER}, figure 7, by parameter"),
}


def problems(names: Sequence[str]) -> list[str]:
    """One sentence that names every unknown measure and all known ones; empty where all are known."""
    unknown = sorted({name for name in names if name not in MEASURES})
    if not unknown:
        return []
    return [f"unknown measures: {', '.join(unknown)}. Known: {', '.join(sorted(MEASURES))}"]
