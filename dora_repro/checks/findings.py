"""What differs between a reference and a run that was resumed from it, by their evidence alone, before the control.

Nothing is started here, and nothing of the run is called.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dora_repro.alignment.divergence import first_divergence
from dora_repro.alignment.late_loading import without_late_loading
from dora_repro.checks.configuration import Configuration
from dora_repro.checks.histories import Moments, histories
from dora_repro.checks.request import TIERS
from dora_repro.checks.set_by_load import Constant, only_resumed
from dora_repro.checks.unread import Unread
from dora_repro.comparison.leaves import Comparison, compare
from dora_repro.difference import LeafDifference, Setting
from dora_repro.sides.evidence import Evidence
from dora_repro.state.frames import FINISHED_CALL
from dora_repro.state.key_order import goes_by_order
from dora_repro.state.leaves import WORKED_WITH
from dora_repro.state.rebuild import VARIABLES
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.trace import Divergence, Trace


@dataclass(frozen=True)
class Findings:
    """Everything that differs between a reference and a run resumed from it, before the control.

    Attributes:
        divergence: as in `Report`.
        lost: as in `Report`.
        end: leaves that differ at the end, without `bookkeeping`.
        healed: leaves that differed after loading and are equal at the end.
        bookkeeping: histories that grew by the same entries on both sides, and helpers that `save()` made.
        comparisons: as in `Report`.
        steps_compared: number of resumed steps that the reference has too.
        set_by_load: as in `SetAside`.
        reordered: as in `SetAside`.
        put_aside: as in `SetAside`.
        returned: training functions that had returned at the end, and their variables with them.
        overwritten: as in `SetAside`.
        settings: plain values that no step changes and that differ: the resumed run was told otherwise.
        save_changed: plain values of the run's own that `save()` changed: harmless unless an experiment says otherwise.
    """

    divergence: Divergence | None
    lost: tuple[LeafDifference, ...]
    end: tuple[LeafDifference, ...]
    healed: tuple[str, ...]
    bookkeeping: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    steps_compared: int
    save_changed: tuple[LeafDifference, ...] = ()
    set_by_load: tuple[str, ...] = ()
    reordered: tuple[str, ...] = ()
    put_aside: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()

    @property
    def any_byte(self) -> bool:
        """Whether any byte differs, memory included: then a control is needed."""
        return bool(self.divergence or self.end)


def compare_sides(
    reference: Evidence, resumed: Evidence, save_at: int, steps: int, set_later: Iterable[str] = ()
) -> Findings:
    """All differences between a reference and the run resumed from what it saved after step `save_at`.

    Args:
        reference: the one side.
        resumed: the other.
        save_at: the step after which it was saved.
        steps: number of steps of the reference.
        set_later: paths of options that were set between loading and the first step: they are not wrong from the start.
    """
    expected, actual = reference.trace, resumed.trace
    saved = reference.at_save(save_at)
    loaded = resumed.loaded if (resumed.folder / "load.pt").exists() else None
    ended = resumed.end if (resumed.folder / "end.pt").exists() else None

    divergence = first_divergence(expected, actual, save_at)
    if divergence is None and resumed.failure is not None:
        divergence = _raised(resumed, save_at)
    lost: tuple[LeafDifference, ...] = ()
    settings: tuple[Setting, ...] = ()
    if loaded is not None:
        lost = compare(saved, loaded).differences
        settings = tuple(Configuration(reference, resumed, saved, loaded).changed(lost))
    end = compare(reference.end, ended).differences if ended is not None else ()
    at_end = frozenset(difference.path for difference in end) if ended is not None else None
    late = {path for path, at in resumed.result["at_work"].items() if path in saved and saved[path].digest.hex() == at}
    late.update(set_later)
    divergence = wrong_from_the_start(lost, expected, actual, save_at, at_end, late) or divergence
    changed = reference.changed_by_save(save_at)
    made = _made_by_save(changed, saved)
    forbidden = [
        difference
        for difference in changed
        # Plain values that the run keeps for itself (a counter of saves): an experiment decides.
        if (difference.role in WORKED_WITH or difference.total) and not f"{difference.path}/".startswith(made)
    ]
    if forbidden:
        divergence = Divergence(save_at, "save", forbidden[0].path, forbidden[0].kind, forbidden[0])

    compared = sum(expected.step(step.number) is not None for step in actual.steps)
    if not compared:  # gradients left over from a step that the resumed side never did are nothing that it lost
        end = tuple(difference for difference in end if difference.role != "gradient")
    books = [d.path for d in end if f"{d.path}/".startswith(made)]
    reordered = tuple(d.path for d in end if d.kind == "order" and not _goes_by_order(d.path, saved, reference.end))
    told: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    put_aside: tuple[str, ...] = ()
    if ended is not None:
        unread = Unread.of(reference, resumed)
        told = tuple(d.path for d in end if d.path in unread.made_anew)
        if loaded is not None:
            of_one_form = [d.path for d in end if d.kind not in ("type", "order")]
            moments = Moments(saved, reference.end, loaded, ended)
            books = [*histories(of_one_form, moments, same_entries=divergence is None), *books]
            constant = Constant(expected.start, saved, reference.end, loaded, ended)
            differing = dict.fromkeys(difference.path for difference in (*end, *lost))
            given = {*told, *(each.path for each in settings if each.by == "resume")}
            given |= {*only_resumed(differing, saved, reference.end, loaded)}
            aside = {*books, *reordered}
            told = tuple(path for path in differing if path not in aside and (path in given or constant(path)))
            put_aside = tuple(_put_aside(lost, loaded, ended, reference.end)) if compared else ()
        aside = {*books, *told, *reordered}
        overwritten = tuple(d.path for d in end if d.path not in aside and unread(d.path))
    beside = {*books, *told, *reordered, *overwritten}
    still = {difference.path for difference in end}
    healed = tuple(difference.path for difference in lost if difference.path not in still)
    return Findings(
        divergence=divergence,
        lost=lost,
        end=tuple(difference for difference in end if difference.path not in beside),
        overwritten=overwritten,
        set_by_load=told,
        reordered=reordered,
        returned=_returned(saved, reference.end),
        put_aside=put_aside,
        settings=settings,
        healed=healed if ended is not None else (),
        bookkeeping=tuple(books),
        comparisons=_three_comparisons(reference, resumed, saved, loaded, ended),
        steps_compared=compared,
        save_changed=tuple(difference for difference in changed if difference not in forbidden),
    )


def _made_by_save(changed: Iterable[LeafDifference], saved: Snapshot) -> tuple[str, ...]:
    """Paths of helpers that save() made where there was None, since it needed one for the first time, as Lightning's
    Fabric does. They are memory: what they do to a step shows in the step."""
    gone = (difference.path for difference in changed if difference.kind == "missing")
    return tuple(f"{path}/" for path in gone if path in saved and saved[path].kept and saved[path].value is None)


def _put_aside(lost: Iterable[LeafDifference], loaded: Snapshot, ended: Snapshot, end: Snapshot) -> Iterator[str]:
    """Paths of what the resumed run alone has right after loading, and neither run has at the end."""
    for difference in lost:
        path = difference.path
        root = path.partition("/")[0]
        kind = loaded.kinds.get(root)
        returned = kind is not None and kind.name == VARIABLES and root not in ended.kinds  # all of it is gone
        if difference.kind == "unexpected" and not returned and path not in ended and path not in end:
            yield path


def _returned(saved: Snapshot, end: Snapshot) -> tuple[str, ...]:
    """The names of the training functions that were running when the run was saved, and had returned at its end."""
    texts = (leaf for leaf in end.leaves.values() if isinstance(leaf.value, str))
    return tuple(leaf.path for leaf in texts if leaf.value == FINISHED_CALL and leaf.path not in saved)


def _goes_by_order(path: str, saved: Snapshot, end: Snapshot) -> bool:
    """Whether a dict is kept by the order of its keys: an OrderedDict, or one in which the reference moved keys or let
    the oldest go. Of any other, nothing but a step could tell the order, and the steps are compared."""
    before = saved.forms.get(path)
    return before is not None and (before.by_order or goes_by_order(before.order, end.forms[path].order))


def _raised(resumed: Evidence, save_at: int) -> Divergence:
    where, done = resumed.result["where"], resumed.result["step"]
    if where in ("build", "load") or (done == save_at and where != "step"):
        return Divergence(save_at, "load", "run/exception", "raised")
    return Divergence(done + 1, resumed.result["phase"], "run/exception", "raised")


def wrong_from_the_start(
    lost: Iterable[LeafDifference],
    expected: Trace,
    actual: Trace,
    save_at: int,
    at_end: Container[str] | None,
    loaded_late: Container[str] = (),
) -> Divergence | None:
    """The first effect leaf (a trained parameter, an optimizer's option) that differs right after loading and has not
    healed when it is next recorded: a `load()` that waits for the first step is not wrong.

    Args:
        lost: what differs right after loading.
        expected: the reference.
        actual: the resumed run.
        save_at: the step after which it was saved.
        at_end: paths of what differs at the end; None where the resumed run did not get there.
        loaded_late: paths of what was as saved when the first step began to work.
    """
    effects = {effect.leaf for step in (*expected.steps, *actual.steps) for effect in step.effects}
    for difference in lost:
        if difference.role not in ("parameter", "option") or difference.by_digest:
            continue  # frozen parameters, kept by digest alone, are memory: no update consists of them
        if effects and difference.path not in effects:
            continue  # and so is what no step ever records: a copy of the model that nothing trains
        if difference.path in loaded_late:
            continue
        if _stays_wrong(difference.path, expected, actual, save_at, at_end):
            return Divergence(save_at, "load", difference.path, difference.kind, difference)
    return None


def _stays_wrong(path: str, expected: Trace, actual: Trace, save_at: int, at_end: Container[str] | None) -> bool:
    """Whether an effect leaf is not the reference's when it is next recorded, or at the end where it never is."""
    for other in actual.steps:
        one = expected.step(other.number)
        if one is None or other.number <= save_at:
            continue
        both = one.effects, without_late_loading(expected, actual, other)
        values = [[effect.digest for effect in effects if effect.leaf == path] for effects in both]
        if any(values):
            return values[0] != values[1]
    return at_end is None or path in at_end


def _three_comparisons(
    reference: Evidence, resumed: Evidence, saved: Snapshot, loaded: Snapshot | None, ended: Snapshot | None
) -> tuple[Comparison, ...]:
    """The study's three: trained parameters right after loading and after training on, outputs on the same input."""
    names = reference.result["facts"]["trainable"]

    def trained(snapshot: Snapshot) -> Mapping[str, SavedLeaf]:
        return {p: leaf for p, leaf in snapshot.items() if leaf.role == "parameter" and leaf.kept and p in names}

    made = []
    if loaded is not None:
        made.append(compare(trained(saved), trained(loaded), name="load", tolerance=TIERS["load"]))
    ends = () if ended is None else (trained(reference.end), trained(ended))
    if ends and (all(ends) or not names):  # where a training function has returned, its variables are gone
        made.append(compare(*ends, name="parameters", tolerance=TIERS["parameters"]))
    if reference.outputs is not None and resumed.outputs is not None:
        made.append(compare(reference.outputs, resumed.outputs, name="outputs", tolerance=TIERS["outputs"]))
    return tuple(made)
