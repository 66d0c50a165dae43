"""A factory travels as bytes; what a new interpreter would not find goes with it."""

import functools
import pickle
import subprocess
import sys
import typing

import pytest

from dora_repro.errors import BadInput
from dora_repro.sides.pickling import pickled
from tests import runs


def test_what_cannot_be_pickled_is_bad_input():
    half_done = (number for number in range(3))
    with pytest.raises(BadInput, match=r"cannot be sent to a new process .*in_process=True"):
        pickled(lambda: (half_done, runs.Plain()))


def test_a_class_that_can_be_imported_travels_by_its_name():
    assert pickle.loads(pickled(runs.Plain)) is runs.Plain
    assert len(pickled(runs.Plain)) < 100


PROGRAM = """
import functools, sys, typing
from dora_repro.sides.pickling import pickled

Name = typing.NewType("Name", str)

@functools.lru_cache(maxsize=7)
def fact(n):
    return n * fact(n - 1) if n else 1

fact.note = "kept"

class Run:
    def __init__(self):
        self.found = Name("a"), fact(5), fact.cache_info().maxsize, fact.note

if __name__ == "__main__":
    fact(6)
    sys.stdout.buffer.write(pickled(Run))
"""


def test_what_python_pickles_by_its_name_alone_travels_from_a_program_by_value(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    written = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, check=True).stdout
    run = pickle.loads(written)()
    assert run.found == ("a", 120, 7, "kept")
    assert type(run).__init__.__globals__["fact"].cache_info().currsize == 6  # 0! to 5!: nothing was remembered


SAVES_ITS_OWN = """
import dataclasses, io, pickle, sys
from dora_repro.sides.pickling import pickled

@dataclasses.dataclass
class Progress:
    step: int

def double(x):
    return 2 * x

class Run:
    def saved(self):
        return pickle.loads(pickle.dumps((Progress(3), double)))

if __name__ == "__main__":
    sys.stdout.buffer.write(pickled(Run))
"""
ARRIVES = """
import pickle, sys
progress, double = pickle.loads(sys.stdin.buffer.read())().saved()
print(progress, double(4), type(progress).__module__)
"""


def test_a_run_pickles_objects_of_the_programs_own_classes_where_it_arrives(tmp_path):
    (tmp_path / "program.py").write_text(SAVES_ITS_OWN)
    sent = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, check=True).stdout
    found = subprocess.run([sys.executable, "-c", ARRIVES], input=sent, capture_output=True, check=False)
    assert found.stdout.decode().strip() == "Progress(step=3) 8 __main__", found.stderr.decode()


@functools.lru_cache
def remembered():
    return 1


Kind = typing.NewType("Kind", int)


def test_of_a_module_that_can_be_imported_it_travels_by_its_name():
    assert pickle.loads(pickled(remembered)) is remembered and pickle.loads(pickled(Kind)) is Kind


TELLS_ITS_PLACE = """
import sys
from dora_repro.sides.pickling import pickled

def run():
    def inside():
        return [frame.f_code.co_filename for frame in (sys._getframe(0), sys._getframe(1))]

    return [*inside(), run.__code__.co_qualname, inside.__code__.co_firstlineno]

if __name__ == "__main__":
    sys.stdout.buffer.write(pickled(run))
"""


def test_code_that_travels_by_value_says_which_file_it_is_in_whatever_cloudpickle_makes_of_that(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(TELLS_ITS_PLACE)
    sent = subprocess.run([sys.executable, program], capture_output=True, check=True).stdout
    assert pickle.loads(sent)() == [str(program), str(program), "run", 6]


def test_code_of_no_file_travels_as_it_is():
    made = eval(compile("lambda: 3", "<dynamic-code>", "eval"))
    made.__module__ = "__main__"
    assert pickle.loads(pickled(made))() == 3


LOOKS_UP = """
import sys, threading
from dora_repro.sides.pickling import pickled

class Small:
    size = 1

class Large(Small):
    size = 9

held = threading.Lock()

def unsendable(lock=held):
    return lock

def run():
    import __main__
    return [globals()["Large"]().size, eval("Small").size, getattr(sys.modules["__main__"], "Large").size]

class Run:
    def __call__(self):
        return globals()["Large"]().size

class Model:
    def eval(self):
        return self

    def modules(self):
        return [self]

def plain():
    return Small.size * len(Model().eval().modules())

if __name__ == "__main__":
    sys.stdout.buffer.write(pickled({"run": run, "object": Run(), "plain": plain}[sys.argv[1]]))
"""


@pytest.mark.parametrize(("name", "found"), [("run", [9, 1, 9]), ("object", 9), ("plain", 1)])
def test_what_code_looks_up_by_a_string_goes_with_it(name, found, tmp_path):
    (tmp_path / "program.py").write_text(LOOKS_UP)
    sent = subprocess.run([sys.executable, tmp_path / "program.py", name], capture_output=True, check=True).stdout
    arrives = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())())"
    got = subprocess.run([sys.executable, "-c", arrives], input=sent, capture_output=True, check=False)
    assert got.stdout.decode().strip() == str(found), got.stderr.decode()
    assert (b"Large" in sent) is (name != "plain")
