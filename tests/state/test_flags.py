"""The switches of torch and of decimals: read without a side effect, each set and put back."""

import pytest
import torch

from dora_repro.state.flags import FLAGS, UNREADABLE, capture_flags, restore_flag, restore_flags

OTHER = {
    "decimal.prec": 5,
    "decimal.rounding": "ROUND_UP",
    "torch.default_dtype": "torch.float64",
    "torch.default_device": "meta",
    "torch.deterministic_algorithms": (True, True),
    "torch.float32_matmul_precision": "medium",
    "torch.num_threads": torch.get_num_threads() + 1,
    "torch.autocast.cpu.dtype": "torch.float16",
    "torch.autocast.cuda.dtype": "torch.bfloat16",
    "torch.backends.cudnn.conv.fp32_precision": "ieee",
    "torch.backends.cudnn.rnn.fp32_precision": "ieee",
    "torch.backends.cuda.matmul.fp32_precision": "ieee",
    "torch.backends.mkldnn.conv.fp32_precision": "ieee",
    "torch.backends.mkldnn.matmul.fp32_precision": "ieee",
}
CANNOT_BE_SET = {"torch.num_interop_threads", "torch.inference_mode"}


@pytest.fixture
def put_back():
    before = capture_flags()
    yield
    restore_flags(before)
    assert capture_flags() == before


@pytest.mark.parametrize("name", sorted(FLAGS.keys() - CANNOT_BE_SET))
def test_a_flag_is_set_seen_and_put_back(name, put_back):
    before = capture_flags()
    other = OTHER.get(name, not before[name])
    assert other != before[name]
    restore_flag(name, other)
    assert capture_flags()[name] == other
    restore_flag(name, before[name])
    assert capture_flags()[name] == before[name]


@pytest.mark.parametrize("name", [*sorted(CANNOT_BE_SET), "torch.no_such_flag"])
def test_a_flag_that_cannot_be_set_is_refused(name):
    with pytest.raises(KeyError, match=name):
        restore_flag(name, 1)


def test_looking_at_the_flags_changes_none():
    before = capture_flags()
    assert capture_flags() == before
    assert torch.is_grad_enabled() and torch.get_default_dtype() is torch.float32


def test_what_a_run_sets_is_seen(put_back):
    before = capture_flags()
    with torch.no_grad(), torch.inference_mode(), torch.autocast("cpu"):
        changed = {name for name, value in capture_flags().items() if value != before[name]}
    assert changed == {"torch.grad_enabled", "torch.inference_mode", "torch.autocast.cpu"}


def test_old_and_new_switches_mixed_do_not_stop_a_look(put_back):
    """torch raises where the old switch is read and the new one has said something else."""
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    flags = capture_flags()
    assert flags["torch.backends.mkldnn.matmul.fp32_precision"] == "bf16"
    assert UNREADABLE in flags.values()
    with pytest.raises(KeyError):
        restore_flag("torch.float32_matmul_precision", UNREADABLE)


def test_all_flags_are_put_back_and_only_those_that_were_changed(put_back, monkeypatch):
    before = capture_flags()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(OTHER["torch.num_threads"])
    set_to = {}
    monkeypatch.setattr("dora_repro.state.flags.restore_flag", set_to.__setitem__)
    restore_flags(before)
    assert set_to == {name: before[name] for name in ("torch.deterministic_algorithms", "torch.num_threads")}
    monkeypatch.undo()
    restore_flags(before)
    assert capture_flags() == before


def test_what_cannot_be_set_does_not_stop_the_others(put_back):
    before = capture_flags()
    restore_flags({"torch.inference_mode": True, "torch.grad_enabled": False})
    assert capture_flags() == {**before, "torch.grad_enabled": False}
