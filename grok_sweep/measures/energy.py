"""How much of the logits' variance depends on a + b alone, frequency by frequency."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from grok_sweep.measures.blocks import CONSTANT, by_frequency
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import number_or_none, numbers_or_none, told_as, where_defined


@told_as(numbers_or_none)
def logit_energy_k(evaluation: Evaluation) -> Tensor:
    """Share of the logits' variance over inputs that lies along cos w_k(a+b) and sin w_k(a+b), for k = 1..n//2.

    Logits of the group's pairs over the group's answers, the mean over pairs taken off each answer: their energy
    along the two unit vectors of R^(n²), summed over answers, over their whole energy. Sees all inputs, test inputs
    among them. After `tensor_trig_ratio` of the authors' notebook, which takes the share answer by answer, for the
    key frequencies, and then the mean over answers. None where no logit depends on the input.
    """
    return _shares(evaluation)


@told_as(number_or_none)
def logit_energy(evaluation: Evaluation) -> Tensor:
    """The sum of logit_energy_k over k: share of the logits' variance that depends on a + b alone, K-free.

    Sees all inputs, test inputs among them. After the authors' `tensor_trig_ratio`. None where no logit depends on
    the input.
    """
    return _shares(evaluation).sum()


def _shares(evaluation: Evaluation) -> Float[Tensor, " n_freqs"]:
    by_answer = evaluation.sum_coefficients[:, evaluation.answer_of_sum]
    energies = by_frequency(by_answer.square().sum(1, keepdim=True))[:, 0]
    whole = evaluation.group_logits.square().sum()
    varying = whole - energies[0]
    return where_defined(varying > CONSTANT * whole, energies[1:] / varying)
