"""The checks of any run: `check`, `every_step`, `twice`. They put a question into one form; `running.py` answers it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Unpack

from dora_repro.checks.options import Options, lists_its_options, request_of
from dora_repro.checks.report import Report, Reports
from dora_repro.checks.running import run_check, run_every_step, run_twice
from dora_repro.contracts import Factory


@lists_its_options
def check(
    factory: Factory,
    steps: int,
    save_at: int,
    *,
    ignore: str | Iterable[str] = (),
    tolerance: float | str | None = None,
    control: str = "auto",
    timeout: float = 3600.0,
    in_process: bool = False,
    folder: str | Path | None = None,
    values: str | Iterable[str] = (),
    explain: bool = True,
) -> Report:
    """Is the run that is saved after step `save_at`, ended, rebuilt and loaded the run that was not interrupted?

    Args:
        factory: called afresh for each side; returns an object with `step()`, `save(path)` and `load(path)`. Where it
            has an attribute `resume`, `factory.resume(path)` replaces building and loading.
        steps: the last optimizer step to do, counted from 1.
        save_at: save after this step; 0 is before any. At `steps` the state alone is compared.
        ignore: globs of leaves that may be lost at the end without harm, as `ema/*`.
        tolerance: accept differences of parameters and outputs up to this absolute value, or up to the study's tier
            of that name (`load`, `parameters`, `outputs`).
        control: `auto` repeats a side where any byte differs, `always` in any case, `never` accuses nobody.
        timeout: seconds for each side.
        in_process: run all sides in this interpreter, for debugging: their global state is not fresh.
        folder: keep the evidence here (must not exist, or be empty); by default it is removed.
        values: globs of trainable parameters, as `model/*`: both sides keep their values at every step, up to
            256 MiB, so that `report.drift` says how far apart they are, step by step.
        explain: where the runs differ, find out why: put the reference's state back into the resumed run, part by
            part, until the smallest set is found that makes it the same (`report.explanation`, `report.causes`).

    Returns:
        The report: `report.verdict`, `report.divergence`, `report.causes`; printed, all of it.

    Raises:
        BadInput: impossible steps, an unknown control or tolerance, a factory that cannot be sent to a process, an
            uninterrupted run that raises or is over before `save_at`, a glob in `ignore` or `values` that matches
            nothing.
        Defect: the kit failed while it recorded a run.
        TypeError: an option that does not exist.

    Example:
        A run is an object of any class with these three methods. This one does not save its optimizer::

            import torch
            import dora_repro

            class Run:
                def __init__(self):
                    torch.manual_seed(0)
                    self.model = torch.nn.Linear(4, 1)
                    self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)

                def step(self):
                    self.optimizer.zero_grad()
                    loss = (self.model(torch.eye(4)) - 1).square().mean()
                    loss.backward()
                    self.optimizer.step()
                    return loss.item()

                def save(self, path):
                    torch.save(self.model.state_dict(), path)

                def load(self, path):
                    self.model.load_state_dict(torch.load(path))

            report = dora_repro.check(Run, steps=6, save_at=3)
            print(report.summary)
            # DIFFERENT: first differs at step 4, phase update, model/weight
            print([cause.name for cause in report.causes])
            # ['optimizer/*/{step, exp_avg, exp_avg_sq}']
    """
    options: Options = {
        "ignore": ignore,
        "tolerance": tolerance,
        "control": control,
        "timeout": timeout,
        "in_process": in_process,
        "folder": folder,
        "values": values,
        "explain": explain,
    }
    return run_check(request_of(factory, steps, (save_at,), options, title="check"))


@lists_its_options
def every_step(
    factory: Factory, steps: int, save_at: Iterable[int] | None = None, **options: Unpack[Options]
) -> Reports:
    """Resume after each of several steps, and compare each resumed run with one reference, which is trained once.

    Args:
        factory: as for `check`.
        steps: as for `check`.
        save_at: the steps to resume from; by default 0, 1, …, `steps`.
        options: those of `check`.

    Raises:
        BadInput, Defect: as for `check`.
        TypeError: an option that does not exist.

    Example:
        With the class `Run` of the example of `check`::

            reports = dora_repro.every_step(Run, steps=3, save_at=[0, 2])
            print(reports.summary)
            # resumed at step 0: EXACT
            # resumed at step 2: DIFFERENT: first differs at step 3, phase update, model/weight
    """
    points = range(steps + 1) if save_at is None else save_at
    return run_every_step(request_of(factory, steps, points, options, title="every step"))


@lists_its_options
def twice(factory: Factory, steps: int, save_at: Iterable[int], **options: Unpack[Options]) -> Reports:
    """Resume a resumed run: saved after the first of `save_at`, resumed, saved again after the next, and so on.

    Each report compares one resumed run with the reference that was never interrupted.

    Args:
        factory: as for `check`.
        steps: as for `check`.
        save_at: two or more steps, each later than the one before.
        options: those of `check`.

    Raises:
        BadInput, Defect: as for `check`, and where `save_at` has fewer than two steps or is not in order.
        TypeError: an option that does not exist.
    """
    return run_twice(request_of(factory, steps, save_at, options, title="twice"))
