"""The new interpreter of a side: its main function, called by `processes.SideProcess` alone."""

import gc
import importlib
import json
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path

KIT = ("dora_repro.sides.side",)  # what every side needs

Request = Callable[[], dict]
Emit = Callable[[dict], None]


def main(boot: dict) -> None:
    """Redirect what the run prints, import what it needs, wait for the work, do it."""
    emit = _redirect(boot["log"])
    preload((*KIT, *boot["preload"]))
    request = _listen()
    asked = request()
    sys.path[:] = asked["path"]
    # The parent's own pickle, in a folder that it made: not a checkpoint of unknown origin.
    factory = pickle.loads(Path(asked["factory"]).read_bytes())
    sys.stdin = open(os.devnull, encoding="utf-8")  # stays open: it is the run's standard input
    found(asked["work"])(factory, asked["about"], request, emit)
    emit({"event": "done"})


def serve(factory: object, about: dict, request: Request, emit: Emit) -> None:
    """Answer questions until the parent is gone: with what `module:name`, called with the factory, returns."""
    answer = found(about["maker"])(factory, about["about"])
    emit({"event": "ready"})
    while True:
        emit({"event": "answer", **answer(request())})


def found(name: str) -> Callable:
    """What `module:name` names."""
    place, _, name = name.partition(":")
    return getattr(importlib.import_module(place), name)


def preload(names: tuple[str, ...]) -> None:
    """Import modules that a run will need; one that is missing will be missed later, with its own message."""
    gc.disable()  # what is imported stays: looking through it again and again is a tenth of the time
    try:
        for name in names:
            try:
                importlib.import_module(name)
            except ImportError:
                continue
    finally:
        gc.enable()


def _redirect(log: str) -> Emit:
    """Give the protocol its own stream and send everything printed, by whatever means, to the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)

    def emit(event: dict) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    return emit


def _listen() -> Request:
    """What the parent says, line by line; where it is gone this process ends itself, in the middle of its work."""
    heard: queue.SimpleQueue[dict] = queue.SimpleQueue()

    def listen() -> None:
        # Not by sys.stdin: a worker forked while a thread waits inside it would wait for its lock for ever.
        rest = b""
        while more := os.read(0, 1 << 16):
            *lines, rest = (rest + more).split(b"\n")
            for line in lines:
                heard.put(json.loads(line))
        os._exit(1)  # the parent is gone: nobody reads the evidence

    threading.Thread(target=listen, daemon=True).start()
    return heard.get
