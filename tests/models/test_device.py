"""What the device code does where no GPU is at hand."""

from types import SimpleNamespace

import psutil
import pytest
import torch

from stages.models.device import free_memory, graphed


@pytest.mark.parametrize(
    ("most", "taken", "expected"),
    [("5000", "2000", 3300), ("2000", "3000", 0), ("max", "2000", None), (None, None, None)],
)
def test_a_container_may_take_what_it_is_allowed(tmp_path, monkeypatch, most, taken, expected):
    plenty = psutil.virtual_memory()._replace(available=10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: plenty)
    for name, value in (("max", most), ("current", taken), ("stat", most and "anon 10\ninactive_file 300")):
        if value:
            (tmp_path / f"memory.{name}").write_text(f"{value}\n")
    assert free_memory(tmp_path) == (10**9 if expected is None else expected)


class OnGpu(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    device = SimpleNamespace(type="cuda")


def test_on_the_cpu_nothing_is_recorded():
    assert graphed(torch.tanh, torch.zeros(2)) == (torch.tanh, "")


@pytest.mark.parametrize("fails", [False, True])
def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(monkeypatch, fails):
    def record(function, examples):
        assert examples[0].requires_grad and examples[0].shape == (2,)
        if fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        return "recorded"

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    found, note = graphed(torch.tanh, OnGpu(torch.zeros(2)))
    if fails:
        assert found is torch.tanh
        assert note == ", without a CUDA graph: operation not permitted when stream is capturing"
    else:
        assert (found, note) == ("recorded", "")
