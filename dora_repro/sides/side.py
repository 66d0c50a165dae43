"""What one side of a check does, in whatever process: build, load, step, save, and leave its evidence in a folder.

Evidence: `trace.jsonl`, a snapshot per save (`save-5/before.pt`), one after loading (`load.pt`), one of the end
(`end.pt`), the outputs (`outputs.pt`), a copy of what `save()` wrote (`save-5/first`), and `result.json`.
"""

import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch

from dora_repro.checkpoint import writing
from dora_repro.comparison.leaves import compare
from dora_repro.contracts import Factory, Run, Value
from dora_repro.errors import BadInput, Defect
from dora_repro.printable import one_line, printable
from dora_repro.private_names.of_torch import loader_utils
from dora_repro.recording import Recorder
from dora_repro.recording.load_calls import WatchedLoading
from dora_repro.recording.replay import StreamRecorder, StreamReplay, Streams
from dora_repro.sides.building import build_and_load, build_and_step, transplant
from dora_repro.sides.environment import environment
from dora_repro.sides.job import CHECKPOINT, OBJECTS, Job
from dora_repro.sides.late_objects import NEVER_MADE, LateObjects, inside
from dora_repro.sides.libraries import libraries_of
from dora_repro.sides.logs import Logs
from dora_repro.sides.places import places_of, places_of_functions
from dora_repro.sides.protocol import Emit, Request, ignore
from dora_repro.sides.result import nothing_done, to_fields, write_result
from dora_repro.sides.written_by import library_functions, writers_of
from dora_repro.state import rng
from dora_repro.state.digest import digest, is_plain
from dora_repro.state.frames import Variables
from dora_repro.state.keys import key_text
from dora_repro.state.leaves import KEPT
from dora_repro.state.liveness import overwritten
from dora_repro.state.objects import Objects
from dora_repro.state.snapshot import SavedLeaf, Snapshot, run_roots
from dora_repro.state.tree import flatten
from dora_repro.state.walk import walk

Begin: TypeAlias = Callable[[int], None]  # called with the number of a step before it is done


@contextmanager
def brief_waits() -> Iterator[None]:
    """Workers of a loader that was let go are waited for half a second, not five: a check drops many loaders.

    The end that torch sends its workers is lost where the loader is found by garbage collection, and then it waits for
    this long before it ends them.
    """
    before = getattr(loader_utils, "MP_STATUS_CHECK_INTERVAL", None)
    if before is not None:
        loader_utils.MP_STATUS_CHECK_INTERVAL = min(before, 0.5)
    try:
        yield
    finally:
        if before is not None:
            loader_utils.MP_STATUS_CHECK_INTERVAL = before


def work(factory: Factory, about: Mapping[str, Any], request: Request, emit: Emit) -> None:
    """Do one side's work in an interpreter of its own."""
    with brief_waits():
        perform(factory, Job.from_dict(about), emit)


def perform(factory: Factory, job: Job, emit: Emit = ignore) -> None:
    """Do one side's work. Exceptions of the run are evidence, not raised: `result.json` says where they came from."""
    _set_up_process(job)
    job.folder.mkdir(parents=True)
    side = _Side(factory, job, emit)
    begun = time.perf_counter()
    try:
        side.do()
    except Exception as error:
        said = one_line(f"{type(error).__name__}: {error}")
        side.result["refused"] = str(error) if isinstance(error, BadInput) else ""
        whole = printable(traceback.format_exc())
        side.result["failure"] = {"error": said, "traceback": whole, "defect": isinstance(error, Defect)}
    side.result["seconds"]["all"] = time.perf_counter() - begun
    side.result["environment"] = environment()
    write_result(job.folder, side.result)


def _set_up_process(job: Job) -> None:
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    if job.seeded:
        rng.seed_world(0)
    if job.deterministic:
        torch.use_deterministic_algorithms(True)


class _Side:
    """One side at work.

    Attributes:
        result: how far it has come, at any moment.
    """

    def __init__(self, factory: Factory, job: Job, emit: Emit):
        self.result = nothing_done()
        self._factory, self._job, self._emit = factory, job, emit
        self._lap_begun = time.perf_counter()

    def do(self) -> None:
        """Build or load the run, record its steps, leave the evidence. Whatever the run raises comes out."""
        job = self._job
        with Logs(job) as logs, ExitStack() as stack:
            run = self._build(stack)
            logs.watch(run)
            if job.transplant is not None:
                self.result["not_transplanted"] = transplant(run, job.transplant)
            self._emit({"event": "loaded" if job.load else "built", "step": job.start})
            with _streams(run, job) as begin, _recorded(run, job) as recorder:
                self._lap("capture")
                self._look_for_late_objects(run, recorder)
                self._do_steps(run, recorder, begin, logs)
                self._leave_end(run, recorder)
                self.result["rewritten"] = [step for step in job.saves if _was_rewritten(job.folder / f"save-{step}")]
                self.result["where"] = "done"

    def _build(self, stack: ExitStack) -> Run:
        """The run, loaded where there is a checkpoint; calls of `load_state_dict` are noted until `stack` closes."""
        job = self._job

        def on_load() -> None:
            self.result["where"] = "load"
            # Only now: what is loaded while building, as the weights of a backbone, is not from the checkpoint.
            self.result["loading"] = stack.enter_context(WatchedLoading()).notes

        if job.transplant is not None and job.transplant.around is not None:
            steps = 1 if job.transplant.begun else job.start
            run = build_and_step(self._factory, steps, job.load, on_load)
        else:
            run = build_and_load(self._factory, job.load, on_load, self._note_built)
        self._lap("build")
        if job.load is not None:
            self.result["resumes"] = callable(getattr(self._factory, "resume", None))
            if isinstance(told := getattr(self._factory, "told", None), tuple):
                self.result["told"] = list(told)
            Snapshot.capture(run_roots(run)).write(job.folder / "load.pt")
        self.result["libraries"] = libraries_of(run)
        self.result["writers"] = writers_of(run, self.result["libraries"])
        self.result["places"] = places_of(run, self._factory)
        return run

    def _look_for_late_objects(self, run: Run, recorder: Recorder) -> None:
        """In the first step, store the state or put some into the run as soon as objects are there that it makes."""
        job, given = self._job, self._job.transplant

        def store(made: tuple[str, ...]) -> None:
            self.result["late"] = list(made)
            Snapshot.capture(run_roots(run)).write(job.folder / "made.pt")

        def put_in(made: tuple[str, ...]) -> None:
            for path in inside(leaves, made):
                del missing[path]
            missing.update(saved.restore(run_roots(run), sorted(inside(leaves, made))))

        if job.late:
            LateObjects(run, job.late).when_made(recorder, store)
        elif given is not None and (leaves := inside(given.leaves, given.late)):
            saved, missing = Snapshot.read(given.state), self.result["not_transplanted"]
            missing.update(dict.fromkeys(leaves, NEVER_MADE))
            LateObjects(run, given.late).when_made(recorder, put_in)

    def _note_built(self, run: Run) -> None:
        """Note the plain values of a run that is about to load: those that differ by then were no loss."""
        try:
            live = walk(run_roots(run), moving_only=True)
        except Exception:  # one that loads before it is whole
            return
        plain = {path: leaf.value for path, leaf in live.items() if leaf.role in KEPT and is_plain(leaf.value)}
        self.result["built"] = {path: digest(value).hex() for path, value in plain.items()}

    def _do_steps(self, run: Run, recorder: Recorder, begin: Begin, logs: Logs) -> None:
        job = self._job
        if job.start in job.saves:
            self._save(run, job.start)
        self.result["step"] = job.start
        while self.result["step"] < job.steps and self._step(recorder, begin, logs):
            if self.result["step"] in job.saves:
                self._lap("steps")
                self._save(run, self.result["step"])
                self._lap("save")
        self._lap("steps")

    def _step(self, recorder: Recorder, begin: Begin, logs: Logs) -> bool:
        """Do one step; False where the run said that it is over."""
        self.result["where"] = "step"
        number = self.result["step"] + 1
        begin(number)
        try:
            with logs.step(number):
                going_on = recorder.step(last=number == self._job.steps)
        finally:
            self.result["phase"] = recorder.effects.reached
        if going_on:
            self.result["step"] = number
            self._emit({"event": "step", "step": number})
        return going_on

    def _save(self, run: Run, step: int) -> None:
        """Save the run, copy what it wrote, and note what saving changed in the run."""
        self.result["where"] = "save"
        folder = self._job.folder / f"save-{step}"
        live = folder / "live"
        live.mkdir(parents=True)
        before = Snapshot.capture(run_roots(run), keep_frozen=self._job.frozen)
        if self._job.objects:
            Objects.taken(run_roots(run), self._job.objects).write(folder / OBJECTS)
        self.result["library_functions"] |= library_functions(run)
        self.result["places"] |= places_of_functions(run)
        run.save(str(live / CHECKPOINT.format(step)))
        shutil.copytree(live, folder / "first")
        after = Snapshot.capture(run_roots(run))
        self.result["saves"][str(step)] = [
            to_fields(difference)
            for difference in compare(before, after).differences
            if not _names_folder(after.get(difference.path), folder)
        ]
        before.write(folder / "before.pt")
        self.result["in_hand"][str(step)] = _in_hand(run)
        self._emit({"event": "saved", "step": step})

    def _leave_end(self, run: Run, recorder: Recorder) -> None:
        """The evidence of the end: the state, the value that was asked for, the outputs."""
        folder = self._job.folder
        self.result["where"] = "end"
        self.result["finished"] = recorder.trace.finished
        self.result["facts"] = recorder.facts()
        self.result["at_work"] = {path: value.hex() for path, value in recorder.effects.at_work.digests.items()}
        self.result["overwritten"] = _overwritten(run)
        Snapshot.capture(run_roots(run)).write(folder / "end.pt")
        _as_snapshot({"kept": recorder.kept} if recorder.kept is not None else {}).write(folder / "kept.pt")
        self.result["where"] = "outputs"
        outputs: Callable[[], Value] | None = getattr(run, "outputs", None)
        if callable(outputs):
            values = {f"outputs{path}": value for path, value in flatten(outputs())}
            _as_snapshot(values).write(folder / "outputs.pt")
        self._lap("end")

    def _lap(self, name: str) -> None:
        """Count the seconds since the last lap to a part of the work."""
        now, seconds = time.perf_counter(), self.result["seconds"]
        seconds[name] = seconds.get(name, 0.0) + now - self._lap_begun
        self._lap_begun = now


@contextmanager
def _streams(run: Run, job: Job) -> Iterator[Begin]:
    """What to call before each step: batches and generators of the run are stored, or it gets those of another run.

    Raises:
        ValueError: a transplant of batches or generators that does not say where they are.
    """
    given = job.transplant
    if given is not None and (given.batches or given.draws):
        if given.streams is None:
            raise ValueError("a transplant of batches or draws needs the streams of the other run")
        streams = Streams.read(given.streams)
        with StreamReplay(run, streams, given.batches, given.draws, given.passed_over) as feeding:
            yield feeding.begin
    elif job.streams is not None:
        last_left_out = job.streams
        with StreamRecorder(run) as keeping:
            yield lambda step: keeping.begin(step) if step > last_left_out else None
        keeping.streams.write(job.folder / "streams.pkl")
    else:
        yield lambda step: None


@contextmanager
def _recorded(run: Run, job: Job) -> Iterator[Recorder]:
    """A recorder of the run; what it recorded is written, however far the run comes."""
    with Recorder(run, job.start, job.keep, job.values) as recorder, ExitStack() as at_exit:
        at_exit.callback(lambda: recorder.trace.write(job.folder / "trace.jsonl"))
        if job.values:
            at_exit.callback(lambda: writing.write(job.folder / "values.pt", recorder.values))
        yield recorder


def _in_hand(run: Run) -> list[str]:
    """Digests, in hexadecimal, of all that a run has drawn from its loaders for the next step."""
    drawn: Callable[[], list[Value]] | None = getattr(run, "batches_in_hand", None)
    values = [value for batch in (drawn() if callable(drawn) else ()) for _, value in flatten(batch)]
    return [digest(value).hex() for value in values if isinstance(value, torch.Tensor)]


def _overwritten(run: Run) -> list[str]:
    """The variables of functions half done whose values nothing will read, by path."""
    held = walk(run_roots(run), moving_only=True).objects.items()
    functions = {path: value.frame for path, value in held if isinstance(value, Variables)}
    return [f"{path}/{key_text(name)}" for path, frame in functions.items() for name in overwritten(frame)]


def _names_folder(leaf: SavedLeaf | None, folder: Path) -> bool:
    """Whether it is a path that the run noted when it saved: where it saved, not what."""
    return leaf is not None and not isinstance(leaf.value, torch.Tensor) and str(folder) in str(leaf.value)


def _was_rewritten(folder: Path) -> bool:
    """Whether the files of a save changed after `save()` had returned."""
    return (folder / "first").exists() and _contents(folder / "live") != _contents(folder / "first")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): digest(p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def _as_snapshot(values: Mapping[str, Value]) -> Snapshot:
    """Values that are no state of the run, to be stored and compared as state is."""
    return Snapshot(
        {path: SavedLeaf(path, "output", digest(value), _detached(value)) for path, value in values.items()}
    )


def _detached(value: Value) -> Value:
    return value.detach().cpu() if hasattr(value, "detach") else value
