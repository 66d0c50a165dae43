"""What a checkpoint of a training run holds, part by part, and how each part is put back.

    dora       the trainable parameters, by model name
    optimizer  its state by parameter name, and the options of its groups
    scheduler  its counters
    rng        the global generators of Python, numpy and torch (CUDA's where there are any)
    data       the loader's two generators and its place
    progress   epochs and steps done, early stopping's counters, histories

The kit's own file is a plain mapping {"format", "contains", part: …}; "dora-only" is exactly the study's
file, a flat mapping of OpenAI-CLIP names to tensors. Reading and writing files is `dora_repro.checkpoint`'s.
"""

import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dora_repro.checkpoint import layouts, reading, writing
from dora_repro.errors import BadInput
from dora_repro.subject.config import PARTS
from dora_repro.wording import counted

if TYPE_CHECKING:
    from dora_repro.subject.training import TrainingRun

FORMAT = "dora_repro/1"
PROGRESS = (
    "epoch", "steps_done", "best_validation_loss", "epochs_without_improvement", "finished",
    "losses", "validation_losses",
)  # fmt: skip  # a list of names


@dataclass(frozen=True)
class Loaded:
    """What a load restored.

    Attributes:
        restored: parts that the file holds; absent: parts that it does not.
        missing: DoRA parameters of the model that the file's part `dora` does not hold; they stay as they
            were.
    """

    restored: tuple[str, ...]
    absent: tuple[str, ...]
    missing: tuple[str, ...]


# --- saving


def save(run: "TrainingRun", path) -> None:
    """Write the parts that the run's config names; reading them out changes nothing."""
    dora = {name: parameter.detach().cpu().clone() for name, parameter in _trained(run).items()}
    if run.config.checkpoint == "dora-only":
        writing.write(path, {layouts.study_name(name): tensor for name, tensor in dora.items()})
        return
    take = {
        "dora": lambda: dora,
        "optimizer": lambda: _optimizer_by_name(run),
        "scheduler": lambda: None if run.scheduler is None else dict(run.scheduler.state_dict()),
        "rng": random_states,
        "data": run.feed.state_dict,
        "progress": lambda: {name: _copied(getattr(run, name)) for name in PROGRESS},
    }
    chosen = run.config.parts
    writing.write(
        path, {"format": FORMAT, "contains": list(chosen), **{part: take[part]() for part in chosen}}
    )


def _trained(run: "TrainingRun") -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in run.model.named_parameters() if parameter.requires_grad}


def _optimizer_by_name(run: "TrainingRun") -> dict:
    names = {id(parameter): name for name, parameter in _trained(run).items()}
    groups = [
        {**group, "params": [names[id(parameter)] for parameter in group["params"]]}
        for group in run.optimizer.param_groups
    ]
    state = {names[id(parameter)]: _copied(dict(kept)) for parameter, kept in run.optimizer.state.items()}
    return {"kind": type(run.optimizer).__name__, "state": state, "groups": groups}


def _copied(value):
    """Plain containers copied, tensors cloned, so that what is written cannot change while it is written."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value


def random_states() -> dict:
    """States of the global generators, as numbers and tensors."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": {
            "kind": kind, "keys": torch.from_numpy(keys.astype(np.int64)), "position": position,
            "has_gauss": has_gauss, "cached_gaussian": cached,
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }  # fmt: skip  # numpy's five in two lines


def save_study(run: "TrainingRun", folder) -> tuple[Path, Path]:
    """Write the study's two files of the epoch that was reached: DoRA parameters and random states."""
    states = random_states()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    found = {
        "torch_rng_state": states["torch"],
        "numpy_rng_state": (kind, keys, position, has_gauss, cached),
        "python_rng_state": states["python"],
    }
    if states["cuda"]:
        found["cuda_rng_state"] = states["cuda"]
    dora = {name: parameter.detach() for name, parameter in _trained(run).items()}
    return layouts.write_study(folder, run.epoch, dora, found)


def _of_study(found: Mapping) -> dict:
    """The study's random states in this kit's form; a generator that they leave out stays as it is."""
    states = random_states()
    if "torch_rng_state" in found:
        states["torch"] = found["torch_rng_state"]
    if "python_rng_state" in found:
        states["python"] = found["python_rng_state"]
    if "numpy_rng_state" in found:
        kind, keys, position, has_gauss, cached = found["numpy_rng_state"]
        states["numpy"] = {
            "kind": kind, "keys": torch.as_tensor(np.asarray(keys).astype(np.int64)), "position": int(position),
            "has_gauss": int(has_gauss), "cached_gaussian": float(cached),
        }  # fmt: skip  # as in random_states
    if found.get("cuda_rng_state") is not None:
        cuda = found["cuda_rng_state"]
        states["cuda"] = list(cuda) if isinstance(cuda, (list, tuple)) else [cuda]
    return states


# --- loading


def load(run: "TrainingRun", path) -> Loaded:
    """Restore the parts that a file holds; where it is partial, the rest of the run stays as it was built.

    Order: parameters, optimizer, scheduler, progress, data, and the global generators last, since making a
    loader or a model may draw from them. Without progress `config.resume_step` holds, or else the epoch or step
    that the file's name begins with.
    Without data the loader stands at the right place in the epoch, but in the order of a loader newly built:
    as in the study, the order of samples begins anew. Beside the study's `epoch{N}_dora_params.pth` its
    `epoch{N}_random_states.pth` is read as well, if it is there.

    Raises:
        BadInput: the file cannot be read; names or shapes that are not the model's; parts that do not fit the
            run. Everything is looked at before anything is changed.
    """
    held = _read(run, path)
    restored = tuple(part for part in PARTS if part in held)
    missing = tuple(name for name in _trained(run) if name not in held["dora"]) if "dora" in held else ()
    if missing:
        warnings.warn(
            f"{path} lacks {len(missing)} DoRA parameters, which stay as they were: {', '.join(missing)}",
            stacklevel=3,
        )
    if "dora" in held:
        with torch.no_grad():
            for name, tensor in held["dora"].items():
                _trained(run)[name].copy_(tensor)
    if "optimizer" in held:
        run.optimizer.load_state_dict(_optimizer_by_position(run, held["optimizer"]))
    if "scheduler" in held and run.scheduler is not None:
        run.scheduler.load_state_dict(held["scheduler"])
    _restore_place(run, held, path)
    if "rng" in held:
        restore_random_states(held["rng"])
    return Loaded(restored, tuple(part for part in PARTS if part not in held), missing)


def _restore_place(run: "TrainingRun", held: Mapping, path) -> None:
    if "progress" in held:
        for name in PROGRESS:
            setattr(run, name, _copied(held["progress"][name]))
    else:
        told = run.config.resume_step
        run.steps_done = layouts.step_in_name(path, len(run.feed)) if told is None else told
        run.epoch = run.steps_done // len(run.feed)
        run.finished = run.epoch >= run.config.epochs
    if "data" in held:
        run.feed.load_state_dict(held["data"])
    else:
        run.feed.go_to(run.epoch + 1, run.steps_done - run.epoch * len(run.feed))


def restore_random_states(states: Mapping) -> None:
    """Put back what `random_states` took."""
    _set_random_states(states, random, np.random, torch.set_rng_state)
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


def _set_random_states(states: Mapping, python, numpy, set_torch) -> None:
    kind, keys, position, has_gauss, cached = (
        states["numpy"][name] for name in ("kind", "keys", "position", "has_gauss", "cached_gaussian")
    )
    version, internal, gauss = states["python"]
    python.setstate((version, tuple(internal), gauss))
    numpy.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    set_torch(states["torch"])


def _optimizer_by_position(run: "TrainingRun", named: Mapping) -> dict:
    """torch's form of an optimizer's state, for the order of parameters that this run's optimizer has."""
    names = {id(parameter): name for name, parameter in _trained(run).items()}
    order = [names[id(parameter)] for group in run.optimizer.param_groups for parameter in group["params"]]
    place = {name: index for index, name in enumerate(order)}
    groups = [{**group, "params": [place[name] for name in group["params"]]} for group in named["groups"]]
    return {
        "state": {place[name]: _copied(kept) for name, kept in named["state"].items()},
        "param_groups": groups,
    }


# --- looking before changing


def _read(run: "TrainingRun", path) -> dict:
    """The parts of a file, each looked at; nothing of the run is changed."""
    content = reading.read(path)
    if not isinstance(content, Mapping):
        raise BadInput(f"{path} holds a {type(content).__name__}, no checkpoint of a training run")
    if "format" not in content:
        held = {"dora": _study_parameters(content, path)}
        beside = Path(path).with_name(Path(path).name.replace("_dora_params", "_random_states"))
        if beside.name != Path(path).name and beside.exists():
            held["rng"] = _of_study(layouts.read_random_states(beside))
    elif content["format"] != FORMAT:
        raise BadInput(
            f"{path} has the format {content['format']!r}; this version reads {FORMAT!r}, and the study's"
        )
    else:
        unknown = [part for part in content if part not in ("format", "contains", *PARTS)]
        if unknown:
            raise BadInput(
                f"{path} holds parts that are not known: {', '.join(map(str, unknown))}; "
                f"known are {', '.join(PARTS)}"
            )
        held = {part: content[part] for part in PARTS if part in content}
        gone = [part for part in content.get("contains", ()) if part not in held]
        if gone:
            raise BadInput(
                f"{path} says that it holds {', '.join(map(str, gone))}, and does not; save it again"
            )
    try:
        _check(run, held, path)
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise BadInput(
            f"{path} is no whole checkpoint of a training run ({type(error).__name__}: {error}); save again"
        ) from error
    return held


def _study_parameters(content: Mapping, path) -> dict[str, Tensor]:
    try:
        return {layouts.model_name(name): tensor for name, tensor in content.items()}
    except (BadInput, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} is neither a checkpoint of this kit nor the study's file of DoRA parameters: {error}"
        ) from error


def _check(run: "TrainingRun", held: Mapping, path) -> None:
    trained = _trained(run)
    for name, tensor in held.get("dora", {}).items():
        _check_tensor(trained, name, tensor, path)
    if "dora" in held and not held["dora"]:
        raise BadInput(f"{path} holds no DoRA parameter at all")
    if "optimizer" in held:
        _check_optimizer(run, held["optimizer"], path)
    if "scheduler" in held and (held["scheduler"] is None) != (run.scheduler is None):
        saved = "no scheduler" if held["scheduler"] is None else "a scheduler"
        raise BadInput(
            f"{path} was saved with {saved}; this run has scheduler={run.config.scheduler!r}; use the same"
        )
    if "rng" in held:
        # Tried on generators of no consequence first.
        _set_random_states(held["rng"], random.Random(), np.random.RandomState(), torch.Generator().set_state)
        held["rng"]["cuda"]
    if "progress" in held:
        done = {name: held["progress"][name] for name in PROGRESS}
        if not 0 <= done["steps_done"] - done["epoch"] * len(run.feed) < len(run.feed):
            steps, epochs = counted(done["steps_done"], "step"), counted(done["epoch"], "epoch")
            raise BadInput(
                f"{path} has done {steps} in {epochs}, and an epoch "
                f"of this run has {len(run.feed)}; use the same data, batch_size and steps_per_epoch"
            )
    if "data" in held and (why := run.feed.check_state(held["data"])):
        raise BadInput(
            f"{path}: the loader's place does not fit this run: {why}; use the same data and batch size"
        )


def _check_tensor(trained: Mapping[str, Tensor], name: str, tensor, path) -> None:
    if name not in trained:
        raise BadInput(
            f"{path} holds {name!r}, which this model does not train; "
            "is it of the same size, vision_dora and text_dora?"
        )
    wanted = tuple(trained[name].shape)
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != wanted:
        got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise BadInput(
            f"{path}: {name} has the shape {got}, the model's has {wanted}; is it of the same size and rank?"
        )


def _check_optimizer(run: "TrainingRun", saved: Mapping, path) -> None:
    if saved["kind"] != type(run.optimizer).__name__:
        raise BadInput(
            f"{path} holds the state of {saved['kind']}, and this run has {type(run.optimizer).__name__}; "
            "use the same"
        )
    trained = _trained(run)
    names = [name for group in saved["groups"] for name in group["params"]]
    if sorted(names) != sorted(trained) or len(saved["groups"]) != len(run.optimizer.param_groups):
        raise BadInput(f"{path}: the optimizer's state is of other parameters than this model trains")
    for name, kept in saved["state"].items():
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.dim():
                _check_tensor({f"{name}/{key}": trained[name]}, f"{name}/{key}", value, path)
