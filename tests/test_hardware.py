import pytest
import torch

from mlcl import hardware
from mlcl.errors import UserError

CPU = torch.device("cpu")


def test_auto_is_the_gpu_where_torch_sees_one(monkeypatch):
    for sees, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda sees=sees: sees)
        assert hardware.device("auto").type == kind
    with pytest.raises(UserError, match="torch sees no GPU here"):
        hardware.device("cuda")
    with pytest.raises(UserError, match="gpu is none of auto, cpu, cuda"):
        hardware.device("gpu")


@pytest.mark.parametrize(("capability", "expected"), [("avx512_bf16", "bfloat16"), ("avx2", "float32")])
def test_auto_precision_asks_the_hardware(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True}, raising=False)
    assert hardware.precision(CPU, "auto") == expected
    assert hardware.precision(CPU, "float32") == "float32"
    assert hardware.precision(CPU, "bfloat16") == "bfloat16"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_autocast_multiplies_in_that_precision(precision):
    with hardware.autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, precision)
