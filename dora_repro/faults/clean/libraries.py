"""Runs of real libraries that are saved and loaded as they must be. Each must come out EXACT."""

from dora_repro.faults.gallery import fault
from dora_repro.faults.libraries import Measured as WithMetrics
from dora_repro.faults.libraries import ScheduleFree as WithScheduleFree
from dora_repro.faults.libraries import WithState


@fault("clean-torchmetrics", verdict="EXACT", needs="torchmetrics")
class Measured(WithMetrics):
    """A metric of torchmetrics decides the learning rate, and its sums are made persistent, so its state dict has them.
    How often it was updated is not in there, and begins anew with the next epoch."""


@fault("clean-stateful-loader", verdict="EXACT", steps=9, save_at=2, needs="torchdata")
class StatefulLoader(WithState):
    """torchdata's StatefulDataLoader is saved in the middle of an epoch, and loaded before its iterator is made: it
    draws the epoch's order once more from the state that it had, and passes over what was used."""


@fault("clean-schedule-free", verdict="EXACT", needs="schedulefree")
class ScheduleFree(WithScheduleFree):
    """A schedule-free optimizer trains one set of weights and evaluates another, which it computes from the first. The
    run is saved in train mode; which mode that was is an option of its group, and in the file."""
