"""`python -m analysis run`: pages of runs in every state, several side by side, and what wrong input is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from small_runs import plan_of, small_config

from analysis.report.command import report_run
from grok_sweep.config import (
    Activation,
    DataConfig,
    LoggerConfig,
    LoggerKind,
    MeasuresConfig,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    SnapshotsConfig,
)
from grok_sweep.measures.table import MEASURES
from grok_sweep.run import run_one
from grok_sweep.second_pass import measure_run
from grok_sweep.store import RunDir, State

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[2]
HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)>"'&"""
EVERYTHING = {
    "losses", "accuracies", "progress", "shares", "sparsity", "norm", "parameters", "excluded_k", "excluded_k_lines",
    "fourier_norms", "fourier_W_E", "fourier_W_L", "logit_spectrum", "neurons", "circles", "pair_losses", "attention",
}  # fmt: skip


def grokking(**changes):
    """p = 23, width 32: memorises by step 60, groks at 200, ends with two key frequencies."""
    defaults = {
        "data": DataConfig(p=23, frac_train=0.7),
        "model": ModelConfig(d_model=32),
        "optimizer": OptimizerConfig(lr=1e-2),
        "measures": MeasuresConfig(names=list(MEASURES), every=20, vector_every=2),
        "snapshots": SnapshotsConfig(n=10),
        "logger": LoggerConfig(kind=LoggerKind.none, tags=[HOSTILE]),
        "n_steps": 400,
    }
    return small_config(**(defaults | changes))


SHORT = {"n_steps": 80, "snapshots": SnapshotsConfig(n=0)}
OTHERS = {
    "multiplication": {"data": DataConfig(operation="multiply", p=23, frac_train=0.7)},
    "without a group": {"data": DataConfig(operation="quadratic", p=23, frac_train=0.7)},
    "random labels": {"data": DataConfig(operation="random", p=23)},
    "mlp": {
        "model": ModelConfig(architecture="mlp", d_model=16, equals_logit=False),
        "data": DataConfig(operation="divide", p=23, frac_train=0.7),
    },
    "squaring": {
        "model": ModelConfig(
            architecture="quadratic", d_mlp=20, activation=Activation.square, equals_logit=False, mlp_biases=False
        ),
        "optimizer": OptimizerConfig(name=OptimizerName.sgd, lr=1.0, weight_decay=0.0),
    },
    "two layers, noise": {
        "model": ModelConfig(d_model=16, n_layers=2),
        "data": DataConfig(p=23, frac_train=0.7, label_noise=0.2),
    },
    "few measures": {
        "measures": MeasuresConfig(names=["gini_W_E"]),
        "data": DataConfig(p=23, frac_train=0.7, split_seed=1),  # measures alone make no other run
    },
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of one run that grokked, and short ones of other tasks and networks; by name."""
    configs = {"grokking": grokking(), **{name: grokking(**(SHORT | changes)) for name, changes in OTHERS.items()}}
    path = tmp_path_factory.mktemp("runs") / "small"
    sweep, ids = plan_of(path, *configs.values())
    for run_id, config in zip(ids, configs.values(), strict=True):
        assert run_one(config, sweep.run(run_id).path) is State.done
    return sweep, dict(zip(configs, ids, strict=True))


@pytest.fixture
def run_dir(sweep, tmp_path) -> RunDir:
    """The run that grokked, to be spoilt: a copy outside its sweep."""
    folder, ids = sweep
    return RunDir(shutil.copytree(folder.run(ids["grokking"]).path, tmp_path / "copied"))


class Page(HTMLParser):
    """Sections with their texts, ids of figures, and tags that load something."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.figures: list[str] = []
        self.loading: list[str] = []
        self._in, self._tag = "", ""
        content = file.read_text()
        self.size = len(content.encode())
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._tag = tag
        if tag == "h2":
            self._in = "h2"
        if tag == "div" and given.get("role") == "img":
            self.figures.append(given["id"])
        if "src" in given or tag in ("img", "link", "iframe", "object", "form"):
            self.loading.append(tag)

    def handle_data(self, data):
        if self._in == "h2":
            self._in = data
            self.sections[data] = ""
        elif self._in and self._tag not in ("script", "style"):
            self.sections[self._in] += data


def report(path: Path, out: Path | None = None) -> Page:
    return Page(report_run(path, out=out, figures=False)[0])


def cli(*arguments):
    command = [sys.executable, "-m", "analysis", "run", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# --- one run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(sweep, tmp_path_factory) -> Path:
    """The report on the run that grokked, measured with its final key frequencies too; with figures."""
    folder, ids = sweep
    path = folder.run(ids["grokking"]).path
    measure_run(path, ["restricted_loss_final", "excluded_loss_final"])
    return report_run(path, out=tmp_path_factory.mktemp("everything"))[0]


def test_a_run_that_grokked_has_everything(everything):
    page, folder = Page(everything), everything.parent / "figures"
    assert set(page.figures) == EVERYTHING
    assert page.loading == []
    assert page.size < 10 * 2**20
    assert "(a + b) mod 23" in page.sections["Methods"]
    assert HOSTILE in page.sections["Settings"]
    assert "launch.py" in page.sections["Provenance"]
    assert "Step 0 is left out" in page.sections["Curves"]
    assert "restricted_loss_final" in (folder / "progress.svg").read_text()
    kinds = {kind: {file.stem for file in folder.glob(f"*.{kind}")} for kind in ("svg", "pdf", "png")}
    assert kinds == dict.fromkeys(kinds, EVERYTHING)


def test_numbers_in_the_report_are_those_of_the_summary(sweep, everything):
    folder, ids = sweep
    summary = folder.run(ids["grokking"]).summary()
    assert summary is not None
    page = Page(everything)
    for name in ("t_train", "t_test"):
        below, above = summary[f"{name}_bracket"]
        assert f"{above} (after {below})" in page.sections["Times and phase"]
    content = everything.read_text()
    keys = summary["key_freqs"]
    assert len(keys) == 2
    assert f"<dd>{keys[0]} and {keys[1]}</dd>" in content


GROUPLESS = "Fourier norms of the weights, spectrum of the logits, neuron clusters, embeddings on their circles"
OF_ANY = {"losses", "accuracies", "norm", "parameters", "pair_losses", "attention"}
OVER_SNAPSHOTS = {"fourier_W_E", "fourier_W_L"}


@pytest.mark.parametrize(
    "name, figures, said",
    [
        ("multiplication", EVERYTHING - OVER_SNAPSHOTS, {"Spectrum of the logits": "discrete logarithm to 5"}),
        (
            "without a group",
            OF_ANY | {"shares"},
            {GROUPLESS: "no cyclic group", "Excluded loss of every frequency": "no cyclic group"},
        ),
        ("random labels", OF_ANY | {"shares"}, {GROUPLESS: "no cyclic group"}),
        ("mlp", EVERYTHING - OVER_SNAPSHOTS - {"attention"}, {"Attention": "This network has no attention."}),
        (
            "squaring",
            EVERYTHING - OVER_SNAPSHOTS - {"attention", "neurons", "circles"},
            {"Neuron clusters": "Neurons that square", "Embeddings on their circles": "no embedding"},
        ),
        ("two layers, noise", EVERYTHING - OVER_SNAPSHOTS, {"Attention": "in the last layer"}),
        (
            "few measures",
            OF_ANY - {"norm", "parameters"} | {"sparsity", "fourier_norms", "logit_spectrum", "neurons", "circles"},
            {"Excluded loss of every frequency": "not among measures.names"},
        ),
    ],
)
def test_what_is_not_defined_is_said_in_a_line(sweep, tmp_path, name, figures, said):
    folder, ids = sweep
    page = report(folder.run(ids[name]).path, out=tmp_path)
    assert set(page.figures) == figures
    for section, words in said.items():
        assert words in page.sections[section]


def test_without_snapshots_the_spectra_are_those_of_the_end_and_it_says_so(run_dir):
    shutil.rmtree(run_dir.snapshots)
    page = report(run_dir.path)
    assert EVERYTHING - set(page.figures) == {"fourier_W_E", "fourier_W_L"}
    assert "kept no snapshots" in page.sections["Fourier norms of the weights"]


def test_without_a_checkpoint_there_are_curves_and_a_word(run_dir):
    run_dir.checkpoint_file.unlink()
    page = report(run_dir.path)
    assert "There is no checkpoint yet" in page.sections["Network"]
    assert "losses" in page.figures
    assert "neurons" not in page.figures


def test_weights_that_are_not_finite_are_not_measured(run_dir):
    tensors, facts = run_dir.load_checkpoint() or ({}, {})
    tensors["W_E"][0] = float("nan")
    run_dir.metrics_file.unlink()
    run_dir.save_checkpoint(tensors, facts)
    assert "not finite" in report(run_dir.path).sections["Network"]


@pytest.mark.parametrize("state", [State.running, State.interrupted, State.failed, State.diverged])
def test_a_run_that_is_not_done_says_how_it_stands(run_dir, state):
    run_dir.checkpoint_file.unlink()  # its figures are those of a run that is done
    run_dir.write_status(state, step=400, n_steps=400, end=None, error=f"RuntimeError: {HOSTILE}")
    if state is not State.diverged:
        run_dir.summary_file.unlink()
    run_dir.log("failed:\nTraceback (most recent call last):\nRuntimeError: out of memory")
    page = report(run_dir.path)
    said = page.sections["State"]
    assert {"running": "being trained", "interrupted": "was interrupted", "failed": HOSTILE}.get(
        state.value, state.value
    ) in said
    assert ("RuntimeError: out of memory" in said) == (state in (State.failed, State.diverged))


def test_a_run_that_has_only_begun(run_dir):
    for file in (run_dir.checkpoint_file, run_dir.summary_file, run_dir.log_file, run_dir.provenance_file):
        file.unlink()
    run_dir.metrics_file.write_text("")
    run_dir.write_status(State.running, step=0, n_steps=400, end=None, error=None)
    page = report(run_dir.path)
    assert page.figures == []
    assert "nothing to draw" in page.sections["Curves"]


def test_a_task_of_ones_own_that_is_gone_costs_the_network_alone(run_dir):
    settings = run_dir.settings_file.read_text().replace('"add"', '"gone.operation"')
    run_dir.settings_file.write_text(settings)
    page = report(run_dir.path)
    assert "gone" in page.sections["Network"]
    assert "losses" in page.figures


# --- several ------------------------------------------------------------------------------------------------


def test_runs_side_by_side(sweep, tmp_path):
    folder, ids = sweep
    paths = [folder.run(ids[name]).path for name in ("grokking", "multiplication", "squaring", "without a group")]
    written = report_run(paths[0], paths[1:], tmp_path)
    assert written[0].name == "compare_" + "_".join(path.name[:6] for path in paths) + ".html"
    page = Page(written[0])
    assert page.figures == ["curves", "stages", "fourier_W_E", "fourier_W_L"]
    assert page.loading == []
    assert "data.operation" in page.sections["Settings that differ"]
    assert "data.frac_train" not in page.sections["Settings that differ"]
    assert "One run without." in page.sections["Fourier norms of the neuron-logit map W_L"]
    assert page.sections["Methods"].count("We trained") == 4
    curves = (tmp_path / f"{written[0].stem}_figures" / "curves.svg").read_text()
    for path in paths:
        assert path.name[:6] in curves
        assert path.name[:6] in page.sections["Stages"]


def test_side_by_side_what_is_known_only_in_hindsight_is_dashed_and_nothing_else(sweep, tmp_path):
    folder, ids = sweep
    path = folder.run(ids["grokking"]).path
    measure_run(path, ["restricted_loss_final", "excluded_loss_final"])
    written = report_run(path, [folder.run(ids["mlp"]).path], tmp_path)
    spec = json.loads(re.search(r"const figures = (.*);\n", written[0].read_text())[1])["curves"]
    for panel in spec["concat"]:
        line = next(layer for layer in panel["layer"] if layer["mark"].get("type") == "line")
        is_dashed = any(line["encoding"]["strokeDash"]["scale"]["range"])
        assert is_dashed == panel["title"]["text"].endswith("_final"), panel["title"]
    assert spec["resolve"]["scale"]["strokeDash"] == "independent", "else all panels take the first one's dashes"


def test_every_figure_says_of_which_run_it_is(sweep, tmp_path):
    folder, ids = sweep
    path = folder.run(ids["grokking"]).path
    pictures = [file for file in report_run(path, out=tmp_path) if file.suffix == ".svg"]
    assert len(pictures) == len(EVERYTHING)
    for picture in pictures:
        said = " ".join("".join(node.itertext()) for node in ElementTree.parse(picture).iter(f"{SVG}text"))
        assert f"{folder.path.name}/{path.name}: (a + b) mod 23, train fraction 0.7, weight decay 1" in said, picture
        assert "step 400" in said, picture


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_names_the_page_and_first_digits_suffice(sweep):
    folder, ids = sweep
    done = cli(folder.path / ids["few measures"][:6], "--no-figures")
    assert (done.returncode, done.stderr) == (0, "")
    page = folder.run(ids["few measures"]).path / "report.html"
    assert done.stdout.endswith(f"{page}\n")
    assert page.exists()


def test_wrong_input_is_told_in_a_line_before_any_work(sweep, tmp_path):
    folder, ids = sweep
    run = folder.run(ids["grokking"]).path
    planned, (waiting,) = plan_of(tmp_path / "planned", small_config())
    nothing, file = tmp_path / "nothing", ROOT / "pyproject.toml"
    cases = [
        ((nothing,), "no such folder"),
        ((folder.path,), f"is a sweep; this command takes one of its 8 runs, for example {run}; also {ids['mlp']}"),
        ((folder.path / "ffffff",), "has no run ffffff"),
        ((folder.path / run.name[:2],), "four digits or more"),
        ((tmp_path,), "holds sweeps: name one of them"),
        ((file,), "is a file"),
        ((planned.path / waiting,), "is planned, but has not begun; this trains it: "),
        ((run, [run]), "is named twice"),
        ((run, [nothing]), "no such folder"),
        ((run, [], file), "is a file"),
    ]
    for arguments, said in cases:
        with pytest.raises(ValueError, match=re.escape(said.split("; also")[0])) as told:
            report_run(*arguments)
        assert "\n" not in str(told.value)
        assert all(word in str(told.value) for word in said.split("; also "))
    assert not nothing.exists()


def test_wrong_input_has_its_exit_code(sweep):
    found = cli(sweep[0].path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("python -m analysis: ")
    assert found.stderr.count("\n") == 1


def test_a_broken_row_is_named(run_dir):
    with run_dir.metrics_file.open("a") as rows:
        rows.write("{torn\n{}\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line \d+"):
        report_run(run_dir.path)


def test_more_runs_than_colours_are_refused(sweep):
    folder, ids = sweep
    paths = [folder.run(run_id).path for run_id in ids.values()]
    assert len(paths) == 8
    with pytest.raises(ValueError, match="at most 7 runs side by side, got 8"):
        report_run(paths[0], paths[1:])


def test_help_needs_no_torch():
    code = "import sys, analysis.__main__; sys.exit(any(m in sys.modules for m in ('torch', 'altair', 'vl_convert')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_hostile_names_stay_text_in_every_figure(everything):
    content = everything.read_text()
    assert HOSTILE not in content
    assert "onerror=alert(2)&gt;" in content
    assert len(re.findall("<script", content)) - len(re.findall("<script", _library(content))) == 2


def _library(content: str) -> str:
    return content[content.index("<script>") + 8 : content.index("</script>\n</head>")]
