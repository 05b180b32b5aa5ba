"""What W&B hands back of a run, in the words of a sweep's folder; tests/integration/test_wandb_sources.py asks it."""

from __future__ import annotations

import math
import time

import pytest

from analysis.sources.read import read
from analysis.sources.wandb_api import place
from analysis.sources.wandb_group import _as_folder
from analysis.sources.wandb_run import NEEDED, converted, rows_of, run_id_in, settings_of
from analysis.wandb_errors import NoKey, told
from grok_sweep.config import RunConfig, flat

SETTINGS = flat(RunConfig(n_steps=100))
ROWS = [{"_step": i, "step": 50 * i, "train_acc": 1, "test_acc": 0, "novel_acc": 0} for i in range(3)]
SUMMARY = {"budget": 100_000, "steps": 100, "phase": "grokking", "t_test": None, "final.test_loss": 1, "key_gap": 2}


def made(state="finished", config=SETTINGS, summary=SUMMARY, history=ROWS, seen="2026-11-28T00:00:00"):
    return converted("s-0123456789ab", state, config, summary, history, seen)


def test_numbers_get_their_types_back():
    (row,) = rows_of([
        {"step": 3.0, "test_loss": 1, "n_key_freqs": 2.0, "key_freqs": [3.0], "cos_sim_k": [1, None], "hash": "1"}
    ])  # fmt: skip
    assert row == {
        "step": 3,
        "test_loss": 1.0,
        "n_key_freqs": 2,
        "key_freqs": [3],
        "cos_sim_k": [1.0, None],
        "hash": "1",
    }
    assert {name: type(value) for name, value in row.items()} == {
        "step": int, "test_loss": float, "n_key_freqs": int, "key_freqs": list, "cos_sim_k": list, "hash": str,
    }  # fmt: skip
    summary = made().summary
    assert summary is not None
    assert [type(summary[name]) for name in ("steps", "final.test_loss", "key_gap")] == [int, float, float]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", math.nan, math.inf])
def test_what_is_not_finite_is_null(value):
    assert rows_of([{"step": 0, "test_loss": value}]) == [{"step": 0, "test_loss": None}]


def test_each_step_once_in_order_the_last_counts():
    rows = rows_of(
        [{"step": 5, "_step": 1, "a": 1.0}, {"step": 0, "a": 2.0}, {"_runtime": 3}, {"step": 5, "_step": 3, "a": 4.0}]
    )
    assert rows == [{"step": 0, "a": 2.0}, {"step": 5, "a": 4.0}]


def test_settings_nested_or_flat_in_their_types_and_no_others():
    nested = {"data": {"p": 59.0, "frac_train": 1}, "optimizer": {"lr": 1}, "hostname": "x", "measures.names": ["a"]}
    assert settings_of(nested) == {
        "data.p": 59, "data.frac_train": 1.0, "optimizer.lr": 1.0, "measures.names": ["a"],
    }  # fmt: skip
    assert type(settings_of(nested)["data.p"]) is int
    assert settings_of({"data.p": "many"}) == {"data.p": "many"}


@pytest.mark.parametrize("missing", NEEDED)
def test_a_run_that_lacks_a_needed_setting_is_none_of_ours(missing):
    assert made(config={name: value for name, value in SETTINGS.items() if name != missing}) is None


def test_the_summary_is_kept_only_of_a_run_that_ended_and_belongs_to_its_rows():
    assert made().summary is not None
    assert made("running").summary is None
    assert made("running").is_settled
    late = made(summary=SUMMARY | {"steps": 50})
    assert (late.summary, late.is_settled) == (None, False)
    other = made(summary={"accuracy": 1})
    assert (other.summary, other.is_settled) == (None, True)
    assert "_step" not in made(summary=SUMMARY | {"_step": 3, "final": {"test_acc": 1}}).summary
    assert made(summary=SUMMARY | {"final": {"test_acc": 1}}).summary["final.test_acc"] == 1.0


def test_times_without_a_zone_are_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert made().status["updated"] == made(seen="2026-11-28T00:00:00Z").status["updated"]
    assert made(seen="yesterday").status["updated"] is made(seen=None).status["updated"] is None
    monkeypatch.undo()
    time.tzset()


def test_a_state_that_w_and_b_may_add_counts_as_failed():
    assert (made("exploded").status["state"], made("exploded").status["error"]) == ("failed", "exploded at W&B")


def test_run_ids_are_ours_where_the_id_ends_in_one():
    assert run_id_in("a-sweep-0123456789ab") == "0123456789ab"
    assert run_id_in("2u1g3j1c") == "2u1g3j1c"
    assert run_id_in("a-0123456789AB/x") == "a-0123456789AB_x"


def test_folders_of_groups_stay_inside_and_apart():
    names = ["..", ".", "a/b", "a_b", "a%2Fb", "a b"]
    folders = [_as_folder(name) for name in names]
    assert len(set(folders)) == len(names)
    assert not [folder for folder in folders if "/" in folder or folder.startswith(".")]


@pytest.mark.parametrize("text", ["", "a", "a/b", "a/b/", "/b/c", "a//c"])
def test_a_place_has_three_parts(text):
    with pytest.raises(ValueError, match="--wandb takes entity/project/group"):
        place(text)


def test_folders_and_w_and_b_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not both"):
        read([tmp_path], "a/b/c")


@pytest.mark.parametrize(
    "raised, line",
    [
        ("No API key configured. Use `wandb login` to log in.", "no key; set WANDB_API_KEY"),
        ("WANDB_API_KEY invalid: too short", "the key is refused (RuntimeError: WANDB_API_KEY invalid"),
        ("returned error 401: no", "the key is refused"),
        ("http://127.0.0.1:40112 says 500", "says RuntimeError: http://127.0.0.1:40112 says 500"),
        ("the service process is busy and did not respond in time.", "no answer from http"),
        ("Could not find project x", "no such project"),
        ("Project `a/b` not found.  Do you have access to this project?", "no such project"),
    ],
)
def test_what_wandb_raises_is_a_line_with_the_way_out(raised, line):
    with pytest.raises(ValueError, match=r"^reading: ") as caught, told("reading"):
        raise RuntimeError(raised)
    assert line in str(caught.value)
    assert isinstance(caught.value, NoKey) == raised.startswith("No API key")
