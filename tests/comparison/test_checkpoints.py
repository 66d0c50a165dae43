"""Two checkpoints: generators in draws, moments by the names of parameters, runs checkpoint by checkpoint."""

import copy
import random

import numpy
import pytest
import torch
from safetensors.torch import save_file

from dora_repro import compare


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))


def stepped(model, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).sum().backward()
        optimizer.step()
    return optimizer


def differing(one, other, folder):
    torch.save(one, folder / "one.pt")
    torch.save(other, folder / "other.pt")
    return compare(folder / "one.pt", folder / "other.pt")


# --- generators --------------------------------------------------------------------------------------------------


def python_tuple(draws):
    generator = random.Random(1)
    for _ in range(draws):
        generator.getrandbits(32)
    return generator.getstate()


def numpy_tuple(draws):
    generator = numpy.random.RandomState(1)
    generator.bytes(4 * draws)
    return generator.get_state()


def numpy_dict(draws):
    generator = numpy.random.RandomState(1)
    generator.bytes(4 * draws)
    return generator.get_state(legacy=False)


def fields(draws):
    name, keys, position, *spare = numpy_tuple(draws)
    return {"kind": name, "keys": torch.from_numpy(keys.astype("i8")), "position": position, "spare": spare}


def pcg(draws):
    generator = numpy.random.default_rng(1)
    generator.bytes(8 * draws)
    return generator.bit_generator.state


def torch_state(draws):
    generator = torch.Generator().manual_seed(1)
    torch.rand(draws, generator=generator)
    return generator.get_state()


def cuda(draws):
    return torch.tensor([1, draws]).view(torch.uint8).clone()


FORMS = {
    "python": python_tuple,
    "python as lists": lambda draws: [list(part) if isinstance(part, tuple) else part for part in python_tuple(draws)],
    "numpy": numpy_tuple,
    "numpy as a dict": numpy_dict,
    "numpy by fields": fields,
    "pcg": pcg,
    "torch": torch_state,
    "torch as numbers": lambda draws: torch_state(draws).tolist(),
    "torch as an array": lambda draws: torch_state(draws).numpy(),
    "cuda": cuda,
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("wrap", [lambda state: {"rng_state": state}, lambda state: {"a": [{"rng": {"x": state}}]}])
def test_generators_are_told_in_draws(name, wrap, tmp_path):
    form = FORMS[name]
    for draws in (3, 700):
        found = differing(wrap(form(2)), wrap(form(2 + draws)), tmp_path)
        (difference,) = found.differences
        assert (difference.role, difference.draws) == ("generator", draws), str(difference)
        assert str(difference).endswith(f"{draws} draws ahead") and len(found.compared) == 1
        assert differing(wrap(form(2 + draws)), wrap(form(2)), tmp_path).differences[0].draws == -draws
    assert differing(wrap(form(2)), wrap(form(2)), tmp_path).equal


def test_a_generator_of_another_seed_is_a_different_state(tmp_path):
    other = torch.Generator().manual_seed(2).get_state()
    (found,) = differing({"rng": torch_state(2)}, {"rng": other}, tmp_path).differences
    assert str(found) == "rng  different state"


def test_a_spare_number_is_a_part_of_the_state(tmp_path):
    state = numpy_tuple(2)
    (found,) = differing({"rng": state}, {"rng": (*state[:3], 1, 0.5)}, tmp_path).differences
    assert str(found) == "rng  different state"


def test_the_same_state_in_another_form_is_a_difference_of_types_alone(tmp_path):
    one, other = FORMS["python"](2), FORMS["python as lists"](2)
    found = differing({"rng": one}, {"rng": other}, tmp_path)
    assert not found.equal and {each.kind for each in found.differences} == {"structure", "type"}


def pcg(**state):
    """A state of PCG64 with numbers that none has."""
    made = numpy.random.default_rng(1).bit_generator.state
    return {**made, "state": {**made["state"], **state}}


DAMAGED = {
    "a place far behind the words": (numpy_tuple(2), ("MT19937", numpy_tuple(2)[1], 1 << 30, 0, 0.0)),
    "a place before them": (numpy_tuple(2), ("MT19937", numpy_tuple(2)[1], -(1 << 30), 0, 0.0)),
    "fewer words": (numpy_tuple(2), ("MT19937", numpy_tuple(2)[1][:5], 2, 0, 0.0)),
    "Python's, far behind": (python_tuple(2), (3, (*python_tuple(2)[1][:-1], 1 << 30), None)),
    "torch's, far behind": (torch_state(2), torch.full((5056,), 7, dtype=torch.uint8)),
    "steps that lead nowhere": (pcg(inc=2), pcg(inc=2, state=3)),
    "a number too large": (pcg(state=1 << 200), pcg(state=1 << 201)),
    "no state": (pcg(), {"bit_generator": "PCG64", "state": {"inc": 3}}),
}


@pytest.mark.parametrize(("one", "other"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_state_of_a_generator_is_a_different_one(one, other, tmp_path):
    """numpy read memory that was not its own, which ended the process, or a search never ended."""
    for pair in ((one, other), (other, one)):
        assert all(each.draws is None for each in differing({"rng": pair[0]}, {"rng": pair[1]}, tmp_path).differences)
    assert not differing({"rng": one}, {"rng": other}, tmp_path).equal


def test_a_part_of_a_generator_can_be_chosen(tmp_path):
    torch.save({"rng": numpy_tuple(2)}, tmp_path / "one.pt")
    torch.save({"rng": numpy_tuple(3)}, tmp_path / "other.pt")
    found = compare(tmp_path / "one.pt", tmp_path / "other.pt", only=["rng/2"])
    assert [each.path for each in found.differences] == ["rng/2"]


# --- moments -----------------------------------------------------------------------------------------------------


def two_optimizers(make, model=None):
    model = model or net()
    optimizer = stepped(model, make(model))
    one = copy.deepcopy(optimizer.state_dict())
    return model, one, stepped(model, optimizer, 1).state_dict()


def test_moments_are_told_by_the_names_in_the_groups(tmp_path):
    _, one, other = two_optimizers(lambda model: torch.optim.AdamW(model.named_parameters()))
    found = differing({"o": one}, {"o": other}, tmp_path)
    assert {each.path for each in found.differences} >= {"o/state/0.weight/exp_avg", "o/state/2.bias/exp_avg_sq"}
    assert found.notes == ()


@pytest.mark.parametrize("key", ["model", "net", "anything"])
def test_moments_are_told_by_the_keys_of_the_model_beside_them(key, tmp_path):
    model, one, other = two_optimizers(lambda model: torch.optim.AdamW(model.parameters()))
    found = differing({key: model.state_dict(), "o": one}, {key: model.state_dict(), "o": other}, tmp_path)
    assert {each.path for each in found.differences} >= {"o/state/0.weight/exp_avg", "o/state/1.bias/step"}
    assert found.notes == ("o: parameters are named in the order of the model's keys, whose number and shapes agree",)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)), "0.weight"),
        (net(), "0"),  # two parameters of one shape: safetensors sorts its keys, so their order says nothing
    ],
    ids=["shapes of their own", "equal shapes"],
)
def test_moments_of_a_bare_optimizer_get_names_from_the_file_beside_it(model, name, tmp_path):
    model, *states = two_optimizers(lambda model: torch.optim.SGD(model.parameters(), momentum=0.9), model)
    for side, state in zip(("a", "b"), states, strict=True):
        (tmp_path / side).mkdir()
        torch.save(state, tmp_path / side / "optimizer.pt")
        save_file(model.state_dict(), tmp_path / side / "model.safetensors")
        (tmp_path / side / "trainer_state.json").write_text("{}")
    alone = compare(tmp_path / "a" / "optimizer.pt", tmp_path / "b" / "optimizer.pt").differences
    assert alone[0].path == f"state/{name}/momentum_buffer"
    whole = compare(tmp_path / "a", tmp_path / "b").differences
    assert [each.path for each in whole] == [f"optimizer.pt/{each.path}" for each in alone]


def test_moments_without_known_names_keep_their_numbers_and_say_so(tmp_path):
    model, one, other = two_optimizers(lambda model: torch.optim.AdamW(list(model.parameters())[:3]))
    found = differing({"model": model.state_dict(), "o": one}, {"model": model.state_dict(), "o": other}, tmp_path)
    assert found.differences[0].path.startswith("o/state/0/")
    assert found.notes == ("o: parameters are numbered; no names that both sides agree on are known",)


def test_two_models_of_the_same_shapes_give_no_names(tmp_path):
    model, one, other = two_optimizers(lambda model: torch.optim.AdamW(model.parameters()))
    weights = model.state_dict()
    renamed = {f"second.{name}": value for name, value in weights.items()}
    found = differing({"a": weights, "b": renamed, "o": one}, {"a": weights, "b": renamed, "o": other}, tmp_path)
    assert found.differences[0].path.startswith("o/state/0/")
    found = differing({"a": weights, "ema": weights, "o": one}, {"a": weights, "ema": weights, "o": other}, tmp_path)
    assert found.differences[0].path.startswith("o/state/0.weight/")


def test_names_in_another_order_pair_no_moments_of_two_parameters(tmp_path):
    """Equal moments under other numbers are loaded into other parameters: no names may hide that."""
    model = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2, bias=False) for name in "ab"})
    optimizer = torch.optim.AdamW(model.parameters())
    (model["a"](torch.ones(1, 2)).sum() + 2 * model["b"](torch.ones(1, 2)).sum()).backward()
    optimizer.step()
    one = optimizer.state_dict()
    other = {**one, "state": {0: one["state"][1], 1: one["state"][0]}}
    weights = model.state_dict()
    swapped = {name: weights[name] for name in reversed(weights)}
    found = differing({"model": dict(weights), "o": one}, {"model": swapped, "o": other}, tmp_path)
    assert not found.equal and any("exp_avg" in each.path for each in found.differences)
    assert differing({"model": dict(weights), "o": one}, {"model": dict(weights), "o": one}, tmp_path).equal


# --- runs --------------------------------------------------------------------------------------------------------


def run(folder, epochs=(1, 2, 3), drawn=0, apart=True):
    """The lab's folder; `drawn` more draws of torch's generator, and another step, from epoch 2 on."""
    model = net()
    optimizer = torch.optim.AdamW(model.parameters())
    names = ["dora_params", "random_states"]
    for name in names:
        (folder / name if apart else folder).mkdir(parents=True, exist_ok=True)
    for epoch in (1, 2, 3):
        stepped(model, optimizer, 1)
        later = drawn if epoch >= 2 else 0
        torch.rand(later)
        if epoch in epochs:
            states = {"epoch": epoch, "torch_rng_state": torch.get_rng_state()}
            states["optimizer_state_dict"] = optimizer.state_dict()
            for name, content in zip(names, (model.state_dict(), states), strict=True):
                torch.save(content, (folder / name if apart else folder) / f"epoch{epoch}_{name}.pth")
    return folder


def test_two_runs_are_compared_checkpoint_by_checkpoint(tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other", drawn=4)
    found = compare(one, other)
    paths = [each.path for each in found.differences]
    assert paths[0] == "epoch2/epoch2_random_states.pth/torch_rng_state" and found.differences[0].draws == 4
    assert "epoch3/epoch3_random_states.pth/optimizer_state_dict/state/0.weight/exp_avg" in paths
    assert found.notes[0] == "epoch 2 is the first that differs; equal: epoch 1"
    assert compare(one, run(tmp_path / "again")).equal


def test_where_a_runs_files_lie_makes_no_difference(tmp_path):
    assert compare(run(tmp_path / "one"), run(tmp_path / "other", apart=False)).equal


def test_a_checkpoint_that_one_run_lacks_is_one_difference(tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other", epochs=(2, 3))
    (difference,) = compare(one, other).differences
    assert str(difference) == f"epoch1  missing (expected {difference.expected.split()[0]} leaves)"
    (difference,) = compare(other, one).differences
    assert (difference.path, difference.kind) == ("epoch1", "unexpected")


def test_one_file_of_a_run_gets_its_names_from_the_folder_beside_it(tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other", drawn=4)
    file = "random_states/epoch3_random_states.pth"
    assert "optimizer_state_dict/state/0.weight/exp_avg" in [
        each.path for each in compare(one / file, other / file).differences
    ]
