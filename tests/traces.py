"""Traces made of a few words."""

from dora_repro.trace import Effect, Step, Trace


def digest(text: str) -> bytes:
    return text.encode().ljust(16, b".")


def effects(*texts: str) -> tuple[Effect, ...]:
    """`phase leaf value` each."""
    return tuple(Effect(phase, leaf, digest(value)) for phase, leaf, value in (text.split(" ") for text in texts))


def trace(*steps, first=1, finished=False, start=None, unseen=()) -> Trace:
    """Steps by their effects, or (effects, memory)."""
    made = []
    for number, step in enumerate(steps, first):
        texts, memory = step if isinstance(step, tuple) else (step, {})
        memory = {path: value and digest(value) for path, value in memory.items()}
        made.append(Step(number, 0.5, (0.1,), effects(*texts), memory))
    return Trace(made, {path: digest(value) for path, value in (start or {}).items()}, finished, unseen)


ONE = ["batch x a", "forward loss b", "backward w/grad c", "update w d"]


def step(number, *effects):
    """A step with these effects, each (phase, leaf, digest)."""
    return Step(number, 1.0, (), tuple(Effect(phase, leaf, value) for phase, leaf, value in effects), {})
