"""Spectra of a network's maps over the group: what each frequency holds, alone and in pairs. Pure.

Frequencies are those of the group's exponents: residues themselves for addition, the discrete logarithm for
multiplication. The constant (frequency 0) is kept where it is asked for by name only.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.groups import Group, inverse
from grok_sweep.measures.blocks import by_frequency
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.models.network import Network
from grok_sweep.models.parameters import Weights

WAVES = ("cos", "sin")
MAPS = ("W_E", "W_L")


def rows_of(network: Network, weights: Weights, group: Group) -> dict[str, Float[Tensor, "n width"]]:
    """W_E by the first operand's exponents and W_L by the answer's, each row a residue: those that there are."""
    W_E, W_L = network.embedding(weights), network.neuron_logit_map(weights)
    found = {
        "W_E": None if W_E is None else W_E[inverse(group.of_a, group.n)],
        "W_L": None if W_L is None else W_L.T[group.answers()],
    }
    return {name: rows for name, rows in found.items() if rows is not None}


def component_norms(rows: Float[Tensor, "n width"]) -> list[dict[str, Any]]:
    """Norm of the cosine and of the sine component of each frequency: {"k", "wave", "norm"}."""
    norms = fourier.component_norms(rows).tolist()
    return [{"k": (i + 1) // 2, "wave": WAVES[(i + 1) % 2], "norm": norm} for i, norm in enumerate(norms) if i]


def logit_spectrum(evaluation: Evaluation) -> Float[Tensor, "n_freqs_and_constant n_freqs_and_constant"]:
    """Share of the logits' variance over inputs at frequency i of a and j of b, from 0, the constant, to n//2.

    The 2-D transform of each answer's logits over the group's pairs; squares summed over the cosines and sines of the
    two frequencies and over answers, divided by the sum of all but the constant (0, 0), which is left 0. The paper's
    circuit is the diagonal: cos w_k(a+b) and sin w_k(a+b) are products of waves of one k. All 0 where no logit
    depends on the input.
    """
    n, grid = evaluation.group.n, evaluation.task.group_pairs
    assert grid is not None, "a task with a group has the pairs of it"
    waves = fourier.basis(n)
    table = evaluation.logits[grid.reshape(-1)][:, evaluation.answer_of_sum].view(n, -1)
    by_a = (waves @ table).view(n, n, -1).transpose(0, 1).reshape(n, -1)
    energies = (waves @ by_a).view(n, n, -1).square().sum(-1)  # [wave of b, wave of a]
    by_frequencies = by_frequency(by_frequency(energies).T)
    by_frequencies[0, 0] = 0
    total = by_frequencies.sum()
    return by_frequencies / total if bool(total > 0) else by_frequencies


def largest(spectrum: Tensor, n: int) -> list[tuple[int, int, float]]:
    """The n largest entries: frequency of a, of b, share."""
    order = spectrum.reshape(-1).argsort(descending=True)[:n].tolist()
    width = spectrum.shape[1]
    return [(i // width, i % width, float(spectrum[i // width, i % width])) for i in order]


def circle(rows: Float[Tensor, "n width"], k: int) -> tuple[Tensor, Tensor]:
    """Coordinates of every row along the unit directions of its own cosine and sine component of frequency k.

    A clean embedding of frequency k puts the row of exponent x at the angle w_k x of a circle. The two directions are
    those of sum_x cos(w_k x) row_x and of the same with sin, not made orthogonal: an ellipse is the embedding's own.
    At Nyquist there is no sine, and the second coordinate is 0.
    """
    n = len(rows)
    rows = rows.double()
    components = fourier.basis(n).to(rows.device)[2 * k - 1 : min(2 * k + 1, n)] @ rows
    norms = components.norm(dim=1, keepdim=True)
    along = rows @ torch.where(norms == 0, 0.0, components / norms).T
    return along[:, 0], along[:, 1] if along.shape[1] == 2 else torch.zeros_like(along[:, 0])


def residues(evaluation: Evaluation) -> list[int]:
    """The first operand with each exponent 0..n-1: what names the rows of the embedding in the group's order."""
    return inverse(evaluation.group.of_a, evaluation.group.n).tolist()


def dominant(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Of each neuron the frequency that explains most of it, and its share of the variance over the group's pairs.

    {"neuron", "k", "share"}; k is 0 for a neuron that is constant over the pairs, which no frequency explains.
    """
    shares, best = evaluation.neuron_blocks.shares.max(0)
    varies = (evaluation.neuron_blocks.total > 0).tolist()
    return [
        {"neuron": i, "k": k + 1 if varies[i] else 0, "share": share}
        for i, (k, share) in enumerate(zip(best.tolist(), shares.tolist(), strict=True))
    ]
