"""Prompts for any class names: where everything stands, and what is refused."""

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.models.context import assemble
from stages.models.text_tower import TextTower

LENGTH = 24
any_case = settings(max_examples=60, deadline=None, derandomize=True)
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
