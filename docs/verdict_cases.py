"""The rows of docs/verdicts.md: command lines, and why each has the verdict that it has.

Nothing is run here. A reason is a sentence together with what a report must show for the sentence to be true of it;
`make_verdicts.py` runs the command lines and compares the two.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Why a row has its verdict, and what its report must show for that.

    Attributes:
        text: The sentence.
        verdict: The verdict it explains.
        phase: The phase of the first difference; empty where there must be no difference.
        leaf: The leaf of the first difference, as a glob.
        after: The number of steps from the save to the first difference.
        lost: Globs of leaves that must differ right after loading.
        kept: Globs of leaves that must not differ right after loading.
        latent: Globs of leaves that the report must name as lost without effect.
        says: Words of the report's own reason.
    """

    text: str
    verdict: str
    phase: str = ""
    leaf: str = "*"
    after: int = 1
    lost: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    latent: tuple[str, ...] = ()
    says: str = ""


@dataclass(frozen=True)
class Case:
    """A command line after `dora-repro`, and the name of its reason."""

    command: str
    reason: str


@dataclass(frozen=True)
class Section:
    title: str
    text: str
    cases: tuple[Case, ...]


MOMENTS = "optimizer/*/exp_avg"
SHUFFLER = "feed/sampler_generator"
DROPOUT = "rng/torch.cpu"
PARAMETER = "model/*.out_proj.*"

REASONS = {
    # --- exact
    "complete": Reason(
        "All that a step reads is in the file.",
        "EXACT",
        kept=("optimizer/*", "scheduler/*", "rng/*", "feed/*", "best_validation_loss", "model/*.out_proj.m"),
        says="all effects of",
    ),
    "nothing-read": Reason(
        "SGD without momentum keeps nothing between steps, and no step draws from the generators that are lost.",
        "EXACT",
        kept=("optimizer/*",),
        says="all effects of",
    ),
    "moments-suffice": Reason(
        "AdamW's moments are in the file, and no step draws from the generators that are lost.",
        "EXACT",
        kept=("optimizer/*",),
        says="all effects of",
    ),
    "nothing-read-sgd-rng": Reason(
        "SGD without momentum keeps nothing between steps, dropout's generator is in the file, and the order is fixed.",
        "EXACT",
        kept=("optimizer/*", "rng/*"),
        says="all effects of",
    ),
    "moments-and-dropout": Reason(
        "AdamW's moments and dropout's generator are in the file, and the order is fixed.",
        "EXACT",
        kept=("optimizer/*", "rng/*"),
        says="all effects of",
    ),
    "progress-told": Reason(
        "Only the progress is missing: the file's name gives the step, and nothing that stops early reads the loss.",
        "EXACT",
        lost=("best_validation_loss",),
        kept=("optimizer/*", "rng/*", "feed/*"),
        says="all effects of",
    ),
    "order-fixed-workers": Reason(
        "The order is fixed, and the workers, whose base seed is lost, draw nothing.",
        "EXACT",
        lost=("feed/loader_generator",),
        kept=("optimizer/*", "rng/*"),
        says="all effects of",
    ),
    "workers": Reason(
        "As without workers: the order is drawn before it is read, a sample depends on its epoch and number alone.",
        "EXACT",
        kept=("optimizer/*", "rng/*", "feed/*"),
        says="all effects of",
    ),
    "persistent": Reason(
        "Persistent workers have one base seed for all epochs; the file has the state that it was drawn from.",
        "EXACT",
        kept=("optimizer/*", "rng/*", "feed/*"),
        says="all effects of",
    ),
    "perturbed": Reason(
        "What a perturbation draws depends on seed, epoch and sample alone, so there is nothing to save.",
        "EXACT",
        kept=("optimizer/*", "scheduler/*", "rng/*", "feed/*"),
        says="all effects of",
    ),
    "scheduled": Reason(
        "The file has the schedule's place and the rates.",
        "EXACT",
        kept=("optimizer/*", "scheduler/*"),
        says="all effects of",
    ),
    "stops-alike": Reason(
        "Best loss and count of bad epochs are in the file: both runs stop after epoch 3.",
        "EXACT",
        kept=("best_validation_loss", "epochs_without_improvement", "finished"),
        says="all effects of 10 steps",
    ),
    "stopped-alike": Reason(
        "The file says that training is over, and it is; there is no step to compare, only the state.",
        "EXACT",
        kept=("best_validation_loss", "epochs_without_improvement", "finished"),
        says="state alone",
    ),
    "state-alone": Reason(
        "The save is after the last step: the state alone was compared, and the report says so.",
        "EXACT",
        kept=("optimizer/*", "rng/*", "feed/*"),
        says="state alone",
    ),
    "before-any": Reason(
        "Saved before any step: the file has the seeded beginning.", "EXACT", kept=("rng/*", "feed/*"), says="3 steps"
    ),
    "every-step": Reason("Exact from each of the 31 steps, 0 and the last included, at and between epochs.", "EXACT"),
    "every-step-workers": Reason("Exact from each of the 7 steps, also where workers had read ahead.", "EXACT"),
    "twice": Reason("A resumed run saves what the run that was not interrupted saves.", "EXACT"),
    "forgotten-alike": Reason(
        "The best loss is lost and early stopping goes by it; the next epoch is better than all before, so both runs "
        "have the same best loss again.",
        "EXACT",
        lost=("best_validation_loss",),
        kept=("optimizer/*", "rng/*", "feed/*"),
        says="all effects of",
    ),
    # --- different
    "dropout": Reason(
        "Dropout draws from torch's generator, which is not in the file: the same batch, different elements dropped.",
        "DIFFERENT",
        phase="forward",
        leaf="outputs/model*",
        lost=(DROPOUT,),
        kept=(MOMENTS,),
    ),
    "dropout-and-moments": Reason(
        "Dropout draws from torch's generator, which is not in the file. AdamW's moments are lost too; "
        "that would show at the update.",
        "DIFFERENT",
        phase="forward",
        leaf="outputs/model*",
        lost=(DROPOUT, MOMENTS),
    ),
    "moments": Reason(
        "AdamW's moments are not in the file: batch, outputs and gradients are equal, the step taken differs.",
        "DIFFERENT",
        phase="update",
        leaf=PARAMETER,
        lost=(MOMENTS,),
    ),
    "momentum": Reason(
        "SGD's momentum is not in the file: batch, outputs and gradients are equal, the step taken differs.",
        "DIFFERENT",
        phase="update",
        leaf=PARAMETER,
        lost=("optimizer/*/momentum_buffer",),
    ),
    "order": Reason(
        "The generator that shuffles is not in the file (it is part `data`): epoch 3 comes in the order of epoch 1. "
        "What else is lost would show later.",
        "DIFFERENT",
        phase="batch",
        leaf="batch*",
        lost=(SHUFFLER,),
    ),
    "order-alone": Reason(
        "The generator that shuffles is not in the file (part `data`): the resumed epoch has the order of the first.",
        "DIFFERENT",
        phase="batch",
        leaf="batch*",
        lost=(SHUFFLER,),
        kept=("optimizer/*", "rng/*"),
    ),
    "schedule": Reason(
        "The rate itself is in the optimizer's part, so the first update is equal; the schedule counts from 0 again, "
        "and the rate it sets after that step differs.",
        "DIFFERENT",
        phase="schedule",
        leaf="optimizer/group.0/lr",
        lost=("scheduler/last_epoch",),
        kept=(MOMENTS, "rng/*", "feed/*"),
    ),
    "goes-on": Reason(
        "Best loss and count of bad epochs are lost: the reference stops after epoch 3, the resumed run goes on.",
        "DIFFERENT",
        phase="epoch_end",
        leaf="run/finished",
        after=11,
        lost=("best_validation_loss", "epochs_without_improvement"),
        kept=("optimizer/*", "rng/*", "feed/*"),
    ),
    "starts-again": Reason(
        "That training was over is lost: the resumed run goes on, as the study's does from where it had stopped.",
        "DIFFERENT",
        phase="epoch_end",
        leaf="run/finished",
        lost=("best_validation_loss", "epochs_without_improvement", "finished"),
        kept=("optimizer/*", "rng/*", "feed/*"),
    ),
    # --- the other three
    "could-have-stopped": Reason(
        "The best loss is lost and early stopping goes by it: the counters differ, but neither run stops in this test.",
        "LATENT",
        lost=("best_validation_loss",),
        kept=("optimizer/*", "rng/*", "feed/*"),
        latent=("best_validation_loss",),
        says="no effect in 10 steps",
    ),
    "tolerated": Reason(
        "As `dora-only` above; the user accepts differences up to 0.01.",
        "WITHIN_TOLERANCE",
        phase="update",
        leaf=PARAMETER,
        lost=(MOMENTS,),
        says="not exact",
    ),
    "not-controlled": Reason(
        "As above, but without a control no difference counts.",
        "INCONCLUSIVE",
        phase="update",
        leaf=PARAMETER,
        lost=(MOMENTS,),
        says="not controlled",
    ),
    "nothing-trained": Reason(
        "A learning rate of 0 changes no parameter: equal runs would prove nothing.",
        "INCONCLUSIVE",
        says="no trainable parameter changed",
    ),
    "not-deterministic": Reason(
        "The run adds noise without a seed: repeated, it differs from itself no later than the resumed run does.",
        "INCONCLUSIVE",
        phase="forward",
        says="not deterministic",
    ),
}


_INSIDE = "--perturbation-start 2 --perturbation-length 2"


def _contents(command: str, outcomes: dict[str, tuple[str, str, str, str]]) -> tuple[Case, ...]:
    """The grid contents × (AdamW, SGD) × (dropout drawn, as in the study); reasons in that order."""
    settings = [
        " ".join(filter(None, (optimizer, dropout)))
        for optimizer in ("", "--optimizer sgd")
        for dropout in ("", "--dropout-mode study")
    ]
    return tuple(
        Case(" ".join(filter(None, (f"{command} --checkpoint {contents}", setting))), reason)
        for contents, reasons in outcomes.items()
        for setting, reason in zip(settings, reasons, strict=True)
    )


def _perturbations(contents: str, reason: str) -> tuple[Case, ...]:
    """Each perturbation, with the resume before its window, inside it and after it."""
    windows = (
        "--epochs 4 --test-epoch 2 --perturbation-start 3",  # saved after epoch 1, perturbed in epoch 3
        f"--epochs 4 --test-epoch 3 {_INSIDE}",  # saved after epoch 2, perturbed in 2 and 3
        "--epochs 4 --test-epoch 3 --perturbation-start 1",  # saved after epoch 2, perturbed in epoch 1
    )
    return tuple(
        Case(f"full --checkpoint {contents} --perturbation {kind} {window}", reason)
        for kind in ("random-targets", "label-shuffle", "image-noise", "uniform-images")
        for window in windows
    )


_NO_PROGRESS = "--checkpoint dora+optimizer+scheduler+rng+data"
_PERSISTENT = "--workers 2 --persistent-workers"
_STOPPING = "--optimizer sgd --lr 10 --early-stopping 2 --epochs 5"

SECTIONS = (
    Section(
        "quick: what the checkpoint holds, optimizer, dropout",
        "One fixed batch, so nothing is lost with the order. `dora-only` is the study's file.",
        (
            *_contents(
                "quick",
                {
                    "complete": ("complete",) * 4,
                    "dora-only": ("dropout-and-moments", "moments", "dropout", "nothing-read"),
                    "dora+optimizer": ("dropout", "moments-suffice", "dropout", "nothing-read"),
                    "dora+optimizer+rng": ("moments-and-dropout",) * 2 + ("nothing-read-sgd-rng",) * 2,
                },
            ),
            Case("quick --checkpoint dora-only --optimizer sgd --dropout 0", "nothing-read"),
            Case("quick --checkpoint dora-only --optimizer sgd --momentum 0.9 --dropout 0", "momentum"),
        ),
    ),
    Section(
        "full: the same grid, on real images in a new order each epoch",
        "Whatever lacks the part `data` differs in the first batch already, before moments or dropout can matter.",
        _contents(
            "full",
            {
                "complete": ("complete",) * 4,
                "dora-only": ("order",) * 4,
                "dora+optimizer": ("order",) * 4,
                "dora+optimizer+rng": ("order-alone",) * 4,
            },
        ),
    ),
    Section(
        "full: what lies behind the order",
        "With a fixed order the next loss shows; with the part `data` besides, nothing does.",
        (
            Case("full --checkpoint dora-only --no-shuffle", "dropout-and-moments"),
            Case("full --checkpoint dora-only --no-shuffle --dropout-mode study", "moments"),
            Case("full --checkpoint dora-only --no-shuffle --dropout-mode study --optimizer sgd", "nothing-read"),
            Case("full --checkpoint dora+optimizer --no-shuffle", "dropout"),
            Case("full --checkpoint dora+optimizer --no-shuffle --dropout-mode study", "moments-suffice"),
            Case("full --checkpoint dora+optimizer+rng --no-shuffle", "moments-and-dropout"),
            Case("full --checkpoint dora+optimizer+rng+data", "progress-told"),
        ),
    ),
    Section(
        "Schedules of the learning rate",
        "",
        (
            Case("full --scheduler cosine", "scheduled"),
            Case("full --scheduler warmup --warmup-steps 25", "scheduled"),
            Case("full --scheduler cosine --checkpoint dora+optimizer+rng+data+progress", "schedule"),
        ),
    ),
    Section(
        "Perturbations: resumed before, inside and after the window, complete",
        "Saved after epoch 1 with the perturbation in epoch 3; after epoch 2 with it in 2 and 3; after 2 with it in 1.",
        _perturbations("complete", "perturbed"),
    ),
    Section(
        "Perturbations: the same with the order lost",
        "",
        _perturbations("dora+optimizer+rng", "order-alone"),
    ),
    Section(
        "Workers",
        "0 workers are in the tables above.",
        (
            Case("quick --workers 2", "workers"),
            Case("full --workers 2", "workers"),
            Case(f"full {_PERSISTENT}", "persistent"),
            Case("full --checkpoint dora+optimizer+rng --workers 2", "order-alone"),
            Case(f"full --checkpoint dora+optimizer+rng {_PERSISTENT}", "order-alone"),
            Case(f"full --checkpoint dora+optimizer+rng --no-shuffle {_PERSISTENT}", "order-fixed-workers"),
            Case(f"full --perturbation image-noise {_INSIDE} --workers 2", "perturbed"),
            Case(f"every-step --epochs 2 --steps-per-epoch 3 {_PERSISTENT}", "every-step-workers"),
        ),
    ),
    Section(
        "Early stopping",
        "SGD at a rate of 10 makes epochs 2 and 3 worse than epoch 1, so that training stops after epoch 3. The rows "
        "that do not pass save everything but the progress; the file's name gives the step.",
        (
            Case(f"full {_STOPPING}", "stops-alike"),
            Case(f"full {_STOPPING} {_NO_PROGRESS}", "goes-on"),
            Case(f"full {_STOPPING} --test-epoch 4", "stopped-alike"),
            Case(f"full {_STOPPING} --test-epoch 4 {_NO_PROGRESS}", "starts-again"),
            Case("full --early-stopping 3", "complete"),
            Case(f"full --early-stopping 3 {_NO_PROGRESS}", "forgotten-alike"),
            Case(f"full --optimizer sgd --lr 10 --early-stopping 5 {_NO_PROGRESS}", "could-have-stopped"),
            Case(f"full {_NO_PROGRESS}", "progress-told"),
        ),
    ),
    Section(
        "Every step, and twice",
        "3 epochs of 10 steps on the digits.",
        (Case("every-step", "every-step"), Case("twice", "twice")),
    ),
    Section(
        "The edges, and the other verdicts",
        "The last run is one of the tests' own, made nondeterministic on purpose.",
        (
            Case("quick --save-at 0", "before-any"),
            Case("quick --save-at 3", "state-alone"),
            Case("quick --checkpoint dora-only --dropout-mode study --tolerance 0.01", "tolerated"),
            Case("quick --checkpoint dora-only --dropout-mode study --control never", "not-controlled"),
            Case("quick --lr 0", "nothing-trained"),
            Case("check tests/runs.py:Nondeterministic --steps 4 --save-at 2", "not-deterministic"),
        ),
    ),
)
