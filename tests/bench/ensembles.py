"""What ensembles gain on this machine: a run's step alone and in ensembles, in turn, and of each the least time.

Part of `make bench`; by itself:

    python tests/bench/ensembles.py                 # the CPU: tiny networks; where there is a GPU, the mainline on it
    python tests/bench/ensembles.py --device cpu
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
import yaml  # noqa: E402
from reference import ReferenceTraining, pairs_and_labels  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from grok_sweep import train  # noqa: E402
from grok_sweep.config import DataConfig, Dtype, ModelConfig, RunConfig, resolved  # noqa: E402
from grok_sweep.ensemble import Ensemble  # noqa: E402
from grok_sweep.machine import keep_freed_memory  # noqa: E402
from grok_sweep.measures.many import ready  # noqa: E402
from grok_sweep.measures.rows import Row, Wanted  # noqa: E402
from grok_sweep.measures.schedule import schedule  # noqa: E402
from grok_sweep.models.parameters import unflatten  # noqa: E402
from grok_sweep.tasks import make_task  # noqa: E402

ON_CPU = ({"p": 31, "d_model": 32}, {"p": 59, "d_model": 64})
"""The first is to gain up to 2, the second nothing."""
FRACS = (0.3, 0.5)
CPU_SIZES = (1, 2, 4, 8, 16)
GPU_SIZES = (1, 4, 16, 64, 256)
ROUND_S, ROUNDS = 0.2, 6
DEFAULT: list[str] = yaml.safe_load((ROOT / "conf" / "measures" / "nanda.yaml").read_text())["names"]


def least_ms(steps: dict[str, Callable[[], object]], device: str, rounds: int = ROUNDS) -> dict[str, float]:
    """The least time of each, in turn, by rounds of ROUND_S; after a step that does not count.

    On a CPU the time that this process computed, on one thread: others on the machine count for less.
    """
    clock = time.perf_counter if device == "cuda" else time.process_time
    best = dict.fromkeys(steps, float("inf"))
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            _wait(device)
            began, n = clock(), 0
            while n == 0 or clock() - began < ROUND_S:
                step()
                n += 1
                if device == "cuda" and n % 20 == 0:  # else orders pile up without end
                    _wait(device)
            _wait(device)
            best[name] = min(best[name], 1000 * (clock() - began) / n)
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


Members = tuple[list[train.Setup], list[train.TrainState]]


def members(n: int, p: int, d_model: int, dtype: str, device: str) -> Members:
    """Runs that differ in seeds, train fraction and weight decay."""
    fixed = []
    for i in range(n):
        data = DataConfig(p=p, frac_train=FRACS[i % 2], split_seed=i)
        config = RunConfig(data=data, model=ModelConfig(d_model=d_model, init_seed=i), dtype=Dtype[dtype])
        config.optimizer.weight_decay = (0.1, 1.0)[i // 2 % 2]
        config = resolved(config)
        fixed.append(train.setup(config, make_task(config.data), device))
    return fixed, [train.initial_state(each) for each in fixed]


def alone(fixed: train.Setup, state: train.TrainState) -> Callable[[], object]:
    states = train.training(state, fixed)
    return lambda: next(states)


def on_cpu(n_threads: int = 1, sizes: Sequence[int] = CPU_SIZES, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    torch.set_num_threads(n_threads)
    found = []
    for shape in ON_CPU:
        for dtype in ("float32", "float64"):
            fixed, states = members(max(sizes), **shape, dtype=dtype, device="cpu")
            singles = {f"alone {i}": alone(fixed[i], states[i]) for i in range(len(FRACS))}
            together = {f"{n}": Ensemble(fixed[:n], states[:n]) for n in sizes}
            steps = singles | {name: lambda e=each: e.train(1) for name, each in together.items()}
            ms = least_ms(steps, "cpu", rounds)
            one = sum(ms[name] for name in singles) / len(singles)
            # An ensemble of one holds the first train fraction alone.
            gains = {n: (ms["alone 0"] if n == 1 else one) / (ms[f"{n}"] / n) for n in sizes}
            found.append(
                {**shape, "dtype": dtype, "alone_ms": one, "gain": {f"{n}": gain for n, gain in gains.items()}}
            )
        found[-2]["row_ms"] = row_ms(max(sizes), **shape, device="cpu")
    return found


def on_gpu(
    p: int = 113, d_model: int = 128, sizes: Sequence[int] = GPU_SIZES, device: str = "cuda"
) -> dict[str, Any]:
    """The mainline: steps x runs a second, share of the rate of products at these shapes, memory, rows."""
    found: dict[str, Any] = {"device": torch.cuda.get_device_name() if device == "cuda" else device}
    for dtype in ("float32", "float64"):
        fixed, states = members(1, p, d_model, dtype, device)
        steps = {"alone": alone(fixed[0], states[0])}
        if dtype == "float32":
            steps["plain"] = plain(fixed[0], states[0], device)
        ms = least_ms(steps, device, rounds=3)
        found[dtype] = {"steps_per_s": {name: 1000 / each for name, each in ms.items()}, "together": {}}
        for n in sizes:
            try:
                found[dtype]["together"][n] = _of_size(n, p, d_model, dtype, device)
            except torch.OutOfMemoryError:
                break
    together = found["float32"]["together"]
    best = max(together, key=lambda n: together[n]["run_steps_per_s"])
    rate = together[best]["run_steps_per_s"]
    found |= {"best_size": best, "gain_over_plain": rate / found["float32"]["steps_per_s"]["plain"]}
    ms = row_ms(best, p, d_model, device)
    found["row_ms"] = ms
    default = RunConfig()
    n_rows = len(schedule(default.measures, default.n_steps).full)
    found["measures_of_training"] = ms["at_once"] / 1000 * n_rows * rate / default.n_steps
    return found


def plain(fixed: train.Setup, state: train.TrainState, device: str) -> Callable[[], object]:
    tokens, labels = pairs_and_labels(fixed.config.data.p)
    trained = make_task(fixed.config.data).train_mask
    weights = unflatten(state.weights, fixed.shapes)
    return ReferenceTraining(weights, tokens[trained].to(device), labels[trained].to(device)).step


def _of_size(n: int, p: int, d_model: int, dtype: str, device: str) -> dict[str, float]:
    fixed, states = members(n, p, d_model, dtype, device)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    together = Ensemble(fixed, states)
    with FlopCounterMode(display=False) as counted:
        together._step(together._now, together._by(together._factors(1)[0]))
    n_pairs = sum(len(each.batch.labels) for each in fixed) // n
    d_mlp, d_out = 4 * d_model, p + 1
    x = torch.randn(n, n_pairs, d_mlp, dtype=getattr(torch, dtype), device=device)
    W, y = x.new_ones(n, d_mlp, d_out), x.new_empty(n, n_pairs, d_out)
    ms = least_ms({"step": lambda: together.train(1), "product": lambda: torch.bmm(x, W, out=y)}, device, rounds=3)
    rate = 2 * n * n_pairs * d_mlp * d_out / ms["product"]
    peak = torch.cuda.max_memory_allocated() / 2**20 / n if device == "cuda" else float("nan")
    return {
        "step_ms": ms["step"],
        "run_steps_per_s": 1000 * n / ms["step"],
        "share_of_product_rate": counted.get_total_flops() / ms["step"] / rate,
        "mb_per_run": peak,
    }


def row_ms(n: int, p: int, d_model: int, device: str) -> dict[str, float]:
    """A default row of each of n runs: measured at once, a run's share, and by itself."""
    fixed, states = members(n, p, d_model, "float32", device)
    tasks = [make_task(each.config.data).to(device) for each in fixed]
    wanted = [
        replace(Wanted.of(each.config, task, each), names=DEFAULT) for each, task in zip(fixed, tasks, strict=True)
    ]
    states = [next(train.training(state, each)) for state, each in zip(states, fixed, strict=True)]

    def by_itself() -> None:
        row = Row(states[0], wanted[0])
        _ = row.always, row.measured

    ms = least_ms({"at_once": lambda: ready(wanted, states), "by_itself": by_itself}, device, rounds=2)
    return {"at_once": ms["at_once"] / n, "by_itself": ms["by_itself"]}


def bench(device: str | None = None) -> dict[str, Any]:
    keep_freed_memory()
    found: dict[str, Any] = {"cpu": on_cpu()}
    if device != "cpu" and torch.cuda.is_available():
        found["gpu"] = on_gpu()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu"], help="leave out the GPU")
    print(json.dumps(bench(parser.parse_args().device), indent=1))


if __name__ == "__main__":
    main()
