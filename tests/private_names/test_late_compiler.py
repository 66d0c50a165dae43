"""The compiler is not imported by training, is there for whoever compiles, and changes nothing meanwhile."""

import subprocess
import sys
from textwrap import dedent

import pytest

BEGIN = """
import sys, torch
from dora_repro.private_names.late_compiler import put_off_compiler
put_off_compiler()

def is_there():
    return "torch._dynamo.eval_frame" in sys.modules

def trained():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(6, 4)).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    optimizer.load_state_dict(optimizer.state_dict())
    return [parameter.detach().clone() for parameter in model.parameters()]
"""


def said(code: str) -> list[str]:
    """What a new interpreter prints that has put the compiler off."""
    words = [sys.executable, "-c", BEGIN + dedent(code)]
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_a_training_does_without_it_and_gives_the_same_bytes():
    lines = said("""
        import inspect
        without = trained()
        inspect.stack()  # looks through all modules
        print(is_there(), sys.modules["torch._dynamo"].__name__)
        torch._dynamo.config  # now it is there
        print(is_there(), all(torch.equal(one, other) for one, other in zip(without, trained())))
    """)
    assert lines == ["False torch._dynamo", "True True"]


@pytest.mark.parametrize(
    "wanted",
    [
        "torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2))",
        "import torch._dynamo.config",
        "torch._dynamo.noted = True",
    ],
)
def test_whoever_wants_more_of_it_has_it_imported(wanted):
    lines = said(f"""
        trained()
        {wanted}
        print(is_there(), type(sys.modules["torch._dynamo"]).__name__, sys.modules["torch._dynamo"] is torch._dynamo)
        print(hasattr(torch._dynamo.optimize, "__call__"), len(trained()))
    """)
    assert lines == ["True module True", "True 6"]


@pytest.mark.parametrize("wanted", ["import torch._dynamo.config", "from torch._dynamo import config"])
def test_a_module_of_it_is_imported_once(wanted):
    lines = said(f"""
        {wanted}
        from torch._dynamo import convert_frame
        print(convert_frame.config is sys.modules["torch._dynamo.config"] is torch._dynamo.config)
        print(torch._dynamo.config.__spec__.origin == torch._dynamo.config.__file__)
    """)
    assert lines == ["True", "True"]


def test_what_was_to_be_left_alone_is_left_alone_when_something_is_compiled():
    lines = said("""
        @torch.compiler.disable
        def plain(x):
            return x + (1 if not torch.compiler.is_compiling() else 100)

        @torch.compiler.disable(recursive=False)
        def other(x):
            return x * 2

        print(plain.__name__, float(plain(torch.zeros(()))), is_there())
        compiled = torch.compile(lambda x: other(plain(x.sin())).cos(), backend="eager")
        print(bool(compiled(torch.ones(2))[0] == (2 * (torch.ones(2).sin() + 1)).cos()[0]))
        print(bool(torch._dynamo.utils.counters["graph_break"]))
        print(tuple(torch.compiler.disable(torch.nn.Linear(2, 2))(torch.ones(1, 2)).shape))  # no plain function
    """)
    assert lines == ["plain 1.0 False", "True", "True", "(1, 2)"]


def test_what_was_marked_before_is_marked_once_there_is_a_compiler():
    lines = said("""
        @torch._dynamo.allow_in_graph
        def whole(x):
            return x * 2

        @torch._dynamo.assume_constant_result
        def three():
            return 3

        print(whole(2), three(), is_there())
        from torch._dynamo.trace_rules import is_callable_allowed
        print(is_callable_allowed(whole), is_callable_allowed(three), three._dynamo_marked_constant)
    """)
    assert lines == ["4 3 False", "True False True"]


def test_the_class_that_transformers_imports_of_it_is_there_when_it_is_used():
    lines = said("""
        from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex as used
        print(is_there())
        with used():
            print(torch.vmap(lambda at: torch.arange(3)[at])(torch.tensor([2, 0])).tolist())
        from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex as itself, trace_wrapped
        print(is_there(), type(used()) is itself)
    """)
    assert lines == ["False", "[2, 0]", "True True"]


def test_where_it_has_been_imported_nothing_is_done():
    import torch._dynamo

    from dora_repro.private_names.late_compiler import put_off_compiler

    before = sys.modules["torch._dynamo"]
    put_off_compiler()
    assert sys.modules["torch._dynamo"] is before is torch._dynamo
