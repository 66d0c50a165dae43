"""What one side of a check does, in whatever process: build, load, step, save, and leave its evidence in a folder.

Evidence: `trace.jsonl`, a snapshot per save (`save-5/before.pt`), one after loading (`load.pt`), one of the end
(`end.pt`), the outputs (`outputs.pt`), a copy of what `save()` wrote (`save-5/first`), and `result.json`.
"""

import contextlib
import json
import platform
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dora_repro.checkpoint import writing
from dora_repro.comparison.leaves import compare
from dora_repro.difference import LeafDifference
from dora_repro.recording import Recorder
from dora_repro.recording.load_calls import WatchedLoading
from dora_repro.recording.replay import Feeding, Keeping, Streams
from dora_repro.sides.job import CHECKPOINT, Job, Transplant
from dora_repro.sides.libraries import libraries
from dora_repro.sides.logs import Logs
from dora_repro.state import rng
from dora_repro.state.digest import digest
from dora_repro.state.snapshot import SavedLeaf, Snapshot, overlaid, run_roots
from dora_repro.state.suspended import restore_around
from dora_repro.state.tree import flatten


@dataclass
class _Progress:
    where: str = "build"
    step: int = 0
    phase: str = "batch"
    finished: bool = False
    saves: dict[str, list] = field(default_factory=dict)
    rewritten: list[int] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    not_transplanted: dict[str, str] = field(default_factory=dict)
    loading: list[dict] = field(default_factory=list)
    libraries: dict[str, str] = field(default_factory=dict)


Emit = Callable[[dict], None]


@contextlib.contextmanager
def brief_waits() -> Iterator[None]:
    """Workers of a loader that was let go are waited for half a second, not five: a check drops many loaders.

    The end that torch sends its workers is lost where the loader is found by garbage collection, and then it waits for
    this long before it ends them.
    """
    from torch.utils.data import _utils

    before = getattr(_utils, "MP_STATUS_CHECK_INTERVAL", None)
    if before is not None:
        _utils.MP_STATUS_CHECK_INTERVAL = min(before, 0.5)
    try:
        yield
    finally:
        if before is not None:
            _utils.MP_STATUS_CHECK_INTERVAL = before


def work(factory: Callable[[], object], about: dict, request: object, emit: Emit) -> None:
    """One side's work in an interpreter of its own."""
    with brief_waits():
        perform(factory, Job.from_dict(about), emit)


def perform(factory: Callable[[], object], job: Job, emit: Emit = lambda event: None) -> None:
    """Do one side's work. Exceptions of the run are evidence, not raised: `result.json` says where they came from."""
    import torch

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    if job.seeded:
        rng.seed_world(0)
    if job.deterministic:
        torch.use_deterministic_algorithms(True)
    job.folder.mkdir(parents=True)
    progress = _Progress()
    begun = time.perf_counter()
    failure = None
    try:
        with contextlib.ExitStack() as stack:
            _run(factory, job, emit, progress, stack)
    except Exception as error:
        failure = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    progress.seconds["all"] = time.perf_counter() - begun
    result = {**vars(progress), "failure": failure, "environment": environment()}
    (job.folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def made_and_loaded(factory: Callable, load: Path | str | None, begins: Callable[[], None] = lambda: None) -> object:
    """A run built anew and, where there is a checkpoint, loaded; `begins` is called before its loading is."""
    if load is not None and callable(getattr(factory, "resume", None)):
        begins()
        return factory.resume(str(load))
    run = factory()
    if load is not None:
        begins()
        run.load(str(load))
    return run


def made_and_stepped(
    factory: Callable, steps: int, load: Path | str, begins: Callable[[], None] = lambda: None
) -> object:
    """A run built anew that has done so many steps, and holds what they leave half done.

    Another is made and loaded after it and let go, for what loading does to the process: a module's variable, torch's
    settings, the environment are then as they are where a run is resumed.
    """
    run = factory()
    for _ in range(steps):
        run.step()
    made_and_loaded(factory, load, begins)
    return run


def _run(factory: Callable, job: Job, emit: Emit, progress: _Progress, stack: contextlib.ExitStack) -> None:
    clock = _Clock(progress.seconds)
    logs = stack.enter_context(Logs(job))

    def begins() -> None:
        progress.where = "load"
        # Only now: what is loaded while building, as the weights of a backbone, is none of the checkpoint's.
        progress.loading = stack.enter_context(WatchedLoading()).notes

    if job.transplant is not None and job.transplant.around is not None:
        run = made_and_stepped(factory, job.start, job.load, begins)
    else:
        run = made_and_loaded(factory, job.load, begins)
    clock.lap("build")
    if job.load is not None:
        Snapshot.capture(run_roots(run)).write(job.folder / "load.pt")
    progress.libraries = libraries(run_roots(run))
    logs.watch(run)
    if job.transplant is not None:
        progress.not_transplanted = transplant(run, job.transplant)
    emit({"event": "loaded" if job.load else "built", "step": job.start})
    begin = stack.enter_context(_fed(run, job))
    recorder = stack.enter_context(Recorder(run, job.start, job.keep, job.values))
    stack.callback(lambda: recorder.trace.write(job.folder / "trace.jsonl"))
    if job.values:
        stack.callback(lambda: writing.write(job.folder / "values.pt", recorder.values))
    clock.lap("capture")
    if job.start in job.saves:
        _save(run, job, job.start, progress, emit)
    progress.step = job.start
    while progress.step < job.steps:
        progress.where = "step"
        begin(progress.step + 1)
        try:
            with logs.step(progress.step + 1):
                going = recorder.step()
            if not going:
                break
        finally:
            progress.phase = recorder.reached
        progress.step += 1
        emit({"event": "step", "step": progress.step})
        if progress.step in job.saves:
            clock.lap("steps")
            _save(run, job, progress.step, progress, emit)
            clock.lap("save")
    clock.lap("steps")
    progress.where = "end"
    progress.finished = recorder.trace.finished
    progress.facts = recorder.facts()
    Snapshot.capture(run_roots(run)).write(job.folder / "end.pt")
    _values({"kept": recorder.kept} if recorder.kept is not None else {}).write(job.folder / "kept.pt")
    progress.where = "outputs"
    if callable(getattr(run, "outputs", None)):
        _values({f"outputs{path}": value for path, value in flatten(run.outputs())}).write(job.folder / "outputs.pt")
    clock.lap("end")
    for step in job.saves:
        folder = job.folder / f"save-{step}"
        if (folder / "first").exists() and _contents(folder / "live") != _contents(folder / "first"):
            progress.rewritten.append(step)
    progress.where = "done"


def transplant(run: object, given: Transplant) -> dict[str, str]:
    """Put the leaves of another run in; path -> reason for those that could not be."""
    saved, roots = Snapshot.read(given.state), run_roots(run)
    if given.around is not None:
        return restore_around(overlaid(Snapshot.read(given.around), saved, frozenset(given.leaves)), roots)
    return saved.restore(roots, given.leaves) if given.leaves else {}


@contextlib.contextmanager
def _fed(run: object, job: Job) -> Iterator[Callable[[int], None]]:
    """What is to be called before each step: the run's streams are kept, or it gets those of another."""
    given = job.transplant
    if given is not None and (given.batches or given.draws):
        with Feeding(run, Streams.read(given.streams), given.batches, given.draws) as feeding:
            yield feeding.begin
    elif job.streams is not None:
        with Keeping(run) as keeping:
            yield lambda step: keeping.begin(step) if step > job.streams else None
        keeping.streams.write(job.folder / "streams.pkl")
    else:
        yield lambda step: None


def _save(run: object, job: Job, step: int, progress: _Progress, emit: Emit) -> None:
    progress.where = "save"
    folder = job.folder / f"save-{step}"
    live = folder / "live"
    live.mkdir(parents=True)
    before = Snapshot.capture(run_roots(run), keep_frozen=job.frozen)
    run.save(str(live / CHECKPOINT.format(step)))
    shutil.copytree(live, folder / "first")
    after = Snapshot.capture(run_roots(run))
    changed = compare(before, after).differences
    progress.saves[str(step)] = [_fields(difference) for difference in changed if not _is_place(difference, folder)]
    before.write(folder / "before.pt")
    emit({"event": "saved", "step": step})


def _is_place(difference: LeafDifference, folder: Path) -> bool:
    """A path that the run noted when it saved: where, not what."""
    return str(folder) in difference.actual


def _fields(difference: LeafDifference) -> dict:
    return {name: getattr(difference, name) for name in LeafDifference.__slots__}


def _values(values: dict[str, object]) -> Snapshot:
    return Snapshot(
        {path: SavedLeaf(path, "output", digest(value), _detached(value)) for path, value in values.items()}
    )


def _detached(value: object) -> object:
    return value.detach().cpu() if hasattr(value, "detach") else value


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): digest(p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


class _Clock:
    def __init__(self, seconds: dict[str, float]):
        self._seconds, self._last = seconds, time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now


def environment() -> dict[str, object]:
    """Versions, processor and accelerator of this process."""
    import numpy
    import torch

    from dora_repro.state.flags import capture_flags

    found: dict[str, object] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "flags": capture_flags(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
        found["device"] = torch.cuda.get_device_name()
    return found
