"""The study's model: CLIP with DoRA layers, scoring an image against 66 prompts.

`DoRALinear` is the layer, `apply_dora` puts it into a CLIP of the transformers library, `CLIPHBA` is the whole. Nothing
here trains or saves. transformers is imported where a model is built, since that takes seconds.

Letters: n images, p prompts (66), t tokens, d width of a tower, r rank.
"""

import math
from typing import TYPE_CHECKING, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from dora_repro.errors import BadInput

if TYPE_CHECKING:
    from transformers import CLIPModel

DROPOUT_MODES = ("live", "study")
INITS = ("study", "paper")


class LayerOptions(TypedDict, total=False):
    """Options of `DoRALinear` that have defaults; see there."""

    alpha: float
    dropout: float
    init: str
    dropout_mode: str


class DoRALinear(nn.Module):
    """A linear layer whose weight is a trainable length times an adapted direction, row by row.

        weight = m[:, None] · rows_normalised(D + scaling · (B A)ᵀ)        # (out, in)

    after DoRA (Liu et al. 2024, arXiv 2402.09353, eq. 5), with names as in the study:

        m          (out,)     length of each row, trainable; starts as the lengths of the given weight's rows
        D          (out, in)  direction, rows of length one, frozen, a buffer
        delta_D_A  (r, out)   A, trainable
        delta_D_B  (in, r)    B, trainable
        bias       (out,)     frozen, or None
        scaling    alpha / r

    Where the study departs from the paper: it adapts the direction D and not the pretrained weight; both
    low-rank factors start from Kaiming's uniform distribution, so the layer does not start as the given
    weight (`init="paper"` starts with B = 0, and then it does); gradients flow through the norm (the paper,
    section 4.3, holds it constant). Where this layer departs from the study: the study keeps D transposed,
    (in, out), and adds B A to it as it is, which gives the same numbers (D is never saved); and it adds 1e-8
    to each norm.

    Dropout: each element of (B A)ᵀ, an (out, in) matrix, is dropped by itself in training mode, one draw of
    the global generator a forward (`dropout_mode="live"`). In the study it is never drawn: there, OpenAI's
    CLIP runs `nn.MultiheadAttention`, which reads `out_proj.weight` and never calls `out_proj`, so the
    layer's own forward and the dropout in it do not run. The transformers library *calls* `out_proj`;
    `dropout_mode="study"` therefore leaves dropout out of forward to get the study's numbers. `weight` and
    `bias` can be read as an `nn.Linear`'s in either mode; reading never draws.
    """

    D: Tensor  # a buffer

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        rank: int,
        alpha: float = 16.0,
        dropout: float = 0.1,
        init: str = "study",
        dropout_mode: str = "live",
    ) -> None:
        """Build the layer from a weight.

        Args:
            weight: to start from; it is copied  # (out, in)
            bias: to start from; it is copied  # (out,)
            rank: r, of the low-rank update.
            alpha: scaling is alpha / rank.
            dropout: probability of dropping an element of the update.
            init: one of INITS.
            dropout_mode: one of DROPOUT_MODES.

        Raises:
            BadInput: a rank below 1, a dropout outside [0, 1), an unknown init or mode, a row of zeros (no direction).
        """
        super().__init__()
        if rank < 1:
            raise BadInput(f"rank={rank}: a DoRA layer needs a rank of 1 or more")
        if not 0 <= dropout < 1:
            raise BadInput(f"dropout={dropout}: give a share from 0 up to, not including, 1")
        if init not in INITS or dropout_mode not in DROPOUT_MODES:
            raise BadInput(f"init={init!r}, dropout_mode={dropout_mode!r}: choose from {INITS} and {DROPOUT_MODES}")
        weight = weight.detach()
        lengths = weight.norm(dim=1)  # (out,)
        if not bool((lengths > 0).all()):
            raise BadInput("a row of the given weight is zero or not a number: it has no direction to adapt")
        self.out_features, self.in_features = weight.shape
        self.rank, self.scaling, self.dropout, self.dropout_mode = rank, alpha / rank, dropout, dropout_mode
        self.m = nn.Parameter(lengths.clone())  # (out,)
        self.delta_D_A = nn.Parameter(weight.new_empty(rank, self.out_features))  # (r, out)
        self.delta_D_B = nn.Parameter(weight.new_empty(self.in_features, rank))  # (in, r)
        self.register_buffer("D", weight / lengths[:, None])  # (out, in)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)  # (out,)
        nn.init.kaiming_uniform_(self.delta_D_A, a=math.sqrt(5))
        if init == "paper":
            nn.init.zeros_(self.delta_D_B)
        else:
            nn.init.kaiming_uniform_(self.delta_D_B, a=math.sqrt(5))

    @classmethod
    def from_linear(cls, linear: nn.Linear, *, rank: int, **options: Unpack[LayerOptions]) -> "DoRALinear":
        """A DoRA layer in place of a linear one.

        Args:
            linear: whose weight and bias it starts from.
            rank: of the low-rank update.
            options: as in the constructor.

        Raises:
            BadInput: as the constructor.
        """
        return cls(linear.weight, linear.bias, rank=rank, **options)

    @property
    def weight(self) -> Tensor:
        """The weight in effect, without dropout.  # (out, in)"""
        return self._weight(self._update())

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output.  # (..., in) -> (..., out)"""
        update = self._update()
        if self.dropout_mode == "live":
            update = functional.dropout(update, self.dropout, self.training)
        return functional.linear(x, self._weight(update), self.bias)

    def _update(self) -> Tensor:
        return low_rank_update(self.delta_D_A, self.delta_D_B)  # (out, in)

    def _weight(self, update: Tensor) -> Tensor:
        direction = self.D + self.scaling * update  # (out, in)
        return self.m[:, None] * (direction / direction.norm(dim=1, keepdim=True))

    def extra_repr(self) -> str:
        shape = f"in={self.in_features}, out={self.out_features}, rank={self.rank}"
        return f"{shape}, dropout={self.dropout} ({self.dropout_mode})"


def low_rank_update(delta_D_A: Tensor, delta_D_B: Tensor, scaling: float = 1.0) -> Tensor:
    """What a layer adds to its direction: scaling · (B A)ᵀ.  # (r, out), (in, r) -> (out, in)"""
    return scaling * (delta_D_A.T @ delta_D_B.T)


def apply_dora(clip: "CLIPModel", vision: int, text: int, *, rank: int, **options: Unpack[LayerOptions]) -> None:
    """Freeze a CLIP and put DoRA layers in place of the attention output projection of its last blocks.

    Args:
        clip: changed in place.
        vision: how many of the last blocks of the vision tower.
        text: how many of the last blocks of the text tower.
        rank: of the low-rank updates.
        options: of `DoRALinear`.

    Raises:
        BadInput: more blocks asked for than a tower has, or as `DoRALinear`.
    """
    clip.requires_grad_(False)
    for name, tower, count in (("vision", clip.vision_model, vision), ("text", clip.text_model, text)):
        blocks = tower.encoder.layers
        if not 0 <= count <= len(blocks):
            raise BadInput(f"{name}_dora={count}: the {name} tower has {len(blocks)} blocks; give 0 to {len(blocks)}")
        for block in list(blocks)[len(blocks) - count :]:
            block.self_attn.out_proj = DoRALinear.from_linear(block.self_attn.out_proj, rank=rank, **options)


class CLIPHBA(nn.Module):
    """A CLIP whose only trainable parameters are DoRA layers, scoring images against fixed prompts.

    The prompts never change, and neither do the text blocks below the first DoRA layer: the hidden states
    that enter its block are computed once, at building (`cache_prompts`), into the buffer `prompt_states`,
    which no checkpoint holds. With no DoRA layer in the text tower that is the whole of the text features.
    Nothing that depends on a trainable parameter is kept. In the vision tower autograd records nothing below
    the first DoRA layer by itself, since nothing there asks for a gradient.

    Attributes:
        clip_model: the CLIPModel of the transformers library.
        image: side of the input images, in pixels.
        cache_prompts: whether the prompts' hidden states are computed once.
        first_text_block: the first text block with a DoRA layer.
    """

    tokens: Tensor  # buffers, as the two below
    ends: Tensor
    prompt_states: Tensor

    def __init__(self, clip: "CLIPModel", tokens: Tensor, cache_prompts: bool = True) -> None:
        """Put a CLIP and prompts together.

        Args:
            clip: with its DoRA layers.
            tokens: the prompts' ids  # (p, t)
            cache_prompts: compute the output of the frozen text blocks once, here.

        Raises:
            BadInput: a CLIP for images that are not square.
        """
        super().__init__()
        self.clip_model = clip
        self.image = _side(clip)
        self.cache_prompts = cache_prompts
        # CLIP reads a text at its end token, which has the highest id; padding repeats it.
        ends = (tokens == tokens.max(dim=1, keepdim=True).values).int().argmax(dim=1)  # (p,)
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("ends", ends, persistent=False)
        blocks = clip.text_model.encoder.layers
        adapted = [isinstance(block.self_attn.out_proj, DoRALinear) for block in blocks]
        self.first_text_block = adapted.index(True) if any(adapted) else len(blocks)
        if cache_prompts:
            with torch.no_grad():
                states = self._enter_text(self.first_text_block)  # (p, t, d)
                if self.first_text_block == len(blocks):
                    states = self._leave_text(states)  # (p, projection)
            self.register_buffer("prompt_states", states, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores as in the study: logit scale · cosine.  # (n, 3, side, side) -> (n, p)"""
        return self.score(images, self.text_features())

    def score(self, images: Tensor, text: Tensor) -> Tensor:
        """As forward, with text features computed before: between two updates they stay the same.

        Args:
            images: normalised  # (n, 3, side, side)
            text: of `text_features`  # (p, projection)

        Returns:
            scores  # (n, p)
        """
        seen = self.clip_model.vision_model(pixel_values=images).pooler_output  # (n, d)
        seen = self.clip_model.visual_projection(seen)  # (n, projection)
        seen = seen / seen.norm(dim=-1, keepdim=True)
        text = text / text.norm(dim=-1, keepdim=True)
        return self.clip_model.logit_scale.exp() * (seen @ text.T)  # (n, p)

    def text_features(self) -> Tensor:
        """What CLIP makes of the prompts, not yet normalised.  # (p, projection)"""
        blocks = self.clip_model.text_model.encoder.layers
        if not self.cache_prompts:
            return self._leave_text(self._enter_text(len(blocks)))
        if self.first_text_block == len(blocks):
            return self.prompt_states
        states = self.prompt_states  # (p, t, d)
        for block in blocks[self.first_text_block :]:
            states = block(states, None, is_causal=True)
        return self._leave_text(states)

    def _enter_text(self, end: int) -> Tensor:
        """The prompts through the embeddings and the first `end` blocks.  # (p, t, d)"""
        text = self.clip_model.text_model
        states = text.embeddings(input_ids=self.tokens)
        for block in text.encoder.layers[:end]:
            # With `scaled_dot_product_attention` this is causal attention, without a mask tensor.
            states = block(states, None, is_causal=True)
        return states

    def _leave_text(self, states: Tensor) -> Tensor:  # (p, t, d) -> (p, projection)
        text = self.clip_model.text_model.final_layer_norm(states)
        text = text[torch.arange(len(text), device=text.device), self.ends]  # (p, d)
        return self.clip_model.text_projection(text)


def _side(clip: "CLIPModel") -> int:
    """Side of a CLIP's square input images, in pixels."""
    side = clip.vision_model.config.image_size
    if not isinstance(side, int):
        raise BadInput(f"the CLIP takes images of {side} pixels; give one for square images")
    return side
