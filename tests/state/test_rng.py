"""Every generator: read without drawing, put back so that it goes on as it would have."""

import random

import numpy as np
import pytest
import torch

from dora_repro.state import rng, rng_fingerprint
from dora_repro.state.digest import digest, is_plain

BIT_GENERATORS = [
    np.random.MT19937,
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.Philox,
    np.random.SFC64,
]


class Dice(random.Random):
    """A subclass, as a library may bring it."""


PRIVATE = {
    "torch": lambda: torch.Generator().manual_seed(3),
    "python": lambda: random.Random(4),
    "python subclass": lambda: Dice(4),
    "numpy legacy": lambda: np.random.RandomState(5),
    "numpy legacy over another": lambda: np.random.RandomState(np.random.PCG64(5)),
    **{kind.__name__: lambda kind=kind: np.random.Generator(kind(6)) for kind in BIT_GENERATORS},
}


def draw(generator) -> list:
    """Numbers of several kinds, among them an odd number of normal ones: some generators keep the second of a pair."""
    if isinstance(generator, torch.Generator):
        return [torch.randn(5, generator=generator).tolist(), torch.randperm(5, generator=generator).tolist()]
    if isinstance(generator, random.Random):
        return [generator.gauss(0, 1), generator.random(), generator.sample(range(9), 3)]
    if isinstance(generator, np.random.RandomState):
        return [generator.randn(), generator.rand(), generator.permutation(5).tolist()]
    return [generator.normal(), generator.integers(0, 9, 3, dtype=np.uint8).tolist(), generator.permutation(5).tolist()]


@pytest.mark.parametrize("make", PRIVATE.values(), ids=PRIVATE)
@pytest.mark.parametrize("drawn_before", [0, 1])
def test_a_private_generator_goes_on_where_it_was_read(make, drawn_before):
    generator = make()
    for _ in range(drawn_before):
        draw(generator)
    state = rng.state_of(generator)
    known = digest(state)
    expected = draw(generator)
    assert draw(generator) != expected
    assert digest(rng.state_of(generator)) != known
    assert digest(state) == known, "the state that was read is no view of the generator"
    fresh = make()
    rng.set_state(fresh, state)
    assert digest(rng.state_of(fresh)) == known
    assert draw(fresh) == expected


@pytest.mark.parametrize("make", PRIVATE.values(), ids=PRIVATE)
def test_reading_draws_nothing(make):
    bare, read = make(), make()
    for _ in range(3):
        rng.state_of(read)
    assert draw(read) == draw(bare)


def test_states_are_plain_data_or_a_tensor():
    for make in PRIVATE.values():
        state = rng.state_of(make())
        assert isinstance(state, torch.Tensor) or is_plain(state)


def test_other_objects_have_no_state():
    with pytest.raises(TypeError, match="not a generator known here: int"):
        rng.state_of(3)
    with pytest.raises(TypeError, match="not a generator known here: str"):
        rng.set_state("x", ())
    with pytest.raises(NotImplementedError):
        rng.state_of(random.SystemRandom())


def draw_global() -> list:
    return [random.gauss(0, 1), random.random(), np.random.randn(), np.random.rand(), torch.randn(3).tolist()]


def test_the_world_goes_on_where_it_was_captured():
    random.gauss(0, 1), np.random.randn()  # each leaves the second number of a pair behind
    world = rng.capture_world()
    expected = draw_global()
    assert draw_global() != expected
    rng.restore_world(world)
    assert draw_global() == expected
    rng.restore_world(world)
    assert {name: digest(state) for name, state in rng.capture_world().items()} == {
        name: digest(state) for name, state in world.items()
    }


@pytest.mark.parametrize("name", ["python", "numpy", "torch.cpu"])
def test_one_global_generator_alone_is_put_back(name):
    world = rng.capture_world()
    draw_global()
    moved = rng.capture_world()
    rng.restore_global(name, world[name])
    now = rng.capture_world()
    for other in now:
        expected = world if other == name else moved
        assert digest(now[other]) == digest(expected[other])
        assert digest(world[other]) != digest(moved[other])


def test_what_is_drawn_inside_undisturbed_is_undone_even_where_it_raises():
    world = rng.capture_world()
    with pytest.raises(RuntimeError), rng.undisturbed():
        draw_global()
        raise RuntimeError
    assert digest(list(map(digest, rng.capture_world().values()))) == digest(list(map(digest, world.values())))


def test_cuda_is_not_started_in_order_to_look():
    before = torch.cuda.is_initialized()
    rng.capture_world()
    assert torch.cuda.is_initialized() is before


# --- a generator that was not used is not read again: whatever changed must be seen


def with_spare(generator, spare):
    state = generator.get_state(legacy=False)
    generator.set_state({**state, "has_gauss": 1, "gauss": spare})


CHANGES = {
    "python draws": lambda: random.random(),
    "python draws a normal number": lambda: random.gauss(0, 1),
    "python takes its spare normal number": lambda: random.gauss(0, 1),
    "python is seeded": lambda: random.seed(5),
    "python is seeded again": lambda: random.seed(6),
    "python has another spare number": lambda: setattr(random._inst, "gauss_next", 0.5),
    "python loses its spare number": lambda: setattr(random._inst, "gauss_next", None),
    "numpy draws": lambda: np.random.rand(),
    "numpy draws a normal number": lambda: np.random.randn(),
    "numpy takes its spare normal number": lambda: np.random.randn(),
    "numpy has a spare number": lambda: with_spare(np.random.mtrand._rand, 0.5),
    "numpy has another": lambda: with_spare(np.random.mtrand._rand, -0.5),
    "numpy is seeded": lambda: np.random.seed(5),
    "torch draws": lambda: torch.rand(1),
}


def read_afresh() -> dict:
    return {
        "python": rng.state_of(random._inst),
        "numpy": rng.state_of(np.random.mtrand._rand),
        "torch.cpu": torch.get_rng_state(),
    }


def digests(world) -> dict:
    return {name: digest(state) for name, state in world.items()}


def test_every_change_of_a_global_generator_is_seen_at_once():
    random.seed(1), np.random.seed(1), random.gauss(0, 1), np.random.randn()
    for name, change in CHANGES.items():
        before = digests(rng.capture_world())
        change()
        after = digests(rng.capture_world())
        changed = [which for which in after if after[which] != before[which]]
        assert changed == [next(which for which in after if name.startswith(which.partition(".")[0]))], name
        assert after == digests(read_afresh()), name


def test_another_global_generator_of_numpy_is_seen():
    before = np.random.mtrand._rand._bit_generator
    try:
        np.random.set_bit_generator(np.random.PCG64(1))
        one = digests(rng.capture_world())
        np.random.rand()
        two = digests(rng.capture_world())
        assert one["numpy"] != two["numpy"] and two == digests(read_afresh())
    finally:
        np.random.set_bit_generator(before)
    assert digests(rng.capture_world()) == digests(read_afresh())


def test_an_unused_generator_is_read_once_and_a_used_one_again():
    reads = []
    generator = random.Random(1)
    last = rng_fingerprint.LastRead(lambda g: reads.append(g) or g.getstate())
    assert last(generator) == last(generator) == generator.getstate()
    assert len(reads) == 1
    generator.random()
    assert last(generator) == generator.getstate()
    other = random.Random(1)
    assert last(other) == other.getstate()
    assert len(reads) == 3


def test_where_memory_tells_nothing_generators_are_read_each_time(monkeypatch):
    monkeypatch.setattr(rng_fingerprint, "_memory_tells", lambda: False)
    reads = []
    last = rng_fingerprint.LastRead(lambda g: reads.append(g) or g.getstate())
    generator = random.Random(1)
    last(generator), last(generator)
    assert len(reads) == 2


def test_the_trial_of_the_memory_fails_where_a_change_does_not_show(monkeypatch):
    rng_fingerprint._memory_tells.cache_clear()
    assert rng_fingerprint._memory_tells()
    real = rng_fingerprint.memory_of
    for blind in (
        lambda generator: None,
        lambda generator: (b"always the same",),
        lambda generator: (object(),),
        lambda generator: real(generator)[1:],  # without the object's own bytes: numpy's spare number
        lambda generator: real(generator)[:1],  # without the struct: numpy's words
    ):
        rng_fingerprint._memory_tells.cache_clear()
        monkeypatch.setattr(rng_fingerprint, "memory_of", blind)
        assert not rng_fingerprint._memory_tells()
    rng_fingerprint._memory_tells.cache_clear()
