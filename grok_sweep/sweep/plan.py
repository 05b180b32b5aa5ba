"""From the command line to the runs it asks for: Hydra's grammar, groups and files in, a checked plan out.

Hydra's own sweeper composes every run from the files again (60 ms each). Here each combination of group choices
is composed once, by Hydra, and the values of the swept settings are filled in: the same settings, sooner.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from grok_sweep.launchers.plan_launcher import PlanLauncher
from grok_sweep.store import PlannedRun
from grok_sweep.sweep import command_line, grid
from grok_sweep.sweep.command_line import (
    EXIT_DONE,
    EXIT_RUN_FAILED,
    EXIT_WRONG_SETTINGS,
    SHORTHANDS,
    SettingsError,
)
from grok_sweep.sweep.dry_run import print_plan
from grok_sweep.sweep.overrides import THEIRS, CommandLine, Given, one_line, parse, why
from grok_sweep.sweep.status import in_the_way, unheeded

ConfigStore.instance().store(name="launch_schema", node=command_line.LaunchConfig)


_OF_THE_COMMAND = (*command_line.OPTION_NAMES, "sweep", "root", "claim_timeout_s")


def _without_false_axes(line: CommandLine) -> CommandLine:
    """The line with one value of each key that one command cannot have several values of; and that told."""
    false = [axis for axis in line.swept if axis.name in _OF_THE_COMMAND]
    found = [
        f"{axis.name} holds for the whole command: give it one value, not {', '.join(axis.texts)}" for axis in false
    ]
    found += [
        f"{one.name} and {other.name} give the same setting, and one of them is swept: leave one out"
        for one, other in itertools.permutations(line.given, 2)
        if (one.is_swept or other.is_swept) and not one.is_group and other.name.startswith(one.name + ".")
    ]
    given = [replace(one, texts=one.texts[:1], values=one.values[:1]) if one in false else one for one in line.given]
    fixed = [*line.fixed, *(f"{axis.key}={axis.texts[0]}" for axis in false)]
    return CommandLine(given, fixed, [*line.problems, *found])


# --- composition --------------------------------------------------------------------------------------------


class Composition:
    """One choice of groups, composed by Hydra; the swept settings are filled in run by run."""

    def __init__(self, composed: DictConfig, swept: Sequence[Given]) -> None:
        self.experiment: str | None = composed.hydra.runtime.choices.get("experiment")
        self.launcher = OmegaConf.to_container(composed.hydra.launcher)
        zipped = composed.zip
        self.zip = OmegaConf.to_container(zipped) if isinstance(zipped, ListConfig) else zipped
        with read_write(composed), open_dict(composed):
            del composed["hydra"]
        self._config = composed
        # One configuration serves every run: what a run may leave behind is put back before the next.
        left_behind = {axis.name for axis in swept if any(isinstance(value, dict) for value in axis.values)}
        for axis in swept:
            left_behind.update(SHORTHANDS.get(axis.name, ()) if None in axis.values else ())
        raw = dict(_flatten(OmegaConf.to_container(composed, resolve=False), ""))
        self._before = {
            name: value
            for name, value in raw.items()
            if any(name == left or name.startswith(left + ".") for left in left_behind)
        }

    def settings(self, values: Sequence[tuple[Given, Any]]) -> tuple[dict[str, Any], list[str]]:
        """Every setting, flat, with these values of the swept ones; and what is wrong with the values."""
        problems = []
        for name, value in self._before.items():
            OmegaConf.update(self._config, name, value)
        for axis, value in values:
            try:
                OmegaConf.update(self._config, axis.name, value, force_add=axis.key != axis.name)
            except OmegaConfBaseException as error:
                problems.append(why(axis.name, error))
        for short, targets in SHORTHANDS.items():
            if self._config[short] is not None:
                for target in targets:
                    OmegaConf.update(self._config, target, self._config[short])
        nested = OmegaConf.to_container(self._config, resolve=True, enum_to_str=True, throw_on_missing=True)
        return dict(_flatten(nested, "")), problems


def _flatten(nested: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in nested.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


# --- the plan -----------------------------------------------------------------------------------------------


def plan(
    arguments: Sequence[str], loader: ConfigLoader, master: DictConfig, problems: Sequence[str] = ()
) -> grid.Plan:
    """The runs that the overrides ask for, the last swept key varying fastest, as in Hydra.

    Args:
        arguments: the command line's overrides, without those of Hydra's own settings.
        master: what Hydra composed; only its own settings are read.
        problems: what is wrong with those, to be told with the rest.

    Raises SettingsError with every problem of every run.
    """
    line = _without_false_axes(parse(arguments, loader))
    fixed = dict(item for one in line.given if not one.is_swept for item in _asked(one, one.values[0]))
    compose = _Composer(line, loader, master)
    bundles, zip_problems = _bundles(line.swept, _zip_asked(line, compose))

    def candidates() -> Iterator[grid.Candidate]:
        for chosen in itertools.product(*(range(len(bundle[0].values)) for bundle in bundles)):
            index = {axis.key: i for bundle, i in zip(bundles, chosen, strict=True) for axis in bundle}
            yield _candidate([(axis, index[axis.key]) for axis in line.swept], fixed, compose)

    swept = dict.fromkeys(name for axis in line.swept for value in axis.values for name, _ in _asked(axis, value))
    return grid.plan(candidates(), list(swept), compose.notes, [*problems, *line.problems, *zip_problems])


def _candidate(at: Sequence[tuple[Given, int]], fixed: dict[str, Any], compose: _Composer) -> grid.Candidate:
    """One combination, composed: of each axis the value with this number."""
    asked = fixed | dict(item for axis, i in at for item in _asked(axis, axis.values[i]))
    base, wrong = compose(tuple(f"{axis.key}={axis.texts[i]}" for axis, i in at if axis.is_group))
    if base is None:
        return grid.Candidate(asked, problems=wrong)
    try:
        settings, found = base.settings([(axis, axis.values[i]) for axis, i in at if not axis.is_group])
    except OmegaConfBaseException as error:  # a reference that leads nowhere, a value that is missing
        return grid.Candidate(asked, problems=[*wrong, f"{error.full_key}: {one_line(error)}"])
    return grid.Candidate(asked, settings, base.experiment, wrong + found)


def _zip_asked(line: CommandLine, compose: _Composer) -> Any:
    """What `zip` is: of the command line, or of the first experiment that it names."""
    base, _ = compose(tuple(f"{axis.key}={axis.texts[0]}" for axis in line.swept if axis.is_group))
    return None if base is None else base.zip


def _bundles(swept: Sequence[Given], zipped: Any) -> tuple[list[list[Given]], list[str]]:
    """The axes, those that go in step together, where the first of them stands; and what is wrong with `zip`."""
    alone = [[axis] for axis in swept]
    if zipped is None:
        return alone, []
    if not (isinstance(zipped, list) and all(isinstance(names, list) and len(names) > 1 for names in zipped)):
        return alone, [f"zip={zipped}: lists of two axes or more are asked for, 'zip=[[p,model.d_model]]'"]
    axes = {axis.name: axis for axis in swept}
    named = Counter(name for names in zipped for name in names)
    found = [f"zip names {name}, which has not several values here" for name in named if name not in axes]
    found += [f"zip names {name} twice" for name, n in named.items() if n > 1]
    for names in zipped:
        lengths = {name: len(axes[name].values) for name in names if name in axes}
        if len(set(lengths.values())) > 1:
            counted = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            found.append(f"zip: axes that go in step have as many values each, but {counted}")
    if found:
        return alone, found
    in_step = {name: [axis for axis in swept if axis.name in names] for names in zipped for name in names}
    bundles = [in_step.get(axis.name, [axis]) for axis in swept]
    return [bundle for axis, bundle in zip(swept, bundles, strict=True) if bundle[0] is axis], []


def _asked(one: Given, value: Any) -> Iterator[tuple[str, Any]]:
    return _flatten(value, one.name + ".") if isinstance(value, dict) else iter([(one.name, value)])


class _Composer:
    """Composes each choice of groups once; what is wrong is told and left out, so that the rest is checked too."""

    def __init__(self, line: CommandLine, loader: ConfigLoader, master: DictConfig) -> None:
        self._line = line
        self._loader = loader
        self._master = master
        self._done: dict[tuple[str, ...], tuple[Composition | None, list[str]]] = {}
        self._alone: dict[str, str | None] = {}
        self.notes: list[str] = []

    def __call__(self, choices: tuple[str, ...]) -> tuple[Composition | None, list[str]]:
        """The composition, and what is wrong; None where there is nothing to go on with."""
        if choices not in self._done:
            self._done[choices] = self._compose(choices)
        return self._done[choices]

    def _compose(self, choices: tuple[str, ...]) -> tuple[Composition | None, list[str]]:
        composed, wrong = self._load([*self._line.fixed, *choices])
        if composed is None:
            return None, wrong
        made = Composition(composed, self._line.swept)
        is_other = made.launcher != OmegaConf.to_container(self._master.hydra.launcher)
        if made.experiment and (is_other or _names_a_launcher(self._loader, made.experiment)):
            note = f"what experiment={made.experiment} says of the launcher is not used: say it on the command line"
            self.notes += [note] if note not in self.notes else []
        return made, wrong

    def _load(self, overrides: Sequence[str]) -> tuple[DictConfig | None, list[str]]:
        try:
            return self._loader.load_sweep_config(self._master, list(overrides)), []
        except Exception as error:  # whatever Hydra raises here is about the overrides, or about files in conf/
            wrong = {one: said for one in overrides if (said := self._wrong_alone(one)) is not None}
            if not wrong:
                return None, [one_line(error)]
            composed, more = self._load([one for one in overrides if one not in wrong])
            return composed, [*wrong.values(), *more]

    def _wrong_alone(self, override: str) -> str | None:
        if override not in self._alone:
            try:
                self._loader.load_sweep_config(self._master, [override])
                self._alone[override] = None
            except Exception as error:
                self._alone[override] = why(override, error)
        return self._alone[override]


def _names_a_launcher(loader: ConfigLoader, experiment: str) -> bool:
    """Whether the file's defaults list picks one: Hydra passes over it without a word."""
    path = f"experiment/{experiment}"
    for source in loader.get_sources():
        if source.is_config(path):
            file = OmegaConf.to_container(source.load_config(path).config)
            defaults = file.get("defaults", []) if isinstance(file, dict) else []
            keys = [key for item in defaults if isinstance(item, dict) for key in item]
            return any(key.split()[-1].strip("/") == "hydra/launcher" for key in keys)
    return False


# --- Hydra's two ways in ------------------------------------------------------------------------------------


def plan_of_one() -> grid.Plan:
    """The plan of the command that Hydra is running without -m. Leaves with exit code 2 if its settings are wrong."""
    loader, master = GlobalHydra.instance().config_loader(), OmegaConf.create({"hydra": HydraConfig.get()})
    if master.hydra.mode is RunMode.MULTIRUN:
        chosen = master.hydra.runtime.choices["hydra/sweeper"]
        _refuse([f"hydra/sweeper={chosen} trains runs one by one and not as a plan: leave it out"])
    arguments = OmegaConf.to_container(master.hydra.overrides.task, resolve=False)
    assert isinstance(arguments, list)
    made = _plan_or_exit(arguments, loader, master)
    chosen = [line for line in master.hydra.overrides.hydra if line.lstrip("+").startswith(_LAUNCHER)]
    made.notes.extend(f"{line} is not used without -m: one run is trained in this process" for line in chosen)
    return made


_LAUNCHER = ("hydra/launcher", "hydra.launcher")
DEFAULT_LAUNCHER = "pool"


class PlanSweeper(Sweeper):
    """-m: hands the launcher a plan of runs, never override strings."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        plan = _plan_or_exit(arguments, loader, self.config, self._launcher_problems())
        assert isinstance(self.launcher, PlanLauncher)
        if len(plan.runs) == 1 and not plan.runs[0].axes:
            plan.notes.append("no setting has several values: this sweep is one run")
        carry_out(plan, self.launcher)

    def _launcher_problems(self) -> list[str]:
        if isinstance(self.launcher, PlanLauncher):
            return self.launcher.problems()
        assert self.config is not None
        name = self.config.hydra.runtime.choices["hydra/launcher"]
        return [f"hydra/launcher={name} takes override strings, not a plan: use hydra/launcher={DEFAULT_LAUNCHER}"]


def carry_out(plan: grid.Plan, launcher: PlanLauncher) -> NoReturn:
    """Say what the user should know, then print the plan (dry_run=true) or hand it to the launcher; then leave."""
    for note in plan.notes:
        print(f"note: {note}", file=sys.stderr)
    found = in_the_way(plan.sweep, plan.runs, retry_failed=plan.options.retry is not None)
    if not plan.options.dry_run:
        found += launcher.plan_problems(plan)
    if found:
        _refuse(found)
    for note in unheeded(plan.sweep, plan.runs):
        print(f"note: {note}", file=sys.stderr)
    if plan.options.dry_run:
        print_plan(plan, lambda left: _cost(plan, left, launcher))
        sys.exit(EXIT_DONE)
    try:
        plan.add()
    except OSError as error:
        _refuse([_unusable_root(error)])
    try:
        sys.exit(launcher.train(plan))
    except OSError as error:
        if not _is_under(error.filename, plan.sweep.path):
            raise
        print(f"stopped: {error}. Once it can be written, the same command continues", file=sys.stderr)
        sys.exit(EXIT_RUN_FAILED)


def _cost(plan: grid.Plan, left: Sequence[PlannedRun], launcher: PlanLauncher) -> list[str]:
    from grok_sweep.sweep.estimate import cost_in_words  # torch, which nothing else of a dry run needs

    return cost_in_words(plan.sweep, plan.runs, left, *launcher.shares(plan))


def _is_under(file: str | None, folder: Path) -> bool:
    return file is not None and os.path.abspath(file).startswith(os.path.abspath(folder))


def _plan_or_exit(
    arguments: Sequence[str], loader: ConfigLoader, master: DictConfig, problems: Sequence[str] = ()
) -> grid.Plan:
    try:
        return plan(arguments, loader, master, problems)
    except SettingsError as error:
        _leave(str(error))


def _unusable_root(error: OSError) -> str:
    return f"root or sweep: {error.filename}: {error.strerror}; give another root=… or sweep=…"


def _refuse(problems: Sequence[str]) -> NoReturn:
    _leave("\n- ".join([grid.REFUSED, *problems]))


def _leave(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(EXIT_WRONG_SETTINGS)


# --- Hydra's errors -----------------------------------------------------------------------------------------

_MANY = ("-m", "--multirun")
_RAISE_THEM = "HYDRA_FULL_ERROR"


@contextmanager
def wrong_settings_exit_2(conf: Path) -> Iterator[None]:
    """Around Hydra's main, which tells its first error alone, some of them with a traceback, and leaves with 1.

    All that is wrong is told in its place, and the exit code is 2. Under HYDRA_FULL_ERROR=1 errors come as they are.

    Args:
        conf: the folder of config.yaml.
    """
    before, words = os.environ.get(_RAISE_THEM), sys.argv[1:]
    os.environ[_RAISE_THEM] = "1"
    # argparse takes no settings on both sides of an option: -m goes first.
    sys.argv[1:] = sorted(words, key=lambda word: word not in _MANY)
    try:
        yield
    except Exception as error:
        if before == "1" or not _is_theirs(error):
            raise
        _refuse(_all_problems(words, conf, error))
    finally:
        del os.environ[_RAISE_THEM]
        os.environ.update({} if before is None else {_RAISE_THEM: before})


def _is_theirs(error: Exception) -> bool:
    """Whether the error is one of Hydra's, or of another type but raised by its code: about what the user wrote."""
    traceback = error.__traceback__
    assert traceback is not None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return isinstance(error, THEIRS) or traceback.tb_frame.f_globals["__name__"].startswith("hydra.")


def _all_problems(words: Sequence[str], conf: Path, error: Exception) -> list[str]:
    """What made Hydra give up, and whatever else is wrong with the words of the command line."""
    arguments = [word for word in words if not word.startswith("-")]
    if set(words) - set(arguments) - set(_MANY):
        return [one_line(error)]
    many, found, of_hydra, of_runs = not set(words).isdisjoint(_MANY), [], [], []
    with initialize_config_dir(str(conf.resolve()), version_base="1.3", job_name="launch"):
        loader = GlobalHydra.instance().config_loader()
        for word in arguments:
            if not word.lstrip("+~").startswith(("hydra.", "hydra/")):
                of_runs.append(word)
                continue
            try:
                loader.load_configuration("config", [word], RunMode.MULTIRUN)
                of_hydra.append(word)
            except Exception as wrong:
                found.append(why(word, wrong))
        if not many:
            axes = parse(of_runs, loader).swept
            found += [f"{axis.key}={','.join(axis.texts)}: {_NOT_SWEPT}" for axis in axes]
        try:
            master = loader.load_configuration("config", of_hydra, RunMode.MULTIRUN)
            launcher = instantiate(master.hydra.launcher)
            found += launcher.problems() if many and isinstance(launcher, PlanLauncher) else []
            plan(of_runs, loader, master, found)
        except SettingsError as all_of_them:
            return str(all_of_them).split("\n- ")[1:]
        except THEIRS as again:  # something in conf/, whatever is asked for
            return [one_line(again)]
    return [one_line(error)]


_NOT_SWEPT = "several values for one run. To sweep over it, add --multirun (-m); quote a value that holds commas"
