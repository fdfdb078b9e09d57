"""The temperature of the loss: what it divides, and nothing else."""

import pytest
import torch
import torch.nn.functional as F

from stages.models.logits import cosine_logits
from stages.prompts.fit import fit
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Task, learner_of
from stages.runtime.params import load_params

NAMES = ["Trouser", "Coat", "Bag"]


class Biased:
    """A learner with constant biases beside the context's text features."""

    def __init__(self, learner):
        self.learner, self.initial, self.note = learner, learner.initial, ""
        self.bias = torch.tensor([-3.0, 1.0, 2.0])

    def classifier(self, parameters):
        text_features, bias = self.learner.classifier(parameters)
        return text_features, bias + self.bias


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_that_of_logits_divided_by_the_temperature(clip, tmp_path, temperature):
    """Biases included: what is evaluated are the undivided logits."""
    bank = torch.randn(30, clip.model.text_projection.shape[1], generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 3
    still = {"epochs": 2, "warmup_epochs": 0, "lr": 1e-12, "batch_size": 30, "temperature": temperature}
    params = load_params()
    settings = params.methods.tune_bank["advpt"].tune(params.tune).model_copy(update=still)
    generators = tuning_generators(0, settings.tuning_seeds)
    learner = Biased(learner_of(Task("context", settings, NAMES, "a photo of a {}.", clip, generators)))
    checkpoint = tmp_path / "progress.safetensors"
    data = {"embeddings": bank[None, None], "clean_embeddings": bank, "labels": labels}
    found = fit(learner, settings, clip, generators=generators, checkpoint=checkpoint, what="", **data)
    logits = cosine_logits(bank, found.text_features, clip.logit_scale) + found.logit_bias[:, None]
    expected = [F.cross_entropy(of_seed / temperature, labels).item() for of_seed in logits]
    assert found.loss[0] == pytest.approx(expected, rel=1e-4)
    assert found.accuracy[0] == pytest.approx((logits.argmax(-1) == labels).float().mean(1).tolist())
