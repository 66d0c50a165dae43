"""Files of another form than most, with all that a run needs. Each must come out EXACT."""

from dora_repro.faults.gallery import fault
from dora_repro.faults.saving import InATuple, Numbered


@fault("clean-tuple-file", verdict="EXACT")
class TupleFile(InATuple):
    """The checkpoint is a tuple, whose parts have places and no names. All of them are there."""


@fault("clean-newest-by-number", verdict="EXACT", steps=12, save_at=10)
class NewestByNumber(Numbered):
    """The run writes files into a folder of its own, whose name is another in each process, and resumes from the newest
    by number: step10.pt, though step9.pt comes after it by name."""
