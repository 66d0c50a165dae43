"""Settings that the resumed run was told otherwise: no lost state, so there is a sentence on what to resume with."""

import re
from collections.abc import Iterable, Mapping

from dora_repro.difference import Setting


def told_otherwise(leaves: tuple[str, ...], settings: Mapping[str, Setting]) -> list[Setting]:
    """The settings that leaves are, where all of them are some that the resumed run was told otherwise; else none.

    Args:
        leaves: their paths.
        settings: all settings that differ, by path.
    """
    found = [settings[path] for path in leaves if path in settings]
    return found if len(found) == len(leaves) and all(setting.by != "load" for setting in found) else []


def resume_with(told: Iterable[Setting], settings: Mapping[str, Setting]) -> str:
    """The sentence on settings that the resumed run was told otherwise.

    Args:
        told: the settings.
        settings: all settings that differ, by path.
    """
    values = {source.path: source.expected for source in (_source(setting, settings) for setting in told)}
    listed = ", ".join(f"{path} = {value}" if value else f"no {path}" for path, value in values.items())
    return f"Configuration, and no lost state: resume with {listed}. Where the change is meant, so is the difference."


def _source(setting: Setting, settings: Mapping[str, Setting]) -> Setting:
    """The setting, or the entry of a configuration that differs in the same way."""
    name = setting.path.rpartition("/")[2]
    alike = (
        other
        for other in settings.values()
        if (other.expected, other.actual) == (setting.expected, setting.actual)
        and re.split(r"[/.]", other.path)[-1] == name
    )
    return min(alike, key=lambda other: "conf" not in other.path and "arg" not in other.path)
