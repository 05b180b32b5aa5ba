"""Every run of a plan has the settings that Hydra composes for it alone, and they come in Hydra's order: over all
groups of conf/, and for each form of the grammar. Hydra's own BasicSweeper says what a command line means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from grok_sweep.config import flat, from_flat, resolved, run_id_of
from grok_sweep.sweep.command_line import OPTION_NAMES, SHORTHANDS
from grok_sweep.sweep.grid import Plan
from grok_sweep.sweep.plan import plan

CONF = Path(__file__).parents[2] / "conf"
Settings = dict[str, Any]
Both = Callable[..., tuple[list[Settings], list[Settings]]]
SMALL = ("sweep=s", "p=31")


def options_of(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """The settings of each run of a command: by our plan, and by Hydra, job by job."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        loader = GlobalHydra.instance().config_loader()

        def ours(arguments: Sequence[str]) -> Plan:
            return plan(list(arguments), loader, loader.load_configuration("config", [], RunMode.MULTIRUN))

        def theirs(arguments: Sequence[str]) -> Iterator[Settings]:
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
            for (job,) in BasicSweeper.split_arguments(parsed, max_batch_size=1):
                yield composed(job)

        yield lambda *arguments: ([run.settings for run in ours(arguments).runs], list(theirs(arguments)))


def composed(overrides: Sequence[str]) -> Settings:
    """What Hydra composes of one job's overrides, and our dataclasses make of it; shorthands laid over it."""
    config = compose("config", list(overrides))
    for short, targets in SHORTHANDS.items():
        if config[short] is not None:
            for target in targets:
                OmegaConf.update(config, target, config[short])
    nested = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(nested, dict)
    dotted: Settings = {}
    for name, value in nested.items():
        dotted |= {f"{name}.{part}": v for part, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat(resolved(from_flat({n: v for n, v in dotted.items() if n not in (*OPTION_NAMES, *SHORTHANDS)})))


def test_the_groups_are_those_of_conf() -> None:
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    assert groups == {"data", "model", "optimizer", "measures", "logger", "experiment", "hydra"}, (
        "a new group belongs into the grids below"
    )


def test_a_grid_over_all_tasks_networks_and_optimizers(both: Both) -> None:
    grid = {group: options_of(group) for group in ("data", "model", "optimizer")}
    ours, theirs = both(*SMALL, *(f"{group}={','.join(options)}" for group, options in grid.items()))
    assert len(ours) == math.prod(map(len, grid.values()))
    assert ours == theirs


@pytest.mark.parametrize("measures", options_of("measures"))
def test_what_is_no_axis_is_composed_as_well(both: Both, measures: str) -> None:
    loggers = options_of("logger")
    logger = loggers[options_of("measures").index(measures) % len(loggers)]
    ours, theirs = both(*SMALL, f"measures={measures}", f"logger={logger}", "model=transformer,mlp")
    assert len(ours) == 2
    assert ours == theirs


@pytest.mark.parametrize("experiment", options_of("experiment"))
def test_what_the_command_line_says_wins_over_an_experiment(both: Both, experiment: str) -> None:
    words = ["p=31", "data=add,divide", "optimizer=adamw,sgd", "measures=cheap"]
    ours, theirs = both(f"experiment={experiment}", *words, "sweep=s")
    assert len(ours) == 4
    assert ours == theirs
    ours, theirs = both(f"experiment={experiment}", "seed=0,1", "sweep=s")
    assert ours == theirs


@pytest.mark.parametrize(
    "words",
    [
        ["frac=0.3,0.5", "wd=choice(1,0.5)"],
        ["wd=sort(3,1,2)", "seed=range(0,3)"],
        ["wd=sort(3,1,2,reverse=true)", "seed=range(3)"],
        ["lr=sort(range(0.001,0.004,0.001),reverse=true)", "p=31"],
        ["wd=tag(slow,choice(1,2))", "frac=range(0.1,0.35,0.1)"],
        ["wd=float(range(1,4))", "seed=int(choice(1,2))"],
        ["data=glob(*)", "p=31"],
        ["model=glob(*,exclude=quad*)", "p=31,37"],
        ["data=glob([a*,m*])", "wd=1,2", "p=31"],
        ["optimizer=glob(ada?)", "p=31,37"],
        ["data.p=31,37", "++optimizer.beta1=0.8,0.9"],
        ["++data.frac_train=0.1,0.2", "model.d_model=16,32"],
        ["data={frac_train:0.2},{frac_train:0.4,p:31}", "wd=1,2"],
        ["data.p=31", "data.split=ordered,unordered", "model.norm=none,layer"],
        ["measures.names=[gini_W_E,key_gap]", "wd=1,2"],
        ["optimizer.batch_size=null,32", "wd=1e-2,1.0"],
        ["wd='1.0','2'", "p=31"],
        ["~logger", "logger=none", "wd=1,2"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_grammar_means_what_it_means_to_hydra(both: Both, words: list[str]) -> None:
    ours, theirs = both("sweep=s", *words)
    assert ours == theirs
    assert len(ours) > 1


def test_shuffled_values_are_the_same_ones(both: Both) -> None:
    """Hydra shuffles anew at each reading; what is asked for stays."""
    ours, theirs = both("sweep=s", "seed=shuffle(range(0,6))", "wd=shuffle(1,2,3)")

    def key(settings: Settings) -> str:
        return run_id_of(settings)

    assert sorted(ours, key=key) == sorted(theirs, key=key)
    assert len(ours) == 18
