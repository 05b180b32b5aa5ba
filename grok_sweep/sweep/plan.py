"""From the command line to the runs it asks for: Hydra's grammar, groups and files in, a checked plan out.

Hydra's own sweeper composes every run from the files again (60 ms each). Here each combination of group choices
is composed once, by Hydra, and the values of the swept settings are filled in: the same settings, sooner.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException, HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from grok_sweep.launchers.plan_launcher import PlanLauncher
from grok_sweep.sweep import command_line, grid
from grok_sweep.sweep.command_line import EXIT_DONE, EXIT_WRONG_SETTINGS, SHORTHANDS, SettingsError
from grok_sweep.sweep.display import print_plan
from grok_sweep.sweep.overrides import CommandLine, Given, one_line, parse

ConfigStore.instance().store(name="launch_schema", node=command_line.LaunchConfig)


def _not_axes(line: CommandLine) -> list[str]:
    """Keys that one command cannot have several values of."""
    found = [
        f"{axis.name} holds for the whole command: give it one value, not {', '.join(axis.texts)}"
        for axis in line.swept
        if axis.name in (*command_line.OPTION_NAMES, "sweep", "root", "claim_timeout_s")
    ]
    return found + [
        f"{one.name} and {other.name} give the same setting, and one of them is swept: leave one out"
        for one, other in itertools.permutations(line.given, 2)
        if (one.is_swept or other.is_swept) and not one.is_group and other.name.startswith(one.name + ".")
    ]


# --- composition --------------------------------------------------------------------------------------------


class Composition:
    """One choice of groups, composed by Hydra; the swept settings are filled in run by run."""

    def __init__(self, composed: DictConfig, swept: Sequence[Given]) -> None:
        self.experiment: str | None = composed.hydra.runtime.choices.get("experiment")
        self.launcher = OmegaConf.to_container(composed.hydra.launcher)
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
                problems.append(f"{axis.name}: {one_line(error)}")
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
    line = parse(arguments, loader)
    if found := [*problems, *line.problems, *_not_axes(line)]:
        raise SettingsError("\n- ".join([grid.REFUSED, *found]))
    fixed = dict(item for one in line.given if not one.is_swept for item in _asked(one, one.values[0]))
    compose = _Composer(line, loader, master)
    candidates = []
    for indices in itertools.product(*(range(len(axis.values)) for axis in line.swept)):
        at = list(zip(line.swept, indices, strict=True))
        asked = fixed | dict(item for axis, i in at for item in _asked(axis, axis.values[i]))
        try:
            base = compose(tuple(f"{axis.key}={axis.texts[i]}" for axis, i in at if axis.is_group))
            settings, found = base.settings([(axis, axis.values[i]) for axis, i in at if not axis.is_group])
            candidates.append(grid.Candidate(asked, settings, base.experiment, found))
        except (HydraException, OmegaConfBaseException) as error:
            candidates.append(grid.Candidate(asked, problems=[one_line(error)]))
    swept = dict.fromkeys(name for axis in line.swept for value in axis.values for name, _ in _asked(axis, value))
    return grid.plan(candidates, list(swept), compose.notes)


def _asked(one: Given, value: Any) -> Iterator[tuple[str, Any]]:
    return _flatten(value, one.name + ".") if isinstance(value, dict) else iter([(one.name, value)])


class _Composer:
    """Composes each choice of groups once."""

    def __init__(self, line: CommandLine, loader: ConfigLoader, master: DictConfig) -> None:
        self._line = line
        self._loader = loader
        self._master = master
        self._done: dict[tuple[str, ...], Composition | Exception] = {}
        self.notes: list[str] = []

    def __call__(self, choices: tuple[str, ...]) -> Composition:
        if choices not in self._done:
            try:
                self._done[choices] = self._compose(choices)
            except (HydraException, OmegaConfBaseException) as error:
                self._done[choices] = error
        done = self._done[choices]
        if isinstance(done, Exception):
            raise done
        return done

    def _compose(self, choices: tuple[str, ...]) -> Composition:
        composed = self._loader.load_sweep_config(self._master, [*self._line.fixed, *choices])
        made = Composition(composed, self._line.swept)
        is_other = made.launcher != OmegaConf.to_container(self._master.hydra.launcher)
        if made.experiment and (is_other or _names_a_launcher(self._loader, made.experiment)):
            note = f"what experiment={made.experiment} says of the launcher is not used: say it on the command line"
            self.notes += [note] if note not in self.notes else []
        return made


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
    made = _plan_or_exit(list(master.hydra.overrides.task), loader, master)
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
    if plan.options.dry_run:
        print_plan(plan)
        sys.exit(EXIT_DONE)
    if found := launcher.plan_problems(plan):
        _leave("\n- ".join([grid.REFUSED, *found]))
    try:
        plan.add()
    except OSError as error:
        _leave(_unusable_root(error))
    sys.exit(launcher.train(plan))


def _plan_or_exit(
    arguments: Sequence[str], loader: ConfigLoader, master: DictConfig, problems: Sequence[str] = ()
) -> grid.Plan:
    try:
        return plan(arguments, loader, master, problems)
    except SettingsError as error:
        _leave(str(error))
    except OSError as error:
        _leave(_unusable_root(error))


def _unusable_root(error: OSError) -> str:
    return f"{grid.REFUSED}\n- root or sweep: {error.filename}: {error.strerror}; give another root=…"


def _leave(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(EXIT_WRONG_SETTINGS)


@contextmanager
def hydra_errors_exit_2() -> Iterator[None]:
    """Hydra leaves with 1 ("some run failed" here) after its own errors in settings: make that 2."""
    try:
        yield
    except SystemExit as leaving:
        if isinstance(leaving.__context__, (CompactHydraException, OmegaConfBaseException)):
            sys.exit(EXIT_WRONG_SETTINGS)
        raise
