"""Which random numbers a resumed run drew that the reference did not, in words: two logs of draws, aligned.

A log is the entries of a `recording.drawing.DrawLog`. Two draws are the same where generator, library function, the
user's line (its text, not its number) and the number of draws are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from dora_repro.explain.logs.operators import aligned
from dora_repro.recording.drawing import Draw
from dora_repro.state.paths import matching
from dora_repro.wording import counted

# Library functions that draw, in plain words; the first pattern that matches holds.
FUNCTIONS = {
    "torch.utils.data.dataloader._BaseDataLoaderIter.__init__": "the loader's base seed",
    "torch.utils.data.dataloader._share_dist_seed": "the seed that the loader's workers share",
    "torch.utils.data.dataloader._MultiProcessingDataLoaderIter.*": "the start of the loader's workers",
    "torch.utils.data.sampler.RandomSampler.__iter__": "the loader's shuffle",
    "torch.utils.data.sampler.SubsetRandomSampler.__iter__": "the loader's shuffle of a subset",
    "torch.utils.data.sampler.WeightedRandomSampler.__iter__": "the loader's weighted choice",
    "torch.utils.data.distributed.*": "the shuffle of a distributed loader",
    "torch.utils.data.dataset.random_split": "random_split",
    "torch.nn.functional.*dropout*": "dropout",
    "torch.nn.functional.scaled_dot_product_attention": "dropout in attention",
    "torch.nn.functional.multi_head_attention_forward": "dropout in attention",
    "torch.nn.functional.rrelu": "a randomised ReLU",
    "torch.nn.functional.gumbel_softmax": "Gumbel noise",
    "torch.nn.functional.fractional_max_pool*": "fractional pooling",
    "torch.nn.modules.rnn.*": "dropout between recurrent layers",
    "torch.nn.init.*": "the initialisation of weights",
    "*.reset_parameters": "the initialisation of weights",
    "*._init_weights": "the initialisation of weights",
    "torch.distributions.*": "a sample of a distribution",
    "random.Random.shuffle": "Python's shuffle",
    "random.Random.sample": "Python's sample",
    "random.Random.choice*": "Python's choice",
    "random.Random.rand*": "a random integer of Python's",
    "random.Random.*": "a random number of Python's",
}
# Operators, for a user's line that called torch itself.
OPERATORS = {
    "*.native_dropout.*": "dropout",
    "*.bernoulli*": "a random mask",
    "*.randperm.*": "a permutation",
    "*.randn*": "normal numbers",
    "*.normal*": "normal numbers",
    "*.randint*": "random integers",
    "*.random_.*": "random integers",
    "*.rand*": "uniform numbers",
    "*.uniform*": "uniform numbers",
    "*.multinomial.*": "a weighted choice",
}
GENERATORS = {"rng/python": "Python's random", "rng/numpy": "numpy's random", "rng/torch.cpu": "torch's generator"}


@dataclass(frozen=True)
class UnmatchedDraw:
    """A draw in which two logs differ.

    Attributes:
        draw: the second log's entry, or the first's where the second has none.
        kind: `extra` (in the second only), `missing` (in the first only), `moved` (in both, in another order) or
            `count` (a different number was drawn).
        times: number of such draws in a row.
        more: whether both logs have the same draw elsewhere, so that this is one more or one less.
        after_set: whether its generator was set before it in the same part of the second run.
        instead_of: the number that the first drew, for `count`.
    """

    draw: Draw
    kind: str
    times: int = 1
    more: bool = False
    after_set: bool = False
    instead_of: int | None = None

    def __str__(self) -> str:
        """As `the loader's base seed, drawn once more in the resumed run (train.py:30: for x, y in loader)`."""
        return f"{self._words()}{line_of(self.draw)}"

    def _words(self) -> str:
        draw, often = self.draw, "once" if self.times == 1 else f"{self.times} times"
        if draw.kind == "set":
            return f"{GENERATORS.get(draw.generator, draw.generator)} was set {self._where_set(often)}"
        what = what_drew(draw)
        if self.kind == "count":
            return f"{what} drew {_number(draw.draws)} instead of {_number(self.instead_of)}"
        if self.kind == "missing":
            return (
                f"{what}, drawn {often} less in the resumed run"
                if self.more
                else f"{what}, not drawn in the resumed run"
            )
        if self.after_set and not self.more and draw.draws is not None:
            return f"{what} drew {draw.draws * self.times:,} after the generator was set"
        if self.kind == "moved":
            return f"{what}, drawn at another place in the resumed run"
        after = ", after the generator was set" if self.after_set else ""
        return f"{what}, drawn {f'{often} more in the resumed run' if self.more else 'in the resumed run only'}{after}"

    def _where_set(self, often: str) -> str:
        if self.kind == "moved":
            return "at another place in the resumed run"
        side = "in the reference" if self.kind == "missing" else "in the resumed run"
        return f"{often} more {side}" if self.more else f"{side} only"


def unmatched(expected: Sequence[Draw], actual: Sequence[Draw]) -> tuple[UnmatchedDraw, ...]:
    """The draws that only one log has, or has elsewhere, in order; empty where both logs are the same."""
    found: list[UnmatchedDraw] = []
    for extra in _classified(list(_differences(expected, actual)), expected, actual):
        last = found[-1] if found else None
        if last is not None and extra.kind != "count" and _alike(last) == _alike(extra):
            found[-1] = replace(last, times=last.times + 1)
        else:
            found.append(extra)
    return tuple(found)


def _differences(expected: Sequence[Draw], actual: Sequence[Draw]) -> Iterator[UnmatchedDraw]:
    position = 0  # in the second log
    for one, other in aligned(expected, actual, _key):
        position += other is not None
        if one is not None and other is not None:
            if _key(one) == _key(other):
                continue
            if _who(one) == _who(other):
                yield UnmatchedDraw(other, "count", instead_of=one.draws)
                continue
        if one is not None:
            yield UnmatchedDraw(one, "missing")
        if other is not None:
            yield UnmatchedDraw(other, "extra", after_set=_was_set(actual[: position - 1], other))


def _classified(
    extras: list[UnmatchedDraw], expected: Sequence[Draw], actual: Sequence[Draw]
) -> Iterator[UnmatchedDraw]:
    """A draw that is missing at one place and extra at another has moved, and is reported once."""
    known = {_who(draw) for draw in expected} & {_who(draw) for draw in actual}
    left = Counter(_who(extra.draw) for extra in extras if extra.kind == "missing")
    came = Counter(_who(extra.draw) for extra in extras if extra.kind == "extra")
    moved = {"missing": left & came, "extra": left & came}
    for extra in extras:
        who = _who(extra.draw)
        if extra.kind != "count" and moved[extra.kind][who]:
            moved[extra.kind][who] -= 1
            if extra.kind == "extra":
                yield replace(extra, kind="moved")
        else:
            yield replace(extra, more=who in known)


def _alike(extra: UnmatchedDraw) -> tuple[object, ...]:
    return extra.kind, extra.more, extra.after_set, _key(extra.draw)


def since_set(entries: Sequence[Draw], generator: str, draws: int) -> tuple[Draw, ...]:
    """The last draws from a generator that add up to `draws`, in order: what a run that is ahead drew.

    Empty where no last draws add up to that number: some were not logged, or the generator was set in between.
    """
    found: list[Draw] = []
    rest = draws
    for entry in reversed(entries):
        if entry.generator != generator:
            continue
        if rest <= 0 or entry.kind == "set" or entry.draws is None:
            break
        found.insert(0, entry)
        rest -= entry.draws
    return tuple(found) if rest == 0 else ()


def in_words(draw: Draw) -> str:
    """As `random_split: 7 draws (train.py:12: train, test = random_split(data, [80, 20]))`."""
    number = "drawn" if draw.draws is None else counted(draw.draws, "draw")
    return f"{what_drew(draw)}: {number}{line_of(draw)}"


def line_of(draw: Draw) -> str:
    """The user's line as ` (train.py:12: torch.manual_seed(seed))`, to follow words; empty where none is known."""
    return f" ({PurePath(draw.file).name}:{draw.line}: {draw.text})" if draw.file else ""


def _number(draws: int | None) -> str:
    return "an unknown number" if draws is None else f"{draws:,}"


def what_drew(draw: Draw) -> str:
    """What drew, in plain words where it is well known; else the function, the operator or the generator."""
    for name, words in ((draw.function, FUNCTIONS), (draw.operator, OPERATORS)):
        for pattern, plain in words.items():
            if name and matching(pattern, (name,)):
                return plain
    if draw.function:
        return draw.function.rpartition(".")[2]
    if draw.operator:
        return draw.operator
    return GENERATORS.get(draw.generator, draw.generator)


def _key(draw: Draw) -> tuple[object, ...]:
    return (*_who(draw), draw.draws)


def _who(draw: Draw) -> tuple[object, ...]:
    return draw.generator, draw.operator or draw.kind, draw.function, draw.file, draw.text


def _was_set(before: Sequence[Draw], draw: Draw) -> bool:
    """Whether the draw's generator was set before it, in the same part of the run."""
    return any((entry.generator, entry.kind, entry.where) == (draw.generator, "set", draw.where) for entry in before)
