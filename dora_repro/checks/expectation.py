"""The verdict that a choice of checkpoint must lead to, by reasoning alone: notebooks compare their verdicts with it.

The reasoning is about the subject: what does the next step read, and is it in the file? Nothing is run.
"""

from dataclasses import dataclass

from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.subject.config import TrainingConfig

MIME = "application/vnd.dora-repro.verdict+json"  # how a notebook reports it to what runs it


class UnexpectedVerdict(AssertionError):
    """A verdict is not the one that was expected: either the run or the reasoning is wrong."""


@dataclass(frozen=True)
class Expectation:
    """The verdicts that are possible, and why.

    Attributes:
        verdicts: any of these is as expected.
        reason: why, as half a sentence.
    """

    verdicts: tuple[Verdict, ...]
    reason: str

    def check(self, result: Report | Reports) -> "Met":
        """Compare the verdict with the expectation.

        Raises:
            UnexpectedVerdict: it is not one of `verdicts`.
        """
        if result.verdict not in self.verdicts:
            wanted = " or ".join(self.verdicts)
            raise UnexpectedVerdict(f"expected {wanted}, since {self.reason}; found {result.verdict}: {result!r}")
        return Met(result.verdict, self)


@dataclass(frozen=True)
class Met:
    """A verdict that is as expected.

    Attributes:
        verdict: the verdict.
        expectation: what it was compared with.
    """

    verdict: Verdict
    expectation: Expectation

    def __repr__(self) -> str:
        return f"{self.verdict}, as expected: {self.expectation.reason}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        expected = [str(verdict) for verdict in self.expectation.verdicts]
        return {"text/plain": repr(self), MIME: {"verdict": str(self.verdict), "expected": expected}}


def expectation(config: TrainingConfig) -> Expectation:
    """The verdict that the study's tests must have with this configuration, where steps are done after resuming."""
    lost = _missed(config)
    effects = [why for why, shows in lost if shows]
    if effects:
        return Expectation((Verdict.DIFFERENT,), f"the checkpoint lacks {_and(effects)}")
    if lost:
        what = _and([why for why, _ in lost])
        possible = (Verdict.EXACT, Verdict.LATENT, Verdict.DIFFERENT)
        return Expectation(possible, f"the losses decide whether {what} matters")
    if config.checkpoint == "complete":
        return Expectation((Verdict.EXACT,), "all that a step reads is in the checkpoint")
    return Expectation((Verdict.EXACT,), "nothing that the checkpoint lacks is read")


def _missed(config: TrainingConfig) -> list[tuple[str, bool]]:
    """What the next steps read and the file lacks: (what, whether that shows in a step at once)."""
    ordered = config.data == "synthetic" or not config.shuffle
    adaptive = config.optimizer == "adamw"
    found = [
        ("dora", True, "the parameters", True),
        ("optimizer", adaptive, "AdamW's moments", True),
        ("optimizer", not adaptive and config.momentum > 0, "SGD's momentum", True),
        ("scheduler", config.scheduler != "none", "the schedule's place", True),
        ("rng", config.dropout > 0 and config.dropout_mode == "live", "dropout's generator", True),
        ("data", not ordered, "the order of samples", True),
        ("progress", config.early_stopping > 0, "what early stopping goes by", False),
    ]
    return [(why, shows) for part, read, why, shows in found if read and part not in config.parts]


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
