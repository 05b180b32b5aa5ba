"""One evaluation of a network on every pair: the shared intermediates that measures are read from.

Each is computed once, when first asked for. Losses are float64 cross-entropies (nats) over the p answer
classes, whatever the training ran in.

The Fourier measures rest on one observation: the sum directions cos w_k(a+b) and sin w_k(a+b) are constant
where s = a + b is, so projecting the logits on them needs only the sums of the logits over each s, and what
is removed or kept is a table over (s, class). A p x p table replaces p² x p logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.config import Activation
from grok_sweep.measures.frequencies import KeyFrequencies, by_largest_gap
from grok_sweep.models import transformer
from grok_sweep.models.parameters import Weights
from grok_sweep.tasks import Task


@dataclass(frozen=True)
class Evaluation:
    """A network and its task; what follows from the two, lazily.

    Attributes:
        weights: named weights in the dtype of training; the forward pass runs in it.
        outputs: logits of every pair over all outputs ("=" included where it is one), float64.
    """

    weights: Weights
    task: Task
    outputs: Float[Tensor, "n_pairs d_vocab_out"]

    @cached_property
    def logits(self) -> Float[Tensor, "n_pairs n_classes"]:
        """Logits over the p answer classes."""
        return self.outputs[:, : self.task.p]

    @cached_property
    def relative_logits(self) -> Float[Tensor, "n_pairs n_classes"]:
        """Logits minus that of the right answer, which itself stands at -inf: what the wrong answers gain."""
        labels = self.task.labels[:, None]
        return (self.logits - self.logits.gather(1, labels)).scatter_(1, labels, -torch.inf)

    @cached_property
    def pair_losses(self) -> Float[Tensor, " n_pairs"]:
        """Cross-entropy of each pair: log(1 + sum of exp(relative logits)), exact to rounding near 0."""
        largest = self.relative_logits.amax(1)
        return torch.logaddexp(self.wrong_odds.sum(1).log() + largest, torch.zeros_like(largest))

    @cached_property
    def wrong_odds(self) -> Float[Tensor, "n_pairs n_classes"]:
        """exp(relative logits - their maximum): odds of each wrong answer, up to a factor a pair."""
        return (self.relative_logits - self.relative_logits.amax(1, keepdim=True)).exp_()

    @cached_property
    def correct(self) -> Bool[Tensor, " n_pairs"]:
        """True where the right answer has the largest logit (a tie counts as wrong)."""
        return self.relative_logits.amax(1) < 0

    @cached_property
    def pairs_by_sum(self) -> Int[Tensor, "n_sums n"]:
        """Row s: the pairs with a + b = s."""
        n = self.task.group_order
        return self.task.labels.argsort(stable=True).view(n, -1)

    @cached_property
    def sum_coefficients(self) -> Float[Tensor, "n n_classes"]:
        """Inner products of the logits over all pairs with the unit sum directions; row 0 is the constant."""
        n, n_classes = self.pairs_by_sum.shape[0], self.task.p
        by_sum = self.logits[self.pairs_by_sum.reshape(-1)].view(n, -1, n_classes).sum(1)
        return fourier.sum_coefficients(by_sum)

    def sum_waves(self, key_freqs: list[int]) -> Float[Tensor, "n n_classes"]:
        """P_K L: what the logits hold along the directions of `key_freqs`, as a table over (a + b, class)."""
        waves = torch.zeros_like(self.sum_coefficients)
        for k in key_freqs:
            waves += fourier.sum_waves(self.sum_coefficients, k)
        return waves

    def excluded_losses(
        self, removed: Float[Tensor, "n_sets n n_classes"], mask: Bool[Tensor, " n_pairs"]
    ) -> Float[Tensor, " n_sets"]:
        """Mean loss over the pairs of `mask` after taking each table of `removed` off the logits.

        Removing D changes the odds of class c by exp(D[s, y] - D[s, c]), a factor that depends on s alone.
        So the sum over classes is, for each s, a product of the pairs' odds with those factors: one
        exponential a pair and class for all sets together.
        """
        n_sets, n, n_classes = removed.shape
        sums = torch.arange(n, device=removed.device)
        gain = removed[:, sums, self._answer_of_sum].unsqueeze(-1) - removed
        # The answer's own odds are 0, whatever its factor.
        largest = gain.amax(-1, keepdim=True)
        factors = (gain - largest).exp_().permute(1, 2, 0)
        odds = self.wrong_odds[self.pairs_by_sum.reshape(-1)].view(n, -1, n_classes)
        totals = torch.empty(self.task.n_pairs, n_sets, dtype=odds.dtype, device=odds.device)
        totals[self.pairs_by_sum.reshape(-1)] = torch.bmm(odds, factors).flatten(0, 1)
        shift = self.relative_logits.amax(1)[mask, None] + largest[:, self.task.labels[mask], 0].T
        logs = totals[mask].log() + shift
        return torch.logaddexp(logs, torch.zeros_like(logs)).mean(0)

    @cached_property
    def _answer_of_sum(self) -> Int[Tensor, " n"]:
        return self.task.labels[self.pairs_by_sum[:, 0]]

    @cached_property
    def excluded_loss_k(self) -> Float[Tensor, " n_freqs"]:
        """Train loss after removing one frequency, for every k = 1..n//2."""
        waves = [fourier.sum_waves(self.sum_coefficients, int(k)) for k in fourier.frequencies(self.task.group_order)]
        return self.excluded_losses(torch.stack(waves), self.task.train_mask)

    @cached_property
    def train_loss(self) -> float:
        return float(self.pair_losses[self.task.train_mask].mean())

    @cached_property
    def key_freqs(self) -> KeyFrequencies:
        """This network's own key frequencies, by the largest gap."""
        return by_largest_gap(self.excluded_loss_k - self.train_loss)


def evaluate(weights: Weights, task: Task, activation: Activation) -> Evaluation:
    """Run the network on every pair, without gradients."""
    with torch.no_grad():
        logits = transformer.forward(weights, task.a, task.b, activation).logits
    return Evaluation(weights, task, logits.double())
