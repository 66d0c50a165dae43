"""Folders that each run has of its own, by a name that all have in common: as text of a leaf they are the same."""

import os
import weakref
from collections.abc import Callable

_NAMES: dict[str, str] = {}  # folder -> name
_FOLDERS: "weakref.WeakKeyDictionary[object, tuple[str, str]]" = weakref.WeakKeyDictionary()  # run -> (folder, name)


def name_place(owner: object, folder: str, name: str) -> None:
    """From now on, a folder of a run reads as its name in the text of leaves."""
    _NAMES[folder] = name
    _FOLDERS[owner] = folder, name


def forget_place(folder: str) -> None:
    """The folder is gone."""
    _NAMES.pop(folder, None)


def with_names(value: object) -> object:
    """A plain value, with the names of folders in place of their paths in its strings."""
    return _replaced(value, _named) if _NAMES else value


def with_folders(value: object, owner: object) -> object:
    """A plain value, with the folder of a run in place of its name in its strings."""
    if not _NAMES or owner is None or owner not in _FOLDERS:
        return value
    folder, name = _FOLDERS[owner]
    return _replaced(value, lambda text: text.replace(name, folder))


def is_gone(wanted: object, live: object) -> bool:
    """Whether a text names a place that is gone, where a run has one of its own that is there: a temporary folder of a
    process that has ended."""
    if type(wanted) is not str or type(live) is not str:
        return False
    return os.path.isabs(wanted) and os.path.isabs(live) and os.path.exists(live) and not os.path.exists(wanted)


def _named(text: str) -> str:
    for folder, name in _NAMES.items():
        if folder in text:
            text = text.replace(folder, name)
    return text


def _replaced(value: object, replace: Callable[[str], str]) -> object:
    if type(value) is str:
        return replace(value)
    if type(value) is list:
        return [_replaced(item, replace) for item in value]
    if type(value) is tuple:
        return tuple(_replaced(item, replace) for item in value)
    return value
