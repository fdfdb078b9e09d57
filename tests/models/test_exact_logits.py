"""What is stored of cosines has the same bits with any rows beside it, any BLAS kernel and any processor."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.models.logits import cosine_logits, cosines, exact_logits, predictions_and_margins

SIMD = np.show_config("dicts")["SIMD Extensions"].get("found", [])
KERNELS = ["Haswell", "Prescott"]  # of OpenBLAS; another library does not read the variable
if {"AVX512_SKX", "X86_V4"} & set(SIMD):  # by the names of numpy before 2.4 and since; other processors cannot run it
    KERNELS.append("SkylakeX")
DIGESTS = """
import hashlib
import numpy as np
from stages.models.logits import exact_logits
from tests.interpretation.test_interpretation_tables import tables_made_by_numpy

digest = hashlib.sha256()
draw = np.random.default_rng(0).normal
for rows, classes, width in ((1, 10, 64), (7, 3, 1024), (300, 10, 512), (1000, 101, 768)):
    images, texts = (draw(size=(count, width)).astype(np.float32) for count in (rows, classes))
    digest.update(exact_logits(images, texts, 100.0).tobytes())
for table in tables_made_by_numpy():
    digest.update(table.to_csv().encode())
print(digest.hexdigest())
"""


def drawn(rows: int, width: int, seed: int) -> np.ndarray:
    """Random features (rows, width), float32, of sizes from 1e-3 to 1e3, every third with one entry that dominates."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, width)) * 10 ** generator.uniform(-3, 3, (rows, 1))
    features[::3, seed % width] *= 1e4
    return features.astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 70), classes=st.integers(1, 30), width=st.integers(1, 1100), seed=st.integers(0, 999),
    data=st.data(),
)  # fmt: skip
def test_bits_depend_on_no_other_row_or_class(rows, classes, width, seed, data):
    images, texts = drawn(rows, width, seed), drawn(classes, width, seed + 1)
    whole = exact_logits(images, texts, 37.5)
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=4)))
    parts = [exact_logits(part, texts, 37.5) for part in np.split(images, cuts)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    order = np.random.default_rng(seed).permutation(rows)
    assert exact_logits(images[order], texts, 37.5).tobytes() == whole[order].tobytes()
    column = exact_logits(images, texts[-1:], 37.5)
    assert column.tobytes() == np.ascontiguousarray(whole[:, -1:]).tobytes()
    strided = np.asfortranarray(images)  # another layout in memory
    assert exact_logits(strided, texts, 37.5).tobytes() == whole.tobytes()


@pytest.mark.parametrize("width", [1, 2, 64, 512, 1024])
def test_cosines_are_within_a_millionth_of_the_truth(width):
    images, texts = drawn(60, width, 3), drawn(20, width, 4)
    exact = [row.astype(np.longdouble) for row in (images, texts)]
    first, second = (each / np.sqrt((each * each).sum(1, keepdims=True)) for each in exact)
    truth = (first[:, None] * second[None]).sum(-1)
    assert np.abs(cosines(images, texts) - truth).max() < 1e-6


@pytest.mark.parametrize("width", [64, 512, 1024])
def test_what_is_attacked_is_what_is_stored(width):
    """The tensors' logits are those of the rows, and only a near tie is decided otherwise."""
    images, texts = drawn(500, width, 5), drawn(50, width, 6)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    stored = exact_logits(images, texts, 1.0)
    attacked = cosine_logits(torch.from_numpy(images), torch.from_numpy(texts), 1.0).numpy()
    assert np.abs(stored - attacked).max() < 1e-5
    best, second = np.sort(stored, axis=1)[:, :-3:-1].T
    clear = best - second > 2e-6
    assert clear.mean() > 0.99 and np.array_equal(stored.argmax(1)[clear], attacked.argmax(1)[clear])


def test_equal_prompts_tie_exactly_and_the_first_wins():
    images, texts = drawn(40, 512, 7), drawn(1, 512, 8)
    predictions, margins = predictions_and_margins(
        exact_logits(images, np.repeat(texts, 3, axis=0), 100.0), np.arange(40) % 3
    )
    assert not predictions.any() and not margins.any()


def digest_of(**environment: str) -> str:
    """What DIGESTS prints in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DIGESTS], env={**os.environ, **environment}, capture_output=True,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    return found.stdout


def test_no_kernel_and_no_processor_changes_a_byte():
    """numpy chooses kernels and vector instructions when it is imported."""
    digests = {kernel: digest_of(OPENBLAS_CORETYPE=kernel) for kernel in KERNELS}
    digests["no vectors"] = digest_of(OPENBLAS_CORETYPE="Nehalem", NPY_DISABLE_CPU_FEATURES=" ".join(SIMD))
    assert set(digests.values()) == {digest_of()}, digests
