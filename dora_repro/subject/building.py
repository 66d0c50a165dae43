"""Build a CLIPHBA: random weights of a named size, or real ones from a folder or the hub.

The one module that imports transformers, and only inside its functions.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch.overrides import TorchFunctionMode

from dora_repro.errors import BadInput, MissingExtra
from dora_repro.subject.model import CLIPHBA, LayerOptions, apply_dora
from dora_repro.subject.prompts import PROMPTS, byte_tokens, tokenize
from dora_repro.subject.sizes import LOGIT_SCALE, Size, Tower

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPModel

_MAKING = ("rand", "randn")
_DRAWING = ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_")
_SUITABLE = "a folder that save_pretrained wrote"


def build(
    size: Size,
    weights: str | None = None,
    *,
    vision_dora: int | None = None,
    text_dora: int | None = None,
    rank: int | None = None,
    cache_prompts: bool = True,
    prompt_tokens: int = 0,
    **options: Unpack[LayerOptions],
) -> CLIPHBA:
    """A model on the CPU, in training mode; random weights are drawn from torch's global generator.

    Args:
        size: its towers; with real weights those of the weights, and only the defaults below are the size's.
        weights: a folder that `save_pretrained` wrote, or a name on the hub; None for random weights.
        vision_dora: DoRA layers in the vision tower; None for the size's number.
        text_dora: DoRA layers in the text tower; None for the size's number.
        rank: of the layers; None for the size's.
        cache_prompts: compute the output of the frozen text blocks once.
        prompt_tokens: length to which the prompts are padded; 0 for the longest prompt's (attention is causal, so
            padding changes no score), 77 as the study does.
        options: of `DoRALinear`.

    Raises:
        BadInput: weights that are not there, cannot be fetched or are no CLIP; numbers that do not fit the model.
    """
    clip = random_clip(size) if weights is None else real_clip(weights)
    tokens = None if weights is None else tokenize(PROMPTS, weights, prompt_tokens)
    if tokens is None:
        tokens = byte_tokens(PROMPTS, clip.text_model.config.vocab_size, prompt_tokens)
    room = clip.text_model.config.max_position_embeddings
    if tokens.shape[1] > room:
        raise BadInput(f"the prompts have {tokens.shape[1]} tokens and the model takes {room}: lower prompt_tokens")
    apply_dora(
        clip,
        size.vision_dora if vision_dora is None else vision_dora,
        size.text_dora if text_dora is None else text_dora,
        rank=size.rank if rank is None else rank,
        **options,
    )
    return CLIPHBA(clip, tokens, cache_prompts).train()


def random_clip(size: Size) -> "CLIPModel":
    """A CLIPModel of this size, its weights drawn from torch's global generator as the library draws them."""
    model, _ = _transformers()
    # The library would draw every weight twice, torch's way and then CLIP's: at vit-l-14 ten seconds more. On the meta
    # device it would not, but there the first operator imports sympy.
    with _Undrawn():
        clip = model(configuration(size))
    for module in clip.modules():
        # The library's note that it has drawn the module's weights, which it has not: no state of a training.
        vars(module).pop("_is_hf_initialized", None)
    with torch.no_grad():
        _draw(clip)
    return clip


class _Undrawn(TorchFunctionMode):
    """Meanwhile, tensors are made and nothing is drawn for them: they hold whatever was in their memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """As torch has it."""
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in _MAKING:
            return torch.empty(*args, **kwargs)
        if name in _DRAWING:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def configuration(size: Size) -> "CLIPConfig":
    """The library's CLIPConfig for a size."""
    _, config = _transformers()
    end = size.vocabulary - 1
    both = {"attention_dropout": 0.0, "projection_dim": size.projection}
    return config(  # type: ignore[call-arg]  # attn_implementation is an argument of its base class, by **kwargs
        text_config={
            **both, **_tower(size.text),
            "vocab_size": size.vocabulary, "max_position_embeddings": size.context,
            "bos_token_id": size.vocabulary - 2, "eos_token_id": end, "pad_token_id": end,
        },
        vision_config={**both, **_tower(size.vision), "image_size": size.image, "patch_size": size.patch},
        projection_dim=size.projection,
        logit_scale_init_value=LOGIT_SCALE,
        attn_implementation="sdpa",
    )  # fmt: skip  # one line a subject


def _draw(clip: "CLIPModel") -> None:
    """Give every parameter and buffer of an empty CLIP its first value.

    Biases are 0 and norms 1; all else is normal, with the spreads of OpenAI's CLIP (its method
    `initialize_parameters`): d^-1/2 for sums over d features, over √(2 · blocks) where added to the stream.
    """
    drawn = [
        (clip.visual_projection.weight, clip.vision_embed_dim**-0.5),
        (clip.text_projection.weight, clip.text_embed_dim**-0.5),
    ]
    for tower in (clip.text_model, clip.vision_model):
        width, blocks = tower.config.hidden_size, tower.config.num_hidden_layers
        into, inside = width**-0.5 * (2 * blocks) ** -0.5, (2 * width) ** -0.5
        spreads = {
            "q_proj": into, "k_proj": into, "v_proj": into, "out_proj": width**-0.5,
            "fc1": inside, "fc2": into, "class_embedding": width**-0.5,
            "token_embedding": 0.02, "position_embedding": 0.02, "patch_embedding": 0.02,
        }  # fmt: skip  # a table
        for name, parameter in tower.named_parameters():
            *_, owner, last = name.split(".")
            if "norm" in owner:  # also the library's `pre_layrnorm`
                parameter.fill_(1.0 if last == "weight" else 0.0)
            elif last == "bias":
                parameter.zero_()
            else:
                drawn.append((parameter, spreads[owner if last == "weight" else last]))
        positions = tower.embeddings.position_ids  # (1, positions)
        positions.copy_(torch.arange(positions.shape[1])[None])
    clip.logit_scale.fill_(LOGIT_SCALE)
    # Drawing takes most of the time, and torch draws with one thread. Each parameter gets a seed of its own
    # from the global generator, so that the number of threads changes nothing.
    seeds = torch.randint(2**62, (len(drawn),)).tolist()
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(_draw_normal, drawn, seeds))


@torch.no_grad()
def _draw_normal(parameter_and_spread: tuple[torch.Tensor, float], seed: int) -> None:
    parameter, spread = parameter_and_spread
    parameter.normal_(std=spread, generator=torch.Generator().manual_seed(seed))


def real_clip(weights: str) -> "CLIPModel":
    """A CLIPModel in float32 with the weights of a local folder (nothing is fetched) or of a hub name.

    Raises:
        BadInput: no such folder, no CLIP, or weights that cannot be fetched or loaded.
    """
    model, _ = _transformers()
    folder = Path(weights)
    local = folder.is_dir()
    is_path = folder.exists() or weights.startswith(("/", "./", "../", "~")) or weights.count("/") > 1
    if is_path and not local:
        raise BadInput(f"weights={weights!r}: there is no such folder; give {_SUITABLE}, or a hub name")
    if local:
        _check_is_clip(folder)
    try:
        return model.from_pretrained(weights, local_files_only=local, attn_implementation="sdpa", dtype=torch.float32)
    except Exception as error:  # the library, the hub and the file readers raise many kinds; all mean: no weights
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "look at the files in it" if local else "is the hub reachable? A local folder works without it"
        raise BadInput(f"weights={weights!r} cannot be loaded: {why} ({hint})") from error


def _check_is_clip(folder: Path) -> None:
    import json

    path = folder / "config.json"
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"weights={str(folder)!r}: it holds no readable config.json; give {_SUITABLE}") from error
    if kind != "clip":
        raise BadInput(f"weights={str(folder)!r}: it holds a model of type {kind!r}, and this is for 'clip'")


def _tower(tower: Tower) -> dict[str, int]:
    return {
        "hidden_size": tower.width, "intermediate_size": 4 * tower.width,
        "num_hidden_layers": tower.layers, "num_attention_heads": tower.heads,
    }  # fmt: skip  # width and counts in pairs


def _transformers() -> tuple[type["CLIPModel"], type["CLIPConfig"]]:
    # The module itself, and not `from transformers import CLIPModel`: that looks through more of the library.
    try:
        from transformers.models.clip.configuration_clip import CLIPConfig
        from transformers.models.clip.modeling_clip import CLIPModel
    except ImportError as error:
        raise MissingExtra("transformers", "subject", "the CLIP model") from error
    return CLIPModel, CLIPConfig
