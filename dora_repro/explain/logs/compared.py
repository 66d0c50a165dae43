"""Where putting state back does not explain all: who drew random numbers, and which operator differs.

Both sides are done once more, up to the first difference, with a log of every draw or of every operator. A log costs
several times a step, so one is recorded only where it can say something.
"""

from collections.abc import Sequence
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


def unmatched_draws(session: Session, sides: Sides, step: int, generators: Sequence[LeafDifference]) -> tuple[str, ...]:
    """Say who drew in one run and not in the other, from the save point to a step; a sentence each.

    Args:
        session: runs both sides once more.
        sides: the reference and the resumed side.
        step: the last step to do.
        generators: generators whose state differs right after loading.
    """
    start = sides.save_at
    reference, resumed = up_to(sides.reference_job, step), up_to(sides.resumed_job, step)
    try:
        theirs = session.repeat("resumed, with its draws logged", replace(resumed, draws=(0, step)))
        ours = None
        if step > start:
            ours = session.repeat("reference, with its draws logged", replace(reference, draws=(start + 1, step)))
    except SideStopped:
        return ()
    sentences = _while_loading([draw for draw in theirs.draws if draw.where == "load"], generators)
    if ours is not None:
        stepped = [draw for draw in theirs.draws if draw.where != "load"]
        sentences += [str(draw) for draw in unmatched(ours.draws, stepped)[:FEW]]
    return tuple(dict.fromkeys(sentences))


def _while_loading(loading: Sequence[Draw], generators: Sequence[LeafDifference]) -> list[str]:
    """What `load()` did to the generators: drew from those that are ahead, set the others."""
    sentences = []
    for generator in generators:
        if generator.draws and generator.draws > 0:
            drawn = since_set(loading, generator.path, generator.draws)
            sentences += [f"{generator.path} was drawn from while loading: {in_words(draw)}" for draw in drawn[:FEW]]
    for generator in generators:
        sets = [draw for draw in loading if draw.generator == generator.path and draw.kind == "set"]
        if sets and not (generator.draws and generator.draws > 0):
            sentences.append(f"{generator.path} was last set while loading{line_of(sets[-1])}")
    return sentences


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
