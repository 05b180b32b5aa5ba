"""What was found, in sentences and tables: the same on the terminal and on the page. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from analysis.circuit import clock_pizza
from analysis.circuit.ablations import Ablation
from analysis.circuit.circuit import Circuit
from analysis.circuit.keys import GAP, Keys
from analysis.circuit.paper import beside
from analysis.circuit.verdict import Evidence, Judged, Verdict
from analysis.report.blocks import Block, Section, Table, Text
from analysis.report.words import counted, listed, number, sentence, steps
from grok_sweep.measures.frequencies import LEAST_GAP

NO_GROUP = (
    "No cyclic group of this operation is known (addition and subtraction have one, multiplication and division mod "
    "a prime): frequencies mean nothing here, and what follows assumes no circuit."
)
SET_WORDS = {
    "all": "all pairs",
    "train": "train pairs",
    "test": "test pairs",
    "swap": "swap pairs",
    "novel": "novel pairs",
    "zero": "pairs with a 0",
}
PAPER = "the paper's (p = 113)"


def sections(circuit: Circuit) -> Iterator[Section]:
    """In the order of the paper: what it is, then embedding to logits, then what breaks."""
    yield verdict(circuit)
    yield losses(circuit)
    if circuit.keys is not None:
        yield keys(circuit)
    if circuit.keys is not None and circuit.keys.used:
        yield by_frequency(circuit)
    if circuit.attention is not None:
        yield attention(circuit)
    if circuit.ablations:
        yield ablations(circuit)
    if circuit.keys is not None:
        yield placed(circuit)
    yield weights(circuit)


# --- the verdict --------------------------------------------------------------------------------------------


def headline(circuit: Circuit) -> str:
    """What it is, in a sentence or two."""
    judged = circuit.judged
    if judged is None or circuit.keys is None:
        return NO_GROUP
    found = f"{'frequencies' if len(circuit.keys.used) > 1 else 'frequency'} {listed(circuit.keys.used)}"
    if circuit.keys.is_given:
        return f"With the {found}, as given: {_of_given(judged)}. {_found_instead(circuit.keys)}"
    if judged.verdict is Verdict.fourier:
        return (
            f"Fourier: the network computes by rotations, with the {found}. Without them it is lost, and they alone "
            "suffice."
        )
    if judged.verdict is Verdict.forming:
        return f"Forming: the {found} stand{'s' * (len(circuit.keys.used) == 1)} out, but {_lacking(judged)}."
    gap = judged.of("key_gap").value
    return f"Not: no frequencies stand out (the largest gap is {number(gap)} decades, {LEAST_GAP} are asked for)."


def _of_given(judged: Judged) -> str:
    suffices = "they alone suffice" if judged.of("restricted_loss").holds else "they alone do not suffice"
    lost = "is lost" if judged.of("excluded_loss").holds else "still answers well"
    return f"{suffices}, and without them the network {lost}"


def _found_instead(keys: Keys) -> str:
    """What the rule has to say where K was given: the gap is the rule's."""
    freqs = keys.by_rule[GAP]
    return f"The rule finds {listed(freqs) if freqs else 'none'}, and the gap is that of its own."


def _lacking(judged: Judged) -> str:
    words = {
        "restricted_loss": "alone they do not suffice yet",
        "excluded_loss": "without them it still answers well",
    }
    return " and ".join(word for name, word in words.items() if not judged.of(name).holds)


def verdict(circuit: Circuit) -> Section:
    judged = circuit.judged
    if judged is None:
        return Section("Verdict", [Text(NO_GROUP)])
    head = ("evidence", "over", "value", "asked for", "random names: median", "random names: best", "as good")
    rows = [_evidence(each, judged.n_relabellings) for each in judged.evidence]
    caption = (
        f"Beside each number the same under {judged.n_relabellings} random relabellings of the residues, each with "
        f"the best {counted(judged.n_freqs, 'frequency', 'frequencies')} under those names; as good: how many of "
        "them do as well as the network's own naming."
    )
    blocks: list[Block] = [Text(headline(circuit)), Table(head, rows, caption, numbers=(2, 4, 5))]
    if against := list(doubts(circuit)):
        blocks.append(Text(f"Against it, though it does not enter the verdict: {'; '.join(against)}."))
    if not circuit.subject.has_split:
        blocks.append(Text(
            "The split is not known: what is asked of train pairs and of novel pairs is asked of all pairs here.",
            quiet=True,
        ))  # fmt: skip
    return Section("Verdict", blocks)


def doubts(circuit: Circuit) -> Iterator[str]:
    """What points away from a clean circuit where the verdict is Fourier; nothing elsewhere."""
    judged, logits = circuit.judged, circuit.logits
    if judged is None or judged.verdict is not Verdict.fourier:
        return
    if n := judged.of("key_gap").n_holding:
        yield f"{n} of {judged.n_relabellings} relabellings have a gap of {LEAST_GAP} too"
    if logits.fve is not None and logits.fve < 0.8:
        yield f"cos w_k(a+b-c) explains {logits.fve:.0%} of the logits' variance (the paper's 95 %)"
    residual = None if circuit.neuron_logit_map is None else circuit.neuron_logit_map.residual
    if residual is not None and residual > 0.05:
        yield f"{residual:.0%} of W_L's squared norm lie outside K (the paper's < .55 %)"
    without = [c.k for c in circuit.neurons.clusters if not c.above] if circuit.neurons else []
    if without:
        yield f"no neuron is of frequency {listed(without)} to more than 85 %"


def _evidence(each: Evidence, n: int) -> list[str]:
    words = {
        "key_gap": ("gap (decades)", number(each.bound)),
        "restricted_loss": ("restricted loss (nats)", f"{number(each.bound)} (.1 ln p)"),
        "excluded_loss": ("excluded loss (nats)", f"{number(each.bound)} (.8 ln p)"),
    }
    name, bound = words[each.name]
    asked = ("at least " if each.kind == "least" else "at most ") + bound
    as_good = "–" if each.n_as_good is None else f"{each.n_as_good} of {n}"
    best, median = number(each.null_best), number(each.null_median)
    return [name, SET_WORDS[each.over], number(each.value), asked, median, best, as_good]


# --- losses -------------------------------------------------------------------------------------------------


def losses(circuit: Circuit) -> Section:
    found, subject = circuit.logits, circuit.subject
    head = ("pairs", "number", "loss (nats)", "accuracy", "margin: least", "1 %", "median")
    rows = []
    for name, mask in subject.reported.items():
        margins = found.margins[name]
        row = [
            SET_WORDS[name],
            steps(int(mask.sum())),
            number(found.losses[name]),
            f"{found.accuracies[name]:.2%}",
        ]
        rows.append(row + [number(margin) for margin in (margins.least, margins.first, margins.median)])
    caption = (
        f"float64 cross-entropy over the {subject.task.p} answers{_outside(circuit)}. Margin: by how much (nats) the "
        "right answer's logit beats the best wrong one's. Swap pairs: test pairs whose swap (b, a) was trained on; "
        "novel: the other test pairs."
    )
    blocks: list[Block] = [Table(head, rows, caption, numbers=(1, 2, 3, 4, 5, 6))]
    if found.runners_up:
        blocks += [Text("Where the best wrong answer lies:"), _runners_up(circuit)]
    return Section("Losses and margins", blocks)


def _outside(circuit: Circuit) -> str:
    group = circuit.subject.group
    return "" if group is None or group.primitive_root is None else ", pairs with a 0 apart"


def _runners_up(circuit: Circuit) -> Table:
    found = circuit.logits
    names = "answers" if circuit.subject.group and circuit.subject.group.primitive_root is None else "exponents"
    rows = [[str(r.distance), f"{r.share:.1%}"] for r in found.runners_up]
    head = ["distance d", "of the pairs"]
    caption = f"d: from the right answer, in {names}, to either side."
    if found.fitted_least is not None:
        head.append("margin of the fit (nats)")
        rows = [[*row, number(r.fitted_margin)] for row, r in zip(rows, found.runners_up, strict=True)]
        margin, distance = found.fitted_least
        caption += (
            f" The fit sum alpha_k cos w_k(a+b-c) separates answers at distance d by sum alpha_k (1 - cos w_k d): "
            f"least {number(margin)} nats, at d = {distance}."
        )
    return Table(head, rows, caption, numbers=tuple(range(len(head))))


# --- frequencies --------------------------------------------------------------------------------------------


RULE_WORDS = {
    "largest_gap": "the largest gap in log10(excluded_k - loss)",
    "neurons": "explains some neuron to more than 85 %",
    "W_E": "norm in W_E above a quarter of the largest",
    "cos_sim": "cosine similarity with the logits above .005",
}


def keys(circuit: Circuit) -> Section:
    found = circuit.keys
    assert found is not None, "asked for where there is a group"
    n_freqs = len(found.excluded_k)
    rows = [[RULE_WORDS[rule], _few(freqs or [], n_freqs)] for rule, freqs in found.by_rule.items()]
    used = listed(found.used) if found.used else "none"
    whence = "as given by --key-freqs" if found.is_given else f"by the first rule, gap {number(found.gap)} decades"
    blocks: list[Block] = [
        Text(f"Key frequencies K: {used} ({whence})."),
        Table(("rule", "frequencies"), rows),
    ]
    if found.disputed:
        by: dict[str, list[int]] = {}
        for k, who in found.disputed.items():
            by.setdefault(listed([_short(rule) for rule in who]), []).append(k)
        said = "; ".join(f"by {who} alone {_few(freqs, n_freqs)}" for who, freqs in by.items())
        blocks.append(Text(f"The rules disagree: {said}."))
    elif found.used:
        blocks.append(Text("All rules that find any agree."))
    return Section("Key frequencies", blocks)


MOST_LISTED = 12


def _few(freqs: Sequence[int], n_freqs: int) -> str:
    if len(freqs) <= MOST_LISTED:
        return listed(freqs) if freqs else "none"
    return f"all {n_freqs}" if len(freqs) == n_freqs else f"{len(freqs)} of {n_freqs}"


def _short(rule: str) -> str:
    return {"largest_gap": "the gap", "neurons": "neurons", "W_E": "W_E", "cos_sim": "the logits"}[rule]


def by_frequency(circuit: Circuit) -> Section:
    """A row a key frequency: from the embedding to the logits."""
    found = circuit.keys
    assert found is not None, "asked for where there are key frequencies"
    columns = list(_columns(circuit))
    head = ("k", *(name for name, _ in columns))
    rows = [[str(k), *(column.get(k, "–") for _, column in columns)] for k in found.used]
    blocks: list[Block] = [Table(head, rows, _caption(circuit), numbers=tuple(range(len(head))))]
    blocks.append(_totals(circuit))
    return Section("Frequency by frequency", blocks)


def _columns(circuit: Circuit) -> Iterator[tuple[str, dict[int, str]]]:
    """Heading, and what each key frequency has there."""
    if circuit.embedding is not None:
        circles = circuit.embedding.circles
        yield "of W_E", {c.k: f"{c.share:.1%}" for c in circles}
        yield "roundness", {c.k: f"{c.roundness:.2f}" for c in circles}
    if circuit.neurons is not None:
        clusters = circuit.neurons.clusters
        yield "neurons", {c.k: str(c.above) for c in clusters}
        yield "fit", {c.k: "–" if c.fve is None else f"{c.fve:.1%}" for c in clusters}
        yield "weight", {c.k: "–" if c.weight is None else f"{c.weight:.1%}" for c in clusters}
    if circuit.neuron_logit_map is not None:
        for wave, letter in (("cos", "u"), ("sin", "v")):
            mine = [d for d in circuit.neuron_logit_map.directions if d.wave == wave]
            yield f"FVE {letter}_k", {d.k: "–" if d.fve is None else f"{d.fve:.1%}" for d in mine}
    yield "alpha_k", {k: number(alpha) for k, alpha in circuit.logits.alphas.items()}
    excluded = circuit.keys.excluded_k if circuit.keys else []
    yield "loss without k", {k: number(loss) for k, loss in enumerate(excluded, 1)}


def _caption(circuit: Circuit) -> str:
    over = "all pairs" if circuit.keys and circuit.keys.over == "all" else "train pairs"
    parts = []
    if circuit.embedding is not None:
        parts.append("of W_E: share of its squared norm; roundness: shorter over longer axis of its ellipse")
    if circuit.neurons is not None:
        parts.append(
            "neurons: those that k explains to more than 85 %, fit: the mean share it explains of them, weight: "
            "their share of variance times squared W_out row"
        )
    if circuit.neuron_logit_map is not None:
        parts.append(
            "FVE u_k, v_k: share of the variance of mlp_post . u_k that cos w_k(a+b) explains, of v_k sin (table 1 "
            "of the paper: 93 to 98 %)"
        )
    parts += ["alpha_k: amplitude of cos w_k(a+b-c) in the logits (nats)", f"loss without k: over {over}"]
    return sentence("; ".join(parts) + ".")


def _totals(circuit: Circuit) -> Table:
    """What the frequencies explain together, beside the paper's."""
    rows: list[list[str]] = []

    def add(what: str, name: str, value: float | None) -> None:
        if value is not None:
            rows.append([what, number(value), _paper(name)])

    found = circuit.logits
    add("share of W_E's squared norm at K", "W_E_key_share", circuit.embedding.share if circuit.embedding else None)
    if circuit.neurons is not None:
        add("share of neurons above 85 %", "frac_neurons_85", circuit.neurons.share)
        add("the same, weighted by variance x |W_out row|²", "frac_neurons_85_weighted", circuit.neurons.weighted)
    if circuit.neuron_logit_map is not None:
        add("share of W_L's squared norm outside K", "W_L_residual", circuit.neuron_logit_map.residual)
    add("share of the logits' variance explained by cos w_k(a+b-c)", "fve_logits", found.fve)
    for name, value in circuit.ginis.items():
        add(f"Gini of the Fourier norms of {name.removeprefix('gini_')}", name, value)
    return Table(("together", "value", PAPER), rows, numbers=(1,))


def _paper(name: str) -> str:
    value = beside(name)
    return "" if value is None else value if isinstance(value, str) else number(value)


def attention(circuit: Circuit) -> Section:
    head = ["head", "to a", "to b", 'to "="']
    has_fit = circuit.keys is not None
    rows = []
    for h, each in enumerate(circuit.attention or []):
        row = [str(h), f"{each.to_a:.3f}", f"{each.to_b:.3f}", number(each.to_equals)]
        if has_fit:
            of_fit = (each.k, each.fve, each.alpha, each.beta)
            row += ["–", "–", "–", "–"] if None in of_fit else [str(each.k), *(f"{v:.3f}" for v in of_fit[1:])]
        rows.append(row)
    if has_fit:
        head += ["k", "FVE", "alpha", "beta"]
    caption = 'Attention from "=", mean over pairs.'
    if has_fit:
        caption += (
            " FVE: share of the variance of attention to a that alpha (cos w_k a - cos w_k b) + beta (sin w_k a - "
            "sin w_k b) explains, of the best k (the paper's table 2: .979 to .991)."
        )
    return Section("Attention", [Table(head, rows, caption, numbers=tuple(range(len(head))))])


# --- ablations ----------------------------------------------------------------------------------------------


PARTS = ("logits", "neurons", "skips", "attention")


def ablations(circuit: Circuit) -> Section:
    """A table: one row an ablation, its loss on all, train and novel pairs, and the paper's."""
    sets = [name for name in ("all", "train", "novel") if name in circuit.subject.sets]
    head = ("name", "what is changed", *(f"{name} loss" for name in sets), "times", PAPER)
    base = circuit.logits.losses
    rows = [["", "nothing", *(number(base[name]) for name in sets), "1", _paper("all_loss")]]
    rows += [_ablation(each, sets, base["all"]) for part in PARTS for each in circuit.ablations if each.part == part]
    numbers = tuple(range(2, 3 + len(sets)))
    guess = number(math.log(circuit.subject.task.p), 4)
    caption = (
        "Mean loss (nats) of the network changed in one place; times: over all pairs, against the unchanged. The "
        f"loss of guessing is ln p = {guess}. The paper's: over all pairs, but for excluded losses, over train "
        "pairs. Formulas: docs/circuit.md."
    )
    return Section("Ablations", [Table(head, rows, caption, numbers)])


def _ablation(each: Ablation, sets: Sequence[str], base: float) -> list[str]:
    name = f"ablation.{each.name}"
    published = _paper(name) or _paper(f"{name}.train")
    times = number(each.losses["all"] / base) if base > 0 else "–"
    return [each.name, each.what, *(number(each.losses[s]) for s in sets), times, published]


# --- the rest -----------------------------------------------------------------------------------------------


def placed(circuit: Circuit) -> Section:
    """Beside the clocks and pizzas of Zhong et al."""
    title = "Between clock and pizza"
    found = circuit.clock_pizza
    if found is None:
        why = (
            f"Not given: the network answers {circuit.logits.accuracies[circuit.subject.unseen]:.1%} of the "
            f"{SET_WORDS[circuit.subject.unseen]}, and below {clock_pizza.LEAST_ACCURACY:.0%} there is no algorithm "
            "to place (a random network has 1.00 and 1.00)."
        )
        return Section(title, [Text(why, quiet=True)])
    of_this = (found.gradient_symmetricity, found.distance_irrelevance)
    rows = [["this network", *(number(v) for v in of_this), number(found.circularity)]]
    rows += [[who, f"{s:.2f}", f"{q:.2f}", "> .995"] for who, s, q in clock_pizza.PUBLISHED]
    rows += [
        ["released transformers of Chughtai et al.", ".18 to .39", ".83 to .93", ""],
        ["random", "1.00", "1.00", ""],
    ]
    caption = (
        "Gradient symmetricity: mean cosine between the gradients of a logit by the two operands' embeddings, over "
        f"{clock_pizza.N_TRIPLES} random (a, b, c). Distance irrelevance: how much of the spread of the right "
        "answers' logits is left among pairs with the same a - b. Circularity: how circular the first four principal "
        "components of W_E are. Zhong et al. 2023, medians of their released runs (p = 59); attention rate: 0 is "
        "uniform attention, 1 the learned one. Numbers, no label."
    )
    head = ("network", "gradient symmetricity", "distance irrelevance", "circularity")
    return Section(title, [Table(head, rows, caption, numbers=(1, 2, 3))])


def weights(circuit: Circuit) -> Section:
    rows = [["all", number(circuit.sum_sq_weights), _paper("sum_sq_weights")]]
    rows += [[name, number(value), _paper(f"sum_sq.{name}")] for name, value in circuit.sum_sq.items()]
    n = sentence(counted(len(circuit.sum_sq), "parameter"))
    caption = f"{n}. Under weight decay balanced pairs end equal: W_K and W_Q, W_V and W_O, W_in and W_out."
    return Section("Sum of squares", [Table(("parameter", "sum of squares", PAPER), rows, caption, numbers=(1, 2))])
