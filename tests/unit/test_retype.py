"""The command that `info` shows for a run asks for the same run: for every file of conf/, and for odd values."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from analysis import commands
from analysis.load import Sweep
from grok_sweep.commands.info import alone
from grok_sweep.config import flat, from_flat, resolved
from grok_sweep.store import PlannedRun, SweepDir
from grok_sweep.sweep.plan import plan
from grok_sweep.sweep.retype import as_words, differing, value_word

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("data", "model", "optimizer", "measures", "logger", "experiment")
CHOICES = [f"{group}={file.stem}" for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
ODD = [
    ["optimizer=sgd", "optimizer.decay=decoupled", "lr=0.5"],
    ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.batch_size=7"],
    ["p=31", "frac=0.123456789", "wd=3e-05", "steps=17", "data.split_seed=1", "model.init_seed=2"],
    ["model.d_model=24", "model.d_head=5", "model.d_mlp=7"],
    ["model=mlp", "model.d_model=16"],
    ["measures.names=[gini_W_E,key_gap]", "measures.every=5", "stop.test_loss=1e-3"],
    ["logger.tags=[plain,'a b',\"it's\",'null']", "logger.project='x y'", "device=cpu"],
    ["dtype=float64", "loss_dtype=float32", "allow_tf32=true", "snapshots.n=3", "claim_timeout_s=7"],
]


@pytest.fixture(scope="module")
def ask() -> Iterator:
    """The one run that a command line asks for, as launch.py plans it."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="launch"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [], RunMode.MULTIRUN)

        def ask(words: list[str]) -> PlannedRun:
            (run,) = plan(words, loader, master).runs
            return run

        yield ask


@pytest.mark.parametrize("words", [[], *([choice] for choice in CHOICES), *ODD], ids=" ".join)
def test_the_command_that_info_shows_asks_for_the_same_run(ask, tmp_path, monkeypatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run = ask([*words, "sweep=s", f"root={tmp_path}"])
    shown = shlex.split(alone(SweepDir(tmp_path / "s"), run))
    assert Path(shown[1]).name == "launch.py"
    again = ask(shown[2:])
    assert again.run_id == run.run_id
    assert again.settings == run.settings


@pytest.mark.parametrize("words", [[], *([choice] for choice in CHOICES), *ODD], ids=" ".join)
def test_so_does_the_command_on_a_sweeps_page(ask, tmp_path, words: list[str]) -> None:
    run = ask([*words, "sweep=s", f"root={tmp_path}"])
    axes = {name: run.settings[name] for name in ("optimizer.weight_decay", "model.d_model", "data.split_seed")}
    sweep = SweepDir(tmp_path / "s")
    sweep.add([PlannedRun(run.run_id, run.settings, axes | {"data": "add"})])
    shown = commands.alone(Sweep(sweep.path, "s", pl.DataFrame(), ()))[run.run_id]
    again = ask(shlex.split(" ".join(shown)))
    assert again.run_id == run.run_id
    assert again.settings == run.settings


def test_a_run_that_was_trained_with_others_is_trained_by_itself(ask, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = ask(["sweep=s", "p=31", "ensemble.size=4"])
    assert run.settings["ensemble.size"] == "4"
    assert alone(SweepDir("runs/s"), run).endswith("launch.py p=31 sweep=s")


def test_a_sweep_under_runs_needs_no_root(ask, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = alone(SweepDir("runs/s"), ask(["sweep=s", "p=31"]))
    assert command.endswith("launch.py p=31 sweep=s")
    assert command.count("=") == 2


def test_the_folder_decides_not_what_the_settings_say(ask, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = alone(SweepDir("moved/renamed"), ask(["sweep=s", "p=31"]))
    assert command.endswith("launch.py p=31 root=moved sweep=renamed")


def test_defaults_are_left_out_and_derived_settings_only_where_they_follow() -> None:
    settings = flat(
        resolved(from_flat({"model.d_model": 64, "optimizer.name": "sgd", "optimizer.decay": "decoupled"}))
    )
    given = {n: v for n, v in differing(settings).items() if n not in ("measures.names", "sweep", "root")}
    assert given == {"model.d_model": 64, "optimizer.name": "sgd", "optimizer.decay": "decoupled"}


def test_a_seed_is_written_short_only_where_both_agree() -> None:
    assert as_words({"data.split_seed": 3, "model.init_seed": 3}) == ["seed=3"]
    assert as_words({"data.split_seed": 3, "model.init_seed": 4}) == ["data.split_seed=3", "model.init_seed=4"]


@pytest.mark.parametrize(
    "value, word",
    [(None, "null"), (True, "true"), (1e-08, "1e-08"), ("a/b.c", "a/b.c"), ("null", "'null'"), ("1e5", "'1e5'")],
)  # fmt: skip
def test_values_are_quoted_where_hydra_would_read_something_else(value: object, word: str) -> None:
    assert value_word(value) == word
