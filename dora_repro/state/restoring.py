"""Put the leaves of a snapshot back into live objects: all, or those that some globs choose.

What a snapshot has and a run lacks is made (a gradient, an optimizer's first moments, a whole nested container), what a
run has and a snapshot lacks is removed, and names that stood for one object are tied again. One change may bring
another difference to light, so a run is walked, changed and walked again until nothing more differs. Generators come
last.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from dora_repro.errors import BadInput
from dora_repro.state import flags, rng
from dora_repro.state.digest import digest
from dora_repro.state.forms import Form, differing_forms, form_at, forms_of
from dora_repro.state.items import Roots
from dora_repro.state.key_order import differing_orders
from dora_repro.state.leaves import Leaf, Leaves, SavedLeaf
from dora_repro.state.objects import Objects
from dora_repro.state.paths import ancestors, matching
from dora_repro.state.places import is_gone
from dora_repro.state.rebuild import Kind
from dora_repro.state.restore_round import Round
from dora_repro.state.walk import walk
from dora_repro.wording import counted

MAX_ROUNDS = 12

_PARAMETERS_OF_GROUP = re.compile(r"/group\.\d+/params$")


def choose(globs: Iterable[str], paths: Iterable[str]) -> list[str]:
    """The paths that any of the globs selects (see `paths.matching`), each once, in the order of the globs.

    Raises:
        BadInput: a glob that matches none of them.
    """
    known = dict.fromkeys(paths)
    chosen: dict[str, None] = {}
    for glob in globs:
        selected = [glob] if glob in known else matching(glob, known)
        if not selected and glob != "*":
            raise BadInput(
                f"no leaf matches {glob!r}: of {counted(len(known), 'leaf')} the first is {next(iter(known), 'none')!r}"
            )
        chosen.update(dict.fromkeys(selected))
    return list(chosen)


def world() -> dict[str, Leaf]:
    """The global generators and flags as leaves."""
    leaves = {
        f"rng/{name}": Leaf(f"rng/{name}", state, "generator", partial(rng.restore_global, name))
        for name, state in rng.capture_world().items()
    }
    for name, value in flags.capture_flags().items():
        path = f"flags/{name}"
        leaves[path] = Leaf(path, value, "flag", partial(flags.restore_flag, name))
    return leaves


def restore(
    wanted: Mapping[str, SavedLeaf],
    kinds: Mapping[str, Kind],
    roots: Roots,
    globs: Iterable[str],
    forms: Mapping[str, Form] | None = None,
    objects: Objects | None = None,
) -> dict[str, str]:
    """Make the chosen leaves of live objects those of a snapshot.

    Args:
        wanted: the leaves of the snapshot by path.
        kinds: its containers by path.
        roots: name -> live object.
        globs: which leaves, of both the snapshot and the objects.
        forms: the forms of the snapshot by path; these are put back where they are chosen by their own path.
        objects: objects of the snapshot's run that the live ones may lack, whole.

    Returns:
        path -> reason, of every chosen leaf that could not be put back.

    Raises:
        BadInput: a glob that matches nothing.
    """
    live = walk(roots)
    now = {**live.leaves, **world()}
    side = _Side(wanted, forms or {})
    misformed = _misformed(side, live, now)
    chosen = choose(globs, dict.fromkeys((*wanted, *now, *(forms or {}))))
    before: list[str] | None = None
    failed: dict[str, str] = {}
    stepped: set[str] = set()
    gone = {path for path in chosen if path in wanted and path in now and is_gone(wanted[path].value, now[path].value)}
    chosen = [path for path in chosen if path not in gone]
    for _ in range(MAX_ROUNDS):
        wrong = [path for path in chosen if path in misformed or not _same(wanted.get(path), now.get(path))]
        if not wrong or wrong == before:
            break
        # Which parameters an optimizer steps comes first: moments go with them, and are others' until then.
        first = [path for path in wrong if _PARAMETERS_OF_GROUP.search(path) and path not in stepped]
        stepped.update(first)
        before = None if first else wrong
        failed = Round(wanted, kinds, roots, live, now, set(chosen), misformed, objects, forms).restore(first or wrong)
        live = walk(roots)
        now = {**live.leaves, **world()}
        misformed = _misformed(side, live, now)
    wrong = [path for path in chosen if path in misformed or not _same(wanted.get(path), now.get(path))]
    not_set = dict.fromkeys(sorted(gone), "it names a place that is gone, and the run has one of its own")
    return {**not_set, **{path: failed.get(path, "still differs after it was set") for path in wrong}}


@dataclass(frozen=True)
class _Side:
    """Leaves and forms by path, of a snapshot or of live objects."""

    leaves: Mapping[str, Leaf] | Mapping[str, SavedLeaf]
    forms: Mapping[str, Form]

    @cached_property
    def _above(self) -> set[str]:
        return ancestors(self.leaves)

    def leaf(self, path: str) -> Leaf | SavedLeaf | None:
        return self.leaves.get(path)

    def has(self, path: str) -> bool:
        return path in self.leaves or path in self._above


def _misformed(wanted: _Side, live: Leaves, now: Mapping[str, Leaf]) -> dict[str, Form]:
    """Path -> wanted form, where there is something of another form now."""
    if not wanted.forms:  # a snapshot of values, not of a run
        return {}
    there = _Side(now, forms_of(live))
    differing = (*differing_forms(wanted, there), *differing_orders(wanted, there))
    return {path: form for path, _, _ in differing if (form := form_at(wanted, path)) is not None}


def _same(saved: SavedLeaf | None, leaf: Leaf | None) -> bool:
    if saved is None or leaf is None:
        return saved is None and leaf is None
    try:
        return digest(leaf.value) == saved.digest
    except Exception:  # a tensor class that cannot be read
        return False
