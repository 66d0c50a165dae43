"""What `load_state_dict` ignored, or left as it was, in words: from the notes that `recording.load_calls` took of its
calls."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dora_repro.wording import counted

Note = Mapping[str, Any]  # of one call, as it was read from JSON; its keys are those of `WatchedLoading.notes`

PREFIXES = ("module.", "_orig_mod.", "model.", "base_model.model.")
_SHOWN = 3  # keys


def describe_load_calls(notes: Iterable[Note]) -> tuple[str, ...]:
    """Sentences on the calls of `load_state_dict`, each once; no sentence for one that took all keys and filled all.

    Args:
        notes: one for each call, as `WatchedLoading` takes them.
    """
    sentences: dict[str, None] = {}
    for note in _not_made_up_for(tuple(notes)):
        for sentence in _optimizer_call(note) if note.get("what") == "optimizer" else _module_call(note):
            sentences.setdefault(sentence)
    return tuple(sentences)


def _not_made_up_for(notes: Sequence[Note]) -> Iterator[Note]:
    """Leave out calls of an optimizer that a later one made up for: some libraries load what is there while building,
    to move it to a device, and the checkpoint afterwards."""
    for index, note in enumerate(notes):
        later = (other for other in notes[index + 1 :] if other.get("what") == "optimizer" and not other["error"])
        if note.get("what") != "optimizer" or not any(_makes_up_for(other, note) for other in later):
            yield note


def _makes_up_for(later: Note, note: Note) -> bool:
    number = note.get("number")
    return number is not None and later.get("number") == number and bool(later["given"]) and not note["error"]


def _optimizer_call(note: Note) -> Iterable[str]:
    name = f"{note['class']}.load_state_dict"
    if note["error"]:
        yield f"{name} raised {note['error']}"
    elif note["parameters"] and not note["given"] and not note["stateless"]:
        yield (
            f"{name} got no state for any of {counted(note['parameters'], 'parameter')}: the state dict was taken "
            "before the first step, or from another optimizer"
        )


def _module_call(note: Note) -> Iterable[str]:
    if note["error"]:
        yield f"{note['class']}.load_state_dict raised {note['error']}"
        return
    missing, unexpected = note["missing"], note["unexpected"]
    if unexpected:
        count = f"strict=False ignored {note['unexpected_count']} of {counted(note['given'], 'key')} of the file"
        yield f"{count}: {_mismatch(missing, unexpected)}"
    elif missing:
        total = note["given"] + note["missing_count"]
        yield (
            f"strict=False left {note['missing_count']} of {counted(total, 'key')} of {note['class']} as they were "
            f"({_few(missing)}): the file lacks them"
        )


def _mismatch(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """How the keys of a file differ from those that the module has."""
    wanted, strange = set(missing), set(unexpected)
    for prefix in _prefixes(unexpected):
        if all(key.startswith(prefix) for key in unexpected) and _meets(
            {key.removeprefix(prefix) for key in strange}, wanted
        ):
            return f"all begin with `{prefix}`; strip the prefix"
    for prefix in _prefixes(missing):
        if _meets({prefix + key for key in strange}, wanted):
            return f"the model's begin with `{prefix}`; put it before them"
    for name in _adapters(missing):
        for prefix in ("", *_prefixes(missing)):
            if _meets({_with_adapter(prefix + key, name) for key in strange}, wanted):
                also = f" and begin with `{prefix}`" if prefix else ""
                return f"the model's have the adapter's name `.{name}` in them{also}; put it in"
    for name in _adapters(unexpected):
        for prefix in ("", *_prefixes(unexpected)):
            if _meets({key.removeprefix(prefix).replace(f".{name}", "", 1) for key in strange}, wanted):
                also = f" and begin with `{prefix}`" if prefix else ""
                return f"they have the adapter's name `.{name}` in them{also}; take it out"
    if not missing:
        return f"the model has no such keys ({_few(unexpected)})"
    lacking = counted(len(missing), "key")
    return f"{_few(unexpected)}; the file has no values for {lacking} of the model: {_few(missing)}"


def _prefixes(keys: Iterable[str]) -> list[str]:
    """Known prefixes that the keys have, several in a row as well, the shortest first."""
    found: dict[str, None] = {}
    for key in keys:
        whole = ""
        while more := next((prefix for prefix in sorted(PREFIXES, key=len) if key.startswith(whole + prefix)), ""):
            whole += more
            found.setdefault(whole)
        for prefix in PREFIXES:
            if key.startswith(prefix):
                found.setdefault(prefix)
    return sorted(found, key=len)


def _adapters(keys: Iterable[str]) -> list[str]:
    """Names of adapters in keys: the part that follows the name of a factor or a magnitude."""
    found: dict[str, None] = {}
    for key in keys:
        for part, name in pairwise(key.split(".")):
            if re.fullmatch(r"lora_\w+", part) and name not in ("weight", "bias"):
                found.setdefault(name)
    return list(found)


def _with_adapter(key: str, name: str) -> str:
    return re.sub(r"(^|\.)(lora_\w+)", lambda found: f"{found[0]}.{name}", key, count=1)


def _meets(changed: set[str], wanted: set[str]) -> bool:
    """Whether most of the changed keys are keys that the module has."""
    return 2 * len(changed & wanted) > len(changed) > 0


def _few(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(f"`{key}`" for key in keys[:_SHOWN]) + more
