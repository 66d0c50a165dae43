"""A snapshot laid over another one: some leaves of the one, all else of the other."""

from collections.abc import Collection
from dataclasses import replace

from dora_repro.state.paths import ancestors
from dora_repro.state.snapshot import SavedLeaf, Snapshot


def overlaid(below: Snapshot, above: Snapshot, paths: frozenset[str]) -> Snapshot:
    """A snapshot that is `below`, but for some paths, which are as in `above`: there, or not there."""
    above, around = through_aliases(above, paths), ancestors(paths)
    # Where one has a plain value and the other a container, the container's items bring it along.
    gone = paths | {path for path in around if path not in above}
    leaves: dict[str, SavedLeaf] = {path: leaf for path, leaf in below.items() if path not in gone}
    leaves |= {path: leaf for path, leaf in above.items() if path in paths}
    for path in paths:
        leaves |= _of_tied_groups(below, above, path)
    kinds = {at: kind for at, kind in below.kinds.items() if at not in paths}
    kinds |= {at: kind for at, kind in above.kinds.items() if at in paths or at in around}
    forms = {at: form for at, form in below.forms.items() if at not in paths}
    for at, form in above.forms.items():
        if at in paths or (at in around and at not in forms):
            forms[at] = form
        elif at in around and form.keys:  # of the entries that are brought along
            inside = {text: kind for text, kind in form.keys.items() if {f"{at}/{text}"} & (paths | around)}
            forms[at] = replace(forms[at], keys={**forms[at].keys, **inside})
    return Snapshot(leaves, below.uncaptured, kinds, forms)


def _of_tied_groups(below: Snapshot, above: Snapshot, path: str) -> dict[str, SavedLeaf]:
    """The options that go along where two optimizers get the same groups again: of the two, one has loaded its own."""
    tie = above.get(path)
    one, _, name = path.rpartition("/")
    if tie is None or tie.role != "alias" or name != "param_groups":
        return {}
    other = str(tie.value)[2:].rpartition("/")[0]
    found = {}
    for at, leaf in below.items():
        if at.startswith(f"{one}/group."):
            wanted = above.get(f"{other}{at.removeprefix(one)}")
            if wanted is not None and wanted.digest == leaf.digest:
                found[wanted.path] = wanted
    return found


def through_aliases(snapshot: Snapshot, paths: Collection[str]) -> Snapshot:
    """A snapshot that also has these leaves where it knows them by another name.

    Where `env/space` was another name of `space`, a run that holds two objects there has a leaf `env/space/n`, which
    the snapshot has as `space/n`. It gets that value; but not where the other name itself is among the paths: then the
    two are one again.
    """
    leaves, kinds = dict(snapshot.leaves), dict(snapshot.kinds)
    for path in paths:
        leaf = None if path in snapshot else _by_other_name(snapshot, path, paths)
        if leaf is not None:
            leaves[path] = replace(leaf, path=path)
            kinds |= {path: snapshot.kinds[leaf.path]} if leaf.path in snapshot.kinds else {}
    return replace(snapshot, leaves=leaves, kinds=kinds)


def _by_other_name(snapshot: Snapshot, path: str, tied: Collection[str]) -> SavedLeaf | None:
    """The leaf that a path stood for; None where no other name that is not to be tied leads to one."""
    end = len(path)
    while (end := path.rfind("/", 0, end)) > 0:
        above = snapshot.get(path[:end])
        if above is not None and above.role == "alias":
            if path[:end] in tied:
                return None
            target = f"{str(above.value)[2:]}{path[end:]}"
            return snapshot[target] if target in snapshot else _by_other_name(snapshot, target, tied)
    return None
