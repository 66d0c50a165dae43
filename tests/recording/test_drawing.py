"""Who is seen to draw random numbers, and that looking draws none and leaves no trace."""

import random
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

from dora_repro.errors import BadInput
from dora_repro.recording import drawing
from dora_repro.recording.drawing import DrawLog, Generators
from dora_repro.recording.operators import OperatorLog
from dora_repro.state import rng
from dora_repro.state.snapshot import Snapshot, run_roots
from tests import runs

BASE_SEED = "_BaseDataLoaderIter.__init__"
SHUFFLE = "RandomSampler.__iter__"


class Holding:
    """A run that holds what it is given."""

    def __init__(self, **held):
        self.__dict__.update(held)


def drawn_by(function, *args, **held) -> list[drawing.Draw]:
    runs.seed_everything(0)
    with DrawLog(Generators(Holding(**held))) as log:
        function(*args)
    return log.draws


def told(draws) -> list[tuple]:
    """Generator, kind, how many, and the end of the function's name (or else of the line)."""
    return [
        (d.generator, d.kind, d.draws, ".".join(d.function.split(".")[-2:]) if d.function else d.text) for d in draws
    ]


def digests(run) -> dict[str, bytes]:
    return {path: leaf.digest for path, leaf in Snapshot.capture(run_roots(run)).items()}


# --- it does not disturb


@pytest.mark.parametrize("make", [runs.Plain, runs.Loader, runs.PrivateGenerators, runs.Lbfgs, runs.BatchNormSgd])
def test_logging_changes_no_byte_of_a_run_nor_of_a_generator_and_says_the_same_twice(make):
    bare = make()
    for _ in range(3):
        bare.step()
    expected, world = digests(bare), rng.capture_world()
    logs = []
    for _ in range(2):
        run = make()
        with DrawLog(Generators(run)) as log:
            for _ in range(3):
                run.step()
        logs.append(log.draws)
        assert digests(run) == expected
        assert {name: drawing._bytes(state) for name, state in rng.capture_world().items()} == {
            name: drawing._bytes(state) for name, state in world.items()
        }
    assert logs[0] == logs[1]


def test_the_comparison_above_sees_a_log_that_draws():
    def drawing_ones():
        return {"rng/python": random.random()}

    def state_after(generators):
        run = runs.Plain()
        with DrawLog(generators):
            run.step()
        return random.getstate()

    assert state_after(dict) == state_after(dict) != state_after(drawing_ones)


def test_a_trace_and_functions_that_were_there_before_are_put_back_even_where_the_body_raises():
    def before(frame, event, arg):
        return None

    seed, frame = np.random.seed, sys._getframe()
    earlier = sys.gettrace()
    sys.settrace(before)
    try:
        with pytest.raises(ZeroDivisionError), DrawLog() as log:
            random.random()
            raise ZeroDivisionError
        assert sys.gettrace() is before
    finally:
        sys.settrace(earlier)
    assert (np.random.seed, frame.f_trace) == (seed, None)
    assert [(draw.generator, draw.text) for draw in log.draws] == [("rng/python", "random.random()")]
    random.random()
    assert len(log.draws) == 1


def test_generators_that_cannot_be_read_for_a_while_stop_nothing():
    states = iter([{}, RuntimeError("half built")])

    def read():
        state = next(states, {"rng/python": 1})
        if isinstance(state, Exception):
            raise state
        return state

    with DrawLog(read) as log:
        pass
    assert log.draws == []


# --- torch


def test_dropout_and_the_initialisation_of_weights_are_named_by_operator_function_and_line():
    def run():
        layer = nn.Linear(4, 2, bias=False)
        nn.functional.dropout(layer(torch.ones(3, 4)), 0.5)

    weights, mask = drawn_by(run)
    assert (weights.generator, weights.draws, weights.kind) == ("rng/torch.cpu", 8, "draw")
    assert (weights.operator, weights.function) == ("aten.uniform_.default", "torch.nn.init.kaiming_uniform_")
    assert weights.text == "layer = nn.Linear(4, 2, bias=False)"
    assert (mask.operator, mask.function) == ("aten.bernoulli_.float", "torch.nn.functional.dropout")
    assert (mask.file, mask.text) == (__file__, "nn.functional.dropout(layer(torch.ones(3, 4)), 0.5)")


def test_the_many_numbers_of_a_large_tensor_are_not_counted():
    def run():
        torch.rand(drawing.COUNTED)
        torch.rand(drawing.COUNTED + 1)
        torch.randperm(drawing.COUNTED + 1)

    count = drawing.COUNTED
    assert [(draw.kind, draw.draws) for draw in drawn_by(run)] == [("draw", count), ("draw", None), ("draw", count)]


def test_what_draws_nothing_is_no_entry_and_the_log_is_empty():
    def run():
        model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).eval()
        model(torch.ones(2, 3)).sum().backward()
        sorted(range(5))

    assert [draw for draw in drawn_by(run) if "init" not in draw.function] == []


def test_a_loader_draws_a_base_seed_and_a_seed_for_its_shuffle():
    def run(shuffle):
        for _ in DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=2, shuffle=shuffle):
            pass

    assert told(drawn_by(run, False)) == [("rng/torch.cpu", "draw", 2, BASE_SEED)]
    assert told(drawn_by(run, True)) == [
        ("rng/torch.cpu", "draw", 2, BASE_SEED),
        ("rng/torch.cpu", "draw", 2, SHUFFLE),
    ]


def test_a_private_generator_is_named_by_its_path():
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=2, shuffle=True, generator=generator)

    def run():
        list(loader)
        torch.rand(3, generator=generator)

    assert told(drawn_by(run, loader=loader, own=generator)) == [
        ("own", "draw", 2, BASE_SEED),
        ("own", "draw", 3, SHUFFLE),
        ("own", "draw", 3, SHUFFLE),  # once more for the rest of the samples, of which there are none
        ("own", "draw", 3, "torch.rand(3, generator=generator)"),
    ]
    (path, *_) = {draw.generator for draw in drawn_by(lambda: list(loader), loader=loader)}
    assert path == "loader/generator"


class Noisy(Dataset):
    """Draws from Python and numpy for each sample, in whatever process that is."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return random.random() + np.random.rand()


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_draw_where_they_are_made_and_workers_draw_in_processes_of_their_own(workers):
    def run():
        list(DataLoader(Noisy(), batch_size=2, num_workers=workers))

    seed, *samples = told(drawn_by(run))
    assert seed == ("rng/torch.cpu", "draw", 2, BASE_SEED)
    line = "return random.random() + np.random.rand()"
    expected = [("rng/python", "draw", 2, line), ("rng/numpy", "draw", 2, line)] * 4
    assert samples == ([] if workers else expected)


def test_persistent_workers_draw_one_base_seed_for_all_epochs_and_others_one_for_each():
    def run(persistent):
        loader = DataLoader(Noisy(), batch_size=2, num_workers=1, persistent_workers=persistent)
        for _ in range(3):
            list(loader)

    assert told(drawn_by(run, True)) == [("rng/torch.cpu", "draw", 2, BASE_SEED)]
    assert told(drawn_by(run, False)) == [("rng/torch.cpu", "draw", 2, BASE_SEED)] * 3


def test_setting_torchs_generator_is_no_draw_and_what_follows_is():
    def run():
        state = torch.get_rng_state()
        torch.rand(5)
        torch.set_rng_state(state)
        random_split(range(8), [5, 3])
        torch.manual_seed(7)

    assert [(kind, draws, text) for _, kind, draws, text in told(drawn_by(run))] == [
        ("draw", 5, "torch.rand(5)"),
        ("set", None, "torch.set_rng_state(state)"),
        ("draw", 7, "dataset.random_split"),
        ("set", None, "torch.manual_seed(7)"),
    ]


def test_a_state_from_later_on_is_set_and_not_drawn():
    """What a resumed run loads lies ahead of what it began with, by a number of draws that nobody drew."""

    def run():
        states = runs.rng_state()
        torch.rand(3), random.random(), np.random.rand(3)
        later = runs.rng_state()
        runs.set_rng_state(states)
        runs.set_rng_state(later)

    draws = drawn_by(run)
    assert [(draw.generator, draw.kind) for draw in draws[:3]] == [
        ("rng/torch.cpu", "draw"),
        ("rng/python", "draw"),
        ("rng/numpy", "draw"),
    ]
    assert [(draw.generator, draw.kind) for draw in draws[3:]] == [
        ("rng/torch.cpu", "set"),
        ("rng/numpy", "set"),
        ("rng/python", "set"),
    ] * 2


# --- numpy and Python


def test_numpy_and_python_are_named_by_the_users_line_that_was_running():
    def shuffled(values):
        np.random.shuffle(values)
        return values

    def run():
        values = shuffled(list(range(5)))
        random.shuffle(values)
        number = random.random()
        return number, random.randint(0, 9), np.random.normal()

    last = "return number, random.randint(0, 9), np.random.normal()"
    draws = [(d.generator, d.function, d.text) for d in drawn_by(run)]
    assert draws == [
        ("rng/numpy", "", "np.random.shuffle(values)"),
        ("rng/python", "random.Random.shuffle", "random.shuffle(values)"),
        ("rng/python", "", "number = random.random()"),
        ("rng/python", "random.Random.randint", last),
        ("rng/numpy", "", last),
    ]


def test_the_second_of_two_normal_numbers_is_a_draw_of_none():
    def run():
        np.random.randn()
        np.random.randn()

    assert [(draw.kind, draw.draws) for draw in drawn_by(run)] == [("draw", 4), ("draw", 0)]


def test_seeding_is_no_draw_whoever_does_it():
    def library():
        """As a library does: a name bound when the module is loaded, called from elsewhere."""
        np.random.mtrand.seed(5)

    def run():
        random.seed(5)
        np.random.seed(5)
        random.setstate(random.Random(4).getstate())
        library()
        np.random.seed(9)

    draws = drawn_by(run)
    assert {draw.kind for draw in draws} == {"set"}
    assert [draw.generator for draw in draws] == ["rng/python", "rng/numpy", "rng/python", "rng/numpy"]
    assert draws[0].function == "random.Random.seed"
    # Set to what it was already: nothing changed between the two seeds of 5.
    assert [draw.text for draw in draws if draw.generator == "rng/numpy"] == ["np.random.seed(5)", "np.random.seed(9)"]


def test_a_generator_of_ones_own_is_made_without_setting_pythons():
    def run():
        own = random.Random(5)
        return own, random.random()

    assert told(drawn_by(run)) == [("rng/python", "draw", 2, "return own, random.random()")]


def test_private_generators_of_numpy_and_python_are_watched():
    held = {
        "new": np.random.default_rng(1),
        "old": np.random.RandomState(1),
        "own": random.Random(1),
    }

    def run():
        held["new"].random(3)
        held["old"].rand(2)
        held["own"].random()
        held["new"].bit_generator.state = np.random.default_rng(1).bit_generator.state
        held["own"].seed(4)

    assert [(g, kind, draws) for g, kind, draws, _ in told(drawn_by(run, **held))] == [
        ("new", "draw", 3),
        ("old", "draw", 4),
        ("own", "draw", 2),
        ("new", "set", None),
        ("own", "set", None),
    ]


def test_lines_of_frames_that_are_open_already_are_seen_and_generator_functions_too():
    def numbers():
        yield random.random()
        yield np.random.rand()

    with DrawLog() as log:
        random.random()
        for _ in numbers():
            random.random()
    inner = [("rng/python", "yield random.random()"), ("rng/numpy", "yield np.random.rand()")]
    own = ("rng/python", "random.random()")
    assert [(draw.generator, draw.text) for draw in log.draws] == [own, inner[0], own, inner[1], own]


# --- marks, other logs, files


def test_marks_tell_where_and_a_new_generator_in_an_old_ones_place_is_set():
    run = Holding(generator=torch.Generator().manual_seed(1))
    with DrawLog(Generators(run)) as log:
        log.mark("load")
        torch.rand(1, generator=run.generator)
        run.generator = torch.Generator().manual_seed(2)
        log.mark("step 21")
        torch.rand(2, generator=run.generator)
    assert [(draw.where, draw.kind, draw.draws) for draw in log.draws] == [
        ("load", "draw", 1),
        ("load", "set", None),
        ("step 21", "draw", 2),
    ]


def test_both_logs_can_be_open_at_once_whichever_is_the_outer():
    def run():
        nn.functional.dropout(torch.ones(3), 0.5)

    said = []
    for outer, inner in ((DrawLog, OperatorLog), (OperatorLog, DrawLog)):
        with outer() as one, inner() as other:
            run()
        operators, draws = (one, other) if outer is OperatorLog else (other, one)
        said.append([(entry.name, entry.line, entry.random) for entry in operators.operators])
        assert [draw.text for draw in draws.draws] == ["nn.functional.dropout(torch.ones(3), 0.5)"]
    assert said[0] == said[1] and any(random for _, _, random in said[0])


def test_a_log_is_read_as_it_was_written_and_one_cut_off_is_refused(tmp_path):
    def run():
        torch.rand(2)
        random.seed(1)

    path = tmp_path / "draws.jsonl"
    with DrawLog() as log:
        run()
    log.write(path)
    assert drawing.read(path) == log.draws
    assert [draw.draws for draw in log.draws] == [2, None]
    path.write_text(path.read_text(encoding="utf-8").rsplit("\n", 2)[0], encoding="utf-8")
    with pytest.raises(BadInput, match="is not a whole log of this kit"):
        drawing.read(path)


def test_what_another_thread_draws_is_not_told_as_set_by_the_line_that_was_running():
    own, drawn, done = torch.Generator().manual_seed(1), threading.Event(), threading.Event()

    def elsewhere():
        torch.rand(3, generator=own)
        drawn.set()
        done.wait()

    def waiting():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        drawn.wait()
        torch.rand(1, generator=own)
        done.set()
        thread.join()
        own.manual_seed(5)

    assert [(draw.kind, draw.draws) for draw in drawn_by(waiting, own=own)] == [("draw", 1), ("set", None)]
