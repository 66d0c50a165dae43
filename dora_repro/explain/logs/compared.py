"""Where putting state back does not explain all: who drew random numbers, and which operator made another thing.

Both sides are done once more, up to the first difference, with a log of every draw or of every operator. A log costs
several times a step, so it is kept only where it can say something.
"""

from dataclasses import replace

from dora_repro.difference import LeafDifference
from dora_repro.explain.logs.draws import extra_draws, in_words, since_set
from dora_repro.explain.logs.operators import first_input, first_operator
from dora_repro.sides.evidence import Evidence, Sides
from dora_repro.sides.job import Job, Transplant
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session

FEW = 4  # sentences


def draws_told(session: Session, sides: Sides, step: int, generators: tuple[LeafDifference, ...]) -> tuple[str, ...]:
    """Who drew in one run and not in the other, from the save point to a step; a sentence each.

    Args:
        generators: leaves that stand elsewhere right after loading.
    """
    start = sides.save_at
    ahead = [found for found in generators if found.draws and found.draws > 0]
    reference, resumed = up_to(sides.reference_job, step), up_to(sides.resumed_job, step)
    try:
        theirs = session.repeat("resumed, with its draws logged", replace(resumed, draws=(0, step)))
        if step > start:
            ours = session.repeat("reference, with its draws logged", replace(reference, draws=(start + 1, step)))
        else:
            ours = None
    except SideStopped:
        return ()
    sentences = []
    loading = [draw for draw in theirs.draws if draw.where == "load"]
    for found in ahead:
        drawn = since_set(loading, found.path, found.draws)
        sentences += [f"{found.path} was drawn from while loading: {in_words(draw)}" for draw in drawn[:FEW]]
    for found in generators:
        last = [draw for draw in loading if draw.generator == found.path and draw.kind == "set"]
        if last and found not in ahead:
            sentences.append(f"{found.path} was last set while loading: {in_words(last[-1])}")
    if ours is not None:
        stepped = [draw for draw in theirs.draws if draw.where != "load"]
        sentences += [str(extra) for extra in extra_draws(ours.draws, stepped)[:FEW]]
    return tuple(dict.fromkeys(sentences))


def operator_told(session: Session, sides: Sides, step: int, transplant: Transplant | None) -> str:
    """The first operator of a step that made another output of equal inputs; empty where none did.

    Args:
        transplant: state put into the resumed run first, so that both begin the step from the same.
    """
    reference = up_to(sides.reference_job, step)
    resumed = replace(up_to(sides.resumed_job, step), transplant=transplant)
    try:
        ours = session.repeat("reference, with its operators logged", replace(reference, operators=step))
        theirs = session.repeat("resumed, with its operators logged", replace(resumed, operators=step))
    except SideStopped:
        return ""
    return _first_of(ours, theirs)


def unsteady_operator(session: Session, job: Job, step: int) -> str:
    """The first operator of a step that made another output of equal inputs, of two runs of one and the same side."""
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
    """The same work, done up to a step, with nothing kept besides."""
    return replace(job, steps=step, saves=tuple(save for save in job.saves if save <= step), values=())


def generators_of(differences: tuple[LeafDifference, ...], names: frozenset[str]) -> tuple[LeafDifference, ...]:
    """The generators among the leaves of a cause."""
    return tuple(found for found in differences if found.role == "generator" and found.path in names)
