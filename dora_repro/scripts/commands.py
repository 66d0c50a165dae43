"""The commands that a user types for a check of a script: what their placeholders stand for, and how they are run."""

import difflib
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dora_repro.errors import BadInput

OUT, NEWEST, PYTHON = "{out}", "{newest}", "{python}"
PLACEHOLDERS = (OUT, NEWEST, PYTHON)

_PLACEHOLDER = re.compile(r"\{[A-Za-z_]\w*\}")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class Command:
    """A command that is launched, with placeholders in it.

    Attributes:
        text: as the user typed it.
        option: the option that it was given to, for messages.

    Raises:
        BadInput: it is empty, cannot be split into words, or has a placeholder that does not exist.
    """

    text: str
    option: str

    def __post_init__(self) -> None:
        if not self.words:
            raise BadInput(f'{self.option}="": give the command that trains, as "python train.py --out {{out}}"')
        for found in _PLACEHOLDER.findall(self.text):
            near = difflib.get_close_matches(found, PLACEHOLDERS, n=1, cutoff=0.6)
            if found not in PLACEHOLDERS and near:
                raise BadInput(f"{self.option}={self.text!r}: there is no {found}; did you mean {near[0]}?")

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

    def filled(self, values: Mapping[str, str]) -> "Launchable":
        """The command with values in place of its placeholders.

        Args:
            values: placeholder -> what it stands for.

        Raises:
            BadInput: the program is not there.
        """
        words = [_replaced(word, {PYTHON: sys.executable, **values}) for word in self.words]
        variables = {}
        while words and _VARIABLE.match(words[0]):  # as a shell reads them: VARIABLE=value command
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        if not words:
            raise BadInput(f"{self.option}={self.text!r} sets variables, and names no program to run")
        if shutil.which(words[0]) is None:
            near = " ({python} stands for the one that runs this check)" if "python" in words[0] else ""
            raise BadInput(f"{self.option}={self.text!r}: there is no program {words[0]!r}{near}")
        return Launchable(tuple(words), variables)


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


def _replaced(word: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


def boot() -> Path:
    """The folder that comes first on PYTHONPATH of what is launched."""
    return Path(__file__).parent / "boot"
