"""Every analysis of one network, in the order in which the paper reads it. Pure."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import torch

from analysis.circuit.ablations import Ablation, ablations
from analysis.circuit.attention import Head, heads
from analysis.circuit.clock_pizza import ClockPizza, clock_pizza
from analysis.circuit.embedding import Embedding, embedding
from analysis.circuit.keys import Keys, keys
from analysis.circuit.logits import Logits, logits
from analysis.circuit.neuron_logit_map import NeuronLogitMap, neuron_logit_map
from analysis.circuit.neurons import Neurons, neurons
from analysis.circuit.subject import Subject
from analysis.circuit.verdict import N_RELABELLINGS, Judged, judge
from grok_sweep.measures import sparsity
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.table import MEASURES

SEED = 0
"""Of what is drawn: relabellings, triples."""


@dataclass(frozen=True)
class Circuit:
    """What was found; a part is None where this network or task has no such thing.

    Attributes:
        ginis: gini_W_E and gini_W_L, as in the table of measures; where there are such maps.
        sum_sq: of each parameter.
    """

    subject: Subject
    keys: Keys | None
    embedding: Embedding | None
    attention: list[Head] | None
    neurons: Neurons | None
    neuron_logit_map: NeuronLogitMap | None
    logits: Logits
    ablations: list[Ablation]
    clock_pizza: ClockPizza | None
    judged: Judged | None
    ginis: dict[str, float]
    sum_sq: dict[str, float]

    @property
    def sum_sq_weights(self) -> float:
        return sum(self.sum_sq.values())

    @cached_property
    def ablation(self) -> dict[str, dict[str, float]]:
        """Name to losses by set."""
        return {each.name: each.losses for each in self.ablations}


def take_apart(subject: Subject, n_relabellings: int = N_RELABELLINGS) -> Circuit:
    """All analyses. The same subject gives the same numbers: what is drawn follows from SEED.

    The relabellings take half of the time: they have a thread of their own.
    """
    evaluation = subject.evaluation
    found = keys(subject)  # first: both threads read what it works out

    def drawn() -> torch.Generator:
        return torch.Generator().manual_seed(SEED)

    with ThreadPoolExecutor(1) as aside:
        judged = aside.submit(judge, subject, drawn(), n_relabellings)
        return Circuit(
            subject=subject,
            keys=found,
            embedding=embedding(subject),
            attention=heads(subject),
            neurons=neurons(subject),
            neuron_logit_map=neuron_logit_map(subject),
            logits=logits(subject),
            ablations=ablations(subject),
            clock_pizza=clock_pizza(subject, drawn()),
            judged=judged.result(),
            ginis=_ginis(evaluation),
            sum_sq=sparsity.sum_sq(evaluation),
        )


def _ginis(evaluation: Evaluation) -> dict[str, float]:
    found = {
        name: getattr(sparsity, name)(evaluation)
        for name in ("gini_W_E", "gini_W_L")
        if MEASURES[name].needs <= evaluation.has
    }
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}
