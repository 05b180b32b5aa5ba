"""`python -m analysis circuit`: runs that grok, memorise, compute something else; what is written and refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import grokking, plan_of

from analysis.__main__ import main
from grok_sweep.config import (
    Activation,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SnapshotsConfig,
    Split,
)
from grok_sweep.run import run_one
from grok_sweep.store import RunDir, State

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>alert(1)</script>"
FEW = ["--relabellings", "10"]


SHORT = {"n_steps": 80, "snapshots": SnapshotsConfig(n=0)}
OTHERS = {
    "multiplication": {"data": DataConfig(operation="multiply", p=23, frac_train=0.7)},
    "division": {"data": DataConfig(operation="divide", p=23, frac_train=0.7)},
    "without a group": {"data": DataConfig(operation="quadratic", p=23, frac_train=0.7)},
    "mlp": {"model": ModelConfig(architecture="mlp", d_model=16, equals_logit=False)},
    "squaring": {
        "model": ModelConfig(
            architecture="quadratic", d_mlp=20, activation=Activation.square, equals_logit=False, mlp_biases=False
        ),
    },
    "two layers, noise": {
        "model": ModelConfig(d_model=16, n_layers=2),
        "data": DataConfig(p=23, frac_train=0.7, label_noise=0.2),
    },
    "unordered, tied, mixed attention": {
        "model": ModelConfig(d_model=16, tied=True, attention_rate=0.5, output_scale=2.0),
        "data": DataConfig(p=23, frac_train=0.7, split=Split.unordered),
    },
}


def trained(folder: Path, config) -> RunDir:
    sweep, (run_id,) = plan_of(folder, config)
    run = sweep.run(run_id)
    assert run_one(config, run.path) is State.done
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    return trained(tmp_path_factory.mktemp("runs") / "sweep", grokking())


def numbers(capsys, *arguments: str) -> dict:
    """What --json - prints, all of it."""
    assert main(["circuit", *arguments, "--json", "-", *FEW]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_a_run_that_grokked(run: RunDir, capsys):
    """The same numbers as its own last row, to the precision of its float32 forward pass; the same frequencies."""
    found, row, summary = numbers(capsys, str(run.path)), run.rows()[-1], run.summary()
    assert summary is not None
    assert found["verdict"] == "Fourier"
    assert found["key_freqs"] == summary["key_freqs"] == row["key_freqs"]
    for name in (
        "train_loss",
        "test_loss",
        "swap_loss",
        "novel_loss",
        "restricted_loss",
        "excluded_loss",
        "fve_logits",
        "fit_loss",
        "gini_W_E",
    ):
        assert found[name] == pytest.approx(row[name], rel=2e-3), name
    assert found["sum_sq_weights"] == pytest.approx(row["sum_sq_weights"], rel=1e-6)
    assert found["ablation.restricted"] == found["restricted_loss"]
    assert found["ablation.excluded.train"] == found["excluded_loss"]


def test_what_is_written(run: RunDir, tmp_path):
    """As a command: tables told, a page, its figures, numbers and weights written, each named."""
    out = tmp_path / "out"
    written = ["--json", "n.json", "--export", "w.safetensors", "--markdown", "c.md", "--out", str(out), *FEW]
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "circuit", str(run.path), *written],
        cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Fourier: the network computes by rotations" in done.stdout
    assert done.stdout.rstrip().endswith(str(out / "circuit.html"))
    assert json.loads((tmp_path / "n.json").read_text())["verdict"] == "Fourier"
    assert {"w.safetensors", "w.cfg.json", "c_verdict.svg"} <= {path.name for path in tmp_path.iterdir()}
    page = (tmp_path / "c.md").read_text()
    assert "| excluded\\_3d |" in page
    assert "![Loss after each ablation](c_ablations.svg)" in page
    figures = {path.name for path in (out / "circuit_figures").iterdir()}
    assert {f"{name}.svg" for name in ("verdict", "ablations", "excluded_by_frequency", "circles")} <= figures


def test_an_earlier_step_and_one_that_memorises(run: RunDir, tmp_path, capsys):
    early = run.snapshot_steps()[0]
    assert main(["circuit", str(run.path), "--step", str(early), "--out", str(tmp_path), "--no-figures", *FEW]) == 0
    assert "Not: no frequencies stand out" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [f"circuit_step_{early:08d}.html"]
    memorises = grokking(
        data=DataConfig(p=31, frac_train=0.4), optimizer=OptimizerConfig(lr=1e-3, weight_decay=0.0), n_steps=400
    )
    found = numbers(capsys, str(trained(tmp_path / "sweep", memorises).path))
    assert found["train_acc"] == 1.0
    assert found["novel_acc"] < 0.5
    assert (found["verdict"], found["restricted_loss"], "circularity" in found) == ("not", None, False)


@pytest.mark.parametrize("what", OTHERS)
def test_other_runs(what, tmp_path, capsys):
    """Whatever the task and network: a page, tables, and numbers that are there or absent, never broken."""
    made = trained(tmp_path / "sweep", grokking(**(SHORT | OTHERS[what])))
    assert main(["circuit", str(made.path), "--no-figures", "--json", str(tmp_path / "n.json"), *FEW]) == 0
    assert "Traceback" not in capsys.readouterr().err
    found = json.loads((tmp_path / "n.json").read_text())
    assert ("verdict" in found) == (what != "without a group")
    assert ("zero_loss" in found) == (what in ("multiplication", "division"))
    assert found["all_loss"] > 0
    assert (made.path / "circuit.html").stat().st_size > 100_000


def test_a_file_with_a_hostile_name(run: RunDir, tmp_path):
    """The name stays text, on the page too."""
    file = tmp_path / f"{HOSTILE.replace('/', '_')}.safetensors"
    shutil.copy(next(iter((run.path / "snapshots").iterdir())), file)
    assert main(["circuit", str(file), "--out", str(tmp_path), "--no-figures", "--split", "paper:0.7:0", *FEW]) == 0
    (page,) = tmp_path.glob("*.html")
    assert "<script>alert" not in page.read_text()


def test_a_given_set_of_key_frequencies(run: RunDir, capsys):
    one = numbers(capsys, str(run.path))["key_freqs"][:1]
    found = numbers(capsys, str(run.path), "--key-freqs", str(one[0]))
    assert (found["key_freqs"], found["key_freqs_given"]) == (one, True)


WRONG = [
    (["nowhere.pth"], ["python -m analysis: nowhere.pth: no such file or folder"]),
    (["RUN", "--key-freqs", "0,99"], ["python -m analysis: --key-freqs must name frequencies in 1..11, got 0, 99"]),
    (["RUN", "--step", "401"], ["401"]),
    (["RUN", "--p", "31"], ["p=31", "the run's settings say 23"]),
    (["RUN", "--json", "nowhere/n.json"], ["python -m analysis: cannot write to nowhere: no such folder"]),
    (["RUN", "--out", "FILE"], ["python -m analysis: cannot write to", "is a file; give another folder with --out"]),
]
WRONG_WORDS = [
    (["--key-freqs", "a"], "argument --key-freqs: must be whole numbers, as in 3,6,23,39, got 'a'"),
    (["--split", "paper"], "argument --split: a split is"),
    (["--relabellings", "0"], "argument --relabellings: must be a whole number from 1 on, got '0'"),
    (["--name", "W_E"], "argument --name: must be OURS=THEIRS, as in W_E=embed.weight, got 'W_E'"),
]


@pytest.mark.parametrize("arguments, said", WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_input(run: RunDir, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    places = {"RUN": str(run.path), "FILE": str(tmp_path / "file")}
    assert main(["circuit", *(places.get(word, word) for word in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for part in said:
        assert part in captured.err, captured.err


@pytest.mark.parametrize("arguments, said", WRONG_WORDS)
def test_wrong_words(capsys, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        main(["circuit", "x", *arguments])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_loaded_export_is_the_same_network(run: RunDir, tmp_path, capsys):
    """Exported and read again: every loss the same."""
    export = tmp_path / "w.pt"
    assert main(["circuit", str(run.path), "--no-page", "--export", str(export), *FEW]) == 0
    capsys.readouterr()
    ours, theirs = numbers(capsys, str(run.path)), numbers(capsys, str(export), "--split", "paper:0.7:0")
    same = [name for name in ours if name.endswith("_loss") or name.startswith("ablation.")]
    assert len(same) > 30
    for name in same:
        assert theirs[name] == pytest.approx(ours[name], rel=1e-12), name
    assert torch.load(export, weights_only=True)
