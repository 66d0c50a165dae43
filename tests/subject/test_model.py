"""The DoRA layer against its formula, and the model against the library's own forward."""

import pytest
import torch
from torch import nn

from dora_repro.checkpoint.layouts import model_name, study_name
from dora_repro.errors import BadInput
from dora_repro.subject.building import build, configuration, random_clip
from dora_repro.subject.model import CLIPHBA, DoRALinear
from dora_repro.subject.prompts import PROMPTS, byte_tokens
from dora_repro.subject.sizes import SIZES
from tests.subject.reference import as_bytes


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(5, 3)


def dora(init="study", dropout=0.1, dropout_mode="live"):
    return DoRALinear.from_linear(linear(), rank=2, alpha=16, dropout=dropout, init=init, dropout_mode=dropout_mode)


def tiny(**options) -> CLIPHBA:
    torch.manual_seed(0)
    return build(SIZES["tiny"], **options)


# --- the layer


def test_the_weight_is_the_formula_element_by_element():
    layer = dora().requires_grad_(False)
    weight = layer.weight
    for row in range(3):
        direction = []
        for column in range(5):
            update = sum(float(layer.delta_D_B[column, r]) * float(layer.delta_D_A[r, row]) for r in range(2))
            direction.append(float(layer.D[row, column]) + 16 / 2 * update)
        length = sum(value**2 for value in direction) ** 0.5
        for column in range(5):
            expected = float(layer.m[row]) * direction[column] / length
            assert float(weight[row, column]) == pytest.approx(expected, rel=1e-5)


def test_every_row_of_the_weight_has_the_length_m_and_every_direction_the_length_one():
    layer = dora()
    torch.testing.assert_close(layer.weight.norm(dim=1), layer.m)
    torch.testing.assert_close(layer.D.norm(dim=1), torch.ones(3))


def test_only_m_and_the_low_rank_factors_learn():
    layer = dora()
    layer(torch.randn(4, 5)).square().sum().backward()
    assert {name for name, value in layer.named_parameters() if value.grad is not None} == {
        "m",
        "delta_D_A",
        "delta_D_B",
    }
    assert {name for name, value in layer.named_parameters() if value.requires_grad} == {
        "m",
        "delta_D_A",
        "delta_D_B",
    }
    assert {name: tuple(value.shape) for name, value in layer.named_parameters()} == {
        "m": (3,), "delta_D_A": (2, 3), "delta_D_B": (5, 2), "bias": (3,),
    }  # fmt: skip  # one line
    assert [name for name, _ in layer.named_buffers()] == ["D"]


def test_after_the_paper_the_layer_starts_as_the_linear_layer_it_replaces():
    torch.testing.assert_close(dora(init="paper").weight, linear().weight)
    assert not torch.allclose(dora(init="study").weight, linear().weight, atol=1e-2)


def test_live_dropout_drops_elements_of_the_update_in_training_mode_alone():
    layer = dora(init="study", dropout=0.5)
    x = torch.eye(5)
    kept = [layer(x) for _ in range(2)]
    assert not torch.equal(*kept)
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_dropout_replaces_dropped_elements_by_the_frozen_direction():
    layer = dora(dropout=0.5)
    torch.manual_seed(3)
    seen = (layer(torch.eye(5)) - layer.bias).T  # (out, in): the weight with dropout
    torch.manual_seed(3)
    kept = nn.functional.dropout(torch.ones(3, 5), 0.5)  # 0 or 2
    direction = layer.D + layer.scaling * kept * (layer.delta_D_B @ layer.delta_D_A).T
    torch.testing.assert_close(seen, layer.m[:, None] * direction / direction.norm(dim=1, keepdim=True))
    assert 0 < int((kept == 0).sum()) < 15


def test_the_study_s_dropout_is_never_drawn_and_live_dropout_is():
    for mode, draws in (("study", False), ("live", True)):
        layer = dora(dropout_mode=mode)
        before = torch.get_rng_state()
        layer(torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(before, torch.get_rng_state()) is not draws


def test_multihead_attention_reads_the_weight_and_never_calls_the_layer():
    """Why the study's dropout is never drawn."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    attention.out_proj = layer = DoRALinear.from_linear(attention.out_proj, rank=2, dropout=0.5)
    called = []
    layer.register_forward_hook(lambda *_: called.append(1))
    x = torch.randn(2, 3, 6)
    before = torch.get_rng_state()
    first = attention(x, x, x)[0]
    assert torch.equal(first, attention(x, x, x)[0])
    assert torch.equal(before, torch.get_rng_state())
    assert called == []
    with torch.no_grad():
        layer.delta_D_A.add_(1)
    assert not torch.equal(first, attention(x, x, x)[0])  # and it does read the weight


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rank": 0}, "rank=0: a DoRA layer needs a rank of 1 or more"),
        ({"rank": 2, "dropout": 1.0}, "dropout=1.0: give a share from 0 up to, not including, 1"),
        ({"rank": 2, "init": "papre"}, "init='papre'"),
    ],
)
def test_impossible_layers_are_refused(options, words):
    with pytest.raises(BadInput, match=words):
        DoRALinear.from_linear(linear(), **options)
    zero = linear()
    zero.weight.data[1] = 0
    with pytest.raises(BadInput, match="a row of the given weight is zero"):
        DoRALinear.from_linear(zero, rank=2)


# --- the model


def test_only_dora_layers_train_and_each_has_a_name_of_the_study():
    model = tiny()
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert trained[0] == "clip_model.text_model.encoder.layers.1.self_attn.out_proj.m"
    assert trained[3] == "clip_model.vision_model.encoder.layers.1.self_attn.out_proj.m"
    assert len(trained) == 9
    assert [model_name(study_name(name)) for name in trained] == trained
    assert study_name(trained[3]) == "clip_model.visual.transformer.resblocks.1.attn.out_proj.m"


@pytest.mark.parametrize(("name", "parameters"), [("vit-b-32", 151_277_313), ("vit-l-14", 427_616_513)])
def test_the_named_sizes_are_openai_s(name, parameters):
    from transformers.models.clip.modeling_clip import CLIPModel

    with torch.device("meta"):
        model = CLIPModel(configuration(SIZES[name]))
    assert sum(value.numel() for value in model.parameters()) == parameters


def test_random_weights_have_the_spread_that_the_library_gives_them():
    from transformers.models.clip.modeling_clip import CLIPModel

    ours = tiny(vision_dora=1, text_dora=0).clip_model.requires_grad_(False)
    theirs = dict(CLIPModel(configuration(SIZES["tiny"])).requires_grad_(False).named_parameters())
    for name, value in ours.named_parameters():
        if name in theirs and value.numel() > 1000:
            assert float(value.std()) == pytest.approx(float(theirs[name].std()), rel=0.15), name
        elif name in theirs and "class_embedding" not in name:
            assert torch.equal(value, theirs[name]), name  # biases, norms, the logit scale


def test_random_weights_depend_on_the_seed_and_not_on_the_number_of_threads():
    def drawn(seed, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        return as_bytes(dict(random_clip(SIZES["tiny"]).named_parameters()))

    try:
        assert drawn(0, 1) == drawn(0, 3)
        assert drawn(0, 1) != drawn(1, 1)
    finally:
        torch.set_num_threads(1)


def test_random_weights_leave_none_of_the_library_s_marks_behind():
    clip = random_clip(SIZES["tiny"])
    assert not [name for module in clip.modules() for name in vars(module) if name.startswith("_is_hf")]


def test_scores_are_those_of_the_library_s_own_forward():
    model = tiny().eval()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.clip_model(input_ids=model.tokens, pixel_values=images).logits_per_image  # (3, 66)
        assert model(images).shape == (3, len(PROMPTS))
        torch.testing.assert_close(model(images), expected)
        theirs = model.clip_model.get_text_features(input_ids=model.tokens).pooler_output
        assert as_bytes(model.text_features()) == as_bytes(theirs)


def trained_bytes(steps=2, spoil=None, **options):
    """Scores, gradients and parameters of a few SGD steps."""
    model = tiny(**options)
    if spoil:
        spoil(model)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], 0.1)
    seen = []
    torch.manual_seed(5)
    for _ in range(steps):
        optimizer.zero_grad()
        scores = model(images)
        scores.square().mean().backward()
        optimizer.step()
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        seen.append(as_bytes([scores, {name: value.grad for name, value in trained.items()}, trained]))
    return seen


@pytest.mark.parametrize("text_dora", [0, 1, 2])
def test_computing_the_frozen_prompts_once_changes_no_byte(text_dora):
    cached = trained_bytes(text_dora=text_dora)
    assert cached == trained_bytes(text_dora=text_dora, cache_prompts=False)

    def nudge(model):
        model.prompt_states[0, 0] += 1e-3

    assert cached != trained_bytes(text_dora=text_dora, spoil=nudge)


def test_the_cached_prompts_are_in_no_state_dict_and_go_where_the_model_goes():
    model = tiny()
    assert model.prompt_states.shape == (66, byte_tokens(PROMPTS, 258).shape[1], 64)
    assert not [name for name in model.state_dict() if "prompt" in name or "tokens" in name]
    assert model.to("meta").prompt_states.is_meta


def test_no_graph_is_built_below_the_first_dora_block():
    model = tiny(vision_dora=1)
    entered = []
    for block in model.clip_model.vision_model.encoder.layers:
        block.register_forward_hook(lambda _, inputs, output: entered.append(output.requires_grad))
    model(torch.randn(2, 3, 32, 32))
    assert entered == [False, False, True]


def test_filling_prompts_up_as_the_study_does_changes_no_score():
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(tiny(prompt_tokens=30).eval()(images), tiny().eval()(images))
    assert tiny(prompt_tokens=30).tokens.shape == (66, 30)


def test_byte_tokens_are_begin_bytes_end_and_end_again():
    assert byte_tokens(("ab", "é!x"), 300).tolist() == [
        [298, 97, 98, 299, 299, 299],
        [298, 195, 169, 33, 120, 299],
    ]
    assert len(set(PROMPTS)) == 66


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vision_dora": 4}, "vision_dora=4: the vision tower has 3 blocks; give 0 to 3"),
        ({"prompt_tokens": 33}, "the prompts have 33 tokens and the model takes 32: lower prompt_tokens"),
        (
            {"prompt_tokens": 5},
            "prompt_tokens=5 is too short: the longest prompt has 20 tokens; give 0 to fit it",
        ),
    ],
)
def test_models_that_cannot_be_are_refused(options, words):
    with pytest.raises(BadInput, match=words):
        tiny(**options)
