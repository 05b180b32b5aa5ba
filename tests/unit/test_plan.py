"""The plan: Hydra's grammar, shorthands, checks of all runs at once, names and axes."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from grok_sweep.commit import Code
from grok_sweep.config import flat, from_flat, resolved
from grok_sweep.store import SweepDir
from grok_sweep.sweep import grid
from grok_sweep.sweep import plan as plan_module
from grok_sweep.sweep.command_line import OPTION_NAMES, SHORTHANDS, Order, Retry, SettingsError
from grok_sweep.sweep.grid import Plan, generations
from grok_sweep.sweep.plan import plan

CONF = Path(__file__).parents[2] / "conf"
PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of() -> Iterator[PlanOf]:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        loader = GlobalHydra.instance().config_loader()

        def plan_of(*arguments: str) -> Plan:
            master = loader.load_configuration("config", list(arguments), RunMode.MULTIRUN)
            return plan([a for a in arguments if not a.startswith("hydra")], loader, master)

        yield plan_of


@pytest.fixture
def more_conf(tmp_path: Path) -> str:
    """A second place for groups: the ones of the repository have one option each."""
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "slow.yaml").write_text("name: adamw\nbeta2: 0.99\nlr: ${optimizer.eps}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "small.yaml").write_text("activation: gelu\ninit_seed: ${data.split_seed}\n")
    return f"hydra.searchpath=[file://{tmp_path}]"


def refused(plan_of: PlanOf, *arguments: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        plan_of(*arguments)
    head, *lines = str(caught.value).split("\n")
    assert head == "wrong settings, nothing was started:"
    return [line.removeprefix("- ") for line in lines]


# --- the same settings as Hydra's ---------------------------------------------------------------------------


def composed_by_hydra(*overrides: str) -> dict[str, object]:
    settings = OmegaConf.to_container(compose("config", list(overrides)), resolve=True, enum_to_str=True)
    assert isinstance(settings, dict)
    dotted: dict[str, object] = {}
    for name, value in settings.items():
        parts = value.items() if isinstance(value, dict) else [(None, value)]
        dotted |= {name if part is None else f"{name}.{part}": item for part, item in parts}
    return flat(resolved(from_flat({n: v for n, v in dotted.items() if n not in (*OPTION_NAMES, *SHORTHANDS)})))


def test_each_run_has_the_settings_that_hydra_composes_for_it_alone(plan_of: PlanOf, more_conf: str) -> None:
    axes = {
        "optimizer": ["adamw", "slow"],
        "data.split_seed": ["0", "7"],
        "model": ["transformer", "small"],
        "optimizer.eps": ["1e-8", "1e-6"],
        "data.split": ["ordered", "unordered"],
    }
    fixed = [more_conf, "experiment=quick", "measures=cheap", "logger=none", "sweep=s", "data.p=31"]
    found = plan_of(*fixed, *(f"{key}={','.join(values)}" for key, values in axes.items()))
    combinations = list(itertools.product(*axes.values()))
    assert len(found.runs) == len(combinations) == 32
    for run, values in list(zip(found.runs, combinations, strict=True))[::3]:
        alone = composed_by_hydra(*fixed, *(f"{k}={v}" for k, v in zip(axes, values, strict=True)))
        assert run.settings == alone


def test_an_interpolation_follows_a_shorthand(plan_of: PlanOf, more_conf: str) -> None:
    found = plan_of(more_conf, "model=small", "data.split_seed=3,4")
    assert [run.settings["model.init_seed"] for run in found.runs] == [3, 4]


@pytest.mark.parametrize(
    "written, values",
    [
        ("frac=0.3,0.5", [0.3, 0.5]),
        ("frac=choice(0.5,0.3)", [0.5, 0.3]),
        ("frac=sort(0.5,0.3)", [0.3, 0.5]),
        ("data.frac_train=range(0.1,0.35,0.1)", [0.1, 0.2, 0.3]),
        ("++data.frac_train=0.1,0.2", [0.1, 0.2]),
        ("data={frac_train:0.2},{frac_train:0.4}", [0.2, 0.4]),
    ],
)
def test_hydras_grammar_gives_canonical_values(plan_of: PlanOf, written: str, values: list[float]) -> None:
    assert [run.settings["data.frac_train"] for run in plan_of(written).runs] == values


def test_shuffle_keeps_the_values(plan_of: PlanOf) -> None:
    found = plan_of("seed=shuffle(range(0,8))")
    assert sorted(run.settings["model.init_seed"] for run in found.runs) == list(range(8))


def test_a_dict_leaves_nothing_behind_for_the_next_run(plan_of: PlanOf) -> None:
    found = plan_of("data={p:31,frac_train:0.4},{p:37}")
    assert [(r.settings["data.p"], r.settings["data.frac_train"]) for r in found.runs] == [(31, 0.4), (37, 0.3)]


def test_a_shorthand_leaves_nothing_behind_for_the_next_run(plan_of: PlanOf) -> None:
    found = plan_of("wd=0.5,1", "p=31,null")
    assert [run.settings["data.p"] for run in found.runs] == [31, 113, 31, 113]


# --- shorthands ---------------------------------------------------------------------------------------------


def test_shorthands_win_over_the_experiment(plan_of: PlanOf) -> None:
    (run,) = plan_of("experiment=quick", "p=31", "frac=0.4", "wd=2", "lr=0.01", "seed=5", "steps=7").runs
    names = [target for targets in SHORTHANDS.values() for target in targets]
    assert [run.settings[name] for name in names] == [31, 0.4, 2.0, 0.01, 5, 5, 7]


def test_a_group_value_alone_stands(plan_of: PlanOf) -> None:
    (run,) = plan_of("experiment=quick", "data.p=31").runs
    assert run.settings["data.p"] == 31


@pytest.mark.parametrize(
    "given", [("p=59", "data.p=59"), ("frac=0.3", "data.frac_train=0.30"), ("wd=1", "optimizer={weight_decay:1.0}")]
)
def test_a_shorthand_may_say_the_same_twice(plan_of: PlanOf, given: tuple[str, str]) -> None:
    assert len(plan_of(*given).runs) == 1


@pytest.mark.parametrize(
    "given, message",
    [
        (("p=59", "data.p=31"), "p=59 and data.p=31 disagree: p stands for data.p"),
        (
            ("seed=0", "model.init_seed=3"),
            "seed=0 and model.init_seed=3 disagree: seed stands for data.split_seed and model.init_seed",
        ),
        (
            ("wd=1", "optimizer={weight_decay:2}"),
            "wd=1 and optimizer.weight_decay=2 disagree: wd stands for optimizer.weight_decay",
        ),
    ],
)
def test_a_shorthand_that_disagrees_is_refused(plan_of: PlanOf, given: tuple[str, str], message: str) -> None:
    assert refused(plan_of, *given) == [f"{message}; leave one out"]


def test_a_swept_disagreement_is_counted(plan_of: PlanOf) -> None:
    (line,) = refused(plan_of, "p=31,37", "data.p=37")
    assert line == "p=31 and data.p=37 disagree: p stands for data.p; leave one out (1 of 2 runs)"


# --- names, axes, order -------------------------------------------------------------------------------------


def test_axes_are_what_was_swept_under_flat_names(plan_of: PlanOf) -> None:
    found = plan_of("experiment=quick", "wd=0.1,1", "p=31", "seed=range(0,2)")
    assert [run.axes for run in found.runs] == [
        {"optimizer.weight_decay": wd, "data.split_seed": seed, "model.init_seed": seed}
        for wd in (0.1, 1.0)
        for seed in (0, 1)
    ]


def test_what_means_the_same_run_is_planned_once_and_is_no_axis(plan_of: PlanOf) -> None:
    found = plan_of("frac=0.3,0.30,0.3000000000000000004", "wd=1,2")
    assert (len(found.runs), found.n_asked) == (2, 6)
    assert [list(run.axes) for run in found.runs] == [["optimizer.weight_decay"]] * 2
    assert any("4 of 6" in note for note in found.notes)


@pytest.mark.parametrize(
    "written, name",
    [("device=cpu,cuda", "device"), ("steps=10,20", "n_steps"), ("measures=cheap,off", "measures.names")],
)
def test_what_does_not_change_the_numbers_is_no_axis(plan_of: PlanOf, written: str, name: str) -> None:
    (line,) = refused(plan_of, written)
    assert line.startswith(f"{name} takes several values, but it does not change a run's numbers")


@pytest.mark.parametrize("written", ["dry_run=true,false", "sweep=a,b", "order=given,shuffled", "root=a,b"])
def test_what_holds_for_the_command_is_no_axis(plan_of: PlanOf, written: str) -> None:
    (line,) = refused(plan_of, written)
    assert "holds for the whole command: give it one value" in line


@pytest.mark.parametrize(
    "given, folder",
    [
        ((), "runs/default"),
        (("experiment=quick",), "runs/quick"),
        (("experiment=quick", "sweep=mine", "root=there"), "there/mine"),
    ],
)
def test_the_folder(plan_of: PlanOf, given: tuple[str, ...], folder: str) -> None:
    found = plan_of(*given)
    assert found.sweep.path == Path(folder)
    assert found.runs[0].settings["sweep"] == Path(folder).name


def test_several_experiments_need_a_folder(plan_of: PlanOf) -> None:
    (line,) = refused(plan_of, "experiment=quick,frac_slice")
    assert line.startswith("several experiments in one command need a folder's name: give sweep=NAME")
    found = plan_of("experiment=quick,frac_slice", "sweep=both")
    assert [run.axes for run in found.runs] == [{"experiment": "quick"}, {"experiment": "frac_slice"}]


def test_shuffled_is_one_fixed_order_one_seed_after_the_other(plan_of: PlanOf) -> None:
    words = ["wd=1,2,3", "seed=2,0", "frac=0.2,0.3,0.4"]
    given = axes_of(plan_of(*words))
    first, again = (axes_of(plan_of(*words, "order=shuffled")) for _ in range(2))
    assert first == again != given
    assert sorted(first) == sorted(given)
    assert [run[1] for run in first] == [2] * 9 + [0] * 9
    cells = [(wd, frac) for wd, _, _, frac in first]
    assert cells[:9] != cells[9:], "not the same order again"
    assert sorted(cells[:9]) != cells[:9]


def test_as_given_is_as_hydra_has_it_seeds_included(plan_of: PlanOf) -> None:
    assert [run[:2] for run in axes_of(plan_of("seed=0,1", "wd=1,2"))] == [(0, 0), (0, 0), (1, 1), (1, 1)]
    assert [run[1:] for run in axes_of(plan_of("wd=1,2", "seed=0,1"))] == [(0, 0), (1, 1), (0, 0), (1, 1)]


def test_the_options_of_the_sweep_stay_out_of_the_settings(plan_of: PlanOf) -> None:
    found = plan_of("retry=failed", "order=shuffled", "max_failures=3", "dry_run=true", "p=31")
    assert found.options.retry is Retry.failed
    assert found.options.order is Order.shuffled
    assert (found.options.failures_allowed, found.options.dry_run) == (3, True)
    assert not {*OPTION_NAMES, *SHORTHANDS} & found.runs[0].settings.keys()
    assert plan_of("fail_fast=true").options.failures_allowed == 1


def test_asking_for_one_run_of_a_sweep_keeps_its_axes(plan_of: PlanOf, tmp_path: Path) -> None:
    plan_of(f"root={tmp_path}", "wd=0.1,1", "frac=0.3,0.5").add()
    plan_of(f"root={tmp_path}", "wd=1", "frac=0.5", "steps=10").add()
    last = SweepDir(tmp_path / "default").plan()[-1]
    assert last.axes == {"optimizer.weight_decay": 1.0, "data.frac_train": 0.5}
    assert last.settings["n_steps"] == 10


def test_every_command_is_remembered_with_its_code(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "code", lambda: Code("abc", b"+x = 2\n"))
    monkeypatch.setattr(sys, "argv", ["launch.py", "-m", "wd=0.1,1"])
    plan_of(f"root={tmp_path}", "wd=0.1,1").add()
    plan_of(f"root={tmp_path}", "wd=1,2", "frac=0.3,0.5").add()
    sweep = SweepDir(tmp_path / "default")
    first, second = sweep.launches()
    assert first["command"] == [sys.executable, "launch.py", "-m", "wd=0.1,1"]
    assert (first["folder"], first["host"], first["pid"]) == (str(Path.cwd()), socket.gethostname(), os.getpid())
    assert (first["n_runs"], first["n_new"], second["n_runs"], second["n_new"]) == (2, 2, 4, 3)
    assert first["commit"] == "abc"
    assert (sweep.path / first["diff"]).read_bytes() == b"+x = 2\n"
    assert len(list(sweep.provenance.iterdir())) == 1


def test_a_union_of_grids_is_two_commands_with_one_sweep(plan_of: PlanOf, tmp_path: Path) -> None:
    for words in (["wd=0.1,1", "frac=0.3"], ["wd=1,2,3", "frac=0.3,0.5", "seed=range(0,2)"]):
        plan_of(f"root={tmp_path}", "sweep=both", *words).add()
    runs = SweepDir(tmp_path / "both").plan()
    assert len(runs) == 2 + 12 - 1, "what is in both is one run"
    assert len({run.run_id for run in runs}) == 13


def test_nothing_new_in_a_folder_that_takes_no_file_is_no_error(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of(f"root={tmp_path}", "wd=0.1,1").add()

    def full(*given: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(SweepDir, "add_launch", full)
    plan_of(f"root={tmp_path}", "wd=0.1,1").add()
    monkeypatch.setattr(SweepDir, "add", full)
    more = plan_of(f"root={tmp_path}", "wd=0.1,1,2")
    with pytest.raises(OSError, match="no space"):
        more.add()


# --- in step, in order --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written, values",
    [
        ("wd=geomspace(0.01,1,5)", [0.01, 0.0316228, 0.1, 0.316228, 1.0]),
        ("wd=geomspace(8,1,4)", [8.0, 4.0, 2.0, 1.0]),
        ("model.d_model=geomspace(32,256,4)", [32, 64, 128, 256]),
        ("wd=sort(geomspace(10,1e-3,2))", [0.001, 10.0]),
    ],
)
def test_log_spaced_values(plan_of: PlanOf, written: str, values: list[float]) -> None:
    assert axes_of(plan_of(written)) == [(value,) for value in values]


def axes_of(plan: Plan) -> list[tuple[object, ...]]:
    return [tuple(run.axes.values()) for run in plan.runs]


def test_zipped_axes_go_in_step_where_the_first_of_them_stands(plan_of: PlanOf) -> None:
    found = plan_of("wd=1,2", "model.d_model=32,64", "frac=0.3,0.4", "p=31,59", "zip=[[p,model.d_model]]")
    assert axes_of(found) == [
        (wd, d_model, frac, p) for wd in (1.0, 2.0) for d_model, p in ((32, 31), (64, 59)) for frac in (0.3, 0.4)
    ]
    assert plan_of("p=31,59,97", "wd=1,2,3", "zip=[[p,wd]]").n_asked == 3
    both = plan_of("p=31,59", "wd=1,2", "frac=0.3,0.4", "lr=0.1,0.2", "zip=[[p,wd],[frac,lr]]")
    assert axes_of(both) == [(p, wd, f, lr) for p, wd in ((31, 1.0), (59, 2.0)) for f, lr in ((0.3, 0.1), (0.4, 0.2))]


def test_a_group_and_a_setting_go_in_step(plan_of: PlanOf) -> None:
    found = plan_of("data=add,multiply", "frac=0.3,0.5", "p=31", "zip=[[data,frac]]")
    assert [(run.settings["data.operation"], run.settings["data.frac_train"]) for run in found.runs] == [
        ("add", 0.3),
        ("multiply", 0.5),
    ]


def test_coarse_order_takes_ends_before_middles_and_one_seed_after_the_other(plan_of: PlanOf) -> None:
    values = "1,2,3,4,5"
    found = axes_of(plan_of("seed=0,1", f"wd={values}", "frac=0.1,0.2,0.3", "order=coarse"))
    assert len(set(found)) == 30
    assert [run[0] for run in found] == [0] * 15 + [1] * 15
    cells = [(wd, frac) for _, _, wd, frac in found[:15]]
    assert set(cells[:4]) == {(wd, frac) for wd in (1.0, 5.0) for frac in (0.1, 0.3)}
    assert set(cells[:9]) == {(wd, frac) for wd in (1.0, 3.0, 5.0) for frac in (0.1, 0.2, 0.3)}
    assert [(wd, frac) for _, _, wd, frac in found[15:]] == cells


def test_generations_halve_what_is_left() -> None:
    assert generations(1) == [0]
    assert generations(2) == [0, 0]
    assert generations(5) == [0, 2, 1, 2, 0]
    assert generations(9) == [0, 3, 2, 3, 1, 3, 2, 3, 0]
    assert max(generations(100)) == 7


# --- refusals -----------------------------------------------------------------------------------------------


def test_all_problems_of_all_runs_come_at_once_each_once(plan_of: PlanOf) -> None:
    lines = refused(plan_of, "p=2,31", "frac=0.3,1.5", "measures.names=[gini_we]", "zip=a", "optimizer.lr=-1")
    text = "\n".join(lines)
    for part in ("data.p must be", "data.frac_train must", "gini_we", "zip=a: lists of two", "optimizer.lr must"):
        assert text.count(part) == 1
    assert sum(line.endswith("(2 of 4 runs)") for line in lines) == 2
    assert sum(line.endswith("(4 of 4 runs)") for line in lines) == 2


@pytest.mark.parametrize(
    "written, message",
    [
        ("frac=interval(0,1)", "an interval has no meaning in a grid; name its points, as with range("),
        ("data.p=31,abc", "data.p: Value 'abc' of type 'str' could not be converted to Integer (1 of 2 runs)"),
        ("data.pp=1,2", "Key 'pp' not in 'DataConfig'"),
        ("modle=a,b", "Key 'modle' not in 'LaunchConfig'"),
        ("model=transformer,foo", "unknown model=foo. Known: mlp, quadratic, transformer (1 of 2 runs)"),
        ("measures=glob(z*)", "measures=glob(z*): matches nothing"),
        ("+data.x=1", "unknown setting 'data.x'"),
        ("zip=[p]", "zip=['p']: lists of two axes or more are asked for, 'zip=[[p,model.d_model]]'"),
        ("zip=[[p]]", "zip=[['p']]: lists of two axes or more are asked for"),
        ("max_failures=0", "max_failures must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_refused_with_the_reason(plan_of: PlanOf, written: str, message: str) -> None:
    (line,) = refused(plan_of, written)
    assert message in line


@pytest.mark.parametrize(
    "zipped, messages",
    [
        ("[[p,wd]]", ["zip: axes that go in step have as many values each, but p has 3, wd has 2"]),
        ("[[p,frac],[p,wd]]", ["zip: axes that go in step have as many values each, but p has 3, wd has 2",
                               "zip names p twice"]),
        ("[[p,lr],[wd,seeds]]", ["zip names lr, which has not several values here",
                                 "zip names seeds, which has not several values here"]),
    ],
)  # fmt: skip
def test_what_cannot_go_in_step_is_said(plan_of: PlanOf, zipped: str, messages: list[str]) -> None:
    assert sorted(refused(plan_of, "p=31,59,97", "wd=1,2", "frac=0.2,0.3,0.4", f"zip={zipped}")) == sorted(messages)


def test_a_launcher_named_in_an_experiment_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    text = "# @package _global_\ndefaults:\n  - override /hydra/launcher: basic\n"
    (tmp_path / "conf" / "experiment" / "picky.yaml").write_text(text)
    with initialize_config_dir(version_base="1.3", config_dir=str(tmp_path / "conf")):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["experiment=picky"], RunMode.MULTIRUN)
        (note,) = plan(["experiment=picky"], loader, master).notes
        assert note == "what experiment=picky says of the launcher is not used: say it on the command line"
        assert plan(["experiment=quick"], loader, master).notes == []


def test_two_hundred_runs_are_planned_in_seconds(plan_of: PlanOf) -> None:
    began = time.process_time()
    assert len(plan_of("wd=0.1,0.2,0.3,0.4,0.5", "frac=0.1,0.2,0.3,0.4", "seed=range(0,10)").runs) == 200
    assert time.process_time() - began < 6  # by Hydra's own sweeper 12 s, and again for each run


def test_groups_are_composed_once_for_each_combination(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    compose_once = plan_module._Composer._compose
    monkeypatch.setattr(
        plan_module._Composer, "_compose", lambda self, choices: calls.append(choices) or compose_once(self, choices)
    )
    plan_of("experiment=quick,frac_slice", "sweep=s", "seed=range(0,5)")
    assert calls == [("experiment=quick",), ("experiment=frac_slice",)]
