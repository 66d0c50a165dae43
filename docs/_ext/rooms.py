"""A page for each room of the package, with what the docstrings of its modules say; written before Sphinx reads.

What users import from the front door stands on the page of the API, once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FRONT_DOORS = {"__init__", "__main__", "study"}


def public() -> dict[str, set[str]]:
    """The names that the front doors give out, by the module that defines each."""
    import dora_repro

    found: dict[str, set[str]] = {}
    for door in (dora_repro, dora_repro.study):
        for name in door.__all__:
            found.setdefault(getattr(getattr(door, name), "__module__", ""), set()).add(name)
    return found


def page(room: Path, elsewhere: Mapping[str, Set[str]]) -> str:
    """The page of a room, with a heading for each of its modules.

    Args:
        room: A module, or a folder of modules.
        elsewhere: By module, the names that another page describes.
    """
    modules = sorted(room.rglob("*.py")) if room.is_dir() else [room]
    parts = []
    for path in modules:
        name = ".".join(path.relative_to(room.parents[1]).with_suffix("").parts).removesuffix(".__init__")
        parts.append(f"{'##' if parts else '#'} {name.partition('.')[2]}")
        lines = [f".. automodule:: {name}", "   :members:", "   :ignore-module-all:", "   :show-inheritance:"]
        if names := sorted(elsewhere.get(name, ())):
            lines += [f"   :exclude-members: {', '.join(names)}", ""]
            lines += [f"{', '.join(f'``{one}``' for one in names)}: see :doc:`/api`."]
        parts.append("\n".join(["```{eval-rst}", *lines, "```"]))
    return "\n\n".join(parts) + "\n"


def write(package: Path, folder: Path) -> None:
    """Write the pages, in place of any that are there.

    Args:
        package: The folder of the package.
        folder: The folder to write to.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    elsewhere = public()
    for room in sorted(package.iterdir()):
        if (room.suffix == ".py" and room.stem not in FRONT_DOORS) or (room / "__init__.py").is_file():
            (folder / f"{room.stem}.md").write_text(page(room, elsewhere), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    write(Path(app.srcdir).parent / "dora_repro", Path(app.srcdir) / "rooms")
    return {"parallel_read_safe": True}
