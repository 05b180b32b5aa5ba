"""dry_run=true: the table, what would become of each run, and what they will cost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from small_runs import small_config

from grok_sweep.config import (
    EnsembleConfig,
    LoggerConfig,
    LoggerKind,
    ModelConfig,
    Norm,
    RunConfig,
    SnapshotsConfig,
    flat,
    run_id,
)
from grok_sweep.run import Hooks, run_one
from grok_sweep.store import PlannedRun, State, SweepDir
from grok_sweep.sweep import estimate as estimate_module
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.command_line import Retry, SweepOptions
from grok_sweep.sweep.dry_run import print_plan
from grok_sweep.sweep.estimate import Timed, cost_in_words, estimate
from grok_sweep.sweep.grid import Plan


def plan_of(folder: Path, configs: list[RunConfig], options: SweepOptions | None = None) -> Plan:
    runs = [PlannedRun(run_id(c), flat(c), {"model.init_seed": c.model.init_seed}) for c in configs]
    return Plan(SweepDir(folder), runs, options or SweepOptions(), len(runs), [], 300.0)


def seeds(n: int, **changes: object) -> list[RunConfig]:
    return [small_config(model=ModelConfig(d_model=16, init_seed=i), **changes) for i in range(n)]


def printed(plan: Plan, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_plan(plan, lambda left: [f"cost of {len(left)}"])
    return capsys.readouterr().out.splitlines()


def test_every_fate_is_told_under_a_heading_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, seeds(6))
    done, failed, begun, *_ = (plan.sweep.run(run.run_id) for run in plan.runs)
    for run_dir, state in ((done, State.done), (failed, State.failed), (begun, State.interrupted)):
        run_dir.path.mkdir()
        run_dir.write_status(state, step=200 if state is State.done else 7, end="n_steps")
    begun.checkpoint_file.touch()
    claim = Claims(plan.sweep, 300.0).take(plan.runs[3].run_id)
    assert claim is not None
    lines = printed(plan, capsys)
    assert lines[0].split() == ["run_id", "model.init_seed", "state", "would"]
    assert [line.split()[2:] for line in lines[1:7]] == [
        ["done", "skip"], ["failed", "skip"], ["interrupted", "continue"], ["planned", "held"], ["planned", "run"],
        ["planned", "run"],
    ]  # fmt: skip
    assert lines[7:] == [
        f"6 runs in {tmp_path}: 3 to train, 3 to skip",
        "  2 are trained from the beginning",
        "  1 continue from their checkpoints",
        "  2 have nothing left to do",
        "  1 are held by a living process: left to it",
        "cost of 3",
        "dry_run=true: nothing was started or written",
    ]
    again = printed(dataclasses.replace(plan, options=SweepOptions(retry=Retry.failed)), capsys)
    assert again[2].split()[2:] == ["failed", "run"]


def test_of_runs_that_ask_for_company_it_is_said_who_gets_it(tmp_path: Path, capsys) -> None:
    ensemble = EnsembleConfig(size="4")
    alone = small_config(model=ModelConfig(d_model=16, norm=Norm.layer), ensemble=ensemble)
    lines = printed(plan_of(tmp_path, [*seeds(3, ensemble=ensemble), alone]), capsys)
    assert lines[-4:] == [
        "cost of 4",
        "ensemble.size=4: 3 can train together, in a worker 4 at most; 1 train alone (model.norm=layer)",
        "(times and core-hours are those of runs trained one by one)",
        "dry_run=true: nothing was started or written",
    ]


def test_of_ten_thousand_runs_a_few_stand_for_all_and_the_lines_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, seeds(10))
    many = [dataclasses.replace(plan.runs[0], run_id=f"{i:012x}", axes={"seed": i}) for i in range(10_000)]
    lines = printed(dataclasses.replace(plan, runs=many), capsys)
    assert len(lines) < 30
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    assert "… 9980 more …" in lines
    assert lines[1].split()[1] == "0"
    assert lines[21].split()[1] == "9999"
    assert "10000 runs in" in lines[22]


# --- what it will cost --------------------------------------------------------------------------------------

TIMED = Timed(
    step_s=0.01, losses_s=0.02, full_s=0.1, lists_s=0.05, row_bytes=500, list_bytes=1000, weight_bytes=4000,
    state_bytes=12_000,
)  # fmt: skip


def test_steps_rows_and_files_add_up() -> None:
    config = small_config(n_steps=100, snapshots=SnapshotsConfig(n=4))
    config.measures.every, config.measures.loss_every, config.measures.vector_every = 20, 5, 2
    # Full rows at 0, 20 … 100, three of them and the last with lists; losses at the other multiples of 5.
    seconds, n_bytes = TIMED.of(config)
    assert seconds == pytest.approx(100 * 0.01 + 6 * 0.1 + 4 * 0.05 + 15 * 0.02 + estimate_module.RUN_S)
    rows = 21 * 500 + 4 * 1000
    assert n_bytes == rows + 12_000 + 5 * 4000 + estimate_module.SMALL_FILES
    config.snapshots.optimizer_state = True
    config.logger = LoggerConfig(kind=LoggerKind.wandb)
    mirrored = rows * (1 + estimate_module.MIRROR)
    assert TIMED.of(config)[1] == mirrored + 12_000 + 5 * 12_000 + estimate_module.SMALL_FILES


def test_what_is_measured_is_what_runs_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight runs of a shape, timed before any is there; then from two that are done."""
    configs = seeds(8, n_steps=400)
    plan = plan_of(tmp_path, configs)
    before = estimate(plan.sweep, plan.runs, plan.runs, 1)
    assert before.sources.startswith("steps timed here, ")
    for run, config in list(zip(plan.runs, configs, strict=True))[:2]:
        run_one(config, plan.sweep.run(run.run_id).path)
    monkeypatch.setattr(estimate_module, "_time", lambda config: pytest.fail("timed, though it is known"))
    left = plan.runs[2:]
    after = estimate(plan.sweep, plan.runs, left, 1)
    assert after.sources == "finished runs of the same settings but seed, wd, lr (6 runs)"
    took = [plan.sweep.run(run.run_id).rows()[-1]["seconds"] for run in plan.runs[:2]]
    assert after.seconds == pytest.approx(6 * sum(took) / 2)
    assert before.seconds / 8 == pytest.approx(after.seconds / 6, rel=2.0), "the same order"
    assert before.n_bytes / 8 == pytest.approx(after.n_bytes / 6, rel=0.3)


def test_the_time_of_an_ensemble_is_no_runs_own(tmp_path: Path) -> None:
    configs = seeds(3, n_steps=30)
    plan = plan_of(tmp_path, configs)
    for run, config in list(zip(plan.runs, configs, strict=True))[:2]:
        run_one(config, plan.sweep.run(run.run_id).path, Hooks(noted={"ensemble": "ensembles/host-1.jsonl"}))
    assert estimate(plan.sweep, plan.runs, plan.runs[2:], 1).sources.startswith("steps timed here, ")


def test_what_is_half_done_costs_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "_time", lambda config: TIMED)
    plan = plan_of(tmp_path, seeds(2, n_steps=400))
    whole = estimate(plan.sweep, plan.runs, plan.runs, 1)
    plan.sweep.run(plan.runs[0].run_id).path.mkdir()
    plan.sweep.run(plan.runs[0].run_id).write_status(State.interrupted, step=200)
    assert estimate(plan.sweep, plan.runs, plan.runs, 1).seconds == pytest.approx(0.75 * whole.seconds)


def test_where_the_time_does_not_reach_the_nearest_shape_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[float] = []
    monkeypatch.setattr(estimate_module, "_time", lambda config: timed.append(config.data.frac_train) or TIMED)
    monkeypatch.setattr(estimate_module, "BUDGET_S", -1.0)
    configs = [small_config(n_steps=10) for _ in range(3)]
    for config, frac in zip(configs, (0.2, 0.4, 0.8), strict=True):
        config.data.frac_train = frac
    plan = plan_of(tmp_path, configs)
    parts = [estimate(plan.sweep, [run], [run], 1).seconds for run in plan.runs[:1]]
    timed.clear()
    whole = estimate(plan.sweep, plan.runs, plan.runs, 1)
    assert timed == [0.2], "an end of the range"
    steps = 10 * TIMED.step_s
    assert whole.seconds == pytest.approx(3 * (parts[0] - steps) + steps * (1 + 2 + 4))


def test_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "_time", lambda config: TIMED)
    plan = plan_of(tmp_path, seeds(8, n_steps=36_000))
    lines = cost_in_words(plan.sweep, plan.runs, plan.runs, 4, 2)
    seconds = estimate(plan.sweep, plan.runs, plan.runs, 2).seconds
    assert lines[0].startswith(
        f"about {seconds * 2 / 3600:.2g} core-hours: {seconds / 4 / 60:.0f} min for 4 workers of 2"
    )
    assert lines[0].endswith("MB of disk")
    assert lines[1] == "  reckoned from steps timed here, 10 ms"
    assert max(map(len, lines)) <= 80


def test_a_network_that_cannot_be_tried_here_fails_no_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: RunConfig) -> Timed:
        raise MemoryError("too large")

    monkeypatch.setattr(estimate_module, "_time", broken)
    plan = plan_of(tmp_path, seeds(1))
    assert cost_in_words(plan.sweep, plan.runs, plan.runs, 1, 1) == [
        "what they will cost is not known: MemoryError: too large"
    ]


@pytest.mark.parametrize(
    "changes",
    [{"data.p": 29}, {"data.operation": "quadratic"}, {"model.architecture": "mlp"}, {"optimizer.batch_size": 32}],
)
def test_other_tasks_and_networks_are_timed_too(tmp_path: Path, changes: dict[str, object]) -> None:
    config = small_config(n_steps=50)
    for name, value in changes.items():
        part, field = name.split(".")
        setattr(getattr(config, part), field, value)
    plan = plan_of(tmp_path, [config])
    found = estimate(plan.sweep, plan.runs, plan.runs, 1)
    assert found.seconds > 0
    assert json.dumps(found.n_bytes)
