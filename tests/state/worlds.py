"""What the tests of walks share: leaves by path, and what two walks differ in."""

from dora_repro.state.digest import digest
from dora_repro.state.walk import walk


def look(**roots) -> dict[str, object]:
    """path -> value of everything below some roots."""
    return {path: leaf.value for path, leaf in walk(roots).items()}


def digests(roots) -> dict[str, bytes]:
    return {path: digest(leaf.value) for path, leaf in walk(roots).items()}


def changed(roots, change) -> set[str]:
    """Paths that differ between before and after a change."""
    before = digests(roots)
    change()
    after = digests(roots)
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
