"""Local variables of functions that begin anew when a run is resumed, and are no loss."""

from collections.abc import Generator

from dora_repro.faults.carried import Carrying, LookingAhead
from dora_repro.faults.functions import NEEDS, ByHand, FromMemory, InAFunction, Scaling
from dora_repro.faults.gallery import fault
from dora_repro.faults.plain import Training, read
from dora_repro.faults.windows import InWindows


@fault("clean-function", verdict="EXACT", steps=16, save_at=8, needs=NEEDS)
class WholeFunction(InAFunction):
    """A training in one function resumes by being called again, and reads all it needs. Its variables show it: it
    began at another epoch, still holds the file that it read, and was told where that lies. None of it is a loss."""


@fault("clean-function-mid-epoch", verdict="EXACT", steps=10, save_at=8, needs=NEEDS)
class FunctionInMidEpoch(InAFunction):
    """A training in one function, compared up to the middle of an epoch. What the last epoch left in variables (its
    loss, a group of the optimizer) is there in one run alone until that epoch ends, and neither reads it again."""


@fault("clean-function-window", verdict="EXACT", steps=10, save_at=5, needs=NEEDS)
class WindowOfAFunction(InWindows):
    """A training in one function is saved while it accumulates gradients, and keeps them. The list that it read them
    from stays in a variable, and the next backward passes add to it: no loss."""


@fault("clean-function-position", verdict="EXACT", needs=NEEDS)
class PositionOfAFunction(ByHand):
    """A training in one function cuts its batches from a tensor and saves the place of the next one. The batch that it
    has in hand when a step is over is a part of the data, and is cut anew when it resumes."""


@fault("clean-function-memory", verdict="EXACT", save_at=4, needs=NEEDS)
class MemoryOfAFunction(FromMemory):
    """A training in one function saves what its memory holds as plain tuples, and makes entries of its own class of
    them when it resumes: another class object in each run, made by the same code."""


@fault("clean-function-carrying", verdict="EXACT", needs=NEEDS)
class CarryingOn(Carrying):
    """A recurrent network in one function saves its hidden state and the generator of its rows. The rows of the step
    that it is about to begin are in no file and need not be: they are drawn anew when it resumes."""


@fault("clean-function-ahead", verdict="EXACT", steps=8, save_at=4, needs=NEEDS)
class OrderAhead(LookingAhead):
    """A training in one function takes its batches from an object that fetches one ahead. At the end of an epoch
    nothing has been fetched of the next one, and the sampler's epoch is in the file."""


@fault("clean-loop-counter", verdict="EXACT")
class CounterOnTheRun(Training):
    """The loop is a generator, and what decides when it ends is kept on the run and saved. The generator begins anew
    after resuming, and takes up where the saved count says."""

    left = 5

    def __init__(self) -> None:
        super().__init__()
        self.loop = self.train()

    def train(self) -> Generator[float, None, None]:
        while self.left:
            self.left -= 1
            yield super().step()

    def step(self) -> float:
        return next(self.loop)

    def state(self) -> dict:
        return {**super().state(), "left": self.left}

    def load(self, path: str) -> None:
        super().load(path)
        self.left = read(path)["left"]


@fault("clean-closure-count", verdict="EXACT")
class CountAround(Scaling):
    """A function counts its calls in a variable of the function that made it. It cannot be saved, and need not be: it
    is made again with the count."""
