"""Where putting state back does not explain all: who drew random numbers, and which operator differs.

Both sides are done once more, up to the first difference, with a log of every draw or of every operator. A log costs
several times a step, so one is recorded only where it can say something.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dora_repro.difference import LeafDifference
from dora_repro.explain.logs.draws import in_words, line_of, since_set, unmatched
from dora_repro.explain.logs.operators import first_input, first_operator
from dora_repro.recording.drawing import Draw
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job, Transplant
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session

FEW = 4  # sentences
BEFORE = 20  # steps before the save in which the draws since the checkpoint's state are looked for


def unmatched_draws(
    session: Session,
    sides: Sides,
    step: int,
    generators: Sequence[LeafDifference],
    stored: Mapping[str, int] | None = None,
) -> tuple[str, ...]:
    """Say who drew in one run and not in the other, from the save point to a step; a sentence each.

    Args:
        session: runs both sides once more.
        sides: the reference and the resumed side.
        step: the last step to do.
        generators: generators whose state differs right after loading.
        stored: generator -> how many draws before the save the state was taken that the checkpoint has of it.
    """
    stored = stored or {}
    start = sides.save_at
    reference, resumed = up_to(sides.reference_job, step), up_to(sides.resumed_job, step)
    try:
        theirs = session.repeat("resumed, with its draws logged", replace(resumed, draws=(0, step)))
        ours = None
        if step > start or stored:
            begin = max(1, start + 1 - BEFORE) if stored else start + 1
            ours = session.repeat("reference, with its draws logged", replace(reference, draws=(begin, step)))
    except SideStopped:
        return ()
    before = [draw for draw in ours.draws if _step_of(draw) <= start] if ours is not None else []
    sentences = _while_loading([draw for draw in theirs.draws if draw.where == "load"], generators, before, stored)
    if ours is not None:
        stepped = [draw for draw in theirs.draws if draw.where != "load"]
        sentences += [str(draw) for draw in unmatched(ours.draws[len(before) :], stepped)[:FEW]]
    return tuple(dict.fromkeys(sentences))


def _step_of(draw: Draw) -> int:
    """The step that a draw was in; 0 before any."""
    number = draw.where.rpartition(" ")[2]
    return int(number) if number.isdigit() else 0


def _while_loading(
    loading: Sequence[Draw],
    generators: Sequence[LeafDifference],
    before: Sequence[Draw] = (),
    stored: Mapping[str, int] | None = None,
) -> list[str]:
    """What `load()` did to the generators: drew from those that are ahead, set the others.

    Args:
        loading: the draws of `load()`.
        generators: generators whose state differs right after loading.
        before: the reference's draws in the steps before the save.
        stored: generator -> number of draws from the state that the checkpoint has of it to the save.
    """
    sentences, stored = [], stored or {}
    for generator in generators:
        since_stored = stored.get(generator.path, 0)
        from_stored = since_set(before, generator.path, since_stored)
        drawn = _since_last_set(loading, generator.path)
        # From one and the same state the reference drew these, and the resumed run what it drew in `load()`: if that
        # began there, its distance is the difference of the two.
        if from_stored and generator.draws == sum(draw.draws or 0 for draw in drawn) - since_stored:
            sentences += [f"{generator.path}, while loading: {draw}" for draw in unmatched(from_stored, drawn)[:FEW]]
        elif generator.draws and generator.draws > 0:
            ahead = since_set(loading, generator.path, generator.draws)
            sentences += [f"{generator.path} was drawn from while loading: {in_words(draw)}" for draw in ahead[:FEW]]
    for generator in generators:
        sets = [draw for draw in loading if draw.generator == generator.path and draw.kind == "set"]
        if sets and not (generator.draws and generator.draws > 0):
            sentences.append(f"{generator.path} was last set while loading{line_of(sets[-1])}")
    return sentences


def _since_last_set(entries: Sequence[Draw], generator: str) -> list[Draw]:
    """The draws from a generator after it was last set."""
    own = [entry for entry in entries if entry.generator == generator]
    last = max((index for index, entry in enumerate(own) if entry.kind == "set"), default=-1)
    return own[last + 1 :]


def differing_operator(session: Session, sides: Sides, step: int, transplant: Transplant | None) -> str:
    """The first operator of a step with equal inputs and different output, in words; empty where there is none.

    Args:
        session: runs both sides once more.
        sides: the reference and the resumed side.
        step: the step to log.
        transplant: state put into the resumed run first, so that both begin the step from the same state.
    """
    reference = up_to(sides.reference_job, step)
    resumed = replace(up_to(sides.resumed_job, step), transplant=transplant)
    try:
        ours = session.repeat("reference, with its operators logged", replace(reference, operators=step))
        theirs = session.repeat("resumed, with its operators logged", replace(resumed, operators=step))
    except SideStopped:
        return ""
    return _first_of(ours, theirs)


def nondeterministic_operator(session: Session, job: Job, step: int) -> str:
    """The first operator of a step with equal inputs and different output, in two runs of one and the same side."""
    again = replace(up_to(job, step), operators=step)
    session.expect(2)
    try:
        ours, theirs = (
            session.run(f"{name}, with its operators logged", replace(again, folder=session.folder / name))
            for name in ("once", "once more")
        )
    except SideStopped:
        return ""
    return _first_of(ours, theirs)


def _first_of(ours: Evidence, theirs: Evidence) -> str:
    found = first_operator(ours.operators, theirs.operators) or first_input(ours.operators, theirs.operators)
    return str(found) if found is not None else ""


def up_to(job: Job, step: int) -> Job:
    """The same work, done up to a step, with no values recorded besides."""
    return replace(job, steps=step, saves=tuple(save for save in job.saves if save <= step), values=())


def generators_of(differences: Sequence[LeafDifference], names: frozenset[str]) -> tuple[LeafDifference, ...]:
    """The generators among the leaves of a cause."""
    return tuple(each for each in differences if each.role == "generator" and each.path in names)
