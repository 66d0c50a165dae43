"""What only separate processes show: a fresh start, the parent's world, time limits, nothing left behind."""

import copy
import functools
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest
import torch

from dora_repro import Verdict, check
from dora_repro.checks.options import request_of
from dora_repro.checks.running import run_check
from dora_repro.errors import BadInput
from tests import runs


def test_a_passing_check_costs_two_builds_and_no_step_twice():
    heard = []

    def hear(side, event):
        heard.append((side, event["event"], event.get("step")))

    report = run_check(replace(request_of(runs.Plain, 3, (2,), {}, title="check"), on_event=hear))
    assert report.verdict is Verdict.EXACT
    assert heard == [
        ("reference", "built", 0),
        ("reference", "step", 1),
        ("reference", "step", 2),
        ("reference", "saved", 2),
        ("reference", "step", 3),
        ("resumed", "loaded", 2),
        ("resumed", "step", 3),
    ]


def test_a_difference_is_found_and_controlled_in_processes_of_its_own(tmp_path):
    report = check(functools.partial(runs.Forgetful, "rng"), steps=3, save_at=2, folder=tmp_path / "kept")
    assert (report.verdict, report.divergence.step, report.divergence.phase) == (Verdict.DIFFERENT, 3, "forward")
    assert report.divergence.difference.total == 96
    assert report.control.runs == ("reference", "resumed")
    assert (tmp_path / "kept" / "reference" / "trace.jsonl").exists()


def test_a_class_attribute_set_in_this_process_does_not_reach_the_resumed_side():
    """The twin in this interpreter passes: what a run leaves in a module survives there, and in no killed process."""
    in_here = check(LeavesItOutside, steps=4, save_at=2, in_process=True)
    fresh = check(LeavesItOutside, steps=4, save_at=2)
    assert in_here.verdict is Verdict.EXACT
    assert (fresh.verdict, fresh.divergence.step) == (Verdict.DIFFERENT, 3)


class LeavesItOutside(runs.Plain):
    kept = None

    def save(self, path):
        super().save(path)
        type(self).kept = copy.deepcopy(self.optimizer.state_dict())

    def load(self, path):
        super().load(path)
        self.optimizer = type(self.optimizer)(self.model.parameters(), lr=1e-2)
        if self.kept is not None:
            self.optimizer.load_state_dict(self.kept)


def test_a_class_made_in_a_function_and_a_lambda_travel_by_value():
    class Local(runs.Plain):
        pass

    assert check(lambda: Local(), steps=2, save_at=1).verdict is Verdict.EXACT


def test_a_module_that_a_new_interpreter_would_not_find_travels_by_value(tmp_path, monkeypatch):
    (tmp_path / "away.py").write_text("from tests import runs\nclass Away(runs.Plain):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import away

    monkeypatch.undo()
    assert check(away.Away, steps=2, save_at=1).verdict is Verdict.EXACT


def test_a_side_that_does_not_finish_is_stopped():
    begun = time.monotonic()
    with pytest.raises(BadInput, match=r"run did not finish: no result after 12 s \(last event: built 0\)"):
        check(runs.Slow, steps=2, save_at=1, timeout=12)
    assert time.monotonic() - begun < 40


class KilledOnLoad(runs.Plain):
    def load(self, path):
        print("about to be killed")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_resumed_side_that_is_killed_accuses_nobody():
    report = check(KilledOnLoad, steps=2, save_at=1)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "was killed by SIGKILL" in report.reason and "about to be killed" in report.reason


class Loud(runs.Plain):
    def step(self):
        print('{"event": "done"}')
        os.system("echo from a child of the child")
        return super().step()


def test_what_a_run_prints_does_not_reach_the_protocol():
    assert check(Loud, steps=2, save_at=1).verdict is Verdict.EXACT


class Forking(runs.Loader):
    def __init__(self):
        super().__init__()
        options = {"batch_size": 8, "shuffle": True, "generator": self.generator}
        self.loader = torch.utils.data.DataLoader(runs.made_data(), num_workers=1, **options)


def test_a_run_may_fork_workers_and_read_an_empty_standard_input():
    assert check(Forking, steps=5, save_at=4, timeout=60).verdict is Verdict.EXACT


SCRIPT = textwrap.dedent(
    """
    from dataclasses import replace
    from dora_repro.checks.options import request_of
    from dora_repro.checks.running import run_check
    from tests import runs

    class Mine(runs.Slow):
        pass

    def on_event(side, event):
        print(side, event["event"], flush=True)

    if __name__ == "__main__":
        run_check(replace(request_of(Mine, 2, (1,), {}, title="check"), on_event=on_event))
    """
)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="looks at processes as POSIX systems keep them")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_check_that_is_ended_leaves_no_process_behind(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert parent.stdout.readline() == "reference built\n"
    children = _descendants(parent.pid)
    assert len(children) >= 2
    parent.send_signal(how)
    parent.wait(timeout=20)
    parent.stdout.close()
    limit = time.monotonic() + 20
    while any(_alive(child) for child in children):
        assert time.monotonic() < limit, "a side outlived its check"
        time.sleep(0.1)
    if how == signal.SIGINT:
        assert not list(tmp_path.glob("dora-repro-*"))


def _descendants(pid: int) -> list[int]:
    """Interpreters, and what is forked from them."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    children = [int(line) for line in found.split()]
    return [*children, *(below for child in children for below in _descendants(child))]


def _alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")
