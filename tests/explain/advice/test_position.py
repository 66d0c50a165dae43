"""What holds the position in the data decides what is advised: no lines for a loader that a run does not keep."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dora_repro.checks.checks import check
from dora_repro.explain.advice.advice import advise
from dora_repro.explain.advice.position import drawn_from, epoch_of_sampler, other_data, place_in_the_data
from dora_repro.state.snapshot import Snapshot, run_roots


class Holder:
    def __init__(self, **held):
        self.__dict__.update(held)


def advice_for(**held):
    return advise("data/iterators", (), "", Snapshot.capture(run_roots(Holder(**held))))


def begun(iterator):
    next(iterator)
    return iterator


def numbers():
    yield from range(9)


class Stateful(DataLoader):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_loader_with_a_state_gets_lines_and_one_without_words():
    advice = advice_for(feed={"train": Stateful([1, 2])})
    assert advice.save == ('state["feed/train"] = self.feed["train"].state_dict()',)
    assert advice.load == (
        'self.feed["train"].load_state_dict(state["feed/train"])  # before iter(self.feed["train"])',
    )
    advice = advice_for(feed={"train": DataLoader([1, 2])})
    assert not advice.save and not advice.load
    assert "StatefulDataLoader" in advice.sentence and "sampler" in advice.sentence


def test_the_generator_that_an_order_is_drawn_from_is_named_with_what_reads_and_sets_it():
    saved = Snapshot.capture(run_roots(Holder(own=torch.Generator(), other=torch.Generator())))
    told = drawn_from(["own"], saved, saved.kinds, "e1.pt/own")
    assert "drawn from `self.own`" in told.sentence and "`self.own.set_state(epoch_rng)`" in told.sentence
    assert told.sentence.endswith("`e1.pt/own`: that one, where it was saved once the loop was over.")
    both = drawn_from(["own", "other"], saved, saved.kinds, "e1.pt/own").sentence
    assert "the others likewise" in both and "e1.pt" not in both


def test_a_generator_of_its_own_is_named_and_gets_no_lines_even_beside_a_loader():
    for held in ({}, {"valid": DataLoader([1, 2])}):
        advice = advice_for(stream=begun(numbers()), **held)
        assert not advice.save and not advice.load and "loader" not in advice.sentence
        assert advice.sentence.startswith("`self.stream` holds the position")


def test_an_iterator_without_its_loader_is_named():
    advice = advice_for(items=begun(iter(DataLoader([1, 2]))))
    assert not advice.load and "`self.items` holds the position" in advice.sentence
    assert "Keep its loader on the run" in advice.sentence


def test_a_generator_that_loops_over_a_loader_is_told_of_the_loader():
    loader = DataLoader([1, 2])
    stream = (item for item in loader)
    assert "with DataLoader, restore the generator" in advice_for(loader=loader, stream=begun(stream)).sentence


def test_nothing_that_holds_it_is_said_so():
    advice = advise("data/batches", (), "")
    assert not advice.load and "no loader, and no iterator" in advice.sentence


class Living:
    """Workers that live on, and a generator that is saved where an epoch has ended."""

    own = True

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        self.generator = torch.Generator().manual_seed(1) if self.own else None
        data = TensorDataset(torch.randn(12, 3))
        self.loader = DataLoader(
            data, 4, shuffle=True, num_workers=1, persistent_workers=True, generator=self.generator
        )
        self.left = []

    def step(self):
        if not self.left:
            self.left = list(self.loader)
        (inputs,) = self.left.pop(0)
        self.optimizer.zero_grad()
        loss = self.model(inputs).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def state(self):
        return self.generator.get_state() if self.own else torch.get_rng_state()

    def save(self, path):
        torch.save({"model": self.model.state_dict(), "drawn": self.state()}, path)

    def load(self, path):
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.generator.set_state(state["drawn"]) if self.own else torch.set_rng_state(state["drawn"])


class LivingOfGlobal(Living):
    own = False


class Mended(Living):
    def load(self, path):
        super().load(path)
        iter(self.loader)
        self.generator.set_state(torch.load(path)["drawn"])


@pytest.mark.parametrize("factory", [Living, LivingOfGlobal])
def test_workers_that_live_on_are_named_and_the_lines_for_them_are_run(factory):
    report = check(factory, 9, 6, in_process=True)
    (cause,) = report.causes
    assert cause.name == "data/batches" and cause.save == () and cause.load[0] == "iter(self.loader)"
    assert 'set_state(state["drawn"])' in cause.load[1] or 'set_rng_state(state["drawn"])' in cause.load[1]
    assert "persistent_workers=True" in cause.advice[0]
    assert report.explanation.lines_tried.restores


def test_what_is_advised_for_them_resumes_exactly():
    assert check(Mended, 9, 6, in_process=True).verdict.name == "EXACT"


class Noisy(TensorDataset):
    def __getitem__(self, index):
        return tuple(part + 0.1 * torch.randn(3) for part in super().__getitem__(index))


class Drawing(Living):
    """Workers that live on and draw: what their generators have come to is in no file."""

    persistent = True

    def __init__(self):
        super().__init__()
        self.loader = DataLoader(
            Noisy(torch.randn(12, 3)),
            4,
            shuffle=True,
            num_workers=1,
            persistent_workers=self.persistent,
            generator=self.generator,
        )


class DrawingAnew(Drawing):
    persistent = False


def test_where_living_workers_draw_no_line_is_said_to_restore_that():
    (cause,) = check(Drawing, 9, 6, in_process=True).causes
    assert (cause.name, cause.save, cause.load) == ("data/batches", (), ())
    assert "in their own processes, which no file holds" in cause.advice[0]


def test_workers_that_are_made_anew_in_each_epoch_resume_exactly_at_its_end():
    assert check(DrawingAnew, 9, 6, in_process=True).verdict.name == "EXACT"


def test_what_was_taken_from_the_loader_beforehand_is_saved_as_a_whole():
    report = check(DrawingAnew, 7, 5, in_process=True)
    assert {cause.name.partition("/")[0] for cause in report.causes} == {"left"}
    assert report.explanation.lines.load[-1] == ("", 'self.left[:] = copy.deepcopy(state["left"])')
    assert report.explanation.lines_tried.restores


class Epochs:
    """A sampler whose order is made from an epoch's number, inside the one that makes batches."""

    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter(torch.randperm(12, generator=torch.Generator().manual_seed(self.epoch)).tolist())

    def __len__(self):
        return 12


@pytest.mark.parametrize("differs, told", [("loader/batch_sampler/sampler/epoch", True), ("loader/generator", False)])
def test_a_sampler_that_was_not_told_its_epoch_is_to_be_told(differs, told):
    sampler = torch.utils.data.BatchSampler(Epochs(), 4, drop_last=False)
    saved = Snapshot.capture(run_roots(Holder(loader=DataLoader(torch.zeros(12, 1), batch_sampler=sampler))))
    advice = epoch_of_sampler([differs], saved, saved.kinds)
    assert (advice is not None) is told
    if told:
        assert "call self.loader.batch_sampler.sampler.set_epoch(epoch)" in advice.sentence and not advice.load


class Telling:
    """A loader that tells its sampler of the epoch, which it counts itself."""

    def __init__(self, loader):
        self.inner, self.count = loader, 0

    def set_epoch(self, epoch):
        self.count = epoch


@pytest.mark.parametrize("telling", [True, False])
def test_where_a_loader_tells_the_sampler_it_is_the_loader_that_is_told(telling):
    loader = DataLoader(torch.zeros(12, 1), sampler=Epochs())
    saved = Snapshot.capture(run_roots(Holder(loader=Telling(loader) if telling else Holder(inner=loader))))
    told = epoch_of_sampler(["loader/inner/sampler/epoch"], saved, saved.kinds, by_a_loader=True)
    assert (told is not None) is telling
    if telling:
        assert "call self.loader.set_epoch(epoch), with" in told.sentence


def test_a_loader_that_no_line_reaches_gets_no_lines():
    saved = Snapshot.capture(run_roots(Holder(theirs=Stateful([1, 2]), mine=Stateful([1, 2]))))
    reached = place_in_the_data(saved, saved.kinds, lambda path: path != "theirs")
    assert reached.load[0].startswith("self.mine.load_state_dict(")
    none = place_in_the_data(saved, saved.kinds, lambda path: False)
    assert not none.save and not none.load and none.sentence.startswith("The library holds the loader")


def test_of_several_items_what_holds_them_is_named_once():
    data = Holder(ds=Holder(buffer=[torch.zeros(1), torch.ones(1)], pair=(1, 2), length=3))
    paths = ("ds/buffer/0", "ds/buffer/1", "ds/pair/1", "ds/length")
    sentence = other_data(paths, Snapshot.capture(run_roots(data)).kinds).sentence
    assert "make `self.ds.buffer`, `self.ds.pair[1]`, `self.ds.length` the same" in sentence
