"""How few frequencies each neuron's weights hold: the inverse participation ratio."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.measures.blocks import by_frequency
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import by_name_or_none, mean_over, told_as


@told_as(by_name_or_none)
def ipr(evaluation: Evaluation) -> dict[str, Tensor]:
    """Inverse participation ratio, mean over neurons: 1 where each holds a single frequency, 1/m where m equally.

    sum_k A_k^4 / (sum_k A_k^2)^2, A_k^2 the energy of frequency k, cosine and sine together; the constant (k = 0) is
    a frequency of its own; rows in the order of exponents. Of W_L (each neuron over the answers), in_a and in_b (what
    each operand adds to each neuron), and W_E (each coordinate over the numbers): those that the network has.
    Sees weights. As He et al. 2026. Gromov 2023 and Doshi et al. 2023 take complex modes, k and -k apart: half of
    this for real weights without constant and Nyquist. A neuron whose weights are all zero has no ratio and is left
    out; None where all are.
    """
    W_L, W_E = evaluation.group_neuron_logit_map, evaluation.group_embedding
    maps = {} if W_L is None else {"W_L": W_L.T}
    maps |= evaluation.group_input_maps
    maps |= {} if W_E is None else {"W_E": W_E}
    return {name: mean_ratio(columns) for name, columns in maps.items()}


def mean_ratio(columns: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
    """Mean of the columns' ratios, those of zero left out; no number where all are."""
    energies = by_frequency((fourier.basis(len(columns), columns.device) @ columns.double()).square())
    total = energies.sum(0)
    return mean_over(total != 0, energies.square().sum(0) / total.square())
