"""How many draws apart two states are: every generator stepped a known number of times."""

import random
import sys

import numpy as np
import pytest
import torch

from dora_repro.state import rng
from dora_repro.state.draws import PART, PARTS, WORDS, draws_between, in_words

COUNTS = (0, 1, 2, 623, 624, 625, 1248, 5000)


def made(kind: str):
    """(generator, how to draw `count` times from it) of one kind, seeded."""
    if kind == "torch":
        generator = torch.Generator().manual_seed(3)
        return generator, lambda count: torch.rand(count, generator=generator)
    if kind == "python":
        generator = random.Random(3)
        return generator, lambda count: [generator.getrandbits(32) for _ in range(count)]
    if kind == "numpy legacy":
        generator = np.random.RandomState(3)
        return generator, lambda count: [generator.randint(0, 1 << 32, dtype=np.uint32) for _ in range(count)]
    if kind == "MT19937":
        generator = np.random.Generator(np.random.MT19937(3))
        return generator, lambda count: generator.bit_generator.random_raw(count)
    generator = np.random.default_rng(3)
    return generator, lambda count: generator.bit_generator.random_raw(count)


KINDS = ("torch", "python", "numpy legacy", "MT19937", "PCG64")


@pytest.mark.parametrize("before", [0, 1, 400, 624])
@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_the_number_of_draws_in_both_directions(kind, before):
    for count in COUNTS:
        generator, draw = made(kind)
        draw(before)
        first = rng.state_of(generator)
        draw(count)
        assert draws_between(first, rng.state_of(generator)) == count
        assert draws_between(rng.state_of(generator), first) == -count


@pytest.mark.parametrize("count", [PART - WORDS, PART - 1, PART, PART + 1, 3 * PART, 3 * PART + 7])
def test_it_is_found_where_one_part_of_the_search_ends_and_the_next_begins(count):
    generator, _ = made("numpy legacy")
    first = rng.state_of(generator)
    generator.bytes(4 * count)
    assert draws_between(first, rng.state_of(generator)) == count
    assert draws_between(rng.state_of(generator), first) == -count


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_is_no_number_of_draws_apart(kind):
    generator, _ = made(kind)
    other = {"torch": torch.Generator().manual_seed(4), "python": random.Random(4),
             "numpy legacy": np.random.RandomState(4), "MT19937": np.random.Generator(np.random.MT19937(4)),
             "PCG64": np.random.default_rng(4)}[kind]  # fmt: skip
    assert draws_between(rng.state_of(generator), rng.state_of(other)) is None


def test_an_int64_of_torch_is_two_draws_and_a_dataloader_draws_one():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    assert draws_between(before, generator.get_state()) == 2
    before = generator.get_state()
    iter(torch.utils.data.DataLoader([1, 2], generator=generator))
    assert draws_between(before, generator.get_state()) == 2  # the base seed, 64 bits


def test_pcg_is_far_ahead_or_behind_without_being_stepped():
    generator = np.random.PCG64(1)
    first = rng.state_of(generator)
    generator.advance(10**30)
    assert draws_between(first, rng.state_of(generator)) == 10**30
    assert draws_between(rng.state_of(generator), first) == -(10**30)
    generator.state = np.random.PCG64(1).state
    generator.advance(1 << 127)  # half of all: behind as far as ahead
    assert draws_between(first, rng.state_of(generator)) == draws_between(rng.state_of(generator), first) == -(1 << 127)


def test_a_twister_too_far_away_is_not_found():
    generator = np.random.RandomState(0)
    first = rng.state_of(generator)
    generator.bytes(4 * (PART * PARTS + 2 * WORDS))
    assert draws_between(first, rng.state_of(generator)) is None


def test_cuda_is_told_by_its_offset():
    def state(seed: int, offset: int) -> torch.Tensor:
        return torch.from_numpy(np.array([seed, offset], np.int64)).view(torch.uint8)

    assert draws_between(state(5, 8), state(5, 24)) == 16 and draws_between(state(5, 24), state(5, 8)) == -16
    assert draws_between(state(5, 8), state(6, 8)) is None


def test_what_is_no_state_or_of_two_kinds_is_no_distance():
    torch_state, python_state = torch.get_rng_state(), rng.state_of(random.Random(0))
    for other in (None, (), ("words",), (1, 2), torch.zeros(3), "text", {"a": 1}, torch.zeros(16), ([1], 2)):
        assert draws_between(torch_state, other) is None
    assert draws_between(rng.state_of(np.random.default_rng(0)), python_state) is None
    assert draws_between(rng.state_of(np.random.Generator(np.random.SFC64(0))), python_state) is None


@pytest.mark.parametrize(
    "state",
    [
        torch.zeros(5056),
        ("words", 3, b"four", None),
        ("words", 3, bytes(4 * WORDS) + (WORDS + 1).to_bytes(4, sys.byteorder), None),
        ("bit_generator", "MT19937", "state/key:<u4", bytes(4 * WORDS), "state/pos", WORDS + 1),
        ("bit_generator", "MT19937", "state/key:<u4", bytes(4 * WORDS), "state/pos", -1),
        ("bit_generator", "MT19937", "state/key:<u4", bytes(4 * WORDS + 4), "state/pos", 0),
        torch.full((5056,), 7, dtype=torch.uint8),
        ("a", 1, "b", 2),
        ("a", 1, [2], 3),
        ("bit_generator", "MT19937"),
        ("bit_generator", "another", "state/key:<u4", bytes(4 * WORDS), "state/pos", 3),
        ("bit_generator", "PCG64", "state/state", "1"),
        ("bit_generator", "PCG64", "state/state", 1, "state/inc", 2),
        ("bit_generator", "PCG64", "state/state", 1 << 128, "state/inc", 3),
        ("bit_generator", "PCG64", "state/state", -1, "state/inc", 3),
        ("bit_generator", "PCG64DXSM", "state/state", "1", "state/inc", "3"),
    ],
)
def test_what_is_shaped_like_a_state_and_is_none_has_no_distance_even_from_itself(state):
    """As a damaged file has it: numpy would read behind the words, and a search would never end."""
    assert draws_between(state, state) is None


def test_states_that_give_one_number_alike_are_not_taken_for_one_another():
    name, words, _, *spare = np.random.RandomState(0).get_state()
    words[:] = np.arange(WORDS)
    one, other = np.random.RandomState(), np.random.RandomState()
    one.set_state((name, words, 0, *spare))
    words[6] += 1
    other.set_state((name, words, 5, *spare))
    assert draws_between(rng.state_of(one), rng.state_of(other)) is None
    assert draws_between(rng.state_of(one), rng.state_of(one)) == 0


def test_a_distance_says_its_direction():
    assert in_words(1) == "1 draw ahead" and in_words(-49_152) == "49,152 draws behind"


def test_only_a_spare_normal_number_apart_is_no_draw_apart():
    generator = np.random.RandomState(0)
    generator.standard_normal()
    kept = rng.state_of(generator)
    generator.standard_normal()  # the one kept
    assert kept != rng.state_of(generator) and draws_between(kept, rng.state_of(generator)) == 0
