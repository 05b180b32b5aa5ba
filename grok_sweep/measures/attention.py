"""Where "=" looks."""

from __future__ import annotations

from torch import Tensor

from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import number_or_none, told_as


@told_as(number_or_none)
def attn_to_equals(evaluation: Evaluation) -> Tensor | None:
    """Attention from "=" to "=" itself, mean over all pairs and the heads of the last layer: 1/3 where it is uniform.

    Sees all inputs, test inputs among them. Nanda et al. 2023: .1 to .4 % in the final network. With
    model.attention_rate = r < 1 the pattern is the mixed one that the network uses, r times the learned one plus
    1 - r, so no less than 1 - r.
    """
    pattern = evaluation.activations.attn_pattern
    return None if pattern is None else pattern[:, :, 2].double().mean()
