"""Hydra's override grammar, read once: what the command line gives for each key, which keys it sweeps, and what is
wrong with it, in a line each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Union, get_type_hints

from hydra._internal.grammar.functions import Functions
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from grok_sweep.config import RunConfig, flat
from grok_sweep.launchers.slurm_settings import SlurmSettings
from grok_sweep.sweep.command_line import OPTION_NAMES, SHORTHANDS

THEIRS = (HydraException, OmegaConfBaseException, YAMLError)
"""What Hydra, and what it reads files with, raises about overrides and configuration files."""


Number = Union[int, float]  # noqa: UP007 (Hydra compares with the types that it knows)


def geomspace(start: Number, stop: Number, num: int) -> ChoiceSweep:
    """num values from start to stop, both among them, each the last one times one factor; to six digits."""
    if start <= 0 or stop <= 0:
        raise ValueError(f"both ends must be positive, got {start:g} and {stop:g}")
    if num < 2:
        raise ValueError(f"two values are the least, got {num}")
    values = [float(f"{start * (stop / start) ** (i / (num - 1)):.6g}") for i in range(num)]
    return ChoiceSweep(list=[int(value) if value.is_integer() else value for value in values], simple_form=True)


geomspace.__annotations__.update(get_type_hints(geomspace))  # Hydra reads no annotations that are text
_hydras_functions = overrides_parser.create_functions


def _with_geomspace() -> Functions:
    functions = _hydras_functions()
    functions.register("geomspace", geomspace)
    return functions


overrides_parser.create_functions = _with_geomspace  # Hydra has no other way in


@dataclass(frozen=True)
class Given:
    """What the command line gives for one key; more than one value where it is swept.

    Attributes:
        key: as typed, with Hydra's prefix (+, ++).
        name: the key alone: a group, a setting or a shorthand.
        texts: the values as Hydra writes them.
        values: the values themselves; those of a group are the names of its files.
    """

    key: str
    name: str
    is_group: bool
    texts: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def is_swept(self) -> bool:
        return len(self.values) > 1


@dataclass(frozen=True)
class CommandLine:
    """Hydra's overrides, parsed.

    Attributes:
        given: one for each key, in their order; of two overrides for a key the last counts.
        fixed: the overrides that Hydra composes: all but the swept ones.
        problems: what is wrong with overrides that are not listed.
    """

    given: list[Given]
    fixed: list[str]
    problems: list[str]

    @property
    def swept(self) -> list[Given]:
        return [one for one in self.given if one.is_swept]


def parse(arguments: Sequence[str], loader: ConfigLoader) -> CommandLine:
    """The overrides, and what each gives; their grammar, globs and ranges are Hydra's."""
    parser = OverridesParser.create(config_loader=loader)
    given: dict[str, Given] = {}
    fixed, problems = [], []
    for line in arguments:
        try:
            (override,) = parser.parse_overrides([line])
            if override.is_interval_sweep():
                raise HydraException(
                    "an interval has no meaning in a grid; name its points, as with range(start,stop,step) or "
                    "geomspace(start,stop,num)"
                )
            if override.is_delete():
                fixed.append(line)
                continue
            one = _given(override, parser, loader)
        except HydraException as error:
            problems.append(why(line, error))
        else:
            given[one.key] = one
            fixed += [] if one.is_swept else [f"{one.key}={one.texts[0]}"]
    return CommandLine(list(given.values()), fixed, problems)


def _given(override: Override, parser: OverridesParser, loader: ConfigLoader) -> Given:
    key, name = override.get_key_element(), override.key_or_group
    if not name:
        raise HydraException(_NAME_VALUE)
    choices = loader.get_group_options(name, ObjectType.CONFIG)
    is_group = bool(choices) and not isinstance(override.value(), dict)
    if override.is_sweep_override():
        texts = tuple(override.sweep_string_iterator())  # Hydra parses each of them anew, and so do we
        values = tuple(parser.parse_override(f"{key}={text}").value() for text in texts)
    else:
        texts, values = (override.get_value_element_as_str(),), (override.value(),)
    if not texts:
        raise HydraException("matches nothing")
    if is_group and (
        wrong := [t for t, value in zip(texts, values, strict=True) if not isinstance(value, str | dict)]
    ):
        raise HydraException(f"{name} takes the name of a file, got {', '.join(wrong)}. {_known(choices)}")
    return Given(key, name, is_group, texts, values)


# --- what is wrong, in a line -------------------------------------------------------------------------------


def why(override: str, error: BaseException) -> str:
    """What is wrong with an override as typed: what Hydra says, and what was probably meant."""
    key, _, value = override.partition("=")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file == f"{key}/{value}":
        return f"unknown {override}. {_known(error.options or ())}"
    return f"{override}: {one_line(error)}{_usual_cause(key.lstrip('+~'), error)}"


def _known(choices: Sequence[str]) -> str:
    return f"Known: {', '.join(choices)}"


def _usual_cause(name: str, error: BaseException) -> str:
    said = one_line(error)
    if chosen := re.search(r"Could not find 'experiment/(\w+)/(\w+)'", said):
        return f"; an experiment's defaults list says override /{chosen[1]}: {chosen[2]}"
    if said.endswith(_SEVERAL):
        return ": " + ", ".join(known for known in flat(RunConfig()) if known.startswith(f"{name}."))
    if not re.search(r"Key '.*' (not in '|is not in struct)", said):
        return ""
    full_key = re.search(r"full_key: (\S+)", f"{error} {error.__cause__}")
    unknown = full_key[1] if full_key else name
    if unknown.partition(".")[0] == "experiment":
        return "; is # @package _global_ the first line of the file?"
    meant = name if name.startswith(unknown) else unknown
    if meant in _OF_SLURM:
        return "; it is a setting of hydra/launcher=slurm, which this command does not choose"
    return _did_you_mean(meant)


_OF_POOL = ("hydra.launcher.n_workers", "hydra.launcher.n_threads", "hydra.launcher.workers_per_gpu")
_OF_SLURM = tuple(f"hydra.launcher.{f.name}" for f in fields(SlurmSettings) if f.name != "n_workers")


def _did_you_mean(name: str) -> str:
    """For an unknown name: a setting with that last word, a group, a setting that ends or looks much like it."""
    settings = [*flat(RunConfig()), *SHORTHANDS, *OPTION_NAMES, *_OF_POOL, *_OF_SLURM]
    groups = [*dict.fromkeys(setting.partition(".")[0] for setting in settings if "." in setting), "experiment"]
    by_last_word = {known.rpartition(".")[2]: known for known in reversed(settings)}
    last_word = name.rpartition(".")[2]
    near = [by_last_word[last_word]] if last_word in by_last_word else []
    near += difflib.get_close_matches(name, groups, n=1, cutoff=0.8) if "." not in name else []
    near += [by_last_word[word] for word in difflib.get_close_matches(last_word, by_last_word, n=1, cutoff=0.8)]
    near += difflib.get_close_matches(name, [*settings, *groups], n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else "; all settings stand in grok_sweep/config.py"


_NAME_VALUE = "a setting is given as name=value"
_SEVERAL = "it holds several settings, name one of them"
_HYDRAS_ADVICE = (
    "full_key:", "object_type=", "reference_type=", "To append to your config", "Error merging", "Could not override",
    "Error parsing override", "See https:",
)  # fmt: skip
_REWORDED = (
    (r"missing EQUAL at '<EOF>'", _NAME_VALUE),
    (r"(mis(matched|sing)|extraneous) .*'<EOF>'.*", "it ends where a value should follow"),
    (r"field '.*' is not Optional", "must have a value, null is none"),
    (r"Missing mandatory value: .*", "must have a value, ??? is none"),
    (r"no viable alternative at input .*", r"\g<0>; quote a value that holds brackets, braces or commas"),
    (r"LexerNoViableAltException: .*", f"cannot be read; {_NAME_VALUE}, and a value with quotes is quoted"),
    (r"Only one of --run, --multirun, --cfg,.*", r"\g<0>; the runs of a sweep are printed by dry_run=true"),
    (
        r"Invalid value assigned: (\w+) is not a ListConfig, list or tuple\.?",
        r"a list is asked for, [one,two], got a \1",
    ),
    (r"Invalid type assigned: \w+ is not a subclass of \w+Config\..*", _SEVERAL),
    (r"Value '(\d+)\.0' of type 'float' could not be converted to Integer", r"\g<0>; write \1"),
)


def one_line(error: BaseException) -> str:
    """What Hydra says, and why, without its advice."""
    said = [str(error).partition("Config search path:")[0]]
    if error.__cause__ is not None and str(error.__cause__) not in said[0]:
        said.append(str(error.__cause__))
    lines = [line.strip() for text in said for line in text.split("\n")]
    words = " ".join(line for line in lines if line and not line.startswith(_HYDRAS_ADVICE))
    for hydras, ours in _REWORDED:
        words = re.sub(hydras, ours, words)
    return words
