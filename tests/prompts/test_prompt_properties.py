"""Prompts for any class names: where everything stands, what is refused, and that they come back from the disk."""

import math

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.prompts.context import arrangement, assemble, embed_prompt, prompt_tokens
from stages.prompts.text import TextTower
from stages.storage.prompts import PromptFile, load_prompts, save_prompts

LENGTH = 24
any_case = settings(max_examples=100, deadline=None, derandomize=True)
positions = st.sampled_from(["end", "middle", "front"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts | st.sampled_from(
    ["sea_lion", "T-shirt/top", "dahlia?", "日本", "Übergröße_ß", "_", "", "{}", "{0} %s", "🙂"]
)


@pytest.fixture(scope="module")
def tower() -> TextTower:
    """A random tower with the stock vocabulary, in which every text has its own tokens, and every token its vector."""
    torch.manual_seed(0)
    vision = open_clip.model.CLIPVisionCfg(image_size=32, patch_size=16, width=32, layers=1, head_width=16)
    text = open_clip.model.CLIPTextCfg(context_length=LENGTH, width=8, heads=2, layers=1)
    model = open_clip.CustomTextCLIP(8, vision, text).eval().requires_grad_(False)
    return TextTower(model, open_clip.SimpleTokenizer(context_length=LENGTH))


def layout(name: str, context_length: int, position: str, tower: TextTower) -> tuple[torch.Tensor, list[int]]:
    """What a prompt has to be: its rows without context, in order, and where the context stands."""
    start, end = tower.frame()
    words = name.replace("_", " ")
    body, dot = (tower.embed(tower.tokens(text)) for text in (words, "."))
    before = {"end": context_length, "middle": context_length // 2, "front": 0}[position]
    if position == "end":  # the full stop is tokenised with the name, as in a sentence
        body, dot = tower.embed(tower.tokens(f"{words}.")), dot[:0]
    first, second = range(1, 1 + before), range(1 + before + len(body), 1 + context_length + len(body))
    return torch.cat([start, body, dot, end]), [*first, *second]


@any_case
@given(names, st.integers(1, LENGTH), positions)
def test_a_prompt_is_start_context_name_and_end_in_the_order_of_its_arrangement(tower, name, context_length, position):
    words, expected = layout(name, context_length, position, tower)
    parts = arrangement(context_length, position)
    if len(words) + context_length > LENGTH:
        with pytest.raises(
            ValueError, match=f"{context_length} context vectors .* the text tower takes {LENGTH}"
        ) as error:
            prompt_tokens(parts, name, tower)
        assert repr(name.replace("_", " ")) in str(error.value)
        return
    row, slots = embed_prompt(prompt_tokens(parts, name, tower), tower)
    assert len(row) == len(words) + context_length and slots == expected
    assert (row[slots] == 0).all()
    rest = [place for place in range(len(row)) if place not in slots]
    assert torch.equal(row[rest], words)


@any_case
@given(st.lists(names, min_size=1, max_size=4), st.integers(1, 8), positions, st.booleans())
def test_each_prompt_of_a_pack_takes_the_context_in_its_places(tower, class_names, context_length, position, specific):
    expected = [layout(name, context_length, position, tower) for name in class_names]
    too_long = [len(words) + context_length > LENGTH for words, _ in expected]
    options = {"context_length": context_length, "class_position": position, "class_specific": specific}
    if any(too_long):
        with pytest.raises(ValueError, match="the text tower takes") as error:
            assemble(class_names, tower, **options)
        assert repr(class_names[too_long.index(True)].replace("_", " ")) in str(error.value)
        return
    told = [name.replace("_", " ") for name in class_names]
    tokens = [str([tower.tokens(part.replace("{}", name)) for part in ("{}", "{}.")]) for name in told]
    if len(set(tokens)) < len(tokens) or not all(map(tower.tokens, told)):
        with pytest.raises(ValueError, match=r"the model's tokenizer (makes the same tokens|leaves nothing)"):
            assemble(class_names, tower, **options)
        return
    prompts = assemble(class_names, tower, **options)
    context = torch.arange(1, 1 + context_length * (len(class_names) if specific else 1))[:, None].expand(-1, 8).float()
    filled = prompts.fixed.clone()
    filled[prompts.slots] = context[prompts.vectors]
    for index, (words, slots) in enumerate(expected):
        own = prompts.packing.places[index][prompts.packing.is_own[index]]
        text = torch.cat([filled[: prompts.packing.shared], filled[own]])
        first = index * context_length if specific else 0
        assert torch.equal(text[slots], context[first : first + context_length])
        assert torch.equal(text[[place for place in range(len(text)) if place not in slots]], words)


@any_case
@given(st.data())
def test_prompts_come_back_as_they_were(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "prompts.safetensors"
    seeds, classes, width, vectors = (data.draw(st.integers(1, 4)) for _ in range(4))
    numbers = st.floats(width=32, allow_nan=False)
    shapes = st.sampled_from([None, (seeds, vectors, width), (seeds, classes, vectors, width)])
    features, shape = data.draw(arrays(np.float32, (seeds, classes, width), elements=numbers)), data.draw(shapes)
    context = None if shape is None else data.draw(arrays(np.float32, shape, elements=numbers))
    class_names = data.draw(st.lists(names, min_size=classes, max_size=classes))
    scale, about = data.draw(numbers), data.draw(st.dictionaries(texts, texts | st.integers(), max_size=3))
    prompts = PromptFile(features, scale, class_names, data.draw(names), about, context)
    save_prompts(path, prompts)
    back = load_prompts(path)
    for found, expected in ((back.text_features, features), (back.context, context)):
        assert (found is None) == (expected is None)
        assert found is None or (found.shape == expected.shape and found.tobytes() == expected.tobytes())
    assert (back.class_names, back.template, back.provenance) == (class_names, prompts.template, about)
    assert back.logit_scale == scale and math.copysign(1, back.logit_scale) == math.copysign(1, scale)
