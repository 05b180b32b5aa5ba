"""Whether the loss still sees the wrong answers."""

from __future__ import annotations

from torch import Tensor

from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import mean_over, number_or_none, told_as, where_defined


@told_as(number_or_none)
def softmax_collapse(evaluation: Evaluation) -> Tensor:
    """Share of the train pairs whose softmax has collapsed: sum of exp(z - max z) is exactly 1, their loss exactly 0.

    Over all outputs, in loss_dtype, as training has it: in float32 from a margin of about 17 nats on, in float64 of
    about 37. Such a pair teaches nothing any more. Sees train pairs. Prieto et al. 2025. None where a logit is no
    number.
    """
    z, trained = evaluation.activations.logits.to(evaluation.loss_dtype), evaluation.task.train_mask
    total = (z - z.amax(1, keepdim=True)).exp().sum(1)
    return where_defined(~(total.isnan() & trained).any(), mean_over(trained, (total == 1).double()))
