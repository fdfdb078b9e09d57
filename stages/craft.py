"""craft: clean images -> adversarial images, 8-bit, inside the ball; no prompt takes part.

Without a threat, the training images for the bank (data/bank/<dataset>/images); with one, the test images
(data/test/<dataset>/<threat>/images).
"""

from pathlib import Path

from torch import Tensor

from stages.attacks.noise import ImageNoise
from stages.attacks.objectives import feature_cosine, feature_kl, feature_l2
from stages.attacks.pgd import pgd
from stages.banks.files import require_writable, resuming, whole
from stages.banks.images import Images, images_provenance, note_count, seals_of, shard_paths, write_shard
from stages.banks.notes import write_note
from stages.banks.provenance import Provenance, key_of, require
from stages.batches import fitting
from stages.command import command
from stages.crafting import Attack, by_shard, steps_of
from stages.engine import Work, engine
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.params import FeaturePgd, Params, Transfer, load_params, threat_of
from stages.transferring import fit_to, judged_by_surrogate, transfer_attack

OBJECTIVES = {"kl": feature_kl, "cosine": feature_cosine, "l2": feature_l2}


def main(dataset: str, threat: str | None = None) -> str:
    """Attacks one split of a data set and stores what comes out."""
    params = load_params()
    attack = params.attack if threat is None else threat_of(params.oblivious, threat)
    split = "train" if threat is None else "test"
    out = Path(f"data/bank/{dataset}/images" if threat is None else f"data/test/{dataset}/{threat}/images")
    require_writable(out)
    source, train = (Path(f"data/clean/{dataset}/{name}/images") for name in (split, "train"))
    inputs = seals_of(source)
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split=split, seed=params.seed, data=params.data.model_dump())
    params, where = run_as(params, attack)
    with engine(params, Crafter, attack, train, clean["shape"][0], shards=len(shard_paths(source))) as run:
        if isinstance(attack, Transfer):
            inputs += seals_of(train)
        made_by = {**clean, "attack": attack.model_dump(), **run.facts["knows"]}
        with resuming(out, key_of(made_by, inputs, device=run.facts["device"])) as pieces:
            folder, note = pieces / out.name, run.facts["note"]
            written = run.write(Work(folder, source, made_by, f"craft {threat or 'bank'}"))
            note_count(folder, written.pieces)
            if isinstance(attack, Transfer):
                found = run.call("judge", source, folder)
                with whole(folder / "surrogate.json") as note_file:
                    write_note(note_file, {**run.facts["knows"]["surrogate"], **found})
                note = (
                    f", surrogate right on {found['clean_accuracy']:.3f} clean, {found['robust_accuracy']:.3f} attacked"
                )
    return f"wrote {out}, {written}, eps {attack.eps:g}/255, {attack.steps} steps{note}{where}"


def run_as(params: Params, attack: FeaturePgd | Transfer) -> tuple[Params, str]:
    """The parameters to run an attack with, and what a user should hear of it.

    A surrogate is fitted to all training images: where machines share no disk, they lie here alone.
    """
    if isinstance(attack, Transfer) and params.runtime.engine == "ray" and params.runtime.storage:
        return params.with_runtime({"engine": "local"}), ", in this process, where all training images lie"
    return params, ""


class Crafter:
    """Attacks shards: a worker, see stages/engine.py.

    Args:
        params: The parameters.
        settings: The attack.
        train: The training images, which a surrogate is fitted to.
        image_size: H and W, in pixels.
    """

    def __init__(self, params: Params, settings: FeaturePgd | Transfer, train: Path, image_size: int) -> None:
        self._device, self._settings = choose_device(params.runtime.device), settings
        match settings:
            case FeaturePgd():
                clip = load_clip(**params.model.model_dump(), device=self._device)
                encode, attack = clip.gradient_encoder(), feature_attack(settings, clip)
                knows = {"victim": clip.fingerprint, "precision": clip.precision}
                slowly = "" if clip.is_fast else ", slowly: this image tower is not of a kind that is made fast here"
                note = f", {clip.precision}{slowly}"
            case Transfer():
                self._surrogate, about = fit_to(settings.surrogate, train, params.seed, self._device)
                encode, attack = self._surrogate, transfer_attack(settings, self._surrogate)
                knows, note = {"surrogate": about}, ""
        self.facts = {"device": self._device.type, "knows": knows, "note": note}
        runtime = fitting(params.runtime, encode, image_size, self._device)
        self._craft = by_shard(
            attack,
            eps=settings.eps,
            seed=params.seed,
            device=self._device,
            batching=lambda count: runtime.batching(count, self._device.type),
        )

    def make(self, path: Path, piece: int, shard: Images, about: Provenance) -> None:
        """Attacks a shard."""
        write_shard(path, self._craft(shard), {**about, "shard": piece})

    def judge(self, clean: Path, attacked: Path) -> dict[str, float]:
        """What the surrogate says of folders of clean and of attacked images."""
        batch_size = self._settings.surrogate.batch_size
        return judged_by_surrogate(self._surrogate, clean, attacked, batch_size, self._device)


def feature_attack(settings: FeaturePgd, clip: Clip) -> Attack:
    """The paper's attack: away from the clean embedding, whatever the words are."""
    ball, step_size, steps = steps_of(settings.eps, settings.steps, settings.step_ratio)
    encode = clip.gradient_encoder()

    def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
        objective = OBJECTIVES[settings.objective](encode, encode(images))
        return pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise)

    return attack


if __name__ == "__main__":
    command(main)
