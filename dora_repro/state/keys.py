"""Keys of dictionaries as components of paths: readable, escaped, and the same in every process."""

import re
import types
from ast import literal_eval

import numpy as np

from dora_repro.contracts import Value
from dora_repro.printable import one_line
from dora_repro.state.attributes import name_of_type
from dora_repro.state.codecs import codec_of
from dora_repro.state.digest import digest, is_plain

OF_ID = "id "  # before the path of an object whose id is the key of a dict
LEAST_ID = 1 << 20  # a smaller number is a count, not an address
_ESCAPE = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_LIKE_AN_ESCAPE = re.compile(rf"\\(?={_ESCAPE.pattern[2:]})")
MAX_KEY = 200  # characters of a key in a path; a longer one is cut, and made unique by its digest


def key_text(key: Value) -> str:
    """A dictionary's key as one component of a path (`/` and `~` are escaped as in JSON pointers, what is not seen as
    in Python; a backslash that would read as the latter is `~2`).

    The same in every process: a key that has no text of its own is given by its type alone.
    """
    text = key if type(key) is str else _text(key)
    if len(text) > MAX_KEY:
        text = f"{text[:MAX_KEY]}…{digest(text).hex()[:16]}"
    if "/" in text or "~" in text or "\\" in text:
        text = _LIKE_AN_ESCAPE.sub("~2", text.replace("~", "~0").replace("/", "~1"))
    return one_line(text)


def unescaped(text: str) -> str:
    """A component of a path without its escapes: the key itself, where that is a string and not too long."""
    if "\\" in text:
        text = _ESCAPE.sub(lambda found: literal_eval(f"'{found[0]}'"), text)
    return text.replace("~2", "\\").replace("~1", "/").replace("~0", "~")


def key_type(key: Value) -> str:
    """The name of a key's type: `int`, `numpy.int64`, `None`."""
    if isinstance(key, np.generic):
        return f"numpy.{type(key).__name__}"
    return "None" if key is None else name_of_type(type(key))


def is_coded(key: Value) -> bool:
    """Whether a key is no plain data, and its text says all of it: a member of an enum, a number of numpy's, a path."""
    if is_plain(key):
        return False
    codec = codec_of(type(key))
    return isinstance(key, np.generic) or (codec is not None and codec.decode is not None)


def _text(key: Value) -> str:
    if isinstance(key, np.generic):
        return str(key)
    codec = codec_of(type(key))
    if codec is not None:
        key = codec.encode(key)
    if issubclass(type(key), (types.FunctionType, type)) and isinstance(key, (types.FunctionType, type)):
        return f"{key.__module__}.{key.__qualname__}"
    return _repr(key) if is_plain(key) else type(key).__name__


def _repr(key: Value) -> str:
    """`repr` of a plain key, where a set's order is not that of the hash seed; a string as it is."""
    if isinstance(key, frozenset):
        return f"{{{', '.join(sorted(map(_inside, key)))}}}"
    if isinstance(key, tuple):
        return f"({', '.join(map(_inside, key))}{',' if len(key) == 1 else ''})"
    return key if isinstance(key, str) else repr(key)


def _inside(key: Value) -> str:
    return repr(key) if isinstance(key, str) else _repr(key)
