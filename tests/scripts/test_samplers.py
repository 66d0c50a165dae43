"""What samplers hold when an order is begun, put back at that moment: an epoch that was not told, a generator of its
own."""

import random
import types

import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from dora_repro.scripts.assignment import Given
from dora_repro.scripts.checking import check_script
from dora_repro.scripts.samplers import chosen_of, own_of, put_back, samplers_of
from dora_repro.state.snapshot import Snapshot, run_roots
from tests.scripts.trainings import TRAIN, commands


def loader(epoch=0, seed=0):
    data = TensorDataset(torch.arange(12.0))
    sampler = DistributedSampler(data, num_replicas=1, rank=0, seed=seed)
    sampler.set_epoch(epoch)
    return DataLoader(data, batch_size=4, sampler=sampler)


def order(loader):
    return [batch[0].tolist() for batch in loader]


def test_what_is_chosen_comes_back_and_nothing_else():
    other = own_of(loader(epoch=3, seed=5))
    mine = loader()
    put_back(mine, other, lambda sampler, name, generator, value: name == "epoch")
    assert (mine.sampler.epoch, mine.sampler.seed) == (3, 0)
    assert order(mine) == order(loader(epoch=3))
    assert order(mine) != order(loader(epoch=3, seed=5))


def test_a_sampler_that_has_no_length_is_one_all_the_same():
    """Of an iterable data set the loader's own sampler is endless: asked whether it is true, it raises."""

    class Rows(IterableDataset):
        def __iter__(self):
            return iter(torch.arange(6.0))

    kinds = [type(one).__name__ for one in samplers_of(DataLoader(Rows(), batch_size=2))]
    assert kinds == ["BatchSampler", "_InfiniteConstantSampler"]
    assert [type(one).__name__ for one in samplers_of(DataLoader(Rows(), batch_size=None))] == kinds[1:]


def test_a_generator_of_a_sampler_comes_back_where_the_order_is_drawn():
    def shuffled(seed):
        data = TensorDataset(torch.arange(12.0))
        return DataLoader(data, sampler=RandomSampler(data, generator=torch.Generator().manual_seed(seed)))

    theirs, mine = shuffled(1), shuffled(2)
    own = own_of(theirs)
    put_back(mine, own, lambda sampler, name, generator, value: generator)
    assert order(mine) == order(theirs)


def test_a_generator_that_a_sampler_has_not_made_yet_comes_back_and_one_of_another_kind_is_left():
    data = TensorDataset(torch.arange(12.0))
    theirs = DataLoader(data, sampler=RandomSampler(data, generator=torch.Generator().manual_seed(1)))
    mine = DataLoader(data, sampler=RandomSampler(data))  # its generator is None
    put_back(mine, own_of(theirs), lambda sampler, name, generator, value: generator)
    assert order(mine) == order(theirs)
    other = DataLoader(data, sampler=RandomSampler(data))
    other.sampler.generator = random.Random(3)
    before = other.sampler.generator.getstate()
    put_back(other, own_of(theirs), lambda sampler, name, generator, value: generator)
    assert other.sampler.generator.getstate() == before


def test_a_leaf_that_moved_since_an_order_was_begun_is_not_what_was_saved(tmp_path):
    program = types.SimpleNamespace(loader=loader(epoch=3))
    program.sampler = program.loader.sampler
    Snapshot.capture(run_roots(program)).write(tmp_path / "before.pt")
    path = "sampler/epoch"

    def chosen(value, **options):
        given = Given(tmp_path / "before.pt", (path,), **options)
        return chosen_of(given, program)(program.sampler, "epoch", False, value)

    assert chosen(3) and not chosen(2) and chosen(2, since=True)
    assert not chosen_of(Given(tmp_path / "before.pt", ("sampler/seed",)), program)(program.sampler, "epoch", False, 3)


def test_a_generator_that_is_a_variable_too_is_chosen_by_that_name(tmp_path):
    order = torch.Generator()
    data = TensorDataset(torch.arange(12.0))
    program = types.SimpleNamespace(order=order, loader=DataLoader(data, batch_size=4, shuffle=True, generator=order))
    Snapshot.capture(run_roots(program)).write(tmp_path / "before.pt")

    def chosen(path):
        given = Given(tmp_path / "before.pt", (path,), since=True)
        return chosen_of(given, program)(program.loader.sampler, "generator", True, order.get_state())

    assert chosen("order") and not chosen("loader/sampler/generator")


def _told_after(text):
    """The script, with a sampler that is told the next epoch when one is over: not so in the resumed process."""
    data = "    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)\n"
    sampler = (
        "    data = TensorDataset(x, y)\n"
        "    sampler = torch.utils.data.distributed.DistributedSampler(data, num_replicas=1, rank=0)\n"
        "    loader = DataLoader(data, batch_size=8, sampler=sampler)\n"
    )
    over = "        best = min(best"
    assert data in text and over in text
    return text.replace(data, sampler).replace(over, f"        sampler.set_epoch(epoch + 1)\n{over}")


def test_an_epoch_that_a_sampler_is_not_told_is_the_cause(tmp_path):
    report = check_script(*commands(tmp_path, _told_after(TRAIN)), kill_after=4)
    assert report.summary == "DIFFERENT: first differs at step 4, phase batch, batch/0"
    assert [leaf for cause in report.causes for leaf in cause.leaves] == ["main/sampler/epoch"]
    assert report.explanation.confirmed
