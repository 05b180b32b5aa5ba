"""A dashboard given to W&B by the real client, to a stub server: saved, replaced, kept where there is no account."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_sweep import Counts, synthetic_sweep
from wandb_server import NOWHERE, Fault, StoredRun, forget

from analysis.__main__ import main
from analysis.dashboard.view import checked

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces' own


@pytest.fixture
def folder(server, tmp_path) -> Path:
    """A sweep whose project is at the server."""
    synthetic_sweep(tmp_path / "s", 4, 8, Counts(0, 0, 0, 0, 0, 0))
    server.runs["r"] = StoredRun("r", "grok_sweep", group="s")
    return tmp_path / "s"


def test_the_view_is_saved_and_its_address_printed(server, folder, capfd):
    assert main(["dashboard", str(folder)]) == 0
    forget()
    out, err = capfd.readouterr()
    ((name, view),) = server.views.items()
    assert (out, err) == (f"{server.url}/tester/grok_sweep?nw={name[3:-2]}\n", "")
    assert view["displayName"] == "s: phases and measures"
    spec = json.loads(view["spec"])
    assert [section["name"] for section in spec["section"]["panelBankConfig"]["sections"]][:2] == ["Phases", "Losses"]
    assert spec["section"]["runSets"][0]["filters"]["filters"][0]["value"] == "s"


def test_called_again_it_replaces_its_own_view_and_no_other(server, folder, capfd):
    server.views["nw-another0000-v"] = {"id": "x", "displayName": "mine", "spec": "{}"}
    for _ in range(2):
        assert main(["dashboard", str(folder)]) == 0
    assert len(set(capfd.readouterr().out.splitlines())) == 1
    assert len(server.views) == 2
    assert server.views["nw-another0000-v"]["spec"] == "{}"


def test_what_was_written_can_be_sent_later_and_is_the_same(server, folder, tmp_path, capfd):
    file = tmp_path / "spec.json"
    main(["dashboard", str(folder), "--spec", str(file)])
    assert server.requests == []
    assert main(["dashboard", "--send", str(file)]) == 0
    written = server.views.copy()
    main(["dashboard", str(folder)])
    assert server.views == written
    assert main(["dashboard", "--send", str(file), "--entity", "team"]) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith(f"{server.url}/team/grok_sweep?nw=")


def test_without_a_key_its_specification_is_kept_and_that_is_no_failure(
    server, folder, monkeypatch, capfd
):  # fmt: skip
    monkeypatch.delenv("WANDB_API_KEY")
    assert main(["dashboard", str(folder)]) == 0
    spec = folder / "dashboard.json"
    assert capfd.readouterr() == (
        f"no W&B account here (WANDB_API_KEY, `wandb login`); its specification is in {spec}; to send it later: "
        f"python -m analysis dashboard --send {spec}\n",
        "",
    )
    assert checked(json.loads(spec.read_text())).display_name == "s: phases and measures"


@pytest.mark.parametrize("spoil", ["wrong key", "no network", "error", "no project"])
def test_what_w_and_b_does_not_take_is_said_in_one_line_and_kept(
    server, folder, monkeypatch, capfd, spoil
):  # fmt: skip
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "2")
    said = {
        "wrong key": "the key is refused",
        "no network": f"no answer from {NOWHERE}",
        "error": f"no answer from {server.url}",
        "no project": "no such project",
    }[spoil]
    if spoil == "wrong key":
        monkeypatch.setenv("WANDB_API_KEY", "local-" + "9" * 40)
    elif spoil == "no network":
        monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    elif spoil == "error":
        server.fault = Fault.error
    else:
        server.runs.clear()
    assert main(["dashboard", str(folder)]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert f"its specification is in {folder / 'dashboard.json'}" in err
    assert (folder / "dashboard.json").exists()
    assert server.views == {}


def test_a_group_at_w_and_b_has_a_dashboard_without_its_folder(server, folder, tmp_path, monkeypatch, capfd):
    """Runs that our logger wrote; here as the server would hold them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server.runs.clear()
    for run in folder.glob("*/settings.json"):
        settings = json.loads(run.read_text())
        stored = StoredRun(f"s-{run.parent.name}", "theirs", group="s", exit_code=0)
        stored.raw_config = {name: {"value": value} for name, value in settings.items()}
        rows = map(json.loads, (run.parent / "metrics.jsonl").read_text().splitlines())
        stored.lines = {i: {**row, "_step": i} for i, row in enumerate(rows)}
        server.runs[stored.id] = stored
    assert main(["dashboard", "--wandb", "tester/theirs/s"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"{server.url}/tester/theirs?nw=")
    assert "tester/theirs/s: 4 runs, 4 of them new or changed" in err
    spec = json.loads(next(iter(server.views.values()))["spec"])
    assert set(spec["section"]["customRunColors"]) == set(server.runs)
