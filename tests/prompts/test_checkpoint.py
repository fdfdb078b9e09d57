"""Tuning that goes on where it stopped ends where it would have ended."""

import pytest
import torch

from stages.prompts.checkpoint import load_progress, save_progress
from stages.prompts.train import tune
from tests.prompts.test_context import SETTINGS, unit_vectors


def tuned(start=None, path=None, stop_after=None, views=1):
    """Two seeds on random embeddings; saves every epoch, stops early if asked to."""
    drawn = torch.Generator().manual_seed(0)
    context, bank, clean = (torch.randn(*shape, generator=drawn) for shape in ((2, 3, 4), (17, 4), (17, 4)))
    reached = tune(
        unit_vectors,
        context,
        embeddings=torch.stack([bank + view for view in range(views)])[None],
        clean_embeddings=clean,
        labels=torch.arange(17) % 3,
        logit_scale=5.0,
        settings=SETTINGS.model_copy(update={"epochs": 4}),
        generators=[torch.Generator().manual_seed(seed) for seed in range(2)],
        start=start,
    )
    curves = start[:2] if start else ([], [])
    for progress in reached:
        curves = progress[:2]
        if path:
            save_progress(path, progress)
        if len(progress.loss) == stop_after:
            break
    return context.detach(), curves


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_after_any_epoch_it_goes_on_to_the_same_bits(tmp_path, epoch, views):
    whole, curves = tuned(views=views)
    tuned(path=tmp_path / "progress", stop_after=epoch, views=views)
    start = load_progress(tmp_path / "progress")
    assert start[:2] == tuple(of_epochs[:epoch] for of_epochs in curves)
    again, continued = tuned(start=start, views=views)
    assert torch.equal(again, whole) and continued == curves


def test_nothing_begun_is_nothing_to_go_on_with(tmp_path):
    assert load_progress(tmp_path / "progress") is None


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "progress"
    tuned(path=path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="progress: damaged"):
        load_progress(path)
