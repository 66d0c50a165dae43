"""Every random number generator: its state as plain data, and put back.

A *world* is the state of all global generators at one moment: Python's `random`, numpy's legacy global, and torch's on
the CPU and on every initialised accelerator. Private generators (`torch.Generator`, `numpy.random.Generator`,
`numpy.random.RandomState`, `random.Random`) are leaves wherever they are found (`walk.py`).

Reading a generator draws nothing from it, and does not initialise CUDA.
"""

import array
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names import of_cpython, of_numpy
from dora_repro.state.rng_fingerprint import LastRead

PRIVATE_GENERATORS = (
    torch.Generator,
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    random.Random,
)

Generator: TypeAlias = (
    torch.Generator | np.random.Generator | np.random.RandomState | np.random.BitGenerator | random.Random
)

State: TypeAlias = Any
"""A uint8 tensor for torch's generators; plain data (tuples, numbers, bytes) for the others. `Any`: each form is read
by the code for its kind of generator alone."""


def state_of(generator: Value) -> State:
    """The whole state of a private generator, detached from it.

    Raises:
        TypeError: not a generator.
        NotImplementedError: it has no state to read (`random.SystemRandom`).
    """
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return _plain(generator.bit_generator.state)
    if isinstance(generator, np.random.BitGenerator):
        return _plain(generator.state)
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    if isinstance(generator, random.Random):
        return _packed(generator.getstate())
    raise TypeError(f"not a generator known here: {type(generator).__name__}")


def set_state(generator: Value, state: State) -> None:
    """Put a state from `state_of` back into a generator of the same kind."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _live(state)
    elif isinstance(generator, np.random.BitGenerator):
        generator.state = _live(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_live(state))
    elif isinstance(generator, random.Random):
        generator.setstate(_unpacked(state))
    else:
        raise TypeError(f"not a generator known here: {type(generator).__name__}")


_read_python, _read_numpy = LastRead(state_of), LastRead(state_of)


def capture_world() -> dict[str, State]:
    """The state of all global generators by name: `python`, `numpy`, `torch.cpu`, `torch.cuda:0`, …"""
    world: dict[str, State] = {
        "python": _read_python(of_cpython.global_random),
        "numpy": _read_numpy(of_numpy.global_random),
        "torch.cpu": torch.get_rng_state(),
    }
    for device in _devices():
        world[f"torch.{device}"] = _backend(device).get_rng_state(device)
    return world


def global_name(generator: Value) -> str | None:
    """The name of a global generator, which some hold as if it were their own; None for a private one."""
    if generator is of_cpython.global_random:
        return "python"
    if generator is of_numpy.global_random:
        return "numpy"
    return "torch.cpu" if generator is torch.default_generator else None


def global_of(name: str) -> Any:
    """The global generator of a name that `global_name` gives."""
    known = {"python": of_cpython.global_random, "numpy": of_numpy.global_random, "torch.cpu": torch.default_generator}
    return known[name]


def restore_world(world: Mapping[str, State]) -> None:
    """Put a captured world back; generators that the world does not name are left alone."""
    for name, state in world.items():
        restore_global(name, state)


def restore_global(name: str, state: State) -> None:
    """Put back one global generator by its name in `capture_world`."""
    if name == "python":
        set_state(of_cpython.global_random, state)
    elif name == "numpy":
        set_state(of_numpy.global_random, state)
    elif name == "torch.cpu":
        torch.set_rng_state(state)
    else:
        device = torch.device(name.removeprefix("torch."))
        _backend(device).set_rng_state(state, device)


def seed_world(seed: int) -> None:
    """Seed all global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever the body draws from the global generators, they are afterwards as they were before."""
    world = capture_world()
    try:
        yield
    finally:
        restore_world(world)


def _devices() -> list[torch.device]:
    # `is_initialized` first: `is_available` starts the driver, after which a forked worker cannot.
    devices = []
    if torch.cuda.is_initialized():
        devices += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    xpu = getattr(torch, "xpu", None)
    if xpu is not None and xpu.is_initialized():
        devices += [torch.device("xpu", index) for index in range(xpu.device_count())]
    if _HAS_MPS:
        devices.append(torch.device("mps"))
    return devices


_HAS_MPS = torch.backends.mps.is_available()


class _Mps:
    """torch.mps has one device and takes no device argument; the others take one."""

    get_rng_state = staticmethod(lambda device: torch.mps.get_rng_state())
    set_rng_state = staticmethod(lambda state, device: torch.mps.set_rng_state(state))


def _backend(device: torch.device) -> Any:
    return _Mps if device.type == "mps" else getattr(torch, device.type)


def _packed(state: tuple[Any, ...]) -> State:
    """Python's (version, 625 words, spare normal number) with the words as bytes; other forms as they are."""
    if len(state) == 3 and type(state[1]) is tuple:
        return "words", state[0], array.array("I", state[1]).tobytes(), state[2]
    return state


def _unpacked(state: State) -> tuple[Any, ...]:
    if state[0] == "words":
        return state[1], tuple(array.array("I", state[2])), state[3]
    return tuple(state)


def _plain(state: Mapping[str, Any], above: str = "") -> tuple[Any, ...]:
    """A numpy generator's nested dict as a flat tuple: name, value, name, …; an array's name ends in its dtype."""
    flat: tuple[Any, ...] = ()
    for key, value in state.items():
        if isinstance(value, dict):
            flat += _plain(value, f"{above}{key}/")
        elif isinstance(value, np.ndarray):
            flat += (f"{above}{key}:{value.dtype.str}", value.tobytes())
        else:
            flat += (f"{above}{key}", value.item() if isinstance(value, np.generic) else value)
    return flat


def _live(flat: State) -> dict[str, Any]:
    """The inverse of `_plain`."""
    state: dict[str, Any] = {}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        name, _, dtype = name.partition(":")
        *above, key = name.split("/")
        inner = state
        for part in above:
            inner = inner.setdefault(part, {})
        inner[key] = np.frombuffer(value, dtype=dtype).copy() if dtype else value
    return state
