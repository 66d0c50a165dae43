"""Where the launches of one check happen: the folder of the evidence, and `{out}`, which has one path for all of them.

What a launch wrote is moved aside before the next begins.
"""

import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dora_repro.driving.written import newest, newest_of
from dora_repro.errors import BadInput
from dora_repro.scratch import ScratchFolder
from dora_repro.scripts.aligning import Alignment
from dora_repro.scripts.assignment import BATCHES, Assignment, GivenLines, Meet
from dora_repro.scripts.commands import NEWEST, OUT, Command
from dora_repro.scripts.launching import Launch, launch
from dora_repro.scripts.request import ScriptRequest
from dora_repro.scripts.sides import round_met
from dora_repro.scripts.trials import TrialLaunch

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NOT_WRITABLE = (*_FULL, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """The folder of the evidence; a temporary one goes when the check is over."""
    if folder is not None:
        with _written_to(folder, _NOT_WRITABLE):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        with _written_to(folder, _FULL):
            yield folder.absolute()
        return
    with ScratchFolder() as temporary:
        with _written_to(Path(temporary), _FULL):
            yield Path(temporary).resolve()


@contextmanager
def _written_to(folder: Path, errors: Container[int | None]) -> Iterator[None]:
    """Tell of a folder that cannot be written to as of something that its user can change."""
    try:
        yield
    except OSError as error:
        if error.errno not in errors:
            raise
        raise BadInput(f"folder={str(folder)!r}: {error.strerror}; name one that can be written to (--keep)") from None


class Workplace:
    """Launches the commands of one check, one after the other.

    Args:
        request: what is asked.
        folder: where evidence and `{out}` are.
        trials: where launches for trials leave theirs; by default in `folder`, too.

    Attributes:
        folder: as given.
        out: what `{out}` stands for.
        notes: which file `{newest}` stood for last.
        depths: command -> how deep among the processes that it starts the one is that is judged.
    """

    def __init__(self, request: ScriptRequest, folder: Path, trials: Path | None = None):
        self._request, self.folder, self.out = request, folder, folder / "out"
        self._trials = folder if trials is None else trials
        self.notes: tuple[str, ...] = ()
        self.depths: dict[str, int | None] = {}

    @property
    def resume(self) -> Command:
        """The command that resumes."""
        return self._request.resume or self._request.run

    def uninterrupted(self) -> Launch:
        """The run, to its end."""
        self.out.mkdir()
        return self._launch(self._request.run, replace(self._given("reference"), keep_first=True))

    def killed(self, step: int) -> Launch:
        """The run, killed after a step, or sent the signal that was asked for."""
        self.out.mkdir()
        given = replace(self._given(f"killed-{step}"), kill_after=step, keep_first=True, keep_saved=True)
        given = replace(given, signal=self._request.signal)
        return self._launch(self._request.run, given)

    def resumed(self, kill_after: int) -> Launch:
        """The resume command, in what the killed run has left; that is kept as it is for trials."""
        shutil.copytree(self.out, self.left(kill_after), symlinks=True)
        before = _listing(self.folder / "out-reference")
        launched = self._launch(self.resume, replace(self._given(f"resumed-{kill_after}"), keep_first=True))
        if _listing(self.folder / "out-reference") != before:
            raise BadInput(f"the resume command wrote into the folder of the uninterrupted run: use {OUT} in it")
        return launched

    def left(self, kill_after: int) -> Path:
        """What the run that was killed after a step had written: with nothing beside it, for that would be searched,
        too, for what the checkpoint has."""
        return self.folder / f"left-{kill_after}" / "out"

    def again(self, step: int) -> Launch:
        """The run once more, up to the step that the resumed one went on from: to keep its state there."""
        self.out.mkdir()
        given = replace(self._given(f"again-{step}"), kill_after=step, keep_first=True, keep_at=(step + 1,))
        again = self._launch(self._request.run, given)
        self.aside(f"again-{step}")
        return again

    def at_round(
        self, kill_after: int, files: Sequence[str], objects: Sequence[str], start: int, steps: Path
    ) -> tuple[Launch, Launch] | None:
        """The run once more, to keep its state where the round of its loop begins that follows the save; and the
        resumed one, to keep its own where that round begins in it.

        Args:
            kill_after: the step after which the run was killed that the resumed one goes on from.
            files: names of the checkpoint's files in `{out}`.
            objects: paths of objects to keep whole.
            start: the step that the resumed run goes on from.
            steps: as for `trial`.

        Returns:
            None where one of them did not come by there.
        """
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        try:
            meet = Meet(start, objects=tuple(objects), at_update=self._request.signal is not None)
            given = replace(self._given_trial("round-{}"), kill_after=start, meet=meet)
            reference = self._launch(self._request.run, given)
        finally:
            shutil.rmtree(self.out, ignore_errors=True)
        met = round_met(reference)
        if met is None:
            return None
        paths = tuple(os.path.realpath(self.out / name) for name in files)
        resumed = self.trial(TrialLaunch(None, False, Meet(None, met, paths)), kill_after, start, steps)
        return (reference, resumed) if round_met(resumed) is not None else None

    def trial(self, trial: TrialLaunch, kill_after: int, start: int, steps: Path) -> Launch:
        """The resume command once more, from what the killed run had left, with state put in.

        Args:
            trial: what is put in.
            kill_after: the step after which that run was killed.
            start: the step that the resumed run goes on from.
            steps: the file of the uninterrupted run's steps: a trial is over where it does anything else.
        """
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.left(kill_after), self.out, symlinks=True)
        given = replace(self._given_trial("trial-{}"), given=trial.given, meet=trial.meet, start=start)
        try:
            return self._launch(self.resume, given if trial.to_the_end else replace(given, expected=steps))
        finally:
            shutil.rmtree(self.out, ignore_errors=True)

    def _given_trial(self, name: str) -> Assignment:
        """An assignment of a name with a number that no launch has had."""
        free = (number for number in itertools.count(1) if not (self._trials / f"{name.format(number)}.json").exists())
        return Assignment(self._trials / name.format(next(free)), self.out)

    def with_lines(self, lines: GivenLines, kill_after: int, start: int, steps: Path) -> Sequence[Launch]:
        """The resume command once more with advised lines in effect, and before it, where there are lines of save, the
        run, killed after the same step.

        Args:
            lines: the lines.
            kill_after: the step after which that run was killed.
            start: the step that the resumed run goes on from.
            steps: as for `trial`.
        """
        shutil.rmtree(self.out, ignore_errors=True)
        launches = []
        try:
            if lines.save:
                self.out.mkdir()
                of_save = replace(lines, load=())  # it resumes from nothing
                given = replace(self._given_trial("written-{}"), kill_after=kill_after, lines=of_save)
                given = replace(given, signal=self._request.signal)
                launches.append(self._launch(self._request.run, given))
            else:
                shutil.copytree(self.left(kill_after), self.out, symlinks=True)
            if newest(self.out) is not None:
                given = replace(self._given_trial("trial-{}"), lines=lines, start=start, expected=steps)
                launches.append(self._launch(self.resume, given))
        finally:
            shutil.rmtree(self.out, ignore_errors=True)
        return launches

    def batches(self, step: int) -> Path | None:
        """The batches of the uninterrupted run from a step on: it is run once more to have them."""
        name = f"batches-{step}"
        folder = next((each / name for each in (self.folder, self._trials) if (each / name).exists()), None)
        if folder is None:
            folder = self._trials / name
            self.out.mkdir()
            try:
                self._launch(self._request.run, replace(Assignment(folder, self.out), keep_batches=step + 1))
            finally:
                shutil.rmtree(self.out, ignore_errors=True)
        path = folder / BATCHES
        return path if path.exists() else None

    def loaded_from(self, alignment: Alignment, kill_after: int) -> Path:
        """The checkpoint that the resumed run read, as the killed one had left it."""
        left = self.left(kill_after)
        read = [left / name for name in alignment.files]
        if len(read) == 1:
            return read[0]
        return Path(os.path.commonpath(read)) if read else newest(left) or left

    def _given(self, name: str) -> Assignment:
        return Assignment(self.folder / name, self.out)

    def _launch(self, command: Command, given: Assignment) -> Launch:
        values = {OUT: str(self.out)}
        if command.has(NEWEST):
            values[NEWEST] = str(newest(self.out))
            self.notes = _notes_on_newest(self.out)
        given = replace(given, depth=self.depths.get(command.text))
        side = given.folder.name.partition("-")[0]
        self._request.on_event(side, {"event": "built", "step": 0})

        def on_step(step: int) -> None:
            self._request.on_event(side, {"event": "step", "step": step})

        return launch(side, command.filled(values), given, timeout=self._request.timeout, on_step=on_step)

    def aside(self, name: str) -> None:
        """Move what a launch wrote, so that the next finds an empty folder at the same path."""
        if self.out.exists():
            self.out.rename(self.folder / f"out-{name}")


def _notes_on_newest(out: Path) -> tuple[str, ...]:
    found = newest_of(out)
    if found is None:
        return ()
    passed = found.passed_over
    younger = "" if passed is None else f"; {passed.relative_to(out)} is younger, but {found.why}"
    return (f"{NEWEST} stood for {found.path.relative_to(out)}{younger}.",)


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
