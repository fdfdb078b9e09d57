"""SIGKILL at random moments: the next run goes on, and ends with the bytes of an undisturbed one."""

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from stages import assess
from stages.prompts.checkpoint import load_progress
from tests.reliability.small import Small, outs_of

KILLS = 9  # of each stage
STAGES = [
    ("craft", "fashion"),
    ("embed", "fashion"),
    ("tune", "fashion", "all", "tune_bank", "advpt"),
    ("refresh", "fashion", "all", "advpt_refreshed"),
    ("adversarial", "fashion", "all", "adv_vlp"),
    ("attack_adaptive", "fashion", "all", "tune_bank", "advpt", "adaptive_eps4"),
    ("attack_oblivious", "fashion", "pgd_eps8"),
    ("evaluate_images", "fashion", "all", "adversarial", "adv_vlp"),
    ("assess", "fashion"),
    ("extract", "fashion"),
]


def finished(small: Small, stage: tuple[str, ...]) -> int:
    """How many shards, or epochs, an interrupted run has left; of `refresh` both, the epochs of its last round."""
    outs = [small.folder / "data" / out for out in outs_of(*stage)]
    pieces = [out.with_name(f".{out.name}.partial") for out in outs]
    if stage[0] == "tune":
        return epochs(pieces[0], "*")
    if stage[0] == "adversarial":
        return sum(len(load_progress(path).loss) for path in pieces[0].glob("*/seed-*.safetensors"))
    counted = [out for out in pieces if stage[0] not in ("attack_adaptive", "extract") or "." not in out.stem[1:]]
    names = [path.relative_to(folder) for folder in counted for path in folder.rglob("*.parquet")]
    shards = [path for path in names if "features" not in path.parts]  # of adaptive images, whose images are counted
    made = sum(re.fullmatch(r"[0-9a-f]{64}\.parquet", path.name) is not None for path in shards)
    return made + (epochs(pieces[1], "*/round-0002") if stage[0] == "refresh" else 0)


def epochs(folder: Path, below: str) -> int:
    """How many epochs an interrupted tuning has left."""
    return sum(len(load_progress(path).loss) for path in folder.glob(f"{below}/progress.safetensors"))


def killed(small: Small, stage: tuple[str, ...], after: float) -> bool:
    """Starts a stage and kills it after some seconds; whether it was still running."""
    pid = small.start(*stage)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def is_there(small: Small, stage: tuple[str, ...]) -> bool:
    """Whether a result has taken its place; its pieces are gone then."""
    return any((small.folder / "data" / out).exists() for out in outs_of(*stage))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage[0])
def test_killed_at_any_moment_a_stage_goes_on_to_the_same_bytes(small, stage, record_property, monkeypatch):
    monkeypatch.setattr(assess, "ROWS", 2)  # the draw is small, and one shard leaves nothing to go on from
    small.remove(*stage)
    small.run(*stage)
    expected = small.digests()
    small.remove(*stage)
    start = time.perf_counter()
    small.run(*stage)
    whole = time.perf_counter() - start
    moments = random.Random(stage[0])
    kills = kept = runs = 0
    while kills < KILLS or (kept == 0 and kills < 5 * KILLS):  # on a busy machine many kills come too early
        small.remove(*stage)
        there = 0
        for _ in range(3):
            if not killed(small, stage, moments.uniform(0, whole)):
                small.remove(*stage)
                there = 0
                continue
            kills += 1
            if is_there(small, stage):  # killed behind the last rename: DVC would call it unfinished all the same
                small.remove(*stage)
                there = 0
            assert finished(small, stage) >= there, "a finished piece was made again or lost"
            there = finished(small, stage)
        said = small.run(*stage)
        counted = re.findall(r"(\d+) of \d+ (?:shards|epochs) from an interrupted run", said)
        assert sum(map(int, counted)) == there, said
        assert small.digests() == expected and small.temporary() == []
        kept, runs = kept + there, runs + 1
    assert kept > 0, "no kill came late enough to leave anything"
    record_property("kills survived", kills)
    record_property("runs that went on after kills, all with the same bytes", runs)
    record_property("finished pieces kept and not made again", kept)
