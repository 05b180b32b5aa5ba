"""Key frequencies by each rule that is in use, and where the rules disagree. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.circuit.subject import Subject
from grok_sweep.measures import rules
from grok_sweep.measures.fit import cos_sim_k
from grok_sweep.measures.table import MEASURES

GAP = "largest_gap"
_RULES = {
    "neurons": ("key_freqs_by_neurons", rules.key_freqs_by_neurons),
    "W_E": ("key_freqs_by_W_E", rules.key_freqs_by_W_E),
    "cos_sim": ("key_freqs_by_cos_sim", rules.key_freqs_by_cos_sim),
}


@dataclass(frozen=True)
class Keys:
    """K, and what each rule says.

    Attributes:
        used: the frequencies that every analysis here takes; [] where there are none.
        is_given: whether the user named them.
        gap: the largest gap in log10(excluded_k - loss), in decades.
        by_rule: rule to its frequencies, None where it finds none or is not defined for this network.
        cos_sim_k: cosine similarity of the logits with cos w_k(a+b-c), for k = 1..n//2.
        excluded_k: loss (nats) without one frequency, for k = 1..n//2, over the set `over`.
        over: "train", or "all" where the split is not known.
    """

    used: list[int]
    is_given: bool
    gap: float
    by_rule: dict[str, list[int] | None]
    cos_sim_k: list[float]
    excluded_k: list[float]
    over: str

    @property
    def disputed(self) -> dict[int, list[str]]:
        """Frequencies that some rule names and another does not: to the rules that name them. Rules without any
        frequency, or not defined here, have no say."""
        said = {rule: set(freqs) for rule, freqs in self.by_rule.items() if freqs}
        named = sorted(set().union(*said.values())) if said else []
        found = {k: [rule for rule, freqs in said.items() if k in freqs] for k in named}
        return {k: who for k, who in found.items() if len(who) < len(said)}


def keys(subject: Subject) -> Keys | None:
    """None where no group is known."""
    evaluation, found = subject.evaluation, subject.found_keys
    if found is None:
        return None
    by_rule = {GAP: found.freqs} | {
        rule: measure(evaluation) if MEASURES[name].needs <= evaluation.has else None
        for rule, (name, measure) in _RULES.items()
    }
    return Keys(
        subject.key_freqs, subject.given_keys is not None, found.gap, by_rule,
        cos_sim_k(evaluation), evaluation.excluded_loss_k.tolist(), subject.trained,
    )  # fmt: skip
