"""Every path under data/ and reports/, once."""

from pathlib import Path

DATA = Path("data")
REPORTS = Path("reports")


def raw_folder(dataset: str) -> Path:
    return DATA / "raw" / dataset


def index_file(dataset: str) -> Path:
    """Return the list of all images of a data set."""
    return DATA / "index" / f"{dataset}.parquet"


def card_file(dataset: str) -> Path:
    """Return the facts about a data set: class names, template, splits, licence."""
    return DATA / "cards" / f"{dataset}.json"


def clean_images(dataset: str, split: str) -> Path:
    """Return the folder of shards of 8-bit images of a split, `train` or `test`, at the model's size."""
    return DATA / "images" / dataset / split / "clean"


def train_features(dataset: str) -> Path:
    """Return the embeddings of the clean training images."""
    return DATA / "features" / dataset / "train" / "clean.parquet"


def bank_images(dataset: str) -> Path:
    """Return the folder of shards of the adversarial training images."""
    return DATA / "images" / dataset / "train" / "bank"


def bank_features(dataset: str) -> Path:
    """Return the bank: the embeddings of the adversarial training images."""
    return DATA / "features" / dataset / "train" / "bank.parquet"


def oblivious_images(dataset: str, threat: str) -> Path:
    """Return the folder of shards of the test images under an oblivious threat, or `clean`."""
    return DATA / "images" / dataset / "test" / threat


def test_features(dataset: str, threat: str) -> Path:
    """Return the embeddings of the test images under an oblivious threat, or `clean`."""
    return DATA / "features" / dataset / "test" / f"{threat}.parquet"


def method_folder(dataset: str, study: str, group: str, method: str) -> Path:
    """Return the folder of what one method has learnt, with its `prompts.safetensors`.

    Args:
        dataset: Whose images it classifies.
        study: `all` of its classes, the halves `base` and `new`, or the data set that the method was tuned on.
        group: The stage that makes it.
        method: Its name.
    """
    return DATA / "prompts" / dataset / study / group / method


def prompts_file(dataset: str, study: str, group: str, method: str) -> Path:
    """Return the prompt file of a method; arguments as for `method_folder`."""
    return method_folder(dataset, study, group, method) / "prompts.safetensors"


def refreshed_bank(dataset: str, study: str, method: str) -> Path:
    """Return the embeddings of all rounds of a method of the group `refresh`."""
    return DATA / "refreshed" / dataset / study / f"{method}.parquet"


def adaptive_images(dataset: str, study: str, group: str, method: str, threat: str) -> Path:
    """Return the folder of the test images attacked through one method: a folder of shards for each tuning seed."""
    return DATA / "images" / dataset / "adaptive" / study / group / method / threat


def predictions_file(dataset: str, study: str, group: str, method: str, threats: str) -> Path:
    """Return the predictions of one method: `oblivious` for the clean images and all oblivious threats, or a threat."""
    return DATA / "predictions" / dataset / study / group / method / f"{threats}.parquet"


def assessment_file(dataset: str) -> Path:
    """Return the measurements of the attacks themselves."""
    return DATA / "assessment" / f"{dataset}.parquet"


def interpretation_folder(dataset: str) -> Path:
    """Return the folder of the tables of nearest tokens and of text features."""
    return DATA / "interpretation" / dataset


def model_card_file(dataset: str, study: str) -> Path:
    return DATA / "model_cards" / dataset / f"{study}.md"
