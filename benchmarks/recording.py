"""What recording costs, relative to a step.

The same run does blocks of steps with and without a Recorder, in turn. Beside it, done in the same way: nothing at all
(how far from 1.00 the machine's noise takes a ratio), and what people use instead: sha256 of the tensors that a step
moves, and torch's DebugMode with and without hashes. Opening a recorder is a cost of its own, once a run; the first,
which meets cold caches, is left out of it.
"""

import argparse
import contextlib
import cProfile
import functools
import hashlib
import io
import pstats
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import timing

CASES = {"tiny": 0.02, "dora": 0.02, "full": 0.10}  # what is trained -> the goal: recording adds at most this
BATCH = {"full": 4}  # otherwise the size's own
BLOCK = {"tiny": 20, "dora": 2, "full": 1}  # steps without a break
PAIRS = {"tiny": 40, "dora": 12, "full": 8}
WARM_UP = 2

Step = Callable[[], object]


# --- what is trained -------------------------------------------------------------------------------------------------


def built(case: str, size: str, batch: int | None) -> object:
    """A run: the study's training at size `tiny` or `size`, or all parameters of `size`."""
    from dora_repro.subject.config import TrainingConfig
    from dora_repro.subject.training import TrainingRun

    if case == "full":
        return FullFineTuning(size, batch or BATCH["full"])
    size = "tiny" if case == "tiny" else size
    # Steps alone: no validation at the end of an epoch, which is not recorded and would only make steps longer.
    return TrainingRun(TrainingConfig(size=size, batch_size=batch, validate=False, epochs=10**9))


class FullFineTuning:
    """All parameters of a CLIP trained by AdamW: images scored against the 66 prompts, nothing frozen or cached."""

    def __init__(self, size: str, batch: int):
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        from dora_repro.subject.building import random_clip
        from dora_repro.subject.model import CLIPHBA
        from dora_repro.subject.prompts import PROMPTS, byte_tokens
        from dora_repro.subject.sizes import SIZES

        torch.manual_seed(0)
        wanted = SIZES[size]
        tokens = byte_tokens(PROMPTS, wanted.vocabulary)  # (66, t)
        self.model = CLIPHBA(random_clip(wanted), tokens, cache_prompts=False).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        images = torch.randn(4 * batch, 3, wanted.image, wanted.image)
        self.generator = torch.Generator().manual_seed(0)
        samples = TensorDataset(images, torch.rand(len(images), len(PROMPTS)))
        self.loader = DataLoader(samples, batch, shuffle=True, generator=self.generator)
        self.batches = iter(self.loader)

    def step(self) -> float:
        from torch.nn import functional

        try:
            images, targets = next(self.batches)  # (n, 3, side, side), (n, 66)
        except StopIteration:
            self.batches = iter(self.loader)
            images, targets = next(self.batches)
        self.optimizer.zero_grad()
        loss = functional.mse_loss(self.model(images), targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def moved_bytes(run: object) -> int:
    """Bytes of the trainable parameters, their gradients and moments: what a recorder has to read at every step."""
    return sum(tensor.nbytes for tensor in moved(run))


def moved(run: object) -> Iterator:
    """Trainable parameters, their gradients, and the optimizer's state."""
    import torch

    for parameter in run.model.parameters():
        if parameter.requires_grad:
            yield parameter.detach()
            if parameter.grad is not None:
                yield parameter.grad
            yield from (value for value in run.optimizer.state[parameter].values() if isinstance(value, torch.Tensor))


# --- ways to watch it: each yields a function that does one step -----------------------------------------------------


@contextlib.contextmanager
def unwatched(run: object) -> Iterator[Step]:
    yield run.step


@contextlib.contextmanager
def recorder(run: object) -> Iterator[Step]:
    from dora_repro.recording import Recorder

    with Recorder(run) as recording:
        yield recording.step


@contextlib.contextmanager
def sha256(run: object) -> Iterator[Step]:
    def step() -> list[bytes]:
        run.step()
        return [hashlib.sha256(tensor.numpy()).digest() for tensor in moved(run)]

    yield step


@contextlib.contextmanager
def debug_mode(run: object, hashes: bool) -> Iterator[Step]:
    """torch.utils._debug_mode, with its default hash (a norm, of outputs) or without. Logs are dropped at each step."""
    from torch.utils._debug_mode import DebugMode

    def step() -> None:
        with DebugMode(), DebugMode.log_tensor_hashes() if hashes else contextlib.nullcontext():
            run.step()

    yield step


WAYS = {
    "nothing": unwatched,
    "recorder": recorder,
    "sha256": sha256,
    "debug": functools.partial(debug_mode, hashes=False),
    "debug-hashes": functools.partial(debug_mode, hashes=True),
}
NAMES = {
    "nothing": "nothing (noise)",
    "recorder": "Recorder",
    "sha256": "sha256 of the same tensors",
    "debug": "DebugMode",
    "debug-hashes": "DebugMode with hashes",
}


# --- measuring -------------------------------------------------------------------------------------------------------


def block(run: object, way: str, steps: int, opened: list[float] | None = None) -> float:
    """Seconds of so many steps watched in one way; what opening took is noted in `opened`."""
    with contextlib.ExitStack() as stack:
        entered: list[Step] = []
        opening = timing.spent(lambda: entered.append(stack.enter_context(WAYS[way](run))))
        if opened is not None:
            opened.append(opening)
        return sum(timing.spent(entered[0]) for _ in range(steps))


def measured(case: str, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """A row for each way to watch one run."""
    peaks = {way: peak(case, way, options) for way in ("nothing", "recorder")} if options.memory else {}
    run = built(case, options.size, options.batch)
    steps = options.block or BLOCK[case]
    pairs = options.pairs or PAIRS[case]
    for way in options.ways:
        opened: list[float] = []
        for _ in range(WARM_UP):
            block(run, "nothing", 1)
        block(run, way, 1)  # what it imports at first
        slow = way.startswith("debug")
        both = timing.paired(
            functools.partial(block, run, "nothing", steps),
            functools.partial(block, run, way, steps, opened),
            max(1, pairs // 4) if slow else pairs,
        )
        plain = statistics.median(both.plain) / steps
        timing.tell(f"{case}, {NAMES[way]}: {both.ratio:.3f} of {plain * 1e3:.3g} ms")
        yield {
            "trained": described(case, run, options.size),
            "watched by": NAMES[way],
            "moves MiB": timing.mib(moved_bytes(run)),
            "step ms": plain * 1e3,
            "ratio": both.ratio,
            "from": both.quartiles[0],
            "to": both.quartiles[1],
            "adds ms": (both.ratio - 1) * plain * 1e3,
            "goal": 1 + CASES[case] if way == "recorder" else None,
            "opening ms": timing.milliseconds(opened) if way == "recorder" else None,
            "trace KiB a step": trace_size(run) / 1024 if way == "recorder" else None,
            "peak MiB": timing.mib(peaks[way]) if way in peaks else None,
        }


def described(case: str, run: object, size: str) -> str:
    loader = run.loader
    batch = loader.batch_size or loader.batch_sampler.batch_size
    what = {"tiny": "tiny, DoRA", "dora": f"{size}, DoRA", "full": f"{size}, everything"}
    return f"{what[case]}, batch {batch}"


def peak(case: str, way: str, options: argparse.Namespace) -> int:
    """Peak memory in bytes of a process that builds the run and does one block of steps."""
    batch = [] if options.batch is None else ["--batch", str(options.batch)]
    steps = ["--block", str(max(3, options.block or BLOCK[case]))]
    return timing.cost_of([__file__, "--only", case, way, "--size", options.size, *batch, *steps]).largest


def trace_size(run: object, steps: int = 4) -> float:
    """Bytes that one more step adds to a written trace."""
    from dora_repro.recording import Recorder

    with Recorder(run) as recording, tempfile.TemporaryDirectory() as folder:
        sizes = []
        for _ in range(2):
            for _ in range(steps):
                recording.step()
            recording.trace.write(Path(folder, "trace.jsonl"))
            sizes.append(Path(folder, "trace.jsonl").stat().st_size)
    return (sizes[1] - sizes[0]) / steps


def profile(case: str, options: argparse.Namespace) -> str:
    """Where the time of recorded steps goes: what the kit's own functions took, then what anything took."""
    run = built(case, options.size, options.batch)
    steps = options.block or BLOCK[case]
    with recorder(run) as step:
        for _ in range(WARM_UP):
            step()
        with cProfile.Profile() as profiler:
            for _ in range(steps):
                step()
    text = io.StringIO()
    stats = pstats.Stats(profiler, stream=text)
    print(f"\n{case}: {steps} recorded steps", file=text)
    stats.sort_stats("cumulative").print_stats(r"dora_repro.(recording|state|trace)", options.profile)
    stats.sort_stats("tottime").print_stats(options.profile)
    return text.getvalue()


def main(arguments: list[str] | None = None) -> None:
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="what to train")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="how to watch it")
    parser.add_argument("--size", default="vit-b-32", help="size of the cases dora and full")
    parser.add_argument("--batch", type=int, help=f"batch size; {BATCH['full']} for full, else the size's own, without")
    parser.add_argument("--block", type=int, help=f"steps without a break; {BLOCK} without")
    parser.add_argument("--pairs", type=int, help=f"pairs of blocks, a quarter for DebugMode; {PAIRS} without")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure peak memory")
    parser.add_argument("--profile", type=int, metavar="N", help="print a profile's top N entries, and measure nothing")
    parser.add_argument("--only", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        case, way = options.only
        block(built(case, options.size, options.batch), way, options.block)
    elif options.profile:
        for case in options.cases:
            print(profile(case, options))
    else:
        rows = [row for case in options.cases for row in measured(case, options)]
        notes = [
            "ratio: a block of steps so watched / the same run's block of steps unwatched, median of the pairs; "
            "the middle half of them lies from … to",
            "peak MiB: largest resident memory of a process that builds the run and does one block of steps",
        ]
        timing.report("Cost of recording", rows, options, notes)


if __name__ == "__main__":
    main()
