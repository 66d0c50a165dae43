"""What a log of operators sees of a step, and that logging changes nothing."""

import threading
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from dora_repro.errors import BadInput
from dora_repro.recording import Recorder, operators
from dora_repro.recording.operators import OperatorLog, module_names
from dora_repro.state.snapshot import Snapshot, run_roots
from tests import runs

EVERY_KIND = [
    runs.Plain,
    runs.Loader,
    runs.Ema,
    runs.Accumulating,
    runs.Lbfgs,
    runs.BatchNormSgd,
    runs.PrivateGenerators,
    runs.Tied,
    runs.Generating,
    runs.HandMade,
]


def digests(run) -> dict[str, bytes]:
    return {path: leaf.digest for path, leaf in Snapshot.capture(run_roots(run)).items()}


def logged(run, steps=1, log=OperatorLog) -> list[operators.Operator]:
    """The log of the last of some steps."""
    for _ in range(steps - 1):
        run.step()
    with log(module_names(run)) as kept:
        run.step()
    return kept.operators


def called(function, *args) -> list[operators.Operator]:
    with OperatorLog() as log:
        function(*args)
    return log.operators


def only(entries, name: str) -> operators.Operator:
    (found,) = [entry for entry in entries if entry.name == name]
    return found


# --- it does not disturb


@pytest.mark.parametrize("make", EVERY_KIND, ids=lambda make: make.__name__)
def test_logging_changes_no_byte_of_a_run_and_two_logs_of_the_same_step_are_equal(make):
    bare = make()
    for _ in range(3):
        bare.step()
    expected = digests(bare)
    first = logged(run := make(), steps=3)
    assert digests(run) == expected
    second = logged(make(), steps=3)
    assert first == second
    assert {entry.phase for entry in first} >= {"forward", "backward"}


def test_the_comparison_above_sees_a_log_that_draws_a_number_and_one_that_is_of_another_step():
    class Drawing(OperatorLog):
        def _note(self, *entry):
            torch.rand(1)
            super()._note(*entry)

    bare, run = runs.Plain(), runs.Plain()
    for _ in range(2):
        bare.step()
    logged(run, steps=2, log=Drawing)
    assert digests(run) != digests(bare)
    assert logged(runs.Plain(), steps=2) != logged(runs.Plain(), steps=3)


def test_what_the_recorder_looks_at_meanwhile_is_no_part_of_the_log():
    alone = logged(runs.Loader())
    run = runs.Loader()
    with Recorder(run) as recorder, OperatorLog(module_names(run)) as log:
        recorder.step()
    assert [(e.name, e.module, e.phase, e.outputs) for e in log.operators] == [
        (e.name, e.module, e.phase, e.outputs) for e in alone
    ]
    lines = {entry.text for entry in log.operators if entry.name == "aten.stack.default"}
    assert lines == {"batch = next(self.batches)"}, "and the recorder's own way through a loader hides no line"


def test_an_exception_passes_through_and_every_hook_is_taken_away():
    before = len(torch_module._global_forward_hooks), len(torch_module._global_forward_pre_hooks)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), OperatorLog() as log:
        nn.Linear(3, 2)(torch.ones(1, 4))
    assert (len(torch_module._global_forward_hooks), len(torch_module._global_forward_pre_hooks)) == before
    count = len(log.operators)
    torch.ones(2) + 1
    assert len(log.operators) == count


# Torch warns of any global hook on modules, which the recorder has as well.
@pytest.mark.filterwarnings("ignore:Using `torch.compile.module.` when there are global hooks:UserWarning")
def test_a_compiled_function_stays_compiled():
    compiled = []

    def backend(graph, inputs):
        return lambda *args: compiled.append(len(args)) or graph.forward(*args)

    model = torch.compile(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), backend=backend)
    inputs = torch.ones(2, 3)
    expected = model(inputs)
    with OperatorLog():
        assert torch.equal(model(inputs), expected)
    assert len(compiled) == 2, "the graph was run both times, and not eager mode in its place"


# --- what it sees


class Tiny:
    """One layer, one step of SGD."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def step(self):
        loss = nn.functional.mse_loss(self.model(torch.ones(4, 3)), torch.zeros(4, 2))
        loss.backward()
        self.optimizer.step()


@pytest.fixture(params=[None, "cpu"], ids=["no default device", "a default device"])
def default_device(request):
    torch.set_default_device(request.param)
    yield
    torch.set_default_device(None)


def test_operators_come_in_order_with_module_phase_function_and_the_users_line(default_device):
    entries = logged(Tiny())
    said = [
        f"{e.phase} {e.module}: {e.name} ({e.function.rpartition('.')[2]}){' random' * e.random}, {e.text.split()[0]}"
        for e in entries
    ]
    assert said == [
        "other : aten.ones.default (), loss",
        "forward model/0: aten.addmm.default (forward), loss",
        "forward model/0: Linear (), loss",
        "forward model/1: aten.bernoulli_.float (dropout) random, loss",
        "forward model/1: aten.div_.Scalar (dropout), loss",
        "forward model/1: aten.mul.Tensor (dropout), loss",
        "forward model/1: Dropout (), loss",
        "forward model: Sequential (), loss",
        "other : aten.zeros.default (), loss",
        "forward : aten.mse_loss.default (mse_loss), loss",
        "backward : aten.ones_like.default (_make_grads), loss.backward()",
        "backward : aten.mse_loss_backward.default (_engine_run_backward), loss.backward()",
        "backward model/1: aten.mul.Tensor (_engine_run_backward), loss.backward()",
        "backward model/0: aten.mm.default (_engine_run_backward), loss.backward()",
        "backward model/0: aten.sum.dim_IntList (_engine_run_backward), loss.backward()",
        "update model/0: aten.add_.Tensor (_single_tensor_sgd), self.optimizer.step()",
        "update model/0: aten.add_.Tensor (_single_tensor_sgd), self.optimizer.step()",
    ]
    assert {entry.file for entry in entries} == {__file__}


def test_the_innermost_line_of_the_user_is_named_also_in_a_backward_of_the_users_own():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2  # here

    def run():
        Doubled.apply(torch.ones(2, requires_grad=True)).sum().backward()

    entry = called(run)[-1]
    assert (entry.name, entry.phase, entry.text) == ("aten.mul.Tensor", "backward", "return gradient * 2  # here")


def test_backward_runs_on_the_thread_that_called_it_also_inside_of_another_one():
    threads = set()

    class Noting(OperatorLog):
        def _note(self, *entry):
            threads.add(threading.get_ident())
            super()._note(*entry)

    layer = nn.Linear(3, 3)

    def run():
        inputs = torch.ones(1, 3, requires_grad=True)
        inner = partial(checkpoint, layer, use_reentrant=True)
        checkpoint(inner, inputs, use_reentrant=True).sum().backward()

    with Noting({id(layer): "layer"}) as log:
        run()
    assert threads == {threading.get_ident()}
    assert [e.module for e in log.operators if e.name == "aten.mm.default"] == ["layer", "layer"]


def test_a_forward_pass_done_again_for_its_activations_is_named_by_its_module():
    run = Tiny()
    real = run.model
    run.model = nn.Sequential(real)
    run.model.forward = lambda inputs: checkpoint(real, inputs, use_reentrant=False)
    entries = logged(run)
    again = [(e.phase, e.module) for e in entries if e.name == "aten.addmm.default"]
    assert again == [("forward", "model/0.0"), ("backward", "model/0.0")]
    assert [e.module for e in entries if e.name == "aten.mm.default"] == ["model/0.0"]


def test_a_module_that_lends_its_weight_without_being_called_owns_its_gradient():
    class Lending(nn.Module):
        def __init__(self):
            super().__init__()
            self.out_proj = nn.Linear(3, 3)

        def forward(self, inputs):
            weight = self.out_proj.weight
            return nn.functional.linear(inputs, weight).sum() + nn.functional.linear(inputs, weight.t()).sum()

    class Run(Tiny):
        def __init__(self):
            self.model = Lending()

        def step(self):
            for _ in range(2):
                self.model(torch.ones(2, 3)).backward()

    accumulated = [e.module for e in logged(Run()) if e.name == "aten.add_.Tensor" and e.phase == "backward"]
    assert accumulated == ["model/out_proj"]


def test_the_input_of_an_operator_in_place_is_what_it_was_before():
    def twice():
        value = torch.ones(3)
        value.add_(1)
        value.add_(1)

    _, first, second = called(twice)
    assert first.inputs != first.outputs == second.inputs != second.outputs


def test_what_an_operator_writes_without_returning_it_is_an_output():
    def foreach():
        values = [torch.ones(3), torch.zeros(2)]
        torch._foreach_add_(values, 1)

    entry = only(called(foreach), "aten._foreach_add_.Scalar")
    assert len(set(entry.inputs + entry.outputs)) == 4

    def out():
        torch.add(torch.ones(2), 1, out=torch.zeros(2))

    entry = only(called(out), "aten.add.out")
    assert len(entry.inputs) == 2 and len(entry.outputs) == 1

    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(3)
    norm.running_var.fill_(4)
    entry = only(called(norm, torch.randn(4, 2)), "aten.native_batch_norm.default")
    mean, variance = entry.inputs[3:5]
    assert len(entry.outputs) == 3 + 5 and {mean, variance}.isdisjoint(entry.outputs)


def test_memory_that_was_only_reserved_is_never_compared():
    """With other garbage in it, the log is the same; once all of it was written, it counts."""

    def run(garbage, written=2.0):
        buffer = torch.empty(4, 3)
        buffer.numpy()[:] = garbage  # as an allocator would
        buffer[:2] = 1.0
        buffer[:2].sum()
        buffer.clone()
        buffer[2:] = written
        buffer.sum()
        torch.empty(3).uniform_(generator=torch.Generator().manual_seed(0))

    logs = [called(run, 5.0), called(run, 6.0), called(run, 5.0, 3.0)]
    whole = [[entry for entry in log if entry.name != "aten.clone.default"] for log in logs]
    assert whole[0] == whole[1] != whole[2]
    assert whole[0][0].outputs == ("",)
    clones = [only(log, "aten.clone.default") for log in logs[:2]]
    assert clones[0].inputs == clones[1].inputs and clones[0].outputs != clones[1].outputs, "it read what none wrote"


def test_numbers_are_arguments_and_generators_are_not():
    def run(number, seed):
        torch.rand(2, generator=torch.Generator().manual_seed(seed))
        torch.ones(2) * number

    base, other, seeded = called(run, 2.0, 1), called(run, 3.0, 1), called(run, 2.0, 2)
    (position,) = (i for i, (a, b) in enumerate(zip(base, other, strict=True)) if a.arguments != b.arguments)
    assert base[position].name == "aten.mul.Tensor"
    assert base[position].outputs != other[position].outputs
    assert [e.arguments for e in base] == [e.arguments for e in seeded]
    assert base[0].outputs != seeded[0].outputs


def test_a_modules_entry_tells_its_mode_and_its_parameters():
    layer = nn.Sequential(nn.Linear(2, 2))
    inputs = torch.ones(1, 2)

    def whole():
        return only(called(layer, inputs), "Sequential")

    first = whole()
    assert whole().arguments == first.arguments
    layer.eval()
    assert whole().arguments != first.arguments
    layer.train()
    layer[0].bias.data.add_(1)
    changed = whole()
    assert changed.arguments != first.arguments and changed.inputs == first.inputs


# Nested tensors are a prototype of torch's, which it says whenever one is made.
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning")
def test_tensors_that_cannot_be_read_stop_nothing():
    def run():
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
        (nested * 2).unbind()
        sparse = torch.eye(3).to_sparse()
        torch.sparse.mm(sparse, torch.ones(3, 1))
        torch.ones(2, device="meta") + 1
        torch.ones(2, dtype=torch.complex64).conj() * 2

    assert called(run) == called(run)


class Doubling(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.full((2,), float(index)) * 2


def test_workers_of_a_loader_are_let_alone():
    with OperatorLog() as log:
        values = [batch.tolist() for batch in DataLoader(Doubling(), batch_size=2, num_workers=1)]
    assert values == [[[0, 0], [2, 2]], [[4, 4], [6, 6]]]
    assert {entry.name for entry in log.operators} == {"aten.random_.default", "aten._local_scalar_dense.default"}
    here = called(lambda: list(DataLoader(Doubling(), batch_size=2)))
    assert "aten.mul.Tensor" in {entry.name for entry in here}, "without workers, all is seen"


# --- files


def test_a_log_is_read_as_it_was_written(tmp_path):
    run = Tiny()
    with OperatorLog(module_names(run)) as log:
        run.step()
    log.write(tmp_path / "operators.jsonl")
    assert operators.read(tmp_path / "operators.jsonl") == log.operators


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text[: len(text) // 2], "is not a whole log of this kit"),
        (lambda text: text.rsplit("\n", 2)[0], "entries where"),
        (lambda text: text.replace("/operators/1", "/operators/9"), "expected 'dora_repro/operators/1'"),
        (lambda text: text.replace('"random": false', '"random": 0', 1), "0 is no"),
        (lambda text: text.replace('"phase"', '"face"', 1), "an entry of"),
    ],
    ids=["cut off", "too short", "another format", "another type", "another field"],
)
def test_a_log_that_is_not_whole_is_refused(tmp_path, change, problem):
    path = tmp_path / "operators.jsonl"
    run = Tiny()
    with OperatorLog() as log:
        run.step()
    log.write(path)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(BadInput, match=problem):
        operators.read(path)


def test_a_log_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(BadInput, match="no such log"):
        operators.read(tmp_path / "nowhere")
