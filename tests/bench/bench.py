"""make bench: what a step, the measures, a row and a start cost on this machine, beside what bounds them.

Everything that is compared is timed in turn in one process, and of each the least time counts: on a shared machine
the others say how busy it was. Writes bench.json.

    python tests/bench/bench.py                     # all of it
    python tests/bench/bench.py --profile           # one step, operation by operation
    python tests/bench/bench.py --figure FILE       # growth with the number of train pairs, out of bench.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "bench")]

import ensembles  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from reference import ReferenceTraining, pairs_and_labels  # noqa: E402

from grok_sweep import fourier, optimizers, train  # noqa: E402
from grok_sweep.config import DataConfig, LoggerConfig, LoggerKind, MeasuresConfig, RunConfig, resolved  # noqa: E402
from grok_sweep.machine import keep_freed_memory  # noqa: E402
from grok_sweep.measures.blocks import blocks  # noqa: E402
from grok_sweep.measures.evaluation import Evaluation, evaluate  # noqa: E402
from grok_sweep.measures.frequencies import Gap  # noqa: E402
from grok_sweep.measures.rows import measured, row  # noqa: E402
from grok_sweep.measures.schedule import schedule  # noqa: E402
from grok_sweep.measures.table import MEASURES  # noqa: E402
from grok_sweep.models.parameters import unflatten  # noqa: E402
from grok_sweep.run import run_one  # noqa: E402
from grok_sweep.tasks import make_task  # noqa: E402

OUT = ROOT / "bench.json"
REPEATS = 20
SIZES = (59, 113, 173, 251)
FREQS = [5, 9, 14, 20, 26]
DEFAULT: list[str] = yaml.safe_load((ROOT / "conf" / "measures" / "nanda.yaml").read_text())["names"]

Timed = dict[str, Callable[[], object]]


def least_ms(timed: Timed, repeats: int = REPEATS) -> dict[str, float]:
    """The least time of each, all of them in turn `repeats` times, after one round that does not count."""
    best = dict.fromkeys(timed, float("inf"))
    for i in range(repeats + 1):
        for name, call in timed.items():
            began = time.perf_counter()
            call()
            if i:
                best[name] = min(best[name], 1000 * (time.perf_counter() - began))
    return best


# --- the step -----------------------------------------------------------------------------------------------


class Step:
    """Ours at one size, from initial weights; every call makes the same update again."""

    def __init__(self, p: int = 113, frac_train: float = 0.3) -> None:
        self.config = resolved(RunConfig(data=DataConfig(p=p, frac_train=frac_train)))
        self.task = make_task(self.config.data)
        self.fixed = train.setup(self.config, self.task)
        self.state = train.initial_state(self.fixed)
        self.hyper = optimizers.hyper_at(self.config.optimizer, 100)

    def __call__(self) -> train.TrainState:
        return train.step(self.state, self.fixed, self.hyper)


def plain(step: Step) -> ReferenceTraining:
    """The published code's shape: all positions, einsum, p + 1 outputs, torch.optim.AdamW with foreach off."""
    tokens, labels = pairs_and_labels(step.config.data.p)
    trained = step.task.train_mask
    return ReferenceTraining(unflatten(step.state.weights, step.fixed.shapes), tokens[trained], labels[trained])


def products(step: Step) -> Callable[[], None]:
    """The step's twelve matrix products alone: forward and backward of W_O, W_in, W_out and W_U, at their shapes."""
    model, n = step.config.model, step.task.n_train
    assert model.d_head is not None
    assert model.d_mlp is not None
    d_attention, d_vocab_out = model.n_heads * model.d_head, step.fixed.network.d_vocab_out
    shapes = [
        (d_attention, model.d_model), (model.d_model, model.d_mlp), (model.d_mlp, model.d_model),
        (model.d_model, d_vocab_out),
    ]  # fmt: skip
    parts = []
    for k, m in shapes:
        x, w, by_y = torch.randn(n, k), torch.randn(k, m), torch.randn(n, m)
        parts.append((x, w, by_y, torch.empty(n, m), torch.empty(n, k), torch.empty(k, m)))

    def all_twelve() -> None:
        for x, w, by_y, y, by_x, by_w in parts:
            torch.mm(x, w, out=y)
            torch.mm(by_y, w.T, out=by_x)
            torch.mm(x.T, by_y, out=by_w)

    return all_twelve


def steps(n_threads: int) -> dict[str, float]:
    torch.set_num_threads(n_threads)
    step = Step()
    reference = plain(step)
    autograd = replace(step.fixed, by_hand=None)
    square, out = (torch.randn(2048, 2048) for _ in range(2))
    found = least_ms(
        {
            "step": step,
            "plain": reference.step,
            "bound": products(step),
            "autograd_step": lambda: train.step(step.state, autograd, step.hyper),
            "square_2048": lambda: torch.mm(square, square, out=out),
        }
    )
    return {
        "step_ms": found["step"],
        "plain_step_ms": found["plain"],
        "gemm_bound_ms": found["bound"],
        "autograd_step_ms": found["autograd_step"],
        "gflops_2048": 2 * 2048**3 / found["square_2048"] / 1e6,
        "step_vs_plain": found["plain"] / found["step"],
        "step_vs_gemm_bound": found["step"] / found["bound"],
    }


# --- measures -----------------------------------------------------------------------------------------------


class Rows:
    """Rows of one size, measured as if the network had five key frequencies: the whole of what is computed late."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.state = step()
        self.weights = unflatten(self.state.weights, step.fixed.shapes)

    def forward(self) -> Evaluation:
        return evaluate(self.weights, self.step.task, self.step.fixed.network)

    def keyed(self, evaluation: Evaluation) -> Evaluation:
        """With key frequencies, after the work of looking for its own."""
        gap = evaluation.gap.gap
        is_above = fourier.mask_of(FREQS, evaluation.group.n).to(gap.device)
        evaluation.__dict__["gap"] = Gap(is_above, torch.full_like(gap, 3.0))
        return evaluation

    def losses(self) -> Evaluation:
        evaluation = self.forward()
        row(self.state, evaluation)
        return evaluation

    def full(self, names: Sequence[str], vectors: bool | None) -> None:
        measured(self.keyed(self.losses()), names, vectors)

    def each(self, names: Sequence[str], repeats: int) -> dict[str, float]:
        """ms of each measure alone, once forward pass and losses are there; what it shares with others is in it."""
        best = dict.fromkeys(names, float("inf"))
        for _ in range(repeats):
            for name in names:
                evaluation = self.losses()
                began = time.perf_counter()
                measured(evaluation if name not in _OF_K else self.keyed(evaluation), [name])
                best[name] = min(best[name], 1000 * (time.perf_counter() - began))
        return best


_OF_K = {"restricted_loss", "excluded_loss", "fve_logits", "fit_loss", "W_L_residual", "key_freqs", "n_key_freqs"}


def whole_transform(neurons: torch.Tensor, p: int) -> torch.Tensor:
    """What measures of neurons would need without blocks.py: energies of all p² Fourier components of each neuron."""
    along_b = fourier.basis(p) @ neurons.double().view(p, p, -1)
    return torch.einsum("fi,ijm->fjm", fourier.basis(p), along_b).square()


def measures(n_threads: int) -> dict[str, Any]:
    torch.set_num_threads(n_threads)
    step = Step()
    rows = Rows(step)
    found = least_ms(
        {
            "step": step,
            "forward": rows.forward,
            "losses": rows.losses,
            "default": lambda: rows.full(DEFAULT, vectors=False),
            "with_lists": lambda: rows.full(DEFAULT, vectors=None),
            "all": lambda: rows.full(list(MEASURES), vectors=None),
            "excluded_k": lambda: rows.losses().excluded_loss_k,
        },
        repeats=8,
    )
    evaluation = rows.forward()
    neurons = least_ms(
        {
            "four_sums": lambda: blocks(evaluation.activations.mlp_post, step.task.group_pairs),
            "transform": lambda: whole_transform(evaluation.activations.mlp_post, step.config.data.p),
        },
        repeats=3,
    )
    return {
        "forward_of_all_pairs_ms": found["forward"],
        "row_of_losses_ms": found["losses"],
        "row_ms": found["default"],
        "row_with_lists_ms": found["with_lists"],
        "row_of_all_measures_ms": found["all"],
        "rows_per_s": 1000 / found["default"],
        "measures_vs_step": found["default"] / found["step"],
        "measures_with_lists_vs_step": found["with_lists"] / found["step"],
        "excluded_k_vs_step": found["excluded_k"] / found["step"],
        "neurons_by_four_sums_ms": neurons["four_sums"],
        "neurons_by_2d_transform_ms": neurons["transform"],
        "each_ms": rows.each(list(MEASURES), repeats=3),
    }


# --- logging, memory, growth, start -------------------------------------------------------------------------


def logging(n_threads: int, kind: LoggerKind) -> dict[str, float]:
    """What a row costs a run in all, its writing and its mirror included; and so a run at the default cadence."""
    torch.set_num_threads(n_threads)
    n_steps, every, repeats = 60, 4, 3
    seconds = {}
    for _ in range(repeats):
        for name, cadence in (("with", every), ("without", n_steps)):
            names = MeasuresConfig(names=DEFAULT, every=cadence)
            config = RunConfig(measures=names, logger=LoggerConfig(kind=kind), n_steps=n_steps)
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                run_one(config, folder)
                seconds.setdefault(name, []).append(time.perf_counter() - began)
    n_rows = n_steps // every - 1
    a_row = (min(seconds["with"]) - min(seconds["without"])) / n_rows
    a_step = (min(seconds["without"]) - 2 * a_row) / n_steps
    default = RunConfig()
    cadence = schedule(default.measures, default.n_steps)
    n_default = len(cadence.full) + len(cadence.losses_only)
    return {
        "row_ms": 1000 * a_row,
        "rows_of_a_default_run": n_default,
        "steps_of_a_default_run": default.n_steps,
        "logging_overhead": n_default * a_row / (default.n_steps * a_step),
    }


def peak_rss_mb(n_threads: int) -> float:
    """Of a process that trains the mainline for 120 steps, with every default measure and W&B offline."""
    with tempfile.TemporaryDirectory() as folder:
        _launch(["steps=120", f"root={folder}"], n_threads)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _launch(words: Sequence[str], n_threads: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(n_threads)}
    command = [sys.executable, str(ROOT / "launch.py"), *words]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def growth() -> list[dict[str, float]]:
    """The step, the bound and a row at four sizes, frac_train 0.3, one thread, in turn."""
    torch.set_num_threads(1)
    found = []
    for p in SIZES:
        step = Step(p)
        rows = Rows(step)
        times = least_ms(
            {"step": step, "bound": products(step), "row": lambda rows=rows: rows.full(DEFAULT, vectors=False)},
            repeats=5,
        )
        found.append({"p": p, "n_train": step.task.n_train, **{f"{name}_ms": ms for name, ms in times.items()}})
    return found


def start() -> dict[str, float]:
    """Seconds from the command to the first row, and what is spent on the way; the least of three."""
    first_row = min(_first_row() for _ in range(3))
    imports = {
        "python": "pass",
        "hydra and the plan": "import hydra, grok_sweep.launchers.here, grok_sweep.sweep.plan",
        "torch": "import torch",
        "torch and the worker": "import grok_sweep.sweep.worker",
        "all imports": "import hydra, grok_sweep.launchers.here, grok_sweep.sweep.plan, grok_sweep.sweep.worker",
    }
    parts = {
        f"{name}_s": min(_seconds([sys.executable, "-c", code]) for _ in range(3)) for name, code in imports.items()
    }
    config = RunConfig(
        data=DataConfig(p=23, frac_train=0.4), measures=MeasuresConfig(names=DEFAULT), n_steps=1,
        logger=LoggerConfig(kind=LoggerKind.none),
    )  # fmt: skip
    warm = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            run_one(config, folder)
            warm.append(time.perf_counter() - began)
    return {"first_row_s": first_row, **parts, "a_warm_workers_next_run_s": min(warm)}


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _first_row() -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = ["p=23", "frac=0.4", "steps=100000", "logger=none", f"root={folder}"]
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "launch.py", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            while not any(file.stat().st_size for file in Path(folder).glob("*/*/metrics.jsonl")):
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()


# --- a profile ----------------------------------------------------------------------------------------------

PARTS = {
    "matrix products": ("mm", "addmm", "addmm_", "bmm"),
    "softmax of the loss, in float64": ("exp_", "amax", "sub", "log", "div_", "div", "gather", "scatter_add_"),
    "ReLU and its gradient": ("clamp_min_", "threshold_backward"),
    "sums over pairs, gathers": ("sum", "index_select", "_embedding_bag_forward_only"),
}


def profile(n_threads: int = 1, n_steps: int = 20) -> dict[str, float]:
    """ms of one step by kind of operation, as torch's profiler sees them, which itself takes a few per cent."""
    from torch.profiler import ProfilerActivity

    torch.set_num_threads(n_threads)
    step = Step()
    step()
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(n_steps):
            step()
    kinds = {f"aten::{name}": part for part, names in PARTS.items() for name in names}
    found = dict.fromkeys([*PARTS, "everything else: AdamW, attention, copies, calls"], 0.0)
    for event in seen.key_averages():
        part = kinds.get(event.key, list(found)[-1])
        found[part] += event.self_cpu_time_total / 1000 / n_steps
    return found


# --- the command --------------------------------------------------------------------------------------------


def bench() -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine(), "settings": "p 113, frac_train 0.3, float32, the paper's sizes"}
    found["peak_rss_mb"] = peak_rss_mb(1)
    found["start"] = start()
    of_steps = {n_threads: steps(n_threads) for n_threads in (1, 2)}
    keep_freed_memory()  # as a worker does; after the plain reference, which knows nothing of it
    for n_threads in (1, 2):
        part = of_steps[n_threads] | measures(n_threads)
        for kind in (LoggerKind.none, LoggerKind.wandb):
            part |= {f"{name}_{kind.name}": value for name, value in logging(n_threads, kind).items()}
        found[f"threads_{n_threads}"] = part
    found["growth"] = growth()
    found["ensembles"] = ensembles.bench()
    return found


def machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__}


def shown(found: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in found.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *shown(value, indent + "  ")]
        elif isinstance(value, list):
            lines += [f"{indent}{name}", *(f"{indent}  {json.dumps(item)}" for item in value)]
        else:
            lines.append(
                f"{indent}{name:32} {value:.4g}" if isinstance(value, float) else f"{indent}{name:32} {value}"
            )
    return lines


def figure(file: Path) -> None:
    """Growth with the number of train pairs: step, bound and row, both axes linear from 0."""
    import altair as alt
    import polars as pl

    kinds = {
        "row_ms": "a row of the default measures",
        "step_ms": "a step",
        "bound_ms": "twelve matrix products, pair by pair",
    }
    rows = [
        {"pairs": size["n_train"], "ms": size[name], "what": what, "p": f"p = {size['p']}"}
        for size in json.loads(OUT.read_text())["growth"]
        for name, what in kinds.items()
    ]
    chart = alt.Chart(pl.DataFrame(rows), width=420, height=280).encode(
        x=alt.X("pairs", title="train pairs (frac_train 0.3)"),
        y=alt.Y("ms", title="milliseconds, one thread"),
        color=alt.Color("what", title=None, sort=list(kinds.values())),
    )
    of_rows = chart.transform_filter("datum.what == 'a row of the default measures'")
    names = of_rows.mark_text(dx=-24, dy=-6).encode(text="p")
    (chart.mark_line(point=True) + names).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true", help="one step, operation by operation")
    parser.add_argument("--figure", type=Path, help="draw growth from bench.json into this file")
    given = parser.parse_args()
    if given.figure:
        figure(given.figure)
    elif given.profile:
        print("\n".join(shown(profile())))
    else:
        found = bench()
        OUT.write_text(json.dumps(found, indent=1) + "\n")
        print("\n".join(shown(found)))
        print(f"wrote {OUT.name}")


if __name__ == "__main__":
    main()
