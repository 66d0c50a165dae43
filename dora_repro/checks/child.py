"""The new interpreter of a side: its main function, called by `processes.SideProcess` alone."""

import gc
import importlib
import json
import os
import pickle
import sys
import threading
from pathlib import Path

KIT = ("dora_repro.checks.side",)  # what every side needs


def main(boot: dict) -> None:
    """Redirect what the run prints, import what it needs, wait for the job, do it."""
    say = _redirect(boot["log"])
    preload((*KIT, *boot["preload"]))
    line = sys.stdin.readline()
    if not line:
        return
    asked = json.loads(line)
    sys.path[:] = asked["path"]
    # The parent's own pickle, in a folder that it made: not a checkpoint of unknown origin.
    factory = pickle.loads(Path(asked["factory"]).read_bytes())
    # Not by sys.stdin: a worker forked while a thread waits inside it would wait for its lock for ever.
    sys.stdin = open(os.devnull, encoding="utf-8")  # stays open: it is the run's standard input
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from dora_repro.checks.job import Job
    from dora_repro.checks.side import perform

    perform(factory, Job.from_dict(asked["job"]), say)
    say({"event": "done"})


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


def _redirect(log: str):
    """Give the protocol its own stream and send everything printed, by whatever means, to the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)

    def say(event: dict) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    return say


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)  # the parent is gone: nobody reads the evidence
