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
from grok_sweep.groups import Group
from grok_sweep.measures.blocks import Blocks, blocks
from grok_sweep.measures.frequencies import Gap, KeyFrequencies, largest_gap
from grok_sweep.measures.told import mean_over
from grok_sweep.models.network import Activations, Network
from grok_sweep.models.parameters import Weights
from grok_sweep.tasks import PairsBySum, Task


@dataclass(frozen=True)
class Evaluation:
    """A network and its task; what follows from the two, lazily.

    Attributes:
        weights: named weights in the dtype of training; the forward pass runs in it.
        network: what reads the weights.
        activations: of every pair, in the dtype of training.
        outputs: logits of every pair over all outputs ("=" included where it is one), float64.
        loss_dtype: dtype of the log-softmax of training.
        at_once: sums are taken in few large steps, as suits a GPU and several networks at once.
    """

    weights: Weights
    task: Task
    network: Network
    activations: Activations
    outputs: Float[Tensor, "n_pairs d_vocab_out"]
    loss_dtype: torch.dtype = torch.float64
    at_once: bool = False

    @cached_property
    def has(self) -> frozenset[str]:
        """What this task and network offer, in the words of the table of measures (`needs`)."""
        has_neurons = self.activations.mlp_post is not None
        offered = {
            "group": self.task.group is not None,
            "embedding": self.network.embedding(self.weights) is not None,
            "W_L": self.neuron_logit_map is not None,
            "neurons": has_neurons,
            "unsquared neurons": has_neurons and self.network.config.activation is not Activation.square,
            "readout": self.readout is not None,
            "attention": self.activations.attn_pattern is not None,
        }
        return frozenset(name for name, is_there in offered.items() if is_there)

    @property
    def group(self) -> Group:
        """The task's cyclic group. ValueError where none is known: a measure that needs it is not defined here."""
        return self.task.known_group

    @cached_property
    def logits(self) -> Float[Tensor, "n_pairs n_classes"]:
        """Logits over the p answer classes."""
        return self.outputs[:, : self.task.p]

    @cached_property
    def relative_logits(self) -> Float[Tensor, "n_pairs n_classes"]:
        """Logits minus that of the right answer, which itself stands at -inf: what the wrong answers gain."""
        labels = self.task.labels[:, None]
        return self.logits.scatter(1, labels, -torch.inf) - self.logits.gather(1, labels)

    @cached_property
    def pair_losses(self) -> Float[Tensor, " n_pairs"]:
        """Cross-entropy of each pair: log(1 + sum of exp(relative logits)), exact to rounding near 0."""
        return torch.logaddexp(self.wrong_odds.sum(1).log() + self.margin, torch.zeros_like(self.margin))

    @cached_property
    def margin(self) -> Float[Tensor, " n_pairs"]:
        """By how much the best wrong answer's logit beats the right one's; negative where the network is right."""
        return self.relative_logits.amax(1)

    @cached_property
    def wrong_odds(self) -> Float[Tensor, "n_pairs n_classes"]:
        """exp(relative logits - their maximum): odds of each wrong answer, up to a factor a pair."""
        return (self.relative_logits - self.margin[:, None]).exp_()

    @cached_property
    def correct(self) -> Bool[Tensor, " n_pairs"]:
        """True where the right answer has the largest logit (a tie counts as wrong)."""
        return self.margin < 0

    @cached_property
    def answer_losses(self) -> Float[Tensor, " n_pairs"]:
        """Cross-entropy of each pair by its true answer: `pair_losses` but for label noise."""
        if "noisy" not in self.task.set_names:
            return self.pair_losses
        true = torch.nn.functional.cross_entropy(self.logits, self.task.answers, reduction="none")
        return torch.where(self.task.noisy_mask, true, self.pair_losses)

    @cached_property
    def output_losses(self) -> Float[Tensor, " n_pairs"]:
        """Cross-entropy of each pair over all outputs: `pair_losses` and the odds of those that are no answers."""
        others = self.outputs[:, self.task.p :]
        if others.shape[1] == 0:
            return self.pair_losses
        relative = others - self.logits.gather(1, self.task.labels[:, None])
        return torch.logaddexp(self.pair_losses, relative.logsumexp(1))

    @cached_property
    def neuron_logit_map(self) -> Float[Tensor, "d_mlp p"] | None:
        """W_L, what each neuron adds to each answer's logit; None where the network has none."""
        return self.network.neuron_logit_map(self.weights)

    @cached_property
    def readout(self) -> Float[Tensor, "d_mlp d_out"] | None:
        """What each neuron writes: its row of W_out in the last layer, of W_L where there is no W_out; or None."""
        if self.activations.mlp_post is None:
            return None
        names = ("W_out", f"blocks.{self.network.config.n_layers - 1}.W_out")
        W_out = next((self.weights[name] for name in names if name in self.weights), None)
        is_ours = W_out is not None and W_out.ndim == 2 and len(W_out) == self.activations.mlp_post.shape[1]
        return W_out if is_ours else self.neuron_logit_map

    # --- in the order of the group ------------------------------------------------------------------------

    @property
    def pairs_by_sum(self) -> Int[Tensor, "n n"]:
        """Row s: the pairs whose operands' exponents sum to s (mod n), by the first one's exponent."""
        return self.task.pairs_by_sum

    @property
    def sum_of_pair(self) -> Int[Tensor, " n_pairs"]:
        """Sum of the operands' exponents (mod n) of each pair; -1 outside the group."""
        return self.task.sum_of_pair

    @property
    def answer_of_sum(self) -> Int[Tensor, " n"]:
        """The answer whose exponent is s."""
        return self.task.residues.c

    @cached_property
    def group_logits(self) -> Float[Tensor, "n_group_pairs n"]:
        """Logits of the group's pairs over the group's answers, these in the order of their exponents."""
        n, p = self.group.n, self.task.p
        if self.task.n_pairs == n * n and n == p and torch.equal(self.group.of_c, torch.arange(p)):
            return self.logits
        return self.logits.index_select(0, self.pairs_by_sum.reshape(-1))[:, self.answer_of_sum]

    @cached_property
    def logits_by_sum(self) -> Float[Tensor, "n n n"]:
        """Logits of the group's pairs by the sum of their exponents, over the group's answers by theirs."""
        n = self.group.n
        rows = self.logits.index_select(0, self.pairs_by_sum.reshape(-1)).unflatten(0, (n, n))
        is_in_order = torch.equal(self.group.of_c, torch.arange(self.task.p))
        return rows if is_in_order else rows[:, :, self.answer_of_sum]

    @cached_property
    def group_embedding(self) -> Float[Tensor, "n d_model"] | None:
        """Rows of the embedding in the order of the first operand's exponents; None where the network has none."""
        rows = self.network.embedding(self.weights)
        return None if rows is None else rows[self.task.residues.a]

    @cached_property
    def group_neuron_logit_map(self) -> Float[Tensor, "d_mlp n"] | None:
        """W_L over the group's answers in the order of their exponents; None where the network has none."""
        W_L = self.neuron_logit_map
        return None if W_L is None else W_L[:, self.answer_of_sum]

    @cached_property
    def group_input_maps(self) -> dict[str, Float[Tensor, "n d_mlp"]]:
        """What each operand adds to each neuron, rows in the order of that operand's exponents; in_a, in_b."""
        residues = {"in_a": self.task.residues.a, "in_b": self.task.residues.b}
        return {name: rows[residues[name]] for name, rows in self.network.input_maps(self.weights).items()}

    @cached_property
    def neuron_blocks(self) -> Blocks:
        """How much of each neuron (mlp_post) each frequency explains, over the group's pairs."""
        mlp_post, grid = self.activations.mlp_post, self.task.group_pairs
        assert mlp_post is not None, "a measure of neurons names them in its needs"
        assert grid is not None, "a measure of the group names it in its needs"
        return blocks(mlp_post, grid, self.at_once or mlp_post.is_cuda)

    @cached_property
    def sum_coefficients(self) -> Float[Tensor, "n n_classes"]:
        """Inner products of the logits over the group's pairs with the unit sum directions; row 0 is the constant."""
        n = self.group.n
        by_sum = self.logits.index_select(0, self.pairs_by_sum.reshape(-1)).unflatten(0, (n, n)).sum(1)
        return fourier.sum_coefficients(by_sum)

    def chosen(self, key_freqs: list[int] | None) -> Bool[Tensor, " n_freqs"]:
        """These frequencies as a mask; None: this network's own key frequencies."""
        if not key_freqs:
            return self.gap.is_key
        return fourier.mask_of(key_freqs, self.group.n).to(self.logits.device)

    def sum_waves(self, key_freqs: list[int]) -> Float[Tensor, "n n_classes"]:
        """P_K L: what the logits hold along the directions of `key_freqs`, as a table over (a + b, class)."""
        return fourier.sum_waves(self.sum_coefficients, self.chosen(key_freqs))

    def excluded_losses(
        self, removed: Float[Tensor, "n_sets n n_classes"], pairs: PairsBySum
    ) -> Float[Tensor, " n_sets"]:
        """Mean loss over these pairs after taking each table of `removed` off the logits.

        Removing D changes the odds of class c against the label y by exp(D[s, y] - D[s, c]), and s is shared by n
        pairs. So the sum over classes is, for each s, a product of the pairs' odds with exp(-D[s]): one exponential a
        pair and class for all sets together.
        """
        largest = -removed.amin(-1, keepdim=True)
        factors = (-removed - largest).exp_().permute(1, 2, 0)
        odds = self.wrong_odds.index_select(0, pairs.pairs.flatten()).unflatten(0, pairs.pairs.shape)
        labels = self.task.labels[pairs.pairs].expand(len(removed), -1, -1)
        shift = (removed.gather(2, labels) + largest).permute(1, 2, 0)
        logs = torch.bmm(odds, factors).log_().add_(self.margin[pairs.pairs][..., None]).add_(shift)
        losses = torch.logaddexp(logs, torch.zeros_like(logs))
        return torch.where(pairs.is_pair[..., None], losses, 0).sum((0, 1)) / pairs.is_pair.sum()

    @cached_property
    def excluded_loss_k(self) -> Float[Tensor, " n_freqs"]:
        """Train loss after removing one frequency, for every k = 1..n//2; over the group's pairs."""
        return self.excluded_losses(fourier.sum_waves_of_each(self.sum_coefficients), self.task.trained_by_sum)

    @cached_property
    def gap(self) -> Gap:
        """The largest gap in what it costs to remove a frequency."""
        trained = self.task.train_mask & ~self.task.outside_mask
        return largest_gap(self.excluded_loss_k - mean_over(trained, self.pair_losses))

    @cached_property
    def key_freqs(self) -> KeyFrequencies:
        """This network's own key frequencies, by the largest gap."""
        return self.gap.told()


def evaluate(weights: Weights, task: Task, network: Network, loss_dtype: torch.dtype = torch.float64) -> Evaluation:
    """Run the network on every pair, without gradients."""
    with torch.no_grad():
        activations = network.forward(weights, task.a, task.b)
    return Evaluation(weights, task, network, activations, activations.logits.double(), loss_dtype)
