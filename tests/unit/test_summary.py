"""summary.json: what a phase diagram needs of a run."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from grok_sweep.config import RunConfig, flat, from_flat, resolved, run_id
from grok_sweep.summary import summarise

CONFIG = resolved(from_flat({"data.p": 59, "sweep": "s", "phases.budget": 5000, "n_steps": 5000}))

ROWS: list[dict[str, Any]] = [
    {"step": 0, "train_loss": 4.1, "test_loss": 4.2, "train_acc": 0.0, "test_acc": 0.0, "novel_acc": 0.0,
     "restricted_loss": None, "key_freqs": None, "key_gap": 0.1, "weights_hash": "aa", "seconds": 0.1},
    {"step": 10, "train_loss": 0.3, "test_loss": 7.5, "train_acc": 0.93, "test_acc": 0.1, "novel_acc": 0.0,
     "excluded_loss_k": [1.0, 2.0], "seconds": 0.2},
    {"step": 17, "train_loss": 0.2, "test_loss": 6.0, "train_acc": 0.7, "test_acc": 0.3, "novel_acc": 0.1,
     "seconds": 0.3},
    {"step": 30, "train_loss": 1e-4, "test_loss": 5.0, "train_acc": 1.0, "test_acc": 0.4, "novel_acc": 0.2,
     "restricted_loss": 0.7, "seconds": 0.4},
    {"step": 2000, "train_loss": 1e-7, "test_loss": 0.1, "train_acc": 1.0, "test_acc": 0.97, "novel_acc": 0.91,
     "restricted_loss": 0.01, "seconds": 5.0},
    {"step": 5000, "train_loss": 2e-7, "test_loss": 3e-7, "train_acc": 1.0, "test_acc": 1.0, "novel_acc": 1.0,
     "restricted_loss": 0.02, "key_freqs": [3, 11], "key_gap": 4.5, "weights_hash": "bb", "seconds": 9.0,
     "excluded_loss_k": [0.5, 3.0]},
]  # fmt: skip


def summary(rows: list[dict[str, Any]] = ROWS, steps: int = 5000, end: str | None = "n_steps") -> dict[str, Any]:
    return summarise(CONFIG, rows, steps, end, bitwise=True)


def test_a_run_that_grokked():
    found = summary()
    assert (found["t_train"], found["t_train_bracket"]) == (10, [0, 10])
    assert (found["t_train_sustained"], found["t_train_sustained_bracket"]) == (30, [17, 30])
    assert (found["t_test"], found["t_test_bracket"]) == (2000, [30, 2000])
    assert (found["t_novel"], found["t_novel_bracket"]) == (2000, [30, 2000])
    assert found["grok_delay"] == 1990
    assert (found["phase"], found["phase_scale_free"]) == ("grokking", "grokking")
    assert (found["key_freqs"], found["key_gap"]) == ([3, 11], 4.5)
    assert (found["steps"], found["end"], found["budget"], found["bitwise"]) == (5000, "n_steps", 5000, True)


def test_a_summary_says_which_run_it_is_with_every_setting():
    found = summary()
    assert (found["run_id"], found["sweep"]) == (run_id(CONFIG), "s")
    assert found["settings"] == flat(CONFIG)


def test_final_least_and_largest_values_by_hand():
    found = summary()
    assert [found[f"{of}.test_loss"] for of in ("final", "min", "max")] == [3e-7, 3e-7, 7.5]
    assert [found[f"{of}.train_loss"] for of in ("final", "min", "max")] == [2e-7, 1e-7, 4.1]
    assert [found[f"{of}.restricted_loss"] for of in ("final", "min", "max")] == [0.02, 0.01, 0.7]
    assert [found[f"{of}.key_gap"] for of in ("final", "min", "max")] == [4.5, 0.1, 4.5]


def test_final_values_lie_between_least_and_largest():
    found = summary()
    measures = {name.partition(".")[2] for name in found if name.startswith("final.")}
    assert {"train_acc", "novel_acc"} < measures
    for name in measures:
        assert found[f"min.{name}"] <= found[f"final.{name}"] <= found[f"max.{name}"], name


def test_lists_hashes_steps_and_clocks_are_no_measures():
    names = {name.partition(".")[2] for name in summary() if name.split(".")[0] in ("final", "min", "max")}
    assert names == {"train_loss", "test_loss", "train_acc", "test_acc", "novel_acc", "restricted_loss", "key_gap"}


def test_a_measure_that_never_had_a_number_is_null_throughout():
    rows = [{"step": 0, "restricted_loss": None}, {"step": 1, "restricted_loss": None}]
    found = summary(rows, 1)
    assert [found[f"{of}.restricted_loss"] for of in ("final", "min", "max")] == [None] * 3


@pytest.mark.parametrize("last", [{"step": 7, "grad_norm": None}, {"step": 7}])
def test_a_last_row_without_the_number_has_no_final_value(last: dict[str, Any]):
    found = summary([{"step": 0, "grad_norm": 2.0}, {"step": 3, "grad_norm": 5.0}, last], 7)
    assert [found[f"{of}.grad_norm"] for of in ("final", "min", "max")] == [None, 2.0, 5.0]


def test_a_run_that_diverged():
    """Nulls where the numbers stopped being finite, no end, and a phase that claims nothing beyond its steps."""
    broken = {"step": 40, "train_loss": None, "test_loss": None, "train_acc": 0.02, "test_acc": 0.02}
    found = summary([*ROWS[:4], broken], 40, None)
    assert found["end"] is None
    assert (found["t_train"], found["t_test"], found["grok_delay"]) == (10, None, None)
    assert found["t_train_sustained"] is None
    assert found["t_test_bracket"] is None
    assert (found["phase"], found["phase_scale_free"]) == ("memorization_so_far", "memorization_so_far")
    assert [found[f"{of}.test_loss"] for of in ("final", "min", "max")] == [None, 4.2, 7.5]
    assert found["key_freqs"] is None


def test_a_run_without_rows():
    found = summary([], 0, None)
    assert (found["t_train"], found["phase"]) == (None, "confusion_so_far")
    assert not {"key_freqs", "key_gap"} & found.keys(), "nothing was measured"
    assert not [name for name in found if name.startswith(("final.", "min.", "max."))]


def test_the_settings_decide_threshold_gap_and_budget():
    rows = [{"step": 0, "train_acc": 0.0, "test_acc": 0.0}, {"step": 50, "train_acc": 0.96, "test_acc": 0.5},
            {"step": 90, "train_acc": 1.0, "test_acc": 0.97}]  # fmt: skip

    def phase(**changes: float) -> str:
        settings = {name.replace("__", "."): value for name, value in changes.items()}
        return summarise(resolved(from_flat(settings)), rows, 90, "n_steps", bitwise=False)["phase"]

    assert phase(phases__budget=90) == "comprehension"
    assert phase(phases__budget=90, phases__gap=0.04) == "grokking"
    assert phase(phases__budget=90, phases__gap=0.4, optimizer__lr=1e-2) == "grokking"
    assert phase(phases__budget=89) == "memorization"
    assert phase(phases__budget=90, phases__accuracy=0.98) == "memorization"
    assert phase(phases__budget=91, phases__accuracy=0.98) == "memorization_so_far"


def test_a_summary_is_plain_json():
    found = summary()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in found.values())


def test_a_default_run_can_be_summarised():
    found = summarise(resolved(RunConfig()), ROWS, 5000, "n_steps", bitwise=False)
    assert (found["phase"], found["bitwise"], found["sweep"]) == ("grokking", False, "default")
