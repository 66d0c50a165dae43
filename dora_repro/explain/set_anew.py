"""Group options that a run sets by itself for each step, from what is lost beside them: a rate made of a lost count.

Where it is set after the checkpoint was written and before the step begins, no line brings it back but that of the
count. That it is so is seen, not guessed: with all but the option put back, the run itself had it right again later.
"""

from collections.abc import Sequence

from dora_repro.explain.audit.lookup import STALE
from dora_repro.explain.audited import Audited
from dora_repro.explain.trials.search_result import Part
from dora_repro.state.paths import few


def made_of(part: Part, parts: Sequence[Part], audited: Audited) -> str:
    """The other parts of a cause, of which a run makes the options of this one for each step; empty where it is not
    known to."""
    if part.role != "option" or part.without is None or not set(part.leaves) <= set(part.without.options):
        return ""
    known = [audited.save.leaves.get(leaf) for leaf in part.leaves]
    if not all(status is not None and status.status == STALE for status in known):
        return ""
    return few([other.name for other in parts if other.name != part.name and other.role == "memory"])


def how_set(source: str) -> str:
    """What became of such a part, in words."""
    return f"set by the run for each step: with `{source}` restored, it has the right value again by itself"


def sentence_on_options(part: Part) -> str:
    """The sentence in place of lines for such a part."""
    return (
        f"`{part.name}`: set between the checkpoint and the next step, so no line of load keeps it: restore what it is "
        "made of before that."
    )
