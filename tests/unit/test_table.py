"""The table of measures: complete, as settings and documents have it; and what is not defined is absent."""

import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from evaluations import network_of

from grok_sweep.config import Activation, DataConfig, Norm
from grok_sweep.measures import listing, table
from grok_sweep.measures.evaluation import Evaluation, evaluate
from grok_sweep.measures.rows import entries, measured
from grok_sweep.measures.table import ALWAYS, HINDSIGHT, MEASURES, VECTORS
from grok_sweep.measures.told import Told
from grok_sweep.summary import NOT_MEASURES
from grok_sweep.tasks import make_task

ROOT = Path(__file__).parents[2]
NETWORKS = {
    "transformer": {},
    "LayerNorm": {"norm": Norm.layer},
    "two layers": {"n_layers": 2},
    "square": {"activation": Activation.square},
    "mlp": {"architecture": "mlp", "equals_logit": False},
    "quadratic": {
        "architecture": "quadratic", "activation": Activation.square, "equals_logit": False, "mlp_biases": False,
    },
}  # fmt: skip


def evaluation_of(network: str, operation: str, p: int = 13) -> Evaluation:
    built = network_of(p, d_model=12, **NETWORKS[network])
    return evaluate(built.init(), make_task(DataConfig(operation=operation, p=p, frac_train=0.4)), built)


def all_measured(evaluation: Evaluation) -> dict[str, object]:
    names = list(MEASURES)
    return measured(evaluation, names, vectors=False) | measured(evaluation, names, vectors=True)


# --- the lines ----------------------------------------------------------------------------------------------


def test_every_measure_is_a_formula_that_can_be_taken_of_many_networks():
    assert all(isinstance(line.load(), Told) for line in MEASURES.values())


def test_every_line_says_all_that_a_reader_and_a_ranking_need():
    for name, line in (ALWAYS | MEASURES).items():
        assert line.meaning, name
        assert line.source, name
        assert set(line.sees.split(", ")) <= {"weights", "train pairs", "test inputs", "test labels"}, name
        assert line.kind in (table.K_FREE, table.ONLINE_K), name
        assert line.direction in table.DIRECTIONS, name
        assert line.scale in table.SCALES, name
        assert line.needs <= table.WORDS, name
    for name, line in MEASURES.items():
        assert "Sees " in (line.load().__doc__ or ""), name
    assert all(not line.function for line in ALWAYS.values())
    assert set(HINDSIGHT.values()) <= {name for name, line in MEASURES.items() if line.kind == table.ONLINE_K}
    assert {name for name in MEASURES if name.endswith("_k")} == VECTORS


def test_lists_of_key_frequencies_are_no_numbers_to_summarise():
    assert {name for name in MEASURES if name.startswith("key_freqs")} <= NOT_MEASURES


def test_the_words_of_the_needs_are_those_of_an_evaluation_and_are_explained():
    text = (ROOT / "docs" / "measures.md").read_text()
    for network in NETWORKS:
        assert evaluation_of(network, "add").has <= table.WORDS
    assert evaluation_of("transformer", "add").has == table.WORDS
    for word in table.WORDS:
        assert f"*{word}*" in text, word


def test_unknown_names_are_told_with_those_that_are_known():
    assert table.problems(list(MEASURES)) == []
    (line,) = table.problems(["gini_we", "key_gap", "fourier"])
    assert line.startswith(
        "unknown measures: fourier, gini_we (did you mean gini_W_E?). Known: W_L_residual, attn_to_equals, cos_sim_k,"
    )


def names_of(preset: str) -> list[str]:
    return yaml.safe_load((ROOT / "conf" / "measures" / f"{preset}.yaml").read_text())["names"]


def test_the_presets_hold_known_names_and_all_holds_them_all():
    for file in (ROOT / "conf" / "measures").glob("*.yaml"):
        assert table.problems(names_of(file.stem)) == [], file
    assert names_of("all") == list(MEASURES)


def test_nanda_holds_the_rows_of_the_contract():
    contract = {
        "restricted_loss", "excluded_loss", "excluded_loss_max", "excluded_loss_k", "key_gap", "n_key_freqs",
        "key_freqs", "fve_logits", "fit_loss", "cos_sim_k", "gini_W_E", "gini_W_L", "W_L_residual", "frac_neurons_85",
        "frac_neurons_85_weighted", "sum_sq_weights", "sum_sq",
    }  # fmt: skip
    assert set(names_of("nanda")) == contract


def test_the_document_holds_the_table_as_it_is():
    """Where it does not: the command at the head of docs/measures.md writes it anew."""
    text = (ROOT / "docs" / "measures.md").read_text()
    assert listing.renewed(text) == text
    for name in (*ALWAYS, *MEASURES, *HINDSIGHT):
        assert f"| `{name}` |" in text, name
    for part in listing.markdown().split("###")[1:]:
        n_cells = {len(re.split(r"(?<!\\)\|", row)) for row in part.splitlines() if row.startswith("|")}
        assert len(n_cells) == 1, part


def test_a_document_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="between the lines"):
        listing.renewed("# Measures\n")


# --- where a thing is not defined ---------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "divide", "quadratic", "random"])
@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_not_defined_is_absent_and_the_rest_are_numbers(network, operation):
    e = evaluation_of(network, operation)
    found = all_measured(e)
    has_group = operation not in ("quadratic", "random")
    absent = {name for name, line in MEASURES.items() if "group" in line.needs and not has_group}
    if network == "LayerNorm":
        absent |= {"W_L_residual", "gini_W_L"}
    if network in ("square", "quadratic"):
        absent |= {"frac_neurons_85", "frac_neurons_85_weighted", "neurons_85_k", "key_freqs_by_neurons"}
    if network in ("mlp", "quadratic"):
        absent |= {"attn_to_equals"}
    if network == "quadratic":
        absent |= {"gini_W_E", "key_freqs_by_W_E", "spectral_entropy_W_E", "effective_rank_W_E"}
    assert {name.partition(".")[0] for name in found} == set(MEASURES) - absent
    for name, value in found.items():
        for number in value if isinstance(value, list) else [value]:
            assert number is None or math.isfinite(number), name
    n_freqs = {len(value) for name, value in found.items() if name in VECTORS}
    assert n_freqs == ({e.group.n // 2} if has_group else set())


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_that_broke_is_measured_without_an_error_and_gives_no_finite_share(network):
    """The last row of a run that diverges: null stands there, not a number that means nothing."""
    e = evaluation_of(network, "add")
    broken = evaluate({name: torch.full_like(w, math.nan) for name, w in e.weights.items()}, e.task, e.network)
    found = all_measured(broken)
    assert found.pop("key_gap") == 0
    for name, value in found.items():
        for number in value if isinstance(value, list) else [value]:
            assert number is None or not math.isfinite(number), name


@pytest.mark.parametrize("network", ["transformer", "mlp", "LayerNorm"])
def test_weights_of_zero_have_a_value_or_null(network):
    e = evaluation_of(network, "add")
    zero = evaluate({name: torch.zeros_like(w) for name, w in e.weights.items()}, e.task, e.network)
    found = all_measured(zero)
    nulls = ["logit_energy", "frac_neurons_85_weighted", "spectral_entropy_W_E", "ipr.W_E", "key_freqs_by_W_E"]
    assert [found[name] for name in nulls] == [None] * len(nulls)
    assert found["frac_neurons_85"] == 0


# --- a measure of one's own ---------------------------------------------------------------------------------


def plain(evaluation: Evaluation) -> float:
    """A measure of a user's own."""
    return float(evaluation.logits.abs().max())


def of_attention(evaluation: Evaluation) -> dict[str, float]:
    """One that says what it needs, and has two values."""
    pattern = evaluation.activations.attn_pattern
    assert pattern is not None
    return {"to_a": float(pattern[:, :, 0].mean()), "to_b": float(pattern[:, :, 1].mean())}


of_attention.needs = ("attention",)
of_attention.direction = "up"
of_attention.scale = "logit"


def test_a_measure_of_ones_own_stands_under_its_name_and_says_what_it_needs():
    names = [f"{__name__}.plain", f"{__name__}.of_attention"]
    assert table.problems(names) == []
    assert set(measured(evaluation_of("transformer", "add"), names, vectors=False)) == {
        "plain", "of_attention.to_a", "of_attention.to_b",
    }  # fmt: skip
    assert set(measured(evaluation_of("mlp", "add"), names, vectors=False)) == {"plain"}
    line = table.measure(names[1])
    assert (line.needs, line.direction, line.scale) == ({"attention"}, "up", "logit")


def gini_W_E(evaluation: Evaluation) -> float:
    """The name of a known measure."""
    return 0.0


def step(evaluation: Evaluation) -> float:
    """The name of something else in a row."""
    return 0.0


def misspelt(evaluation: Evaluation) -> float:
    """A need that no network has, so that it would be absent without a word."""
    return 0.0


def one_word(evaluation: Evaluation) -> float:
    """A string is no list of words."""
    return 0.0


def no_words(evaluation: Evaluation) -> float:
    """Nor is a number."""
    return 0.0


def unsure(evaluation: Evaluation) -> float:
    """Words for direction and scale that no ranking knows."""
    return 0.0


no_function = 3
misspelt.needs = ["neuron"]
one_word.needs = "group"
no_words.needs = 3
unsure.direction, unsure.scale = "upwards", "log10"

WRONG = {
    "gini_W_E": ["gini_W_E is the name of a known measure; rename yours"],
    "step": ["step is the name of a known measure; rename yours"],
    "misspelt": ["its needs must be a list of words among W_L, attention, embedding, group, neurons,"],
    "one_word": ["its needs must be a list of words among"],
    "no_words": ["its needs must be a list of words among"],
    "unsure": ["its direction must be one of 'up', 'down', '', got 'upwards'", "its scale must be one of 'log',"],
    "no_function": ["is no function of an Evaluation"],
    "missing": ["has no attribute 'missing'"],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_measure_of_ones_own_is_said_before_any_work(name):
    lines = table.problems(["key_gap", f"{__name__}.{name}"])
    assert len(lines) == len(WRONG[name])
    for line, expected in zip(lines, WRONG[name], strict=True):
        assert line.startswith(f"measures.names={__name__}.{name}"), line
        assert expected in line


def test_two_measures_of_ones_own_may_not_share_a_name(tmp_path, monkeypatch):
    (tmp_path / "twin_measures.py").write_text("def plain(evaluation):\n    return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    (line,) = table.problems([f"{__name__}.plain", "twin_measures.plain"])
    assert line == (
        f"measures.names: {__name__}.plain and twin_measures.plain would both be logged as plain; rename one"
    )


@pytest.mark.parametrize("value", [torch.tensor(1.0), "1.0", [1.0, torch.tensor(2.0)], {"a": torch.zeros(2)}])
def test_a_value_that_no_row_can_hold_is_told_with_the_way_out(value):
    with pytest.raises(ValueError, match=r"the measure mine.*of a tensor: float\(x\), x.tolist\(\)"):
        entries("mine", value)


def test_numbers_lists_of_them_and_null_are_values():
    assert entries("mine", {"a": 1, "b": None, "c": [1.0, None]}) == {
        "mine.a": 1,
        "mine.b": None,
        "mine.c": [1.0, None],
    }
