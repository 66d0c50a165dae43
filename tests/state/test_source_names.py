"""Global names of functions, read from their source and from their bytecode: which are used, and which are changed."""

import importlib.util
import itertools
import types

import pytest

from dora_repro.state import bytecode_names, function_names, source_names
from dora_repro.state.source_names import changes_in_place

numbers = itertools.count()


def without_attributes(names):
    """The names alone: most of these tests ask for no attributes of them."""
    return names and {name: changed for name, changed in names.items() if not set(".!>").intersection(name)}


def names_in_source(function):
    return without_attributes(source_names.names_in_source(function))


def names_in_bytecode(code):
    return without_attributes(bytecode_names.names_in_bytecode(code))


def names_of(function):
    return without_attributes(function_names.names_of(function))


@pytest.fixture
def load(tmp_path):
    """A module of some text, imported from a file."""

    def loaded(text: str) -> types.ModuleType:
        path = tmp_path / f"of_source_{next(numbers)}.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


CHANGES = {  # a body -> (global names that it changes, those it only reads)
    "a[key] = b[0] + c": ("a", "b c key"),
    "a[key[0]][b(key)] = 1": ("a", "b key"),
    "a[key] += b[1]": ("a", "b key"),
    "a[0][b[1]] -= 1": ("a", "b"),
    "a[1:2] = b[3:4]": ("a", "b"),
    "a[b:c][0] = 1": ("a", "b c"),
    "del a[key], b": ("a", "key"),  # `b` is deleted here, so it is a local name
    "a.x[0] = 2": ("", "a"),
    "a.append(b)": ("a", "b"),
    "a.mul_(b).add(c)": ("a", "b c"),
    "a.x.append(b)": ("", "a b"),
    "method = a.append": ("a", ""),
    "a.__add__(b)": ("", "a b"),
    "global a\n    a += b": ("a", "b"),
    "global a\n    for a in b: pass": ("a", "b"),
    "global a\n    import os.path as a": ("a", ""),
    "global a\n    def a(): pass": ("a", ""),
    "global a\n    del a": ("a", ""),
    "global a\n    try: pass\n    except c as a: pass": ("a", "c"),
    "b = 1\n    b[0] = a": ("", "a"),
    "import b\n    b.append(a)": ("", "a"),
    "with a as b: b.append(c)": ("", "a c"),
    "return [b for b in a if (c := b)], b": ("", "a b"),
    "return [a.append(b) for b in b]": ("a", "b"),
    "return {a: b for a in c}, (a for b in [1]), {c for a in [2]}": ("", "a b c"),
    "def inner(a, *b, c=c, **key):\n        a.append(b), b.append(c), key.clear()\n        return inner": ("", "c"),
    "def inner():\n        a.append(b)\n        b = 1": ("a", ""),
    "b = 1\n    def inner():\n        nonlocal b\n        b = a": ("", "a"),
    "b = 1\n    def inner():\n        global b\n        b = a": ("b", "a"),
    "@b\n    def inner(): a.clear()": ("a", "b"),
    "async def inner():\n        async for x in a: b[x] = await c": ("b", "a c"),
    "return (lambda x, y=b: a.append(x))": ("a", "b"),
    "x: c\n    return a": ("", "a"),
    "match a:\n        case {'x': b, **c}: b.append(c)\n        case [*key]: return key": ("", "a"),
    "match a:\n        case str() as b: b.append(c)": ("", "a c str"),
    "return f'{a.pop()!r:{b}}'": ("a", "b"),
}  # fmt: skip


@pytest.mark.parametrize("body", CHANGES)
def test_what_a_function_changes_and_what_it_reads(body, load):
    function = load(f"def step():\n    {body}\n").step
    changed, read = (set(names.split()) for names in CHANGES[body])
    expected = dict.fromkeys(changed, True) | dict.fromkeys(read, False)
    assert names_in_source(function) == expected == names_in_bytecode(function.__code__)


def test_functions_in_a_class_do_not_see_its_names(load):
    body = "class Inner(b):\n        a.append(1)\n        c = key\n        def method(self): return c"
    function = load(f"def step():\n    {body}\n").step
    assert names_in_source(function) == {"a": True, "b": False, "c": False, "key": False}
    compiled = names_in_bytecode(function.__code__)  # which sets `__module__` from `__name__`
    assert {name: kept for name, kept in compiled.items() if name != "__name__"} == names_in_source(function)


def test_a_name_of_a_class_may_be_a_global_one_too(load):
    """A class's body reads the global name until it has one of its own; bytecode says no more than that either."""
    function = load("def step():\n    class Inner:\n        a = a\n        a.append(1)\n").step
    assert names_in_source(function) == {"a": True}
    assert names_in_bytecode(function.__code__)["a"] is True


METHODS = '''
class Run:
    """With lines at the margin."""

    def step(self):
        """A text
that begins at the margin.
"""
        super().step()
        self.seen = seen.append("""
    x""")

    @staticmethod
    @torch.no_grad(
        "over several lines"
    )
    def decorated(first, /, *rest, key=None):
        seen[first] = key

    def quiet(self): pass
'''


def test_methods_are_found_in_the_lines_of_their_class(load):
    run = load("torch = __import__('types').SimpleNamespace(no_grad=lambda text: lambda f: f)\n" + METHODS).Run
    assert names_in_source(run.step) == {"seen": True, "super": False}
    assert names_in_source(run.decorated) == {"seen": True}
    assert names_in_source(run.quiet) == {}


def test_lambdas_are_found_even_where_several_begin_in_one_line(load):
    module = load("pair = (lambda x: a.append(x), lambda x: b + x)\n")
    assert [names_in_source(function) for function in module.pair] == [{"a": True}, {"b": False}]
    (first, second) = load("pair = [\n    lambda: a.clear(),\n    (lambda: b)]\n").pair
    assert names_in_source(first) == {"a": True} and names_in_source(second) == {"b": False}


def test_closures_know_the_names_of_the_functions_around_them(load):
    function = load("def make(a):\n    def step():\n        a.append(b)\n    return step\n").make([])
    assert names_in_source(function) == {"b": False} == names_in_bytecode(function.__code__)


def test_code_without_source_is_read_from_its_bytecode():
    namespace = {}
    exec("def step():\n    a[0] = b\nf = lambda: c.append(1)", namespace)
    assert names_in_source(namespace["step"]) is None and names_in_source(namespace["f"]) is None
    assert names_of(namespace["step"]) == {"a": True, "b": False}
    assert names_of(namespace["f"]) == {"c": True}


def test_a_source_that_was_edited_since_is_not_taken_for_the_functions(load, tmp_path):
    module = load("def step():\n    a.append(b)\n\ndef other(x):\n    return c\n")
    for edited in (
        "def step():\n    d.append(b)\n\ndef other(x):\n    return c\n",
        "# a line more\ndef step():\n    a.append(b)\n",
        "def step(x):\n    a.append(b)\n",
        "def step():\n    a.append(\n",
        "",
    ):
        (tmp_path / f"{module.__name__}.py").write_text(edited, encoding="utf-8")
        assert names_in_source(module.step) is None
        assert names_of(module.step) == {"a": True, "b": False}
    (tmp_path / f"{module.__name__}.py").unlink()
    assert names_in_source(module.other) is None and names_of(module.other) == {"c": False}


def test_methods_that_change_what_they_are_called_on():
    assert all(map(changes_in_place, ("append", "mul_", "zero_", "setdefault")))
    assert not any(map(changes_in_place, ("mul", "__iadd__", "__len__", "get", "")))


ATTRIBUTES = {  # a body -> (attributes of global names that it changes, those it only reads)
    "a.b()": ("", "a.b"),
    "a.b.c(key)": ("", "a.b a.b.c"),
    "a.b += 1": ("a.b", ""),
    "a.b.c -= 1": ("a.b.c", "a.b"),
    "a.b = key.c": ("a.b", "key.c"),
    "del a.b": ("a.b", ""),
    "a.b[key] = 1": ("a.b", ""),
    "a.b[0][key] += 1": ("a.b", ""),
    "a.b.append(key)": ("a.b", "a.b.append"),
    "a().b = 1": ("", ""),
    "a[0].b = 1": ("", ""),
    "key = 1; key.b = 1": ("", ""),
    "return [x.y for x in a.b]": ("", "a.b"),
}


@pytest.mark.parametrize("body", ATTRIBUTES)
def test_attributes_of_names_are_told_with_them(body, load):
    function = load(f"def step():\n    {body}\n").step
    changed, read = (set(names.split()) for names in ATTRIBUTES[body])
    expected = dict.fromkeys(changed, True) | dict.fromkeys(read, False)
    for names in (source_names.names_in_source(function), bytecode_names.names_in_bytecode(function.__code__)):
        assert {name: kept for name, kept in names.items() if "." in name and ">" not in name} == expected


def test_the_class_that_a_function_is_in_has_a_name(load):
    body = "type(self).a += 1; self.__class__.b.append(1); cls.c = __class__.d"
    function = load(f"def step(self):\n    {body}\n").step
    names = source_names.names_in_source(function)
    assert {name for name, changed in names.items() if changed} == {"__class__.a", "__class__.b", "__class__.c"}
    assert names["__class__.d"] is False


IMPORTING = """
def step():
    import a.b as c, d
    from e.f import g as h
    from . import k
    c.x(), d.y, h.z, k.w
    def inner(): h.append(1)
"""


def test_what_a_function_imports_for_itself_is_followed(load):
    names = source_names.names_in_source(load(IMPORTING).step)
    assert {"!a.b.x", "!d.y", "!e.f.g.z", "!.k.w"} <= names.keys() and names["!e.f.g"] is True


PASSED = {  # body of a function -> what it passes to functions
    "push(a, b.c, key=d)": "a b.c d",
    "a.b(c); x = 1; push(x)": "c",
    "push(a[0], a + 1, *a)": "",
    "len(a); sorted(b); print(c); [d for d in enumerate(e)]": "",
    "import a; push(a.b)": "!a.b",
}


@pytest.mark.parametrize("body", PASSED)
def test_what_is_passed_to_a_function_may_be_changed_by_it(body, load):
    names = source_names.names_in_source(load(f"def step():\n    {body}\n").step)
    assert {name.removeprefix(">") for name in names if name.startswith(">")} == set(PASSED[body].split())


LOOPS = """
def looping(argument, pairs, *rest, **named):
    total = 0
    for first, (second, *others) in pairs:
        total += second
    for index, one in enumerate(rest):
        def later():
            return one
    for argument in rest:
        pass
    for named in rest:
        pass
    for both in rest:
        both = total
    return later
"""


def test_the_variables_of_loops_alone_are_told():
    (looping,) = [one for one in compile(LOOPS, "functions", "exec").co_consts if isinstance(one, types.CodeType)]
    assert bytecode_names.names_of_loops(looping) == {"first", "second", "others", "index", "one"}
    code = compile("for o in x.values(): print(o)\nz = 1\nfor z in x: pass\n", "a script", "exec")
    assert bytecode_names.names_of_loops(code) == {"o"}
