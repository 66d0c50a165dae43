"""Are the final weights of a killed and resumed script those of the uninterrupted one? Without the kit.

The script is run three times: to its end; killed by examples/frameworks/killed.py; resumed in what that left. Of the
two `final.pt` the tensors are compared by bytes. Nothing of dora_repro is used or recorded here, so that a verdict of
the kit can be held against it.
"""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

KILLED = "examples/frameworks/killed.py"
_LIMIT = 600  # seconds a launch


@dataclass(frozen=True)
class Weights:
    """Two sets of final weights, compared.

    Attributes:
        tensors: how many there are.
        differing: how many differ in some byte.
        largest: the largest difference of an element.
        ended: how the resumed script ended, where it left no weights.
    """

    tensors: int = 0
    differing: int = 0
    largest: float = 0.0
    ended: str = ""

    @property
    def equal(self) -> bool:
        return not self.differing and not self.ended

    @property
    def words(self) -> str:
        if self.ended:
            return self.ended
        equal = f"all {self.tensors} tensors equal"
        return f"{self.differing} of {self.tensors} differ, by up to {self.largest:.1e}" if self.differing else equal

    def as_json(self) -> dict:
        return asdict(self)


def compare_launches(run: str, resume: str, kill_after: int, folder: Path, root: Path) -> Weights:
    """Run a script three times and compare what it trained.

    Args:
        run: the command that trains, with `{out}` and `{python}`.
        resume: the command that resumes; `{newest}` in it is what came last into `{out}`.
        kill_after: number of updates to kill after.
        folder: where it may write; it must not exist.
        root: where the commands are run.

    Raises:
        RuntimeError: the uninterrupted script failed, or the other one was not killed.
    """
    out, expected = folder / "out", folder / "uninterrupted"
    out.mkdir(parents=True)
    code = _launch(run, out, folder / "uninterrupted.log", root)
    if code != 0:
        raise RuntimeError(f"{run}: exit code {code}, see {folder / 'uninterrupted.log'}")
    out.rename(expected)
    out.mkdir()
    _launch(_with_kill(run, kill_after), out, folder / "killed.log", root)
    if (out / "final.pt").exists():
        raise RuntimeError(f"{run}: it was not killed after {kill_after} updates, see {folder / 'killed.log'}")
    code = _launch(resume, out, folder / "resumed.log", root)
    if not (out / "final.pt").exists():
        return Weights(ended=f"none: the resumed script ended with exit code {code}")
    found = compare_files(expected / "final.pt", out / "final.pt")
    shutil.rmtree(folder)
    return found


def _launch(command: str, out: Path, log: Path, root: Path) -> int:
    newest = max(out.iterdir(), key=lambda path: path.stat().st_mtime_ns, default=out)
    values = {"{python}": sys.executable, "{out}": str(out), "{newest}": str(newest)}
    words = shlex.split(command)
    for name, value in values.items():
        words = [word.replace(name, value) for word in words]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("wb") as file:
        done = subprocess.run(
            words, cwd=root, env=variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=_LIMIT
        )
    return done.returncode


def _with_kill(command: str, after: int) -> str:
    """The command with the script given to killed.py."""
    words = shlex.split(command)
    script = next(index for index, word in enumerate(words) if word.endswith(".py"))
    return shlex.join([*words[:script], KILLED, str(after), *words[script:]])


def compare_files(expected: Path, actual: Path) -> Weights:
    """Compare the tensors of two files by bytes."""
    one, other = (torch.load(path, weights_only=True) for path in (expected, actual))
    if one.keys() != other.keys():
        return Weights(len(one), len(one.keys() ^ other.keys()), float("nan"))
    apart = [name for name in one if one[name].numpy().tobytes() != other[name].numpy().tobytes()]
    sizes = ((one[name].double() - other[name].double()).abs().max().item() for name in apart)
    return Weights(len(one), len(apart), max(sizes, default=0.0))
