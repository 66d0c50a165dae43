"""What one checkpoint of a run holds: components, low-rank layers, digests.

Which files belong to one checkpoint: `checkpoint/runs.py`. Reading runs no code from a file (`dora_repro.checkpoint`).
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dora_repro.checkpoint.contents import Contents, look
from dora_repro.checkpoint.guard import FileValue
from dora_repro.checkpoint.layouts import is_study_name, model_name
from dora_repro.checkpoint.reading import Leaves, leaves_of_file
from dora_repro.checkpoint.walking import key_text
from dora_repro.errors import BadInput
from dora_repro.state.digest import digest_array, digest_plain, digest_tensor, is_plain
from dora_repro.subject.model import low_rank_update

ALPHA = 16.0  # the study's; its files do not hold it
MAX_WEIGHT = 1 << 28  # elements of a weight that is formed: small factors of a hostile file may stand for any size
_PART = re.compile(
    r"(?:module\.)?(?P<layer>.+)\.(?:(?P<dora>m|delta_D_A|delta_D_B|D)|base_layer\.(?P<base>weight)"
    r"|(?P<lora>lora_A|lora_B|lora_magnitude_vector)(?:\.default)?(?:\.weight)?)"
)
_ELSEWHERE = ("optimizer", "scheduler", "rng", "ema")


@dataclass(frozen=True)
class Layer:
    """One low-rank layer of one checkpoint, in float64.

    Attributes:
        a: first factor of the update, scaling · (b a)ᵀ  # (r, out)
        b: second factor of the update  # (in, r)
        m: lengths of the weight's rows; None where there are none (LoRA without DoRA)  # (out,)
        base: what the update is added to, where the file holds it: the study's D, peft's base weight  # (out, in)
        scaling: alpha / r.
        digest: of the trained tensors' bytes.
    """

    a: Tensor
    b: Tensor
    m: Tensor | None
    base: Tensor | None
    scaling: float
    digest: bytes

    @property
    def update(self) -> Tensor:
        """scaling · (b a)ᵀ.  # (out, in)"""
        return low_rank_update(self.a, self.b, self.scaling)

    def weight(self, base: Tensor | None) -> Tensor:
        """The weight in effect on a base; without one, the update alone.

        Args:
            base: what the update is added to  # (out, in)

        Returns:
            the weight  # (out, in)
        """
        if base is None:
            return self.update
        direction = base + self.update
        if self.m is None:
            return direction
        return self.m[:, None] * (direction / direction.norm(dim=1, keepdim=True))

    @property
    def trained(self) -> tuple[Tensor, ...]:
        """The trained tensors: m, where there is one, a and b."""
        return (self.a, self.b) if self.m is None else (self.m, self.a, self.b)


@dataclass
class Checkpoint:
    """What the files of one number hold.

    Attributes:
        components: how many entries each component has.
        layouts: of the files.
        layers: the low-rank layers, by the model's names.
        digests: of each component.
        unread: files that were not read, and why.
    """

    components: Counter[str] = field(default_factory=Counter)
    layouts: list[str] = field(default_factory=list)
    layers: dict[str, Layer] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)


def read_checkpoint(files: Sequence[Path], root: Path, alpha: float) -> Checkpoint:
    """Read the files of one number; one that cannot be read is reported in `unread`, and the others are read.

    Args:
        files: of the number.
        root: the folder of the series, for their names.
        alpha: scaling is alpha / r where the files do not say it.
    """
    found = Checkpoint()
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            contents, leaves = look(file), leaves_of_file(file)
            layers, digests = layers_in(contents, leaves, alpha), _digests(contents, leaves)
        except BadInput as error:
            found.unread.append((name, str(error).replace(str(file), name)))
            continue
        if again := sorted(found.layers.keys() & layers.keys()):
            found.unread.append((name, f"set aside: an earlier file of this number holds {again[0]} as well"))
            continue
        found.layers |= layers
        found.layouts.append(contents.layout)
        # A part that is None, as the schedule of a run without one, is not held.
        found.components.update(entry.component for entry in contents.entries if entry.kind != "none")
        for component, digest in digests.items():
            found.digests[component] = digest_plain((found.digests.get(component, b""), digest))
    return found


def layers_in(contents: Contents, leaves: Leaves, alpha: float) -> dict[str, Layer]:
    """The low-rank layers of a checkpoint, by the model's names.

    Args:
        contents: of the file.
        leaves: of the same file.
        alpha: scaling is alpha / r where the file does not say it.

    Raises:
        BadInput: tensors that do not fit together, or cannot be read.
    """
    parts: dict[str, dict[str, str]] = {}
    for entry in contents.entries:
        name = entry.path.rpartition("/")[2]
        match = _PART.fullmatch(model_name(name) if is_study_name(name) else name)
        if match and entry.kind == "tensor" and entry.component not in _ELSEWHERE:
            part = match["dora"] or match["lora"] or "base"
            parts.setdefault(match["layer"], {}).setdefault(part, entry.path)
    found = {}
    for layer, paths in parts.items():
        if {"delta_D_A", "delta_D_B"} <= paths.keys():
            a, b, m, base = (_tensor(leaves, paths.get(kind)) for kind in ("delta_D_A", "delta_D_B", "m", "D"))
            scaling, transposed = None, False
        elif {"lora_A", "lora_B"} <= paths.keys():
            # peft adds lora_B lora_A, (out, r) (r, in): its B is the transpose of our A, its A that of our B.
            kinds = ("lora_B", "lora_A", "lora_magnitude_vector", "base")
            a, b, m, base = (_tensor(leaves, paths.get(kind)) for kind in kinds)
            scaling, transposed = _peft_scaling(leaves), True
        else:
            continue
        if a is not None and b is not None:  # as both keys are there
            found[layer] = _layer(layer, a, b, m, base, alpha, scaling, transposed)
    return found


def _tensor(leaves: Leaves, path: str | None) -> Tensor | None:
    if path is None:
        return None
    value = leaves[path]
    if not isinstance(value, Tensor):
        raise BadInput(f"{path} is a {type(value).__name__} where a tensor belongs: `dora-repro inspect` shows it")
    return value


def _layer(
    name: str,
    a: Tensor,
    b: Tensor,
    m: Tensor | None,
    base: Tensor | None,
    alpha: float,
    scaling: float | None,
    transposed: bool,
) -> Layer:
    digest = digest_plain(tuple(digest_tensor(tensor) for tensor in (a, b, m) if tensor is not None))
    if any(tensor is not None and not tensor.is_floating_point() for tensor in (a, b, m, base)):
        raise BadInput(f"layer {name} holds numbers that are no real floats: `dora-repro inspect` shows them")
    a, b = a.detach().to(torch.float64), b.detach().to(torch.float64)
    if transposed and a.dim() == b.dim() == 2:
        a, b = a.T, b.T
    m = None if m is None else m.detach().to(torch.float64).reshape(-1)
    base = None if base is None else base.detach().to(torch.float64)
    shapes = [None if one is None else tuple(one.shape) for one in (a, b, m, base)]
    fits = a.dim() == b.dim() == 2 and a.shape[0] == b.shape[1] > 0
    fits = fits and shapes[2] in (None, (a.shape[1],)) and shapes[3] in (None, (a.shape[1], b.shape[0]))
    if not fits or a.shape[1] * b.shape[0] > MAX_WEIGHT:
        raise BadInput(f"the shapes {shapes} of layer {name} (A, B, m, base) make no weight that can be formed")
    return Layer(a, b, m, base, scaling or alpha / a.shape[0], digest)


def _peft_scaling(leaves: Leaves) -> float | None:
    """lora_alpha / r, of rank-stabilised LoRA lora_alpha / √r, from peft's config; None where there is none."""
    alpha, rank, stabilised = (leaves.get(f"adapter_config.json/{key}") for key in ("lora_alpha", "r", "use_rslora"))
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or type(rank) is not int or rank < 1:
        return None
    return alpha / (math.sqrt(rank) if stabilised is True else rank)


def _digests(contents: Contents, leaves: Leaves) -> dict[str, bytes]:
    """One digest for each component: over the paths and bytes of its leaves."""
    return {
        component: digest_plain(tuple(sorted((entry.path, _digest(leaves[entry.path])) for entry in entries)))
        for component, entries in contents.components.items()
    }


def _digest(value: FileValue) -> bytes:
    if isinstance(value, Tensor):
        return digest_tensor(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return digest_array(np.asarray(value))
    return digest_plain(value if is_plain(value) else key_text(repr(value)))
