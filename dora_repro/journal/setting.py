"""How a journal is kept: told to the processes of a training by their environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dora_repro.errors import BadInput

VARIABLE = "DORA_REPRO_JOURNAL"  # the folder; `boot/sitecustomize.py` reads it, too
_LEVEL, _STRICT, _LIMIT = f"{VARIABLE}_LEVEL", f"{VARIABLE}_STRICT", f"{VARIABLE}_LIMIT"
_KILL = f"{VARIABLE}_KILL_AFTER"

LEVELS = ("light", "full")
LIMIT = 1 << 30  # bytes of a journal
STRICT_EXIT = 90  # of a job that --strict has ended: neither a verdict of a check nor a signal


@dataclass(frozen=True)
class Setting:
    """How a journal is kept.

    Attributes:
        folder: where it lies.
        level: `light` for the digests of batches, outputs, losses, parameters, options and global generators of each
            update; `full` for those of gradients and of all memory that moves as well.
        strict: end the job where it did not go on as it was.
        limit: bytes that a journal may take; beyond it, the oldest updates and states go.
        kill_after: kill the process when it has done so many updates and made the next one, as a preemption would: to
            see what a journal says of it (`preempting.py`); None for never.
    """

    folder: Path
    level: str = "light"
    strict: bool = False
    limit: int = LIMIT
    kill_after: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell it to a process and to what that starts."""
        return {
            VARIABLE: str(self.folder.absolute()),
            _LEVEL: self.level,
            _STRICT: "1" if self.strict else "0",
            _LIMIT: str(self.limit),
            _KILL: "" if self.kill_after is None else str(self.kill_after),
        }

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Setting":
        """What the environment tells.

        Raises:
            BadInput: a variable has a value that it cannot have.
        """
        level = environment.get(_LEVEL) or LEVELS[0]
        if level not in LEVELS:
            raise BadInput(f"{_LEVEL} is {level!r}: set it to light or full")
        limit = environment.get(_LIMIT) or str(LIMIT)
        if not limit.isdecimal():
            raise BadInput(f"{_LIMIT} is {limit!r}: set it to a number of bytes")
        kill = environment.get(_KILL, "")
        if kill and not kill.isdecimal():
            raise BadInput(f"{_KILL} is {kill!r}: set it to a number of updates")
        strict = environment.get(_STRICT, "0") not in ("", "0")
        return cls(Path(environment[VARIABLE]), level, strict, int(limit), int(kill) if kill else None)
