"""Dicts whose keys are ids of a run's objects, after a load: numbers from the process that saved, where nothing is now.

By chance an object of the new process has the very address of the old one, and then a key that was loaded finds it. So
what such a run does is another thing from process to process, and the keys are the reason.
"""

from collections.abc import Mapping

from dora_repro.state.keys import LEAST_ID, OF_ID
from dora_repro.state.rebuild import Kind


def stale_keys(saved: Mapping[str, Kind], loaded: Mapping[str, Kind]) -> tuple[str, ...]:
    """Paths of dicts that had ids of objects as keys when they were saved, and have numbers in their place.

    Args:
        saved: the reference's containers at the save, by path.
        loaded: those of the resumed run after loading.
    """
    by_id = (path for path, kind in saved.items() if any(at.startswith(OF_ID) for _, at in kind.keyed))
    return tuple(path for path in by_id if path in loaded and _has_addresses(loaded[path]))


def _has_addresses(kind: Kind) -> bool:
    if kind.keys is None:  # some are ids of objects that are there, by chance, and some are not
        return kind.size > len(kind.keyed) + len(kind.coded)
    return any(type(key) is int and key >= LEAST_ID for _, key in kind.keys)
