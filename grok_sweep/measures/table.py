"""The one list of measures: what each is, what it sees, when it is defined, where it comes from. No torch."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grok_sweep.dotted import at_dotted_path

K_FREE, ONLINE_K, HINDSIGHT_K = "K-free", "online K", "hindsight K"
FINAL = "_final"
"""Suffix of a measure taken with the final network's key frequencies (hindsight K), by a second pass."""

WORDS = frozenset({"group", "embedding", "W_L", "neurons", "unsquared neurons", "readout", "attention"})
"""What a task or network may have, and a measure may need: the words of Evaluation.has."""
DIRECTIONS = ("up", "down", "")
SCALES = ("log", "logit", "linear")
TAKEN = frozenset({"step", "seconds", "weights_hash"})
"""Names in a row that are no measures."""


@dataclass(frozen=True)
class Measure:
    """A line of the table.

    Attributes:
        function: "module:name" under grok_sweep.measures; takes an Evaluation. Where it returns a dict, each entry is
            logged as <measure>.<entry>. Empty: logged in every row, by rows.py.
        meaning: what the value is, in one short sentence.
        sees: what the value depends on: "weights", "train pairs", "test inputs", "test labels".
        source: where it is defined.
        kind: K-free needs no key frequencies; online K uses the network's own at that step; hindsight K the final
            network's, under names that end in _final.
        direction: which way it goes as the network generalises: "up", "down", or "" where that is not known.
        scale: on which it is compared and drawn: "log", "logit" (shares) or "linear".
        needs: what the task or network must have for it to be defined, in the words of Evaluation.has; it is absent
            elsewhere.
        is_vector: a list with one number a frequency; stands in every `measures.vector_every`-th row.
    """

    function: str
    meaning: str
    sees: str
    source: str
    kind: str = K_FREE
    direction: str = ""
    scale: str = "linear"
    needs: frozenset[str] = frozenset()
    is_vector: bool = False

    def load(self) -> Callable[[Any], Any]:
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(f"grok_sweep.measures.{module}"), name)


_PAPER = "Nanda et al. 2023"
_DOSHI = "Doshi et al. 2023"
_GAP = "ours: the largest gap"
_TEST = "test inputs, test labels"
_INPUTS = "train pairs, test inputs"
_GROUP = frozenset({"group"})
_W_E = frozenset({"group", "embedding"})
_W_L = frozenset({"group", "W_L"})
_NEURONS = frozenset({"group", "unsquared neurons"})


def _always(meaning: str, sees: str, source: str, direction: str = "", scale: str = "log") -> Measure:
    return Measure("", meaning, sees, source, K_FREE, direction, scale)


ALWAYS: dict[str, Measure] = {
    "objective": _always(
        "what training lowers: the loss over all outputs on train pairs",
        "train pairs",
        "the authors' code, `full_loss`",
        "down",
    ),
    "train_loss": _always(
        "mean cross-entropy (nats) over the p answers on train pairs", "train pairs", f"{_PAPER}, section 3", "down"
    ),
    "test_loss": _always("mean cross-entropy on test pairs", _TEST, f"{_PAPER}, section 3", "down"),
    "swap_loss": _always("mean cross-entropy on test pairs whose swap (b, a) is trained on", _TEST, "ours", "down"),
    "novel_loss": _always("mean cross-entropy on test pairs whose swap is not trained on", _TEST, "ours", "down"),
    "zero_loss": _always(
        "mean cross-entropy on test pairs outside the group (with a 0 in multiplication)", _TEST, "ours", "down"
    ),
    "noisy_loss": _always(
        "mean cross-entropy on train pairs with a wrong label, by that label", "train pairs", _DOSHI
    ),
    "all_loss": _always(
        "mean cross-entropy on all pairs, by the true answers",
        "train pairs, test inputs, test labels",
        _PAPER,
        "down",
    ),
    "train_acc": _always(
        "share of train pairs answered as they are labelled", "train pairs", f"{_PAPER}, section 3", "up", "logit"
    ),
    "test_acc": _always("share of test pairs answered right", _TEST, f"{_PAPER}, section 3", "up", "logit"),
    "swap_acc": _always(
        "share of test pairs answered right, of those whose swap is trained on", _TEST, "ours", "up", "logit"
    ),
    "novel_acc": _always(
        "share of test pairs answered right, of those whose swap is not trained on", _TEST, "ours", "up", "logit"
    ),
    "zero_acc": _always("share of test pairs outside the group answered right", _TEST, "ours", "up", "logit"),
    "noisy_acc": _always(
        "share of noisy train pairs answered by their wrong label", "train pairs", _DOSHI, "", "logit"
    ),
    "restored_acc": _always(
        "share of noisy train pairs answered right all the same", "train pairs", _DOSHI, "up", "logit"
    ),
    "grad_norm": _always("norm of the gradient of the last update, at the weights before it", "train pairs", "ours"),
    "update_norm": _always("norm of the last update", "train pairs", "ours"),
}
"""Logged in every row where there are such pairs."""

MEASURES: dict[str, Measure] = {
    "restricted_loss": Measure(
        "losses:restricted_loss", "loss of the logits' key-frequency part alone, over all pairs",
        "train pairs, test inputs, test labels", f"{_PAPER}, section 5.1", ONLINE_K, "down", "log", _GROUP,
    ),
    "excluded_loss": Measure(
        "losses:excluded_loss", "train loss of the logits without their key-frequency part",
        _INPUTS, f"{_PAPER}, section 5.1", ONLINE_K, "up", "log", _GROUP,
    ),
    "excluded_loss_max": Measure(
        "losses:excluded_loss_max", "the largest of excluded_loss_k",
        _INPUTS, f"{_PAPER}, footnote 3", K_FREE, "up", "log", _GROUP,
    ),
    "excluded_loss_k": Measure(
        "losses:excluded_loss_k", "train loss of the logits without one frequency, for every k",
        _INPUTS, f"{_PAPER}, figure 15", K_FREE, "up", "log", _GROUP, is_vector=True,
    ),
    "key_gap": Measure(
        "losses:key_gap", "the largest gap in log10(excluded_k - train loss), in decades",
        _INPUTS, _GAP, K_FREE, "up", "linear", _GROUP,
    ),
    "n_key_freqs": Measure(
        "losses:n_key_freqs", "how many key frequencies there are", _INPUTS, _GAP, ONLINE_K, needs=_GROUP
    ),
    "key_freqs": Measure(
        "losses:key_freqs", "the key frequencies: all above the largest gap, where that is 1.5 decades or more",
        _INPUTS, _GAP, ONLINE_K, needs=_GROUP,
    ),
    "key_freqs_by_neurons": Measure(
        "rules:key_freqs_by_neurons", "frequencies that explain some neuron to more than 85 %",
        _INPUTS, f"{_PAPER}, authors' code", ONLINE_K, needs=_NEURONS,
    ),
    "key_freqs_by_W_E": Measure(
        "rules:key_freqs_by_W_E", "frequencies whose norm in W_E is above a quarter of the largest",
        "weights", "TransformerLens, Grokking_Demo", ONLINE_K, needs=_W_E,
    ),
    "key_freqs_by_cos_sim": Measure(
        "rules:key_freqs_by_cos_sim", "frequencies whose cosine similarity with the centred logits is above .005",
        _INPUTS, "Chughtai et al. 2023, their code", ONLINE_K, needs=_GROUP,
    ),
    "fve_logits": Measure(
        "fit:fve_logits", "share of the logits' variance that cos w_k(a+b-c) of the key frequencies explain",
        _INPUTS, f"{_PAPER}, sections 4.1 and 4.2", ONLINE_K, "up", "logit", _GROUP,
    ),
    "fit_loss": Measure(
        "fit:fit_loss", "loss of the least-squares cos w_k(a+b-c) in the place of the logits",
        _INPUTS, f"{_PAPER}, section 4.4", ONLINE_K, "down", "log", _GROUP,
    ),
    "cos_sim_k": Measure(
        "fit:cos_sim_k", "cosine similarity of the logits with cos w_k(a+b-c), for every k",
        _INPUTS, f"{_PAPER}, authors' notebook", K_FREE, "up", "linear", _GROUP, is_vector=True,
    ),
    "logit_energy": Measure(
        "energy:logit_energy", "share of the logits' variance over inputs that depends on a + b alone",
        _INPUTS, f"{_PAPER}, authors' notebook, `tensor_trig_ratio`", K_FREE, "up", "logit", _GROUP,
    ),
    "logit_energy_k": Measure(
        "energy:logit_energy_k", "the part of logit_energy along cos and sin of w_k(a+b), for every k",
        _INPUTS, f"{_PAPER}, authors' notebook, `tensor_trig_ratio`", K_FREE, "", "logit", _GROUP, is_vector=True,
    ),
    "W_L_residual": Measure(
        "fit:W_L_residual", "share of the squared norm of W_L outside the key frequencies",
        f"weights, {_INPUTS}", f"{_PAPER}, section 4.2, equation 2", ONLINE_K, "down", "logit", _W_L,
    ),
    "frac_neurons_85": Measure(
        "neurons:frac_neurons_85", "share of neurons that one frequency explains to more than 85 %",
        _INPUTS, f"{_PAPER}, section 4.3", K_FREE, "up", "logit", _NEURONS,
    ),
    "frac_neurons_85_weighted": Measure(
        "neurons:frac_neurons_85_weighted",
        "share of neurons that one frequency explains to more than 85 %, weighted by variance times |W_out|²",
        f"weights, {_INPUTS}", "ours", K_FREE, "up", "logit", _NEURONS | {"readout"},
    ),
    "neurons_85_k": Measure(
        "neurons:neurons_85_k", "number of neurons that frequency k explains to more than 85 %, for every k",
        _INPUTS, f"{_PAPER}, section 4.3", K_FREE, "", "linear", _NEURONS, is_vector=True,
    ),
    "attn_to_equals": Measure(
        "attention:attn_to_equals", 'attention from "=" to "=" itself, mean over pairs and heads',
        _INPUTS, _PAPER, K_FREE, "", "logit", frozenset({"attention"}),
    ),
    "gini_W_E": Measure(
        "sparsity:gini_W_E", "Gini coefficient of the Fourier component norms of W_E",
        "weights", f"{_PAPER}, appendix C.2", K_FREE, "up", "linear", _W_E,
    ),
    "gini_W_L": Measure(
        "sparsity:gini_W_L", "Gini coefficient of the Fourier component norms of W_L",
        "weights", f"{_PAPER}, appendix C.2", K_FREE, "up", "linear", _W_L,
    ),
    "ipr": Measure(
        "participation:ipr",
        "how few frequencies a neuron's weights hold (1: a single one), mean over neurons; by map",
        "weights", "Gromov 2023; Doshi et al. 2023; He et al. 2026", K_FREE, "up", "linear", _GROUP,
    ),
    "spectral_entropy_W_E": Measure(
        "spectrum:spectral_entropy_W_E", "entropy (nats) of the normalised singular values of W_E",
        "weights", "Roy and Vetterli 2007", K_FREE, "down", "linear", frozenset({"embedding"}),
    ),
    "effective_rank_W_E": Measure(
        "spectrum:effective_rank_W_E", "how many directions W_E uses: exp of its spectral entropy",
        "weights", "Roy and Vetterli 2007", K_FREE, "down", "log", frozenset({"embedding"}),
    ),
    "sum_sq_weights": Measure(
        "sparsity:sum_sq_weights", "sum of squares of all parameters",
        "weights", f"{_PAPER}, figure 7", K_FREE, "down", "log",
    ),
    "sum_sq": Measure(
        "sparsity:sum_sq", "sum of squares of each parameter",
        "weights", f"{_PAPER}, figure 7, by parameter", K_FREE, "down", "log",
    ),
    "softmax_collapse": Measure(
        "collapse:softmax_collapse", "share of train pairs whose loss has rounded to exactly 0 in loss_dtype",
        "train pairs", "Prieto et al. 2025", K_FREE, "", "linear",
    ),
}  # fmt: skip
"""Those that `measures.names` chooses from."""

VECTORS = frozenset(name for name, line in MEASURES.items() if line.is_vector)
"""Those with one number a frequency."""

HINDSIGHT: dict[str, str] = {
    f"{name}{FINAL}": name for name in ("restricted_loss", "excluded_loss", "fve_logits", "fit_loss", "W_L_residual")
}
"""Name of a measure with the final key frequencies -> the measure, whose second argument they are."""

OTHER_KEYS = {"without_weakest": "without the weakest of them", "with_next": "and the next one"}
"""Two sets beside the final key frequencies (frequencies.neighbours): in how far stages hang on the choice of K."""
HINDSIGHT |= {f"{name}_{other}{FINAL}": name for name in ("restricted_loss", "excluded_loss") for other in OTHER_KEYS}


def keys_of(name: str) -> str:
    """Which key frequencies a measure of HINDSIGHT takes: "" for the final ones, else one of OTHER_KEYS."""
    infix = name.removesuffix(FINAL).removeprefix(HINDSIGHT[name]).removeprefix("_")
    assert not infix or infix in OTHER_KEYS
    return infix


def own_name(path: str) -> str:
    """Under which name a measure of the user's own is logged: the last part of its dotted path."""
    return path.rpartition(".")[2]


def measure(name: str) -> Measure:
    """The line of a known measure, or one made up for a function of the user's own at a dotted path.

    The function takes an Evaluation; it may carry `needs`, `direction` and `scale` as attributes.
    """
    if name in MEASURES:
        return MEASURES[name]
    function = at_dotted_path(name, "measures.names")
    needs = frozenset(getattr(function, "needs", ()))
    direction, scale = getattr(function, "direction", ""), getattr(function, "scale", "linear")
    return _OwnMeasure(name, "the user's own", "unknown", name, needs=needs, direction=direction, scale=scale)


class _OwnMeasure(Measure):
    def load(self) -> Callable[[Any], Any]:
        return at_dotted_path(self.function, "measures.names")


def problems(names: Sequence[str]) -> list[str]:
    """What is wrong with these names, one sentence each: unknown ones, and dotted paths that lead to no measure."""
    unknown = sorted({name for name in names if name not in MEASURES and "." not in name})
    found = []
    if unknown:
        known = ", ".join(sorted(MEASURES))
        found.append(
            f"unknown measures: {', '.join(map(_and_meant, unknown))}. Known: {known}; or a dotted path to a function"
        )
    own = sorted({name for name in names if "." in name})
    found += [line for path in own for line in _problems_of_own(path)]
    for name in sorted({own_name(path) for path in own}):
        paths = [path for path in own if own_name(path) == name]
        if len(paths) > 1:
            found.append(f"measures.names: {' and '.join(paths)} would both be logged as {name}; rename one")
    return found


def _and_meant(name: str) -> str:
    """The name, and what it is or may have been meant to be."""
    if name in ALWAYS:
        return f"{name} (stands in every row)"
    if name in HINDSIGHT:
        return f"{name} (by python -m grok_sweep measure, after the end)"
    by_lower = {known.lower(): known for known in MEASURES}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"{name} (did you mean {by_lower[near[0]]}?)" if near else name


def _problems_of_own(path: str) -> list[str]:
    """What is wrong with the function at this dotted path, and with what it says of itself."""
    try:
        function = at_dotted_path(path, "measures.names")
    except ValueError as error:
        return [str(error)]
    if not callable(function):
        return [f"measures.names={path} is no function of an Evaluation"]
    needs = getattr(function, "needs", ())
    if not isinstance(needs, list | tuple | set | frozenset) or not WORDS.issuperset(needs):
        return [f"measures.names={path}: its needs must be a list of words among {', '.join(sorted(WORDS))}"]
    line = measure(path)
    found = []
    if own_name(path) in MEASURES.keys() | ALWAYS.keys() | TAKEN:
        found.append(f"measures.names={path}: {own_name(path)} is the name of a known measure; rename yours")
    for name, value, allowed in (("direction", line.direction, DIRECTIONS), ("scale", line.scale, SCALES)):
        if value not in allowed:
            shown = ", ".join(repr(word) for word in allowed)
            found.append(f"measures.names={path}: its {name} must be one of {shown}, got {value!r}")
    return found
