"""Crafting a folder of shards by the local engine, and by one and two workers of a Ray cluster of this machine.

Label-free PGD-10 on the embedded model, one thread a worker; starts (of Ray, of a worker with its model) stand apart.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from reports.studies.benchmarks.measuring import medians
from stages.crafting.feature import FeatureAttackWorker
from stages.runtime.engine import Engine, engine
from stages.runtime.params import load_params
from stages.storage.images import Images, write_images

SHARDS, IMAGES = 12, 250  # of each shard


def run(device: torch.device, *, quick: bool) -> Iterator[dict]:
    """By engine."""
    params = load_params()
    shards = 4 if quick else SHARDS
    with TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        size = store(folder / "clean", shards)
        arguments = (params.attack, size)
        starts, engines = [], []
        for name, workers in (("local", 1), ("ray", 2)):
            begun = time.perf_counter()
            one_batch = params.with_runtime({"engine": name, "workers": 1, "device": "cpu"})
            run = engine(one_batch, FeatureAttackWorker, *arguments, shards=workers)
            engines.append(running.enter_context(run))
            starts.append(time.perf_counter() - begun)
        labels = {"local": engines[0], "Ray, 1 worker": alone(engines[1]), "Ray, 2 workers": engines[1]}
        tries = count()
        ways = {
            label: lambda found=found: craft(found, folder / "clean", folder / f"out-{next(tries)}")
            for label, found in labels.items()
        }
        seconds = medians(ways, rounds=1 if quick else 3, device=device)
    for label, taken in seconds.items():
        yield {
            "engine": label,
            "images": shards * IMAGES,
            "images/s": shards * IMAGES / taken,
            "time against local": taken / seconds["local"],
            "start s": starts[label != "local"],
        }


def alone(run: Any) -> Engine:
    """Return the engine with the first of its workers alone."""
    while run._starting:
        run._first_answer({})
    found = copy(run)
    found._actors = run._actors[:1]
    return found


def craft(run: Engine, source: Path, folder: Path) -> None:
    run.map(FeatureAttackWorker.attack, source, folder, what="benchmark")


def store(folder: Path, shards: int) -> int:
    """Stores random images; their side."""
    side, count = 32, shards * IMAGES
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    images = Images([str(index) for index in range(count)], np.zeros(count, np.int64), pixels)
    write_images(folder, images.split(shards), {"from": "a benchmark"})
    return side
