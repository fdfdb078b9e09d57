"""Class biases: they start at the hand-written prompt, end where scipy does, and reach the victim."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from stages.evaluation.load import load_victim
from stages.evaluation.study import predictions_table
from stages.models.context import handwritten
from stages.models.logits import cosine_logits
from stages.models.text_tower import TextTower
from stages.prompts.fit import Tuned, fit, write_tuned
from stages.prompts.generators import tuning_generators
from stages.prompts.learners import Learner, Task, learner_of
from stages.runtime.params import load_params
from stages.storage.embeddings import Bank
from stages.storage.prompts import load_prompts

NAMES, TEMPLATE = ["Trouser", "Coat", "Bag"], "a photo of a {}."
WEIGHT_DECAY = 0.01
SETTINGS = load_params().tune.model_copy(
    update={"clean_fraction": 0.0, "temperature": 1.0, "tuning_seeds": 2, "epochs": 500, "batch_size": 90}
    | {"lr": 2.0, "momentum": 0.9, "weight_decay": WEIGHT_DECAY, "warmup_epochs": 1, "warmup_lr": 1e-5}
)
LABELS = np.arange(90) % 3


@pytest.fixture(scope="module")
def learner(clip) -> Learner:
    return learner_of(Task("bias", SETTINGS, NAMES, TEMPLATE, clip, tuning_generators(0, 2)))


@pytest.fixture(scope="module")
def text_features(clip) -> torch.Tensor:
    """Those of the hand-written prompt (K, D)."""
    with torch.no_grad():
        return handwritten(TEMPLATE, NAMES, TextTower(clip.model, clip.tokenizer))[0]


@pytest.fixture(scope="module")
def bank(text_features) -> torch.Tensor:
    """Ninety embeddings near the text features, most of them nearest to the first class."""
    noise = torch.randn(90, text_features.shape[1], generator=torch.Generator().manual_seed(0))
    return 2 * text_features[LABELS] + 3 * text_features[0] + 0.3 * noise


@pytest.fixture(scope="module")
def tuned(clip, learner, bank, tmp_path_factory) -> Tuned:
    data = {"embeddings": bank[None, None], "clean_embeddings": bank, "labels": torch.tensor(LABELS)}
    generators = tuning_generators(0, 2)
    progress = tmp_path_factory.mktemp("tuned") / "progress"
    return fit(learner, SETTINGS, clip, generators=generators, checkpoint=progress, what="", **data)


def test_it_starts_at_the_hand_written_prompt_exactly(learner, text_features):
    found, bias = learner.classifier(learner.initial)
    assert found.shape == (2, *text_features.shape) and all(torch.equal(one, text_features) for one in found)
    assert bias.shape == (2, 3) and not bias.any()
    assert learner.template == TEMPLATE and not learner.arrays(learner.initial)


def loss_and_gradient(bias: np.ndarray, logits: np.ndarray, weight_decay: float) -> tuple[float, np.ndarray]:
    """Mean cross-entropy of logits (N, K) and a bias (K,), and half of the squared bias times the weight decay."""
    loss = -log_softmax(logits + bias, axis=1)[np.arange(len(logits)), LABELS].mean()
    gradient = softmax(logits + bias, axis=1).mean(0) - np.bincount(LABELS) / len(LABELS)
    return loss + weight_decay / 2 * bias @ bias, gradient + weight_decay * bias


def test_the_gradient_is_the_mean_error_of_the_softmax(clip, learner, text_features, bank):
    parameters = torch.randn(2, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found, bias = learner.classifier(parameters)
    logits = cosine_logits(bank, found, clip.logit_scale) + bias[:, None]
    losses = [torch.nn.functional.cross_entropy(of_seed, torch.tensor(LABELS)) for of_seed in logits]
    (gradients,) = torch.autograd.grad(sum(losses), parameters)
    plain = cosine_logits(bank, text_features, clip.logit_scale).double().numpy()
    for gradient, at in zip(gradients, parameters.detach().double().numpy(), strict=True):
        np.testing.assert_allclose(gradient, loss_and_gradient(at, plain, 0)[1], atol=1e-5)


def test_tuning_ends_at_the_optimum_that_scipy_finds(clip, tuned, text_features, bank):
    plain = cosine_logits(bank, text_features, clip.logit_scale).double().numpy()
    best = minimize(loss_and_gradient, np.zeros(3), args=(plain, WEIGHT_DECAY), jac=True, method="L-BFGS-B", tol=1e-12)
    assert np.abs(best.x).max() > 0.5  # far from the start
    np.testing.assert_allclose(tuned.logit_bias, np.stack([best.x] * 2), atol=1e-3)
    assert all(torch.equal(one, text_features) for one in tuned.text_features)


def test_the_file_holds_the_biases_and_the_victim_adds_them(clip, learner, tuned, text_features, bank, tmp_path):
    model = load_params().model.model_dump(exclude={"precision"})
    made_by = {"method": "class_bias", "model": model}
    write_tuned(tmp_path, tuned, learner, NAMES, clip, "fashion", made_by)
    prompts = load_prompts(tmp_path / "prompts.safetensors")
    assert prompts.context is None and np.array_equal(prompts.logit_bias, tuned.logit_bias)
    assert np.array_equal(prompts.text_features, tuned.text_features)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    plain = cosine_logits(clip.encode_image(images), text_features, clip.logit_scale)
    found = load_victim(tmp_path, seed=1, device="cpu")(images)
    torch.testing.assert_close(found, plain + tuned.logit_bias[1], rtol=1e-5, atol=1e-5)
    rows = Bank([str(index) for index in range(90)], LABELS, bank.numpy())
    judged = predictions_table(rows, prompts, title="", threat="", method="", seed=0)
    biased = cosine_logits(bank, text_features, clip.logit_scale) + tuned.logit_bias[0]
    assert judged["prediction"].to_pylist() == biased.argmax(1).tolist()
    assert judged["prediction"].to_pylist() != (biased - tuned.logit_bias[0]).argmax(1).tolist()
