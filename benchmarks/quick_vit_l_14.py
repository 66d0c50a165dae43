"""What `quick` costs beside the procedure of the study that it replaces, at the study's model with random weights.

The study's quick test does 3 + 2 + 1 optimizer steps and builds 3 models in one process, and passes the prompts through
the whole text tower at every step. `quick` does 3 + 1 steps and builds 2, each in a process of its own, records them,
and computes once what the frozen text blocks make of the prompts. What is saved by the steps and what by the prompts is
shown apart: both procedures run with and without that. Each runs as a process that imports what it needs.
"""

import argparse
import gc
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import timing

GOAL = 0.5  # quick, beside the study's procedure
LENGTH = 77  # tokens that the study fills its prompts up to


@dataclass(frozen=True)
class Way:
    """A procedure, and how it is gone about.

    Attributes:
        procedure: `study` or `quick`.
        once: whether what the frozen text blocks make of the prompts is computed once.
        tokens: length that prompts are filled up to; 0 for the longest prompt's.
        kept: whether the study's three models live until the end.
    """

    procedure: str
    once: bool = False
    tokens: int = 0
    kept: bool = False


WAYS = {
    "study": Way("study"),
    "study, prompts once": Way("study", once=True),
    "quick, prompts each step": Way("quick"),
    "quick": Way("quick", once=True),
    "study as it is": Way("study", tokens=LENGTH, kept=True),
}


def config(size: str, batch: int, way: Way, **options: object):
    from dora_repro.subject.config import TrainingConfig

    tokens = 0 if size == "tiny" else way.tokens  # tiny has room for fewer
    return TrainingConfig(size=size, batch_size=batch, cache_prompts=way.once, prompt_tokens=tokens, **options)


def study(size: str, batch: int, way: Way) -> None:
    """The study's quick test: 3 steps; 2 steps and save; build, load and 1 step; three comparisons.

    Where the models are not kept, each is gone before the next is built: the least memory that this can be done in.
    """
    import torch

    from dora_repro.subject.training import TrainingRun

    def trained(run: TrainingRun, steps: int) -> dict[str, torch.Tensor]:
        for _ in range(steps):
            run.step()
        return {name: value.detach().clone() for name, value in run.model.named_parameters() if value.requires_grad}

    def ended(run: TrainingRun) -> None:
        if way.kept:
            kept.append(run)

    def largest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        return max((one[name] - other[name]).abs().max().item() for name in one)

    kept: list[TrainingRun] = []
    made = config(size, batch, way, data="synthetic", shuffle=False, epochs=3, checkpoint="dora-only")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "epoch2_dora_params.pth")
        run = TrainingRun(made)
        continuous, outputs = trained(run, 3), run.outputs()
        ended(run)
        del run
        gc.collect()
        run = TrainingRun(made)
        saved = trained(run, 2)
        run.save(path)
        ended(run)
        del run
        gc.collect()
        run = TrainingRun(made)
        run.load(path)
        loaded = largest(saved, trained(run, 0))
        parameters, outputs = largest(continuous, trained(run, 1)), (outputs - run.outputs()).abs().max().item()
    print(f"load {loaded:.2e}, parameters {parameters:.2e}, outputs {outputs:.2e}")


def quick(size: str, batch: int, way: Way) -> None:
    """What `dora-repro quick` does."""
    from dora_repro.checks import study as questions

    report = questions.quick(config(size, batch, way))
    print(report.verdict)
    if not report.passed:
        raise SystemExit(str(report))


def measured(batch: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """A row for each way: medians over the rounds, in each of which every way is gone once."""
    costs: dict[str, list[timing.Cost]] = {way: [] for way in options.ways}

    def go(way: str) -> float:
        cost = timing.cost_of([__file__, "--only", way, "--size", options.size, "--batches", str(batch)])
        timing.tell(f"batch {batch}, {way}: {cost.seconds:.1f} s, {timing.mib(cost.largest):.0f} MiB")
        costs[way].append(cost)
        return cost.seconds

    seconds = timing.interleaved({way: lambda way=way: go(way) for way in options.ways}, options.rounds)
    first = options.ways[0]
    rows = []
    for way in options.ways:
        pairs = timing.Paired(tuple(seconds[first]), tuple(seconds[way]))
        together = [cost.together for cost in costs[way] if cost.together is not None]
        procedure = WAYS[way].procedure
        rows.append(
            {
                "batch": batch,
                "procedure": way,
                "steps": {"study": "3 + 2 + 1", "quick": "3 + 1"}[procedure],
                "builds": {"study": 3, "quick": 2}[procedure],
                "seconds": statistics.median(seconds[way]),
                f"of {first}": pairs.ratio,
                "goal": GOAL if way == "quick" else None,
                "largest MiB": timing.mib(statistics.median(cost.largest for cost in costs[way])),
                "together MiB": timing.mib(statistics.median(together)) if together else None,
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--size", default="vit-l-14", help="the model")
    parser.add_argument("--batches", nargs="+", type=int, default=[1], help="batch sizes")
    parser.add_argument("--rounds", type=int, default=1, help="how often each procedure runs, a few minutes each")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="the first is the others' measure")
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        way = WAYS[options.only]
        {"study": study, "quick": quick}[way.procedure](options.size, options.batches[0], way)
        return
    rows = [row for batch in options.batches for row in measured(batch, options)]
    notes = [
        "study: prompts as long as the longest of them, each model gone before the next is built; "
        f"as it is: {LENGTH} tokens each, all three models kept",
        "largest: peak resident memory of the largest process; together: of all processes at one moment, as sampled; "
        "pages that they share count for each",
    ]
    timing.report(f"quick beside the study's procedure, {options.size}", rows, options, notes)


if __name__ == "__main__":
    main()
