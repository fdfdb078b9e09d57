"""Files of the Hugging Face hub: from its cache without a request, else downloaded, else one error within seconds."""

import importlib
from pathlib import Path

PATIENCE = 3  # seconds; huggingface_hub itself tries six times, and open_clip both names: 46 s without a network


def hub_file(repository: str, names: tuple[str, ...], *, wanted: str, advice: str = "", revision: str = "main") -> Path:
    """Finds the first of some files that a repository has.

    Args:
        repository: `laion/CLIP-ViT-B-16-laion2B-s34B-b88K` and the like.
        names: Files, any of which will do.
        wanted: The model in words, for the error.
        advice: A sentence that ends the error.
        revision: Branch or commit.

    Raises:
        ValueError: If none of them is in the cache, and none can be fetched.
    """
    hub = importlib.import_module("huggingface_hub")  # open_clip brings it; only here is it needed
    for name in names:
        cached = hub.try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    cause = ""
    for name in names:
        try:
            hub.get_hf_file_metadata(hub.hf_hub_url(repository, name, revision=revision), timeout=PATIENCE)
            return Path(hub.hf_hub_download(repository, name, revision=revision))
        except hub.errors.EntryNotFoundError:
            cause = f"{repository} has no {' or '.join(names)}"
        except Exception as error:  # whatever the network or the hub raises
            cause = f"{type(error).__name__}: {error}"
            break
    folder = Path(hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    raise ValueError(
        f"model: {wanted} is not here and cannot be fetched. Looked for {folder}/snapshots/*/{names[0]}; then asked "
        f"{hub.constants.ENDPOINT}/{repository}: {cause.splitlines()[0]}. Without "
        f"a network, copy that folder from a machine where `hf download {repository}` has run. {advice}".rstrip()
    )
