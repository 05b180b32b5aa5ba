"""Hydra's override grammar, read once: what the command line gives for each key, and which keys it sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException


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
    for override, line in zip(parser.parse_overrides(list(arguments)), arguments, strict=True):
        if override.is_interval_sweep():
            problems.append(
                f"{line}: an interval has no meaning in a grid; name its points, as with range(start,stop,step)"
            )
        elif override.is_delete():
            fixed.append(line)
        else:
            try:
                one = given[override.get_key_element()] = _given(override, parser, loader)
                fixed += [] if one.is_swept else [f"{one.key}={one.texts[0]}"]
            except HydraException as error:
                problems.append(f"{line}: {one_line(error)}")
    return CommandLine(list(given.values()), fixed, problems)


def _given(override: Override, parser: OverridesParser, loader: ConfigLoader) -> Given:
    key, name = override.get_key_element(), override.key_or_group
    is_group = bool(loader.get_group_options(name, ObjectType.CONFIG)) and not isinstance(override.value(), dict)
    if not override.is_sweep_override():
        return Given(key, name, is_group, (override.get_value_element_as_str(),), (override.value(),))
    texts = tuple(override.sweep_string_iterator())  # Hydra parses each of them anew, and so do we
    if not texts:
        raise HydraException("matches nothing")
    return Given(key, name, is_group, texts, tuple(parser.parse_override(f"{key}={t}").value() for t in texts))


_HYDRAS_ADVICE = ("full_key:", "object_type=", "reference_type=", "To append to your config", "Error merging")


def one_line(error: BaseException) -> str:
    """What Hydra says, and why, without its advice."""
    said = [str(e).partition("Config search path:")[0] for e in (error, error.__cause__) if e is not None]
    lines = [line.strip() for text in said for line in text.split("\n")]
    return " ".join(line for line in lines if line and not line.startswith(_HYDRAS_ADVICE))
