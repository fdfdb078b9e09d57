"""What the device code does where no GPU is at hand."""

from types import SimpleNamespace

import pytest
import torch

from stages.models.device import graphed


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
