"""A sweep's W&B workspace, without network: what stands on it, how the view says it, and what the command tells."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from synthetic_sweep import Counts, synthetic_sweep

from analysis.__main__ import main
from analysis.dashboard.panels import CURVES, TIMES, Curves, Parallel, Points, Words, dashboard, logged_measures
from analysis.dashboard.view import checked, view_of
from analysis.load import Sweep, load_sweep
from analysis.looks import LOOKS
from grok_sweep.measures.table import ALWAYS, MEASURES, VECTORS

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces' own

WD, FRAC = "optimizer.weight_decay", "data.frac_train"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two weight decays, ten seeds each, a run in every state."""
    path = tmp_path_factory.mktemp("runs") / "a sweep"
    synthetic_sweep(path, 20, 8, Counts(running=1, dead=1, failed=1, diverged=1, interrupted=1, planned=1))
    return path


@pytest.fixture
def sweep(folder) -> Sweep:
    return load_sweep(folder)


def panels_of(board) -> list:
    return [panel for section in board.sections for panel in section.panels]


def every_panel(view) -> list[dict]:
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


# --- what stands on it --------------------------------------------------------------------------------------


def test_every_measure_is_one_of_ours_and_can_be_drawn():
    for _, panels in CURVES:
        for title, names, grouped in panels:
            bases = [name.removesuffix(".*") for name in names]
            assert not [name for name in bases if name not in {**ALWAYS, **MEASURES}], title
            assert not [name for name in bases if name in VECTORS], title
            assert grouped in ("", *names), title


def test_every_scalar_measure_of_ours_has_a_panel():
    drawn = {name.removesuffix(".*") for _, panels in CURVES for _, names, _ in panels for name in names}
    lists = {name for name in MEASURES if name in VECTORS or name.startswith("key_freqs")}
    assert {*ALWAYS, *MEASURES} - drawn == lists


def test_panels_are_of_what_the_runs_log_and_no_other(sweep):
    logged = set(logged_measures(sweep))
    drawn = {name for panel in panels_of(dashboard(sweep)) if isinstance(panel, Curves) for name in panel.y}
    assert {"train_loss", "test_loss", "restricted_loss", "excluded_loss", "gini_W_E", "sum_sq_weights"} <= drawn
    assert "sum_sq.W_E" in drawn
    assert drawn <= logged
    assert not drawn & {"noisy_loss", "zero_loss", "attn_to_equals"}, "these runs have none"


def test_before_any_row_panels_are_of_what_the_settings_ask_for(tmp_path):
    synthetic_sweep(tmp_path / "new", 3, 8, Counts(0, 0, 0, 0, 0, planned=3))
    drawn = {p.y for p in panels_of(dashboard(load_sweep(tmp_path / "new"))) if isinstance(p, Curves)}
    assert ("restricted_loss",) in drawn
    assert ("train_loss", "test_loss") in drawn
    assert ("attn_to_equals",) not in drawn


def test_losses_are_on_log_axes_accuracies_are_not(sweep):
    scales = {p.y: p.log_y for p in panels_of(dashboard(sweep)) if isinstance(p, Curves)}
    assert scales["train_loss", "test_loss"] is True
    assert scales["sum_sq_weights",] is True
    assert scales["train_acc", "test_acc"] is False
    assert scales["key_gap",] is False


def test_curves_are_grouped_by_what_is_swept_and_not_by_seeds(sweep):
    board = dashboard(
        dataclasses.replace(sweep, swept=(FRAC, WD, "data.split_seed", "optimizer.lr", "model.d_model"))
    )
    by = {p.by for p in panels_of(board) if isinstance(p, Curves) and p.y == ("test_loss",)}
    assert by == {WD, FRAC, "optimizer.lr"}
    points = [p for p in panels_of(board) if isinstance(p, Points)]
    assert [(p.x, p.y, p.colour) for p in points][:2] == [(WD, "t_test", FRAC), (FRAC, "t_test", WD)]
    (lines,) = [p for p in panels_of(board) if isinstance(p, Parallel)]
    assert [name for name, _ in lines.columns] == [WD, FRAC, "optimizer.lr", *TIMES]
    assert [name for name, is_log in lines.columns if not is_log] == [FRAC]


def test_a_sweep_of_nothing_has_a_dashboard_too(sweep):
    board = dashboard(dataclasses.replace(sweep, swept=()))
    assert not [p for p in panels_of(board) if isinstance(p, Parallel)]
    assert not [p for p in panels_of(board) if isinstance(p, Curves) and p.by]


def test_runs_have_the_colour_of_their_phase_and_the_words_say_which(sweep):
    board = dashboard(sweep)
    outcomes = dict(sweep.runs.select("run_id", "outcome").iter_rows())
    assert set(board.colours) == set(outcomes)
    for run_id, outcome in outcomes.items():
        assert board.colours[run_id] in (LOOKS[outcome].fill, LOOKS[outcome].line)
    assert "#ffffff" not in [colour.lower() for colour in board.colours.values()]
    words = next(panel.text for panel in panels_of(board) if isinstance(panel, Words))
    assert "grokking #56B4E9" in words
    assert "**a sweep**" in words


# --- the view -----------------------------------------------------------------------------------------------


def test_the_view_filters_the_sweeps_group_colours_its_runs_and_steps_on_a_log_axis(sweep):
    view = view_of(dashboard(sweep), "me", "proj")
    section = view["spec"]["section"]
    (runset,) = section["runSets"]
    assert runset["filters"]["filters"] == [
        {"key": {"section": "run", "name": "group"}, "op": "=", "value": "a sweep", "disabled": False}
    ]
    assert section["settings"]["xAxis"] == "step"
    assert len(section["customRunColors"]) == 20
    assert f"a sweep-{sweep.runs['run_id'][0]}" in section["customRunColors"]
    assert runset["sort"]["keys"][0]["key"] == {"section": "config", "name": f"{WD}.value"}
    curves = [panel["config"] for panel in every_panel(view) if panel["viewType"] == "Run History Line Plot"]
    assert len(curves) > 20
    assert {config["xAxis"] for config in curves} == {"step"}
    assert all(config["xLogScale"] for config in curves)
    grouped = [config for config in curves if "groupBy" in config]
    assert {(c["groupBy"], c["groupAgg"], c["groupArea"]) for c in grouped} == {(f"{WD}.value", "median", "minmax")}


def test_settings_stand_where_w_and_b_holds_flat_names(sweep):
    text = json.dumps(view_of(dashboard(dataclasses.replace(sweep, swept=(WD, FRAC))), "me", "proj"))
    assert '"config:optimizer.weight_decay.value"' in text
    assert '"config:data.frac_train.value"' in text
    assert ".value." not in text


def test_the_package_reads_the_view_back_whole(sweep):
    import wandb_workspaces.workspaces as ws

    view = view_of(dashboard(sweep), "me", "proj")
    model = checked(view)
    assert json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True)) == view["spec"]
    workspace = ws.Workspace._from_model(model)
    assert [section.name for section in workspace.sections] == [
        "Phases", "Losses", "Accuracies", "Progress measures", "Norms", "Key frequencies",
    ]  # fmt: skip
    assert workspace.runset_settings.filters == "Metric(\"Group\") == 'a sweep'"


def test_the_same_sweep_gives_the_same_view_and_another_one_another(sweep):
    one, again = (view_of(dashboard(sweep), "me", "proj") for _ in range(2))
    assert one == again
    assert one["name"] == view_of(dashboard(sweep), "you", "proj")["name"]
    other = dataclasses.replace(dashboard(sweep), group="another")
    assert view_of(other, "me", "proj")["name"] != one["name"]
    ids = [panel["__id__"] for panel in every_panel(one)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["it's", 'a "b"', "a=b<c", "\N{ROCKET} launch", "x' or Metric('State') == 'done"])
def test_a_name_with_quotes_stays_a_name(sweep, name):
    board = dataclasses.replace(dashboard(sweep), name=name, group=name)
    (runset,) = checked(view_of(board, "me", "proj")).spec.section.run_sets
    assert [item["value"] for item in runset.filters["filters"]] == [name]


def test_a_run_that_another_logger_wrote_is_coloured_by_its_own_id(sweep):
    board = dataclasses.replace(dashboard(sweep), colours={"2u1g3j1c": "#000000", "0123456789ab": "#ffffff"})
    colours = view_of(board, "me", "proj")["spec"]["section"]["customRunColors"]
    assert set(colours) == {"2u1g3j1c", "a sweep-0123456789ab"}


# --- the command, where there is no network -----------------------------------------------------------------


def test_a_specification_is_written_and_said_how_to_send(folder, tmp_path, capsys):
    file = tmp_path / "spec.json"
    assert main(["dashboard", str(folder), "--entity", "me", "--project", "theirs", "--spec", str(file)]) == 0
    assert capsys.readouterr().out == f"wrote {file}; to send it: python -m analysis dashboard --send {file}\n"
    view = json.loads(file.read_text())
    assert (view["entity"], view["project"], view["displayName"]) == ("me", "theirs", "a sweep: phases and measures")
    assert checked(view).name == view["name"]


def test_entity_and_project_are_the_runs_own_where_they_are_not_given(folder, tmp_path):
    assert main(["dashboard", str(folder), "--spec", str(tmp_path / "s.json")]) == 0
    view = json.loads((tmp_path / "s.json").read_text())
    assert (view["entity"], view["project"]) == ("", "grok_sweep")


def told(capsys, *words) -> str:
    assert main(["dashboard", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_what_is_wrong_is_said_in_one_line(folder, tmp_path, capsys, monkeypatch):
    assert "no sweep was named" in told(capsys)
    assert "no such folder" in told(capsys, tmp_path / "nowhere")
    assert "not both" in told(capsys, folder, "--wandb", "a/b/c")
    assert "--wandb takes entity/project/group" in told(capsys, "--wandb", "a/b")
    assert "give it no sweep" in told(capsys, folder, "--send", "x")
    assert "no such file" in told(capsys, "--send", tmp_path / "x")
    (tmp_path / "x").write_text("[1]")
    assert "is no dashboard" in told(capsys, "--send", tmp_path / "x")
    (tmp_path / "x").write_text("{")
    assert "cannot be read" in told(capsys, "--send", tmp_path / "x")
    (tmp_path / "x").write_text('{"project": "p", "name": "n", "spec": {}}')
    assert "no view that the installed wandb-workspaces takes: displayName: Field required" in told(
        capsys, "--send", tmp_path / "x"
    )
    assert "give another file with --spec" in told(capsys, folder, "--spec", tmp_path / "x" / "spec.json")
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    assert "needs wandb-workspaces, which is not installed: .venv/bin/pip install -e '.[dashboard]'" in told(
        capsys, folder
    )
