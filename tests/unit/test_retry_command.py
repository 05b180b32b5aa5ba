"""python -m grok_sweep retry: failed runs reopened under their claims; nobody is disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import assert_equal_runs, plan_of, small_config

from grok_sweep.__main__ import main
from grok_sweep.config import MeasuresConfig, ModelConfig
from grok_sweep.run import Hooks
from grok_sweep.store import State, SweepDir
from grok_sweep.sweep import worker
from grok_sweep.sweep.claims import Claims
from grok_sweep.sweep.reopen import reopen
from grok_sweep.sweep.worker import work

N_STEPS = 60


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch) -> SweepDir:
    """A run that failed at a checkpoint, one that failed before any, one that is done."""
    configs = [
        small_config(n_steps=N_STEPS, model=ModelConfig(d_model=16, init_seed=seed), measures=MeasuresConfig())
        for seed in range(3)
    ]
    sweep, (late, early, fine) = plan_of(tmp_path / "s", *configs)
    attempt = worker.attempt

    def failing(config, path, hooks):
        if config.model.init_seed == 2:
            return (yield from attempt(config, path, hooks))
        if config.model.init_seed == 0:
            n_calls = iter(range(20))
            yield from attempt(
                config, path, Hooks(hooks.check, hooks.fence, lambda: next(n_calls, None) is None, hooks.report)
            )
        raise OSError("the disk is gone")

    monkeypatch.setattr(worker, "attempt", failing)
    states = work(sweep.path, [late, early, fine])
    assert list(states.values()) == [State.failed, State.failed, State.done]
    monkeypatch.undo()
    return sweep


def test_failed_runs_go_on_from_their_checkpoints_with_the_next_worker(sweep: SweepDir, tmp_path, capsys) -> None:
    late, early, fine = (run.run_id for run in sweep.plan())
    before = sweep.run(fine).status()
    assert main(["retry", str(sweep.path)]) == 0
    assert "2 of 2 failed runs can be trained again" in capsys.readouterr().out
    assert sweep.run(late).status() | {"updated": 0} == {
        "state": "interrupted", "step": 20, "n_steps": N_STEPS, "end": None, "error": None, "updated": 0,
    }  # fmt: skip
    assert sweep.run(early).state() is State.planned
    assert sweep.run(fine).status() == before
    assert "retry asked for: interrupted, was failed" in sweep.run(late).log_file.read_text()
    assert set(work(sweep.path, [late, early, fine]).values()) == {State.done}
    assert "resumed at step 20" in sweep.run(late).log_file.read_text()
    undisturbed, _ = plan_of(
        tmp_path / "u", small_config(n_steps=N_STEPS, model=ModelConfig(d_model=16), measures=MeasuresConfig())
    )
    work(undisturbed.path, [late])
    assert_equal_runs(sweep.run(late), undisturbed.run(late))


def test_a_run_that_somebody_holds_is_left_alone(sweep: SweepDir, capsys) -> None:
    late, early, _ = (run.run_id for run in sweep.plan())
    claim = Claims(sweep, 300.0).take(late)
    assert claim is not None
    before = sweep.run(late).status()
    assert main(["retry", str(sweep.path)]) == 1
    told = capsys.readouterr()
    assert f"{late}: left alone, somebody works on it" in told.err
    assert "1 of 2 failed runs" in told.out
    assert "at work: 1 worker; the launch command" in told.out
    assert sweep.run(late).status() == before
    claim.check()  # still the holder's
    assert sweep.run(early).state() is State.planned


def test_a_worker_of_several_runs_is_one_worker(tmp_path: Path, capsys) -> None:
    sweep, (first, second, failed, _) = plan_of(
        tmp_path / "s", *(small_config(model=ModelConfig(init_seed=seed)) for seed in range(4))
    )
    claims = [Claims(sweep, 300.0).take(run_id) for run_id in (first, second)]
    assert None not in claims
    sweep.run(failed).path.mkdir()
    sweep.run(failed).write_status(State.failed, step=0, n_steps=200, end=None, error="ValueError: no")
    assert main(["retry", str(sweep.path)]) == 0
    assert "at work: 1 worker; the launch command" in capsys.readouterr().out


def test_one_run_by_its_folder_or_first_digits(sweep: SweepDir, capsys) -> None:
    late, early, fine = (run.run_id for run in sweep.plan())
    assert main(["retry", str(sweep.path / late[:6])]) == 0
    assert sweep.run(early).state() is State.failed
    assert main(["retry", str(sweep.path / fine)]) == 0
    assert f"nothing to retry: {fine} is done" in capsys.readouterr().out


def test_a_run_is_reopened_under_its_claim_alone_and_only_from_the_state_it_was_seen_in(sweep: SweepDir) -> None:
    late, early, fine = sweep.plan()
    claim = Claims(sweep, 300.0).take(late.run_id)
    assert claim is not None
    assert not reopen(sweep, late, State.failed, "why")
    claim.release()
    assert reopen(sweep, late, State.failed, "why")
    assert not reopen(sweep, late, State.failed, "again")  # interrupted by now
    assert not reopen(sweep, fine, State.failed, "why")
    assert sweep.run(fine.run_id).state() is State.done
    assert Claims(sweep, 300.0).holder(early.run_id) is None
