"""What a loaded run has when its first step begins to work on its batches: its parameters, its optimizers' options.

A `load()` that waits for that step, and applies there what it had put aside, has done its work by then.
"""

from dora_repro.recording.group_options import digests_of
from dora_repro.recording.make_up import MakeUp
from dora_repro.state.digest import digest_tensor


class AtWork:
    """Digests of it, taken once.

    Args:
        loaded: whether the run was loaded; of one that was not, nothing is noted.

    Attributes:
        digests: of trainable parameters and of options of parameter groups, by path; empty before the first work.
            Options of an optimizer that is not there by then are added before it first steps.
    """

    def __init__(self, loaded: bool):
        self.digests: dict[str, bytes] = {}
        self._awaited = self._first_step = loaded

    def begins(self, made_of: MakeUp) -> None:
        """Something begins that works on batches."""
        if not self._awaited:
            return
        self._awaited = False
        now = made_of.as_of_now()  # made for this very step
        parameters = {path: digest_tensor(parameter) for path, parameter in now.parameters.items()}
        self.digests = {**digests_of(now.optimizers), **parameters}

    def optimizer_steps(self, made_of: MakeUp) -> None:
        """An optimizer is about to step, which may have been made since the work began."""
        if self.digests and self._first_step and made_of.has_other_objects():
            self.digests = {**digests_of(made_of.as_of_now().optimizers), **self.digests}

    def step_is_over(self) -> None:
        """The first step, or one after it, is over."""
        self._first_step = False
