"""What a side logs beyond its trace, where its job asks for it: who draws random numbers, every operator of a step."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from dora_repro.contracts import Run
from dora_repro.recording.drawing import DrawLog, Generators
from dora_repro.recording.operators import OperatorLog, module_names
from dora_repro.sides.job import Job
from dora_repro.state import rng

DRAWS, OPERATORS = "draws.jsonl", "operators.jsonl"  # their names in the folder of the evidence


class Logs(AbstractContextManager):
    """Opens and closes the logs of one job, as its run is built, loaded and stepped."""

    def __init__(self, job: Job):
        self._job, self._stack = job, ExitStack()
        self._states = _GeneratorStates()
        self._draws: DrawLog | None = None
        self._run: Run | None = None

    def __enter__(self) -> "Logs":
        if self._job.draws is not None and self._job.draws[0] == 0:
            self._open("load")
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._run = self._states.run = None  # a log in a circle of its own keeps no run alive
        self._states.look()

    def watch(self, run: Run) -> None:
        """From the next step on, watch this run's own generators, too."""
        self._run = self._states.run = run

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """To be open around one step of the run."""
        first, last = self._job.draws or (-1, -1)
        if self._job.draws is not None and first <= number <= last:
            self._open(f"step {number}")
        if number != self._job.operators:
            yield
        else:
            with OperatorLog(module_names(self._run)) as log:
                yield
            log.write(self._job.folder / OPERATORS)
        if number == last:
            self._close()

    def _open(self, part: str) -> None:
        if self._draws is None:
            self._draws = self._stack.enter_context(DrawLog(self._states))
        self._draws.mark(part)

    def _close(self) -> None:
        self._stack.close()
        if self._draws is not None:
            self._draws.write(self._job.folder / DRAWS)
            self._draws = None


class _GeneratorStates:
    """Called for the states of all generators: the global ones alone until there is a run."""

    run: Run | None = None
    _all: Generators | None = None

    def look(self) -> None:
        self._all = Generators(self.run) if self.run is not None else None

    def __call__(self) -> dict[str, rng.State]:
        if self._all is not None:
            return self._all()
        return {f"rng/{name}": state for name, state in rng.capture_world().items()}
