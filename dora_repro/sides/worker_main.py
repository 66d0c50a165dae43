"""The process of a side from inside: its main function, called by `interpreters.Interpreter` alone."""

import gc
import importlib
import json
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dora_repro.contracts import Factory
from dora_repro.sides.forking import serve_forks
from dora_repro.sides.protocol import Answer, Emit, Event, Question, Request

OUT_OF_SIGHT = "dora_repro.sides.out_of_sight"
NAMES = "dora_repro.state.function_names"
KIT = ("dora_repro.sides.side", "dora_repro.sides.late_imports", OUT_OF_SIGHT, NAMES)  # what every side needs


def main(boot: Mapping[str, Any]) -> None:
    """Redirect what the run prints, import what it needs, wait for the work, do it: in forks, where they are asked for.

    Args:
        boot: the first line of the parent: `log` (the file for what is printed), `preload` (modules to import),
            `late` (a file of modules to import out of sight; None where there are none), `prepare` (a function, as
            `module:name`, and what to call it with before the first fork; None where there is none) and `control` (the
            file descriptor over which forks are asked for; None where there are none).
    """
    channel = redirect(boot["log"])
    preload((*KIT, *boot["preload"]))
    refused = resolve(f"{OUT_OF_SIGHT}:import_out_of_sight")(Path(boot["late"])) if boot["late"] is not None else None
    if boot["prepare"] is not None:
        name, about = boot["prepare"]
        resolve(name)(about)
    if boot["control"] is not None:
        gc.collect()
        gc.freeze()  # what is there stays as it is in every fork: looking through it would copy its pages
        told = serve_forks(boot["control"], vars(refused) if refused is not None else None)
        if told is not None:
            os.close(channel)
            main(told)
            return
    _do_work(channel)


def _do_work(channel: int) -> None:
    """Wait for the work, and do it."""
    stream = os.fdopen(channel, "w", encoding="utf-8")

    def emit(event: Event) -> None:
        stream.write(json.dumps(event) + "\n")
        stream.flush()

    request = _listen()
    line: Mapping[str, Any] = request()
    sys.path[:] = line["path"]
    imports = resolve(f"{OUT_OF_SIGHT}:Imports")()
    resolve(f"{NAMES}:take")(Path(line["names"]))
    # The parent's own pickle, in a folder that it made: not a checkpoint of unknown origin.
    factory = pickle.loads(Path(line["factory"]).read_bytes())
    sys.stdin = open(os.devnull, encoding="utf-8")  # stays open: it is the run's standard input
    resolve(line["work"])(factory, line["about"], request, emit)
    resolve(f"{NAMES}:leave")(Path(line["names"]))
    emit({"event": "imported", "libraries": imports.libraries()})
    emit({"event": "done"})


def answer_one(factory: Factory, about: Mapping[str, Any], request: Request, emit: Emit) -> None:
    """Answer one question.

    Args:
        factory: builds a run.
        about: `maker`, as `module:name`, is called with the factory and `about` to get what answers.
        request: waits for the question.
        emit: sends the answer.
    """
    answer: Answer = resolve(about["maker"])(factory, about["about"])
    emit({"event": "answer", **answer(request())})


def resolve(name: str) -> Callable[..., Any]:
    """The function that `module:name` names."""
    place, _, name = name.partition(":")
    return getattr(importlib.import_module(place), name)


def preload(names: tuple[str, ...]) -> None:
    """Import modules that a run will need; one that is missing raises later, where the run imports it."""
    gc.disable()  # what is imported stays: collecting again and again meanwhile is a tenth of the time
    try:
        for name in names:
            try:
                importlib.import_module(name)
            except ImportError:
                continue
    finally:
        gc.enable()


def redirect(log: str) -> int:
    """Give the protocol a file descriptor of its own and send everything printed, by whatever means, to the log."""
    channel = os.dup(1)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    return channel


def _listen() -> Request:
    """Read the parent's lines; where it is gone this process ends itself, in the middle of its work."""
    lines_read: queue.SimpleQueue[Question] = queue.SimpleQueue()

    def listen() -> None:
        # Not by sys.stdin: a worker forked while a thread waits inside it would wait for its lock for ever.
        rest = b""
        while more := os.read(0, 1 << 16):
            *lines, rest = (rest + more).split(b"\n")
            for line in lines:
                lines_read.put(json.loads(line))
        os._exit(1)  # the parent is gone: nobody reads the evidence

    threading.Thread(target=listen, daemon=True).start()
    return lines_read.get
