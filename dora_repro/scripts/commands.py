"""The commands that a user types for a check of a script: what their placeholders stand for, and how they are run."""

import difflib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, pairwise, takewhile
from pathlib import Path

from dora_repro.errors import BadInput

OUT, NEWEST, PYTHON = "{out}", "{newest}", "{python}"
PLACEHOLDERS = (OUT, NEWEST, PYTHON)

_PLACEHOLDER = re.compile(r"\{[A-Za-z_]\w*\}")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")
_REPLACED = r"\$\(|\$\{?[A-Za-z_]|`"  # by a shell, also in double quotes
_PIECES = re.compile(
    r"\\.|'[^']*'"  # means itself
    r'|(?P<quoted>"(?:\\.|[^"\\])*")'
    rf"|(?P<open>&&|\|\||[|;&<>]|{_REPLACED})",
    re.DOTALL,
)
_MODULE = "-m"
_RESUMES = re.compile(
    r"^-.*(resume|continue|restore|restart|recover)|(^|=)(resume|continue|latest|last|auto|true)$", re.IGNORECASE
)
_ISOLATING = re.compile(r"-[A-Za-z]*[IES][A-Za-z]*")  # options of Python alone, as -I, -sE
_SHELLS = ("bash", "sh", "zsh", "dash")
_LAUNCHERS = ("torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch")


@dataclass(frozen=True)
class Command:
    """A command that is launched, with placeholders in it.

    Attributes:
        text: as the user typed it.
        option: the option that it was given to, for messages.

    Raises:
        BadInput: it is empty, cannot be split into words, is a line for a shell, names a program that is not there, or
            has a placeholder that does not exist.
    """

    text: str
    option: str

    def __post_init__(self) -> None:
        if not self.words:
            raise BadInput(f'{self.option}={self.text!r}: give a command, as "python train.py --out {OUT}"')
        self._require_no_shell()
        self._require_placeholders()
        self._require_program()

    def _require_no_shell(self) -> None:
        found = of_a_shell(self.text)
        if found is not None:
            raise BadInput(
                f"{self.option}={self.text!r}: {found} is for a shell, and the command is run without one; "
                "write bash -c '…' around it, or give a shell script that has it"
            )

    def _require_placeholders(self) -> None:
        for found in _PLACEHOLDER.findall(self.text):
            near = difflib.get_close_matches(found, PLACEHOLDERS, n=1, cutoff=0.6)
            if found not in PLACEHOLDERS and near:
                raise BadInput(f"{self.option}={self.text!r}: there is no {found}; did you mean {near[0]}?")

    def _require_program(self) -> None:
        words = _after_variables([word.replace(PYTHON, sys.executable) for word in self.words])
        if not words:
            raise BadInput(f"{self.option}={self.text!r} sets variables, and names no program to run")
        program = words[0]
        if OUT in program or NEWEST in program or shutil.which(program) is not None:
            return
        if os.path.isfile(program):
            before = PYTHON if program.endswith(".py") else "bash"
            raise BadInput(f"{self.option}={self.text!r}: {program!r} cannot be executed; put {before} before it")
        near = f"; {PYTHON} stands for the one that runs this check" if "py" in program else ""
        raise BadInput(f"{self.option}={self.text!r}: there is no program {program!r}{near}")

    @property
    def name(self) -> str:
        """What it runs, for titles: the file of the script or its module; the program, where there is neither."""
        words = _after_variables(self.words)
        if Path(words[0]).name in _SHELLS:
            words = " ".join(words).split()  # also those inside of bash -c '…'
        return _script_in(words) or Path(words[0]).name

    @property
    def isolating(self) -> str | None:
        """The option by which its Python leaves PYTHONPATH or `sitecustomize` unread; None where it has none."""
        words = list(dropwhile(lambda word: word != PYTHON and not Path(word).name.startswith("python"), self.words))
        options = takewhile(lambda word: word.startswith("-"), words[1:])
        return next((word for word in options if _ISOLATING.fullmatch(word)), None)

    @property
    def words(self) -> Sequence[str]:
        """The command as the system gets it, its placeholders still in it."""
        try:
            return shlex.split(self.text)
        except ValueError as error:
            raise BadInput(f"{self.option}={self.text!r} cannot be read as a command: {error}") from None

    def has(self, placeholder: str) -> bool:
        """Whether it uses a placeholder."""
        return placeholder in self.text

    def tells_more_than(self, first: "Command") -> bool:
        """Whether it says anything that the first command did not, but that, and from what, it is to resume: another
        rate, a configuration of its own."""
        said = set(first.words)
        new = [word for word in self.words if word not in said]
        if any(word.endswith((".py", ".sh")) for word in new):
            return True
        for option, value in pairwise((*new, "")):
            if option.startswith("-") and any(place in value for place in (OUT, NEWEST)):
                said.add(option)
        return any(not (word in said or OUT in word or NEWEST in word or _RESUMES.search(word)) for word in new)

    def filled(self, values: Mapping[str, str]) -> "Launchable":
        """The command with values in place of its placeholders.

        Args:
            values: placeholder -> what it stands for.

        """
        in_shell = Path(_after_variables(self.words)[0]).name in _SHELLS
        every = [_replaced(word, {PYTHON: sys.executable, **values}, in_shell and " " in word) for word in self.words]
        words = _after_variables(every)
        given = (word.partition("=") for word in every[: len(every) - len(words)])
        return Launchable(tuple(words), {name: value for name, _, value in given})


@dataclass(frozen=True)
class Launchable:
    """A command that can be run.

    Attributes:
        words: the program and its arguments.
        variables: of the environment, that it was written with.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str]

    @property
    def text(self) -> str:
        """As one would type it."""
        return " ".join(
            [*(f"{name}={shlex.quote(value)}" for name, value in self.variables.items()), shlex.join(self.words)]
        )


def of_a_shell(text: str) -> str | None:
    """The first piece of a command that only a shell understands: `|`, `&&`, `>`, `$HOME`; None where there is none."""
    for piece in _PIECES.finditer(text):
        if piece["open"]:
            return piece["open"]
        quoted = re.search(_REPLACED, re.sub(r"\\.", "", piece["quoted"] or "", flags=re.DOTALL))
        if quoted is not None:
            return quoted[0]
    return None


def _script_in(words: Sequence[str]) -> str | None:
    for before, word in pairwise(words):
        if before == _MODULE and word not in _LAUNCHERS:
            return word
        if word.endswith(".py"):
            return Path(word).name
    return None


def _after_variables(words: Sequence[str]) -> Sequence[str]:
    """A command without the variables that a shell would read before it: VARIABLE=value command."""
    return list(dropwhile(_VARIABLE.match, words))


def _replaced(word: str, values: Mapping[str, str], in_shell: bool) -> str:
    """A word with values in place of its placeholders; those that a shell reads are quoted, unless the user did."""
    for placeholder, value in values.items():
        if in_shell:
            bare = rf"(?<!['\"]){re.escape(placeholder)}"
            word = re.sub(bare, shlex.quote(value).replace("\\", r"\\"), word)
        word = word.replace(placeholder, value)
    return word


def boot() -> Path:
    """The folder that comes first on PYTHONPATH of what is launched."""
    return Path(__file__).parents[1] / "boot"


def python_path(others: str | None = None) -> str:
    """PYTHONPATH of what is launched: that folder first.

    Args:
        others: what it is otherwise; None for that of this process.
    """
    others = os.environ.get("PYTHONPATH", "") if others is None else others
    return os.pathsep.join(filter(None, (str(boot()), others)))
