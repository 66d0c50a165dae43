"""The process that makes trials from evidence that was kept, as the process was that made the check: in its folder,
with its modules, its arguments and those of its environment variables that change what is computed.

It reads a trial a line, and answers with its events and its result. It ends when nobody is there any more to read
them, and what it had started ends with it.
"""

import json
import os
import queue
import shutil
import signal
import threading
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dora_repro.errors import BadInput
from dora_repro.explain.trials.trial import Trial
from dora_repro.kept.opening import evidence
from dora_repro.kept.trying import what_tries
from dora_repro.sides.protocol import Emit, Event, Question, Request


def main(boot: Mapping[str, Any]) -> None:
    """Answer until there is nobody who asks.

    Args:
        boot: `folder` (of the evidence), `report` (its place among the reports) and `scratch` (an empty folder).
    """
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what is printed goes to the log

    def emit(event: Event) -> None:
        stream.write(json.dumps(event) + "\n")
        stream.flush()

    signal.signal(signal.SIGTERM, _interrupt)
    scratch = Path(boot["scratch"])
    try:
        _answer(Path(boot["folder"]), boot["report"], scratch, _listen(), emit)
    except BadInput as error:
        emit({"event": "refused", "message": str(error)})
    except KeyboardInterrupt:
        pass
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _answer(folder: Path, report: int, scratch: Path, request: Request, emit: Emit) -> None:
    def on_event(side: str, event: Event) -> None:
        emit(event)

    with what_tries(evidence(folder).reports[report], scratch, on_event) as run_trial:
        while True:
            trial = Trial.from_dict(request())
            emit({"event": "answer", **run_trial(trial).to_dict()})


def _interrupt(number: int, frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def _listen() -> Request:
    """Read lines; where there are no more, end this process as Ctrl-C would, also in the middle of a trial."""
    lines: queue.SimpleQueue[Question] = queue.SimpleQueue()

    def listen() -> None:
        rest = b""
        while more := os.read(0, 1 << 16):
            *whole, rest = (rest + more).split(b"\n")
            for line in whole:
                lines.put(json.loads(line))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    return lines.get
