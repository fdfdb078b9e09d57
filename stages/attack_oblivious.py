"""attack_oblivious: attack the test images without the method under test; store 8-bit images and their embeddings.

Both in one stage, because embedding costs one forward pass and the attack a forward and a backward pass per step.
"""

from dataclasses import replace
from pathlib import Path

from stages.crafting.embedding import EmbeddingWorker, embedding
from stages.crafting.feature import FeatureAttackWorker
from stages.crafting.handwritten import HandwrittenAttackWorker
from stages.crafting.transfer import TransferAttackWorker
from stages.models.clip import load_model
from stages.runtime.cli import command
from stages.runtime.engine import ShardFolder, engine
from stages.runtime.params import FeaturePgd, HandwrittenPgd, Params, Transfer, load_params, threat_of
from stages.storage.card import Card, read_card
from stages.storage.files import require_writable, resuming, whole
from stages.storage.images import Images, checksums_of, gather, images_provenance, shard_paths
from stages.storage.layout import clean_images, oblivious_images, test_features
from stages.storage.notes import write_note
from stages.storage.provenance import key_of, require


def main(dataset: str, threat: str) -> str:
    """Attack the test images of a data set, store the adversarial images, and embed what was stored."""
    params = load_params()
    attack = threat_of(params.oblivious, threat)
    images, features = oblivious_images(dataset, threat), test_features(dataset, threat)
    require_writable(images, features)
    source, train = (clean_images(dataset, split) for split in ("test", "train"))
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split="test", seed=params.seed, data=params.data.of("test"))
    known: ShardFolder | Card | None = None
    inputs = []
    if isinstance(attack, Transfer):
        require_training(train)
        about = {"dataset": dataset, "split": "train", "seed": params.seed, "data": params.data.of("train")}
        require(images_provenance(train), train, **about)
        inputs = checksums_of(train)
        known = ShardFolder(train)
    elif isinstance(attack, HandwrittenPgd):
        known = read_card(dataset)
    with engine(
        params, ObliviousAttackWorker, attack, known, clean["shape"][0], shards=len(shard_paths(source))
    ) as run:
        made_by = {"seed": params.seed, "attack": attack.model_dump(), **run.facts.provenance}
        with resuming(images, key_of(made_by, inputs, device=run.facts.device)) as pieces:
            folder, note = pieces / images.name, run.facts.note
            written = run.map(ObliviousAttackWorker.attack, source, pieces / "shards", what=f"craft {threat}")
            gather(written.paths, folder, {**clean, **made_by})
            if isinstance(attack, Transfer):
                accuracy = run.call(ObliviousAttackWorker.surrogate_accuracy, ShardFolder(source), ShardFolder(folder))
                with whole(folder / "surrogate.json") as note_file:
                    write_note(note_file, {**run.facts.provenance["surrogate"], **accuracy})
                clean_accuracy, robust_accuracy = accuracy["clean_accuracy"], accuracy["robust_accuracy"]
                note = f", surrogate accuracy {clean_accuracy:.3f} clean, {robust_accuracy:.3f} attacked"
            embed = ObliviousAttackWorker.embed
            with embedding(run, folder, features, images_provenance(folder), embed=embed) as embedded:
                pass  # both are put into place, or neither
    of_attack = f"eps {attack.eps:g}/255, {attack.steps} steps{note}"
    return f"wrote {images}, {written}, {of_attack}; {features}, {embedded}"


def require_training(train: Path) -> None:
    """Refuse a transfer attack on a data set without training images.

    Raises:
        ValueError: If there are none.
    """
    if not train.is_dir():
        raise ValueError(
            f"{train}: no training images to fit a surrogate to; leave transfer threats out for a data set that is "
            "judged alone (dvc exp run -S '~oblivious.transfer_eps8' ...)"
        )


class ObliviousAttackWorker:
    """Attacks shards of test images and embeds the result; a worker (stages/runtime/engine.py).

    Args:
        params: The parameters.
        settings: The attack.
        known: What the attacker knows beside the model: the folder of training images that a surrogate is fitted to,
            the card of the data set for the hand-written prompt, None for an attack on the embedding.
        image_size: H and W, in pixels.
    """

    def __init__(
        self,
        params: Params,
        settings: FeaturePgd | HandwrittenPgd | Transfer,
        known: Path | Card | None,
        image_size: int,
    ) -> None:
        self._attacker: FeatureAttackWorker | HandwrittenAttackWorker | TransferAttackWorker
        match settings:
            case FeaturePgd():
                self._attacker = FeatureAttackWorker(params, settings, image_size)
                clip, device = self._attacker.clip, self._attacker.device
            case HandwrittenPgd():
                assert isinstance(known, Card)
                self._attacker = HandwrittenAttackWorker(params, settings, known, image_size)
                clip, device = self._attacker.clip, self._attacker.device
            case Transfer():
                assert isinstance(known, Path)
                self._attacker = TransferAttackWorker(params, settings, known, image_size)
                clip, device = load_model(params)
        self._embedder = EmbeddingWorker(clip, device=device, runtime=params.runtime)
        self.facts = replace(self._attacker.facts, model=clip.fingerprint)

    def attack(self, path: Path, shard_index: int, shard: Images) -> None:
        """Attack a shard and write the adversarial images."""
        self._attacker.attack(path, shard_index, shard)

    def embed(self, path: Path, shard_index: int, shard: Images) -> None:
        """Embed a shard and write its embeddings."""
        self._embedder.embed(path, shard_index, shard)

    def surrogate_accuracy(self, clean: Path, attacked: Path) -> dict[str, float]:
        """Return the accuracy of the surrogate on a folder of clean images and on the same images attacked."""
        assert isinstance(self._attacker, TransferAttackWorker)
        return self._attacker.surrogate_accuracy(clean, attacked)


if __name__ == "__main__":
    command(main)
