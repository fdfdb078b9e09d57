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
from stages.banks.images import images_provenance, read_images, seals_of, shard_paths, write_images
from stages.banks.notes import write_note
from stages.banks.provenance import key_of, require
from stages.batches import fitting
from stages.command import command, progress
from stages.crafting import Attack, by_shard, steps_of
from stages.models.clip import Clip, load_clip
from stages.models.device import choose_device
from stages.params import Batching, FeaturePgd, Transfer, load_params, threat_of
from stages.transferring import fit_to, judged_by_surrogate, transfer_attack

OBJECTIVES = {"kl": feature_kl, "cosine": feature_cosine, "l2": feature_l2}


def main(dataset: str, threat: str | None = None) -> str:
    """Attacks one split of a data set and stores what comes out."""
    params = load_params()
    runtime, device = params.runtime, choose_device(params.runtime.device)
    if threat is None:
        split, attack, out = "train", params.attack, Path(f"data/bank/{dataset}/images")
    else:
        split, attack, out = "test", threat_of(params.oblivious, threat), Path(f"data/test/{dataset}/{threat}/images")
    require_writable(out)
    source, train = (Path(f"data/clean/{dataset}/{name}/images") for name in (split, "train"))
    inputs = seals_of(source)
    clean = images_provenance(source)
    require(clean, source, dataset=dataset, split=split, seed=params.seed, data=params.data.model_dump())
    match attack:
        case FeaturePgd():
            clip = load_clip(**params.model.model_dump(), device=device)
            runtime = fitting(runtime, clip.gradient_encoder(), clip.image_size, device)
            crafter, knows = feature_attack(attack, clip), {"victim": clip.fingerprint, "precision": clip.precision}
            slowly = "" if clip.is_fast else ", slowly: this image tower is not of a kind that is made fast here"
            note = f", {clip.precision}{slowly}"
        case Transfer():
            network, about = fit_to(attack.surrogate, train, params.seed, device)
            inputs += seals_of(train)
            runtime = fitting(runtime, network, clean["shape"][0], device)
            crafter, knows, note = transfer_attack(attack, network), {"surrogate": about}, ""

    def batching(count: int) -> Batching:
        return runtime.batching(count, device.type)

    made_by = {**clean, "attack": attack.model_dump(), **knows}
    shards = progress(read_images(source), what=f"craft {threat or 'bank'}", total=len(shard_paths(source)))
    with resuming(out, key_of(made_by, inputs, device=device.type)) as pieces:
        folder = pieces / out.name
        craft = by_shard(crafter, eps=attack.eps, seed=params.seed, device=device, batching=batching)
        written = write_images(folder, shards, made_by, work=craft)
        if isinstance(attack, Transfer):
            found = judged_by_surrogate(network, source, folder, attack.surrogate.batch_size, device)
            with whole(folder / "surrogate.json") as note_file:
                write_note(note_file, {**about, **found})
            note = f", surrogate right on {found['clean_accuracy']:.3f} clean, {found['robust_accuracy']:.3f} attacked"
    return f"wrote {out}, {written}, eps {attack.eps:g}/255, {attack.steps} steps{note}"


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
