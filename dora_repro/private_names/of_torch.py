"""Private names of torch: functions and classes under public names, and attributes by the object that has them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import Module, Parameter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torch.utils.data import _utils as loader_utils
from torch.utils.data.dataloader import _BaseDataLoaderIter as LoaderIterator

from dora_repro.private_names.names import listed

__all__ = ["LoaderIterator", "TorchDispatchMode", "loader_utils"]

NAMES = listed(
    "torch 2.13",
    {
        "torch._C.DisableTorchFunctionSubclass": "read a subclass of Tensor as the tensor that it is",
        "torch._C._DisableFuncTorch": "read a tensor inside a transform of `torch.func`",
        "torch._C._functorch.peek_interpreter_stack": "whether such a transform is under way",
        "torch._C._functorch.is_functorch_wrapped_tensor": "whether a tensor stands for another inside it",
        "torch._C._functorch.get_unwrapped": "that other one, all samples of a batch together",
        "torch._C._DisableTorchDispatch": "read a number that autograd has saved while operators are logged",
        "torch._C._current_autograd_node": "whether an operator runs in backward, and for which node",
        "torch.autograd._get_sequence_nr": "number nodes as they are made, to tell which module made one",
        "torch.autograd.graph.Node._sequence_nr": "the number that a node got",
        "torch.autograd.graph.Node._saved_other": "the number that a loss was multiplied by",
        "torch.utils._python_dispatch": "`TorchDispatchMode`: see every operator of a thread",
        "torch._ops.OpOverload._schema": "which arguments an operator changes",
        "torch._neg_view": "a tensor that was saved as the negative of its bytes",
        "torch.Tensor._version": "whether a large buffer was written to",
        "torch.Tensor._indices": "the indices of a sparse tensor that is not coalesced",
        "torch.Tensor._values": "its values",
        "torch.nested._internal.nested_tensor.NestedTensor._min_seqlen_tensor": "left out: kept once asked for",
        "torch.nested._internal.nested_tensor.NestedTensor._max_seqlen_tensor": "likewise",
        "torch.UntypedStorage._cdata": "tell storages apart while they live",
        "torch.nn.Module._parameters": "parameters by name, None included",
        "torch.nn.Module._buffers": "buffers by name, those that state_dict leaves out included",
        "torch.nn.Module._modules": "the modules inside a module, by name",
        "torch.nn.Module._forward_pre_hooks": "hooks, which may hold state",
        "torch.nn.Module._forward_hooks": "likewise",
        "torch.nn.Module._backward_pre_hooks": "likewise",
        "torch.nn.Module._backward_hooks": "likewise",
        "torch.nn.Module.state_dict._metadata": "kept with a state dict that is read from a file",
        "torch.nn.RNNBase._flat_weights": "left out of a walk: the parameters once more",
        "torch.nn.RNNBase._flat_weight_refs": "likewise",
        "torch.fx.GraphModule._graph": "left out of a walk: code, not state",
        "torch.fx.GraphModule._code": "likewise",
        "torch.nn.modules.module._global_forward_pre_hooks": "see outermost modules; put in and taken out at each call",
        "torch.nn.modules.module.Module._call_impl": "the frame that says that a module's forward is running",
        "torch.optim.Optimizer._zero_grad_profile_name": "left out of a walk: the optimizer's machinery",
        "torch.optim.Optimizer._warned_capturable_if_run_uncaptured": "likewise",
        "torch.optim.Optimizer._optimizer_step_pre_hooks": "likewise",
        "torch.optim.Optimizer._optimizer_step_post_hooks": "likewise",
        "torch.optim.Optimizer._optimizer_state_dict_pre_hooks": "likewise",
        "torch.optim.Optimizer._optimizer_state_dict_post_hooks": "likewise",
        "torch.optim.Optimizer._optimizer_load_state_dict_pre_hooks": "likewise",
        "torch.optim.Optimizer._optimizer_load_state_dict_post_hooks": "likewise",
        "torch.optim.SGD._step_supports_amp_scaling": "likewise, of fused optimizers",
        "torch.optim.SGD._need_device_dtype_check_for_fused": "likewise",
        "torch.optim.SGD._opt_called": "likewise, set by a scheduler",
        "torch.optim.lr_scheduler.LRScheduler._step_count": "left out of a walk where no learning rate depends on it",
        "torch.optim.lr_scheduler.LRScheduler._last_lr": "likewise",
        "torch.optim.lr_scheduler.LRScheduler._is_initial": "left out of a walk: used while it is made",
        "torch.optim.lr_scheduler.LRScheduler._get_lr_called_within_step": "left out of a walk: serves a warning",
        "torch.amp.GradScaler._scale": "set its scale; None before first use",
        "torch.amp.GradScaler._init_scale": "the scale before first use",
        "torch.amp.GradScaler._growth_tracker": "set its count of steps without overflow; None before first use",
        "torch.amp.GradScaler._init_growth_tracker": "that count before first use",
        "torch.amp.GradScaler._growth_factor": "set its options",
        "torch.amp.GradScaler._backoff_factor": "likewise",
        "torch.amp.GradScaler._growth_interval": "likewise",
        "torch.nn.utils.prune.BasePruningMethod._tensor_name": "which weight of its module is pruned",
        "torch.Tensor._backward_hooks": "what a run does to a gradient",
        "torch.Tensor._post_accumulate_grad_hooks": "and once it is accumulated",
        "torch.utils.data.DataLoader._iterator": "the iterator that persistent workers belong to",
        "torch.utils.data.dataloader._BaseDataLoaderIter": "see the batches of every loader by its `__next__`",
        "torch.utils.data.dataloader._BaseDataLoaderIter._dataset": "which data set an iterator reads",
        "torch.utils.data.dataloader._BaseDataLoaderIter._num_yielded": "how far an iterator has come",
        "torch.utils.data._utils": "`MP_STATUS_CHECK_INTERVAL`: how long workers are waited for",
        "torch._dynamo": "modules that `torch.compile` made around a user's; frames that tell nobody anything",
        "torch._dynamo.disable": "what an optimizer asks of it when it is made (`late_compiler.py`)",
        "torch._dynamo.graph_break": "likewise, in each step",
        "torch._dynamo.assume_constant_result": "what libraries ask of it when they are imported",
        "torch._dynamo.allow_in_graph": "likewise",
        "torch._dynamo._trace_wrapped_higher_order_op.TransformGetItemToIndex": "a class that transformers imports",
        "torch.compile._torchdynamo_orig_callable": "the user's function inside a compiled one",
        "torch._inductor": "objects of the compiler are listed, not walked",
        "torch._functorch": "likewise",
        "torch._tensor": "a frame between an operator and the function that called it",
        "torch._ops": "likewise",
        "torch._compile": "likewise",
        "torch.utils._contextlib": "likewise",
        "torch.utils._device": "likewise, where a default device was set",
        "torch.ops.aten._foreach_copy_": "an operator that writes over its first argument",
        "torch.ops.aten._foreach_zero_": "likewise",
        "torch.ops.aten._empty_affine_quantized": "an operator that reserves memory, and computes nothing",
    },
)

DisableTorchFunctionSubclass = torch._C.DisableTorchFunctionSubclass
is_transformed = torch._C._functorch.is_functorch_wrapped_tensor
behind_transform = torch._C._functorch.get_unwrapped
current_autograd_node = torch._C._current_autograd_node
next_node_number = torch.autograd._get_sequence_nr
negative_view = torch._neg_view


def outside_transforms() -> AbstractContextManager[object]:
    """Code in here computes as if no transform of `torch.func` (`vmap`, `grad`) were under way."""
    return nullcontext() if torch._C._functorch.peek_interpreter_stack() is None else torch._C._DisableFuncTorch()


# --- names that are compared, not called -------------------------------------------------------------------------

COMPILER = "torch._dynamo"
COMPILER_PACKAGES = (COMPILER, "torch._inductor", "torch._functorch", "torch.fx", "torch._C")
COMPILED_FUNCTION = "_torchdynamo_orig_callable"  # an attribute of what `torch.compile` made of a function

# Between an operator and the function that called it.
FRAMES_BETWEEN = frozenset(
    {"torch._tensor", "torch._ops", "torch._compile", "torch.utils._contextlib", "torch.utils._device"}
    | {"torch.overrides"}
)
MODULE_CALL = ("torch.nn.modules.module", "Module._call_impl")

OPERATORS_WRITING_OVER = ("_foreach_copy_", "_foreach_zero_")
OPERATORS_RESERVING = ("empty", "new_empty", "_empty")

# What torch.nn.Buffer, and transformers while it loads, note on tensors: no state of a run.
TENSOR_MARKS = frozenset({"persistent", "_is_buffer", "_is_hf_initialized"})

# What torch.compile notes on tensors, as these names begin (read in torch 2.13): how it traces, no state of a run.
COMPILER_MARKS = ("_dynamo_", "_specialize_on", "_has_dynamo_dim_marking")

# What a jagged tensor keeps of its lengths, as parts of itself, once something has asked for it.
LENGTHS_KEPT = frozenset({"_min_seqlen_tensor", "_max_seqlen_tensor"})

MODULE_CACHES = frozenset({"_flat_weights", "_flat_weight_refs", "_graph", "_code"})
METADATA = "_metadata"  # of a state dict: the versions of its modules
MODULE_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
PRUNED_NAME = "_tensor_name"  # of what prunes a weight: the weight's name in its module
OPTIMIZER_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")

# Listed by hand, for making an optimizer to look at would import torch's compiler: three seconds.
OPTIMIZER_MACHINERY = frozenset(
    {
        "_opt_called", "_zero_grad_profile_name",
        "_warned_capturable_if_run_uncaptured", "_need_device_dtype_check_for_fused", "_step_supports_amp_scaling",
        "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "_optimizer_state_dict_pre_hooks",
        "_optimizer_state_dict_post_hooks", "_optimizer_load_state_dict_pre_hooks",
        "_optimizer_load_state_dict_post_hooks",
    }
)  # fmt: skip
# The counters of a scheduler that only serve its warnings, its logs and its own construction. A scheduler may compute
# with those of SCHEDULER_COUNTERS all the same.
SCHEDULER_COUNTERS = frozenset({"_step_count", "_last_lr"})
SCHEDULER_MACHINERY = SCHEDULER_COUNTERS | {"_is_initial", "_get_lr_called_within_step"}

LIVE_ITERATOR = "_iterator"  # of a loader with persistent workers

SCALER_SCALE = ("_init_scale", "_scale")  # before first use, and after
SCALER_COUNT = ("_init_growth_tracker", "_growth_tracker")


# --- attributes ----------------------------------------------------------------------------------------------------


def parameters_of(module: Module) -> dict[str, Parameter | None]:
    """The live dict of a module's own parameters by name.

    Raises:
        KeyError: the module was never initialised.
    """
    held: dict[str, Parameter | None] = module.__dict__["_parameters"]
    return held


def buffers_of(module: Module) -> dict[str, torch.Tensor | None]:
    """The live dict of a module's own buffers by name.

    Raises:
        KeyError: the module was never initialised.
    """
    held: dict[str, torch.Tensor | None] = module.__dict__["_buffers"]
    return held


def modules_of(module: Module) -> dict[str, Module | None]:
    """The live dict of the modules directly inside a module, by name.

    Raises:
        KeyError: the module was never initialised.
    """
    held: dict[str, Module | None] = module.__dict__["_modules"]
    return held


def global_forward_pre_hooks() -> dict[Any, Any]:
    """The live dict of the hooks that run before the forward of any module."""
    return torch.nn.modules.module._global_forward_pre_hooks


def version_of(tensor: torch.Tensor) -> int:
    """How often a tensor was written to in place, as far as autograd counts."""
    return tensor._version


def parts_of_coo(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices and values of a sparse COO tensor, coalesced or not."""
    return tensor._indices(), tensor._values()


def identity_of_storage(storage: torch.UntypedStorage) -> int:
    """A number that no other storage has while this one lives."""
    return storage._cdata


def schema_of(operator: object) -> torch.FunctionSchema | None:
    """The schema of an operator; None of a function that has none."""
    schema: torch.FunctionSchema | None = getattr(operator, "_schema", None)
    return schema


def scalar_factor(tensor: torch.Tensor) -> float | None:
    """The number by which a tensor was multiplied last, where it was, and divided by its reciprocal; else None."""
    node: Any = tensor.grad_fn
    name = node.name() if node is not None else ""
    if name not in ("MulBackward0", "DivBackward0"):
        return None
    other = node._saved_other
    if other is None or other.requires_grad or other.numel() != 1 or other.is_cuda:
        return None
    with torch._C._DisableTorchDispatch():  # where operators are logged, a number among tensors is handed on as none
        number = float(other)
    if name == "MulBackward0":
        return number
    return 1 / number if number else None


def node_number(node: torch.autograd.graph.Node) -> int:
    """The number that a node of the graph got when it was made."""
    return node._sequence_nr()


def set_loader_next(function: Callable[[LoaderIterator], Any]) -> None:
    """Make a function the `__next__` of every loader's iterator."""
    kind: Any = LoaderIterator
    kind.__next__ = function


def set_loader_init(function: Callable[..., None]) -> None:
    """Make a function the `__init__` of every loader's iterator."""
    kind: Any = LoaderIterator
    kind.__init__ = function


def module_call() -> Callable[..., Any]:
    """What runs when a module is called."""
    call: Callable[..., Any] = Module.__call__
    return call


def set_module_call(function: Callable[..., Any]) -> None:
    """Make a function what runs when any module is called."""
    kind: Any = Module
    kind.__call__ = function


def batches_yielded(iterator: LoaderIterator) -> int:
    return iterator._num_yielded


def data_of(iterator: LoaderIterator) -> object:
    """The data set that an iterator reads."""
    return iterator._dataset


def live_iterator(loader: DataLoader) -> LoaderIterator | None:
    """The iterator that a loader with persistent workers keeps; None before its first epoch."""
    return loader._iterator
