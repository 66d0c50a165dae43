"""The gallery of faults, put to this kit and to two packages that answer (part of) the same question.

`trainparity` is driven by its `check_resume` (fresh processes, exact comparison): a command that trains, and a case
that names it. What a process leaves is one file: the fault's own checkpoint where it has come to the save, and all that
the run holds at its end, so that the tool may also see what no checkpoint of the fault contains. `pytest-torch` is
driven by its `assert_resume_equivalent` with the fault's own `save` and `load`; everything that the run holds is in its
`TrainingSetup`, as its messages advise. It is asked twice, with its own tolerances and with none. All do the same steps
of the same runs and save after the same one; none is told what is wrong. The gallery is this kit's own, though, and
what it finds there is what its tests demand, while the rivals meet these runs for the first time.

Right is what is declared beside the fault. Step: the first that differs; `pytest-torch` may say two, the load and the
first loss, and either will do. Component: the first part of the paths of the declared causes, by `COMPONENTS`, and
likewise of what a tool names. *First* counts where what it names first is part of the cause, *among* where all of the
cause is anywhere among what it names, *alone* where it names the cause and nothing else. A resumed run that raises is
detected by whoever reports that. What a tool's interface cannot express is counted apart, and in no other column.
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import timing

DORA, PARITY, PYTEST, STRICT = "dora-repro", "trainparity", "pytest-torch", "pytest-torch, exact"
TOOLS = (DORA, PARITY, PYTEST, STRICT)
# What has to be installed: the module, and the version that this was written for.
PACKAGES = {
    PARITY: ("trainparity", "trainparity==0.1.0"),
    PYTEST: ("pytest_torch", "pytest-torch==1.1.1"),
    STRICT: ("pytest_torch", "pytest-torch==1.1.1"),
}
TIMEOUT = 300.0  # seconds for each process
ASKED = "DORA_REPRO_RIVALS"  # the environment variable that tells trainparity's processes which run to do

# First part of a leaf's path, or of what a tool names -> component; the first that matches. Anything else is a
# component of that name: `steps`, `best`.
COMPONENTS = (
    ("rng", "rng"),
    ("random", "rng"),  # "random number generators (torch, numpy)"
    ("data", "data"),
    ("feed", "data"),  # of the study's runs
    ("*loader*", "data"),
    ("*sampler*", "data"),
    ("*dataset*", "data"),
    ("*generator*", "data"),  # that of the loader; the global ones are under rng/
    ("batches", "data"),
    ("before_epoch", "data"),
    ("position", "data"),
    ("flags", "environment"),
    ("*sched*", "scheduler"),
    ("*optim*", "optimizer"),
    ("*scaler*", "scaler"),
    ("*ema*", "average"),
    ("*average*", "average"),
    ("*swa*", "average"),
    ("*shadow*", "average"),
    ("model", "model"),
    ("net", "model"),
)
# Nothing that was captured explains it: an empty alternative among the declared causes. It is also right where the
# batches differ and no state says why: "outside the checkpoint: a stateful data pipeline, …", as pytest-torch has it.
OUTSIDE = "outside"


class CannotTakePart(Exception):
    """A fault that a tool's interface has no words for; with the reason."""


@dataclass(frozen=True)
class Found:
    """What one tool made of one fault.

    Attributes:
        outcome: `detected`, `passed`, `no verdict`, or `cannot take part`.
        steps: that it gives as the first that differs (`pytest-torch` may give two: the load, and the first loss).
        named: components that it names, in its order.
        says: its own words, or why it cannot take part.
    """

    tool: str
    fault: str
    outcome: str
    steps: tuple[int, ...] = ()
    named: tuple[str, ...] = ()
    seconds: float = 0.0
    says: str = ""


def component(path: str) -> str:
    """Of a leaf, a glob of leaves, or a name that a tool gives: `optimizer/*/exp_avg` is `optimizer`."""
    first = re.split(r"[/.\[ ]", path, maxsplit=1)[0].lower()
    return next((name for glob, name in COMPONENTS if fnmatchcase(first, glob)), first)


def components(paths: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(component(path) for path in paths))


# --- a run, as rivals want it ----------------------------------------------------------------------------------------


def observed(run: object) -> dict[str, object]:
    """All state that a run holds, attribute by attribute, as plain data; the global generators as `rng`."""
    import numpy as np
    import torch

    held = {name: told for name, value in vars(run).items() if (told := stated(value)) is not None}
    held["rng"] = {"torch": torch.get_rng_state(), "numpy": plain(np.random.get_state()), "python": random.getstate()}
    return held


def stated(value: object, within: bool = False) -> object:
    """The state of one attribute as plain data; None where it has none, or is a list of losses that only grows.

    Args:
        within: it is an attribute of an attribute, and whose own attributes are not looked at any more.
    """
    import numpy as np
    import torch

    if isinstance(value, torch.nn.Module):
        return plain({**dict(value.named_buffers()), **value.state_dict(), **dict(value.named_parameters())})
    if hasattr(value, "state_dict") and not isinstance(value, type):
        return plain(value.state_dict())
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return plain(value.bit_generator.state)
    if isinstance(value, list) and all(isinstance(item, float) for item in value):
        return None
    if isinstance(value, bool | int | float | str | dict | list | tuple | torch.Tensor):
        return plain(value)
    package = type(value).__module__.partition(".")[0]
    if within or not hasattr(value, "__dict__") or package in ("torch", *sys.stdlib_module_names):
        return None
    return {name: told for name, item in vars(value).items() if (told := stated(item, True)) is not None} or None


def plain(value: object, above: tuple[int, ...] = ()) -> object:
    """Mappings, sequences, tensors and scalars as they are; of anything else the name of its type.

    Args:
        above: identities of what it lies in.
    """
    import numpy as np
    import torch

    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    if isinstance(value, dict):
        return {str(key): plain(item, above) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [plain(item, above) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone().requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, bool | int | float | str | bytes | None) else type(value).__name__


def resumed(factory: Callable[[], object], path: str) -> object:
    """A new run that goes on from a checkpoint."""
    if hasattr(factory, "resume"):
        return factory.resume(path)
    run = factory()
    run.load(path)
    return run


def importable(factory: Callable[[], object]) -> str:
    """`module:Class`, for another process."""
    name = f"{factory.__module__}:{getattr(factory, '__qualname__', '')}"
    if "<" in name or name.endswith(":"):
        raise CannotTakePart("its factory cannot be imported by name")
    return name


def imported(name: str) -> Callable[[], object]:
    module, _, path = name.partition(":")
    thing = importlib.import_module(module)
    for part in path.split("."):
        thing = getattr(thing, part)
    return thing


def refuse_ends(fault) -> None:
    if not 0 < fault.save_at < fault.steps:
        raise CannotTakePart(f"it saves after step {fault.save_at} of {fault.steps}, and that must lie between")


# --- dora-repro ------------------------------------------------------------------------------------------------------


def ask_dora(fault, in_process: bool) -> Found:
    from dora_repro.faults.trying import try_fault
    from dora_repro.show.gallery import to_dict

    return of_gallery(to_dict(try_fault(fault, in_process=in_process)))


def of_gallery(told: dict) -> Found:
    """From a row of `dora-repro faults run --json`."""
    report = told["report"]
    outcome = {"DIFFERENT": "detected", "LATENT": "detected", "INCONCLUSIVE": "no verdict"}
    steps = (report["divergence"]["step"],) if report["divergence"] is not None else ()
    explanation = report["explanation"] or {"causes": (), "unexplained": ""}
    named = components(leaf for cause in explanation["causes"] for leaf in cause["leaves"])
    return Found(
        tool=DORA,
        fault=told["name"],
        outcome=outcome.get(report["verdict"], "passed"),
        steps=steps,
        named=named or ((OUTSIDE,) if explanation["unexplained"] else ()),
        seconds=told["seconds"],
        says=f"{report['verdict']}: {report['reason']}",
    )


# --- trainparity -----------------------------------------------------------------------------------------------------


class Case:
    """A command that trains, for `trainparity.check_resume`; which run it is stands in the environment."""

    def __init__(self):
        asked = json.loads(os.environ[ASKED])
        self.name, self.split_step, self.total_step = asked["name"], asked["save_at"], asked["steps"]
        self.factory = asked["factory"]

    def command(self, plan) -> list[str]:
        words = [sys.executable, __file__, "--part", "train", "--factory", self.factory, "--folder", str(plan.run_dir)]
        words += ["--save-at", str(self.split_step), "--end", str(plan.end_step)]
        return words + (["--resume-from", str(plan.resume_from)] if plan.resume_from is not None else [])

    def checkpoint_path(self, run_dir: Path) -> Path:
        return run_dir / "checkpoint.tar"

    def observe_checkpoint(self, path: Path) -> dict[str, object]:
        import torch

        with tempfile.TemporaryDirectory() as folder:
            shutil.unpack_archive(path, folder)
            return torch.load(Path(folder, "observed.pt"), weights_only=False)


def train(options: argparse.Namespace) -> None:
    """Train up to a step, and save if it is `save_at`; that and what the run holds then is one file to trainparity."""
    import torch

    folder, factory = Path(options.folder), imported(options.factory)
    kept, step = folder / "kept", 0
    if options.resume_from:
        shutil.unpack_archive(options.resume_from, folder / "loaded")
        run, step = resumed(factory, str(folder / "loaded" / "checkpoint")), options.save_at
    else:
        run = factory()
    kept.mkdir()
    while step < options.end:
        try:
            run.step()
        except StopIteration:  # the run is over before that
            break
        step += 1
    torch.save(observed(run), kept / "observed.pt")
    if options.end == options.save_at:
        run.save(str(kept / "checkpoint"))
    shutil.make_archive(str(folder / "checkpoint"), "tar", kept)


def ask_parity(fault, in_process: bool) -> Found:
    from trainparity import Outcome, check_resume

    refuse_ends(fault)
    asked = {"name": fault.name, "factory": importable(fault.factory), "steps": fault.steps, "save_at": fault.save_at}
    os.environ[ASKED] = json.dumps(asked)
    sys.path[:0] = [str(Path(__file__).parent)]
    begun = time.perf_counter()
    try:
        result = check_resume(f"{Path(__file__).stem}:Case", cwd=timing.ROOT, timeout=TIMEOUT)
    finally:
        del os.environ[ASKED], sys.path[0]
    seconds = time.perf_counter() - begun
    if result.outcome is Outcome.ERROR and not result.message.startswith("candidate_resume child"):
        raise CannotTakePart(result.message)
    outcome = {Outcome.PASS: "passed", Outcome.ABSTAIN: "no verdict"}.get(result.outcome, "detected")
    paths = [found.path for found in (result.primary_difference, *result.all_differences) if found is not None]
    named = ("run",) if result.outcome is Outcome.ERROR else components(paths)  # that child's exception
    steps = (result.first_divergent_step,) if result.first_divergent_step is not None else ()
    return Found(PARITY, fault.name, outcome, steps, named, seconds, result.message)


# --- pytest-torch ----------------------------------------------------------------------------------------------------


class Held:
    """One more attribute of a run, as `TrainingSetup.state` wants it: an object with `state_dict`."""

    def __init__(self, setup, name: str):
        self.setup, self.name = setup, name

    def state_dict(self) -> dict[str, object]:
        return {"value": stated(getattr(self.setup.run, self.name, None))}


def fill(setup, run: object) -> None:
    """Put a run into a `TrainingSetup`: what it makes or loads takes the place of what was there."""
    import torch
    from torch.optim.lr_scheduler import LRScheduler

    attributes = vars(run)
    kinds = (torch.nn.Module, torch.optim.Optimizer, LRScheduler, torch.amp.GradScaler)
    models, optimizers, schedulers, scalers = (
        {name: value for name, value in attributes.items() if isinstance(value, kind)} for kind in kinds
    )
    inner = {} if optimizers else wrapped(attributes, torch.optim.Optimizer)
    if not models or not optimizers | inner:
        raise CannotTakePart(
            "a TrainingSetup wants a model and an optimizer, and the run has none among its attributes"
        )
    model = "model" if "model" in models else next(iter(models))
    setup.run, setup.model, setup.optimizers, setup.schedulers = run, models[model], optimizers | inner, schedulers
    setup.scaler = next(iter(scalers.values()), None)
    if not setup.state:  # the same names in both setups, whatever a run has become since
        taken = {model, *optimizers, *schedulers, *list(scalers)[:1]}
        others = {name: value for name, value in attributes.items() if name not in taken}
        stateful = [name for name, value in others.items() if value is None or stated(value) is not None]
        setup.state = {name: Held(setup, name) for name in stateful}


def wrapped(attributes: dict[str, object], kind: type) -> dict[str, object]:
    """What lies one level further in: the optimizer of a wrapper, which itself is then one more state."""
    held = {name: vars(value) for name, value in attributes.items() if hasattr(value, "__dict__")}
    return {name: value for name, own in held.items() for value in own.values() if isinstance(value, kind)}


def resume_equivalent(factory: Callable[[], object], steps: int, save_at: int, exact: bool) -> dict[str, object]:
    """`pytest_torch.assert_resume_equivalent` of a run: what it says, in what time."""
    from pytest_torch import TrainingSetup, assert_resume_equivalent

    resuming, done = False, 0

    def make():
        run = factory()
        # The constructor alone makes mappings of what it is given, by name.
        setup = TrainingSetup(getattr(run, "model", None), {"optimizer": getattr(run, "optimizer", None)})
        fill(setup, run)
        return setup

    def load(setup, path: Path) -> None:
        nonlocal resuming, done
        resuming, done = True, save_at
        if hasattr(factory, "resume"):
            fill(setup, factory.resume(str(path)))
        else:
            setup.run.load(str(path))
            fill(setup, setup.run)

    def step(setup, batch: None) -> float | None:
        nonlocal done
        done = setup.step_index + 1
        try:
            return setup.run.step()
        except StopIteration:  # the run is over before that
            return None

    tolerance = {"rtol": 0.0, "atol": 0.0} if exact else {}
    told = {"says": "", "failed": False}
    begun = time.perf_counter()
    try:
        assert_resume_equivalent(
            make,
            lambda index: None,  # a run draws its own batches
            step,
            steps=steps,
            resume_at=save_at,
            save=lambda setup, path: setup.run.save(str(path)),
            load=load,
            **tolerance,
        )
    except AssertionError as error:
        told.update(says=str(error), failed=True)
    except CannotTakePart as error:
        told.update(cannot=str(error))
    except Exception as error:
        if not resuming:
            told.update(cannot=f"the uninterrupted run raised {type(error).__name__}: {error}")
        told.update(says=f"{type(error).__name__}: {error}", failed=True, raised_at=done)
    return {**told, "seconds": time.perf_counter() - begun}


def read_message(text: str, save_at: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Steps, counted from 1, and components in a failure of `assert_resume_equivalent`."""
    _, after_load, listed = text.partition("State after loading vs when saving:\n")
    named = []
    for line in re.findall(r"^  (\w.*)$", listed.partition("\nHint:")[0], flags=re.MULTILINE):
        quoted = re.match(r"(?:optimizer|scheduler) '(\w+)'", line)
        named.append(quoted[1] if quoted else "scaler" if line.startswith("GradScaler") else line.partition(":")[0])
    if "the difference comes from outside" in text:
        named = [OUTSIDE]
    steps = (save_at,) if after_load else ()
    first = re.search(r"first divergence at step (\d+):", text)
    return (*steps, *((int(first[1]) + 1,) if first else ())), components(named)


def ask_pytest(fault, in_process: bool, exact: bool = False) -> Found:
    refuse_ends(fault)
    if in_process:
        told = resume_equivalent(fault.factory, fault.steps, fault.save_at, exact)
    else:  # a process of its own, since a fault may leave this one with other switches
        words = ["--part", "pytest-torch", "--factory", importable(fault.factory), "--end", str(fault.steps)]
        words += ["--save-at", str(fault.save_at), *(["--exact"] if exact else [])]
        command = [sys.executable, __file__, *words]
        done = subprocess.run(command, cwd=timing.ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            raise CannotTakePart(f"its process ended with exit code {done.returncode}: {done.stderr[-300:]}")
        told = json.loads(done.stdout.splitlines()[-1])
    if "cannot" in told:
        raise CannotTakePart(told["cannot"])
    steps, named = read_message(told["says"], fault.save_at)
    if "raised_at" in told:
        steps, named = (told["raised_at"],), ("run",)  # the exception itself is what it shows
    outcome = "detected" if told["failed"] else "passed"
    return Found(STRICT if exact else PYTEST, fault.name, outcome, steps, named, told["seconds"], told["says"])


# --- all of them -----------------------------------------------------------------------------------------------------


def to_install(tool: str) -> str:
    """What to install for a tool; empty where it is there."""
    module, package = PACKAGES.get(tool, ("dora_repro", ""))
    if importlib.util.find_spec(module) is not None:
        return ""
    return f"{tool} is left out: pip install --no-deps {package}"


def asked(tool: str, fault, in_process: bool) -> Found:
    """One fault, put to one tool."""
    ask = {
        DORA: ask_dora,
        PARITY: ask_parity,
        PYTEST: ask_pytest,
        STRICT: lambda fault, in_process: ask_pytest(fault, in_process, exact=True),
    }[tool]
    try:
        return ask(fault, in_process)
    except CannotTakePart as error:
        return Found(tool, fault.name, "cannot take part", says=str(error))
    except Exception as error:  # the others go on
        return Found(tool, fault.name, "cannot take part", says=f"it raised {type(error).__name__}: {error}")


def blamed(fault, found: Found) -> tuple[bool, bool, bool]:
    """Whether the cause's component is named first, among others, and alone; any of the declared causes will do."""
    causes = [set(components(globs)) or {OUTSIDE} for globs in fault.causes]
    causes += [{OUTSIDE} for globs in fault.causes if globs == ("data/batches",)]
    named = found.named
    return (
        any(named[:1] and named[0] in cause for cause in causes),
        any(cause <= set(named) for cause in causes),
        any(cause == set(named) for cause in causes),
    )


def share(hits: Iterable[bool]) -> str:
    """`3/4`; a dash where there was none to find."""
    hits = list(hits)
    return f"{sum(hits)}/{len(hits)}" if hits else "–"


def row(tool: str, faults: Sequence, found: dict[str, Found]) -> dict[str, object]:
    """A tool's line of the table.

    Args:
        found: by name of the fault.
    """
    pairs = [(fault, found[fault.name]) for fault in faults if found[fault.name].outcome != "cannot take part"]
    faulty = [(fault, told) for fault, told in pairs if fault.verdict in ("DIFFERENT", "LATENT") and not fault.clean]
    blames = [blamed(fault, told) for fault, told in faulty if fault.causes]
    placed = [fault.step in told.steps for fault, told in faulty if fault.step is not None]
    first, among, alone = zip(*blames, strict=True) if blames else ((), (), ())
    return {
        "tool": tool,
        "detected": share(told.outcome == "detected" for _, told in faulty),
        "step": share(placed),
        "component first": share(first),
        "among": share(among),
        "alone": share(alone),
        "clean passed": share(told.outcome == "passed" for fault, told in pairs if fault.clean),
        "median s": statistics.median(told.seconds for _, told in pairs) if pairs else None,
        "no verdict": sum(told.outcome == "no verdict" for _, told in pairs),
        "cannot take part": len(faults) - len(pairs),
    }


def compare(options: argparse.Namespace) -> None:
    """Every fault to every tool, and the table."""
    absent = {tool: words for tool in options.tools if (words := to_install(tool))}
    for words in absent.values():
        timing.tell(words)
    tools = [tool for tool in options.tools if tool not in absent]
    faults = timing.faults(options.only)
    before = known(options.known)
    found: dict[str, dict[str, Found]] = {tool: {} for tool in tools}
    for fault in faults:
        for tool in tools:
            told = before.get((tool, fault.name)) or asked(tool, fault, options.in_process)
            found[tool][fault.name] = told
            timing.tell(f"{fault.name}, {tool}: {told.outcome}, {told.steps}, {told.named}, {told.seconds:.1f} s")
    notes = [
        f"{sum(not fault.clean for fault in faults)} faults and {sum(fault.clean for fault in faults)} clean runs; "
        f"a fault that is declared INCONCLUSIVE counts for its time alone",
        "seconds: of one check as it is called; trainparity's starts seven processes, dora-repro's two and those that "
        "find the cause, pytest-torch's none: its process has imported torch before",
        *(f"{PARITY if tool == PARITY else PYTEST} {version(tool)}" for tool in (PARITY, PYTEST) if tool in tools),
        *absent.values(),
    ]
    for reason, names in reasons(found).items():
        notes.append(f"cannot take part: {reason}: {', '.join(names)}")
    rows = [row(tool, faults, found[tool]) for tool in tools]
    timing.report("The same faults, put to each tool", rows, options, notes)
    if options.json:
        file = Path(options.json)
        content = json.loads(file.read_text(encoding="utf-8"))
        content["found"] = [dataclasses.asdict(told) for by_fault in found.values() for told in by_fault.values()]
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def known(files: Sequence[str]) -> dict[tuple[str, str], Found]:
    """Answers of runs before this one, by tool and fault: of this script, or of `dora-repro faults run`, as JSON."""
    before = {}
    for file in files:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        if isinstance(content, list):
            told = [of_gallery(row) for row in content if not row["skipped"]]
        else:
            told = [Found(**{**row, "steps": tuple(row["steps"]), "named": tuple(row["named"])})
                    for row in content["found"]]  # fmt: skip
        before |= {(each.tool, each.fault): each for each in told}
    return before


def reasons(found: dict[str, dict[str, Found]]) -> dict[str, list[str]]:
    """Tool and reason -> names of the faults that could not take part."""
    sorted_out: dict[str, list[str]] = {}
    for by_fault in found.values():
        for told in by_fault.values():
            if told.outcome == "cannot take part":
                sorted_out.setdefault(f"{told.tool}, {told.says.splitlines()[0][:200]}", []).append(told.fault)
    return sorted_out


def version(tool: str) -> str:
    try:
        return importlib.metadata.version(PACKAGES[tool][1].partition("==")[0])
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def main(arguments: list[str] | None = None) -> None:
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these faults, instead of all")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), help="these tools")
    parser.add_argument(
        "--known", nargs="+", metavar="FILE", default=[],
        help="what was answered before (JSON of this script, or of `dora-repro faults run`) is not asked again",
    )  # fmt: skip
    parser.add_argument("--in-process", action="store_true", help="in this process, but for trainparity, which cannot")
    parser.add_argument("--part", choices=("train", "pytest-torch"), help=argparse.SUPPRESS)
    for name in ("--factory", "--folder", "--resume-from"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--save-at", "--end"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--exact", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part == "train":
        train(options)
    elif options.part == "pytest-torch":
        factory = imported(options.factory)
        print(json.dumps(resume_equivalent(factory, options.end, options.save_at, options.exact)))
    else:
        compare(options)


if __name__ == "__main__":
    main()
