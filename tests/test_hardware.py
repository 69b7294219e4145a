import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from mlcl import hardware
from mlcl.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Pretend that torch sees so many GPUs, none of them taken."""

    def sees(gpus):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda gpu: SimpleNamespace(uuid=f"uuid-{gpu}"))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield sees
    while hardware._TAKEN:
        hardware._TAKEN.pop().release()


def test_auto_is_the_gpu_where_torch_sees_one(machine):
    for gpus, kind in ((1, "cuda"), (0, "cpu")):
        machine(gpus)
        assert [device.type for device in hardware.devices("auto")] == [kind]
    with pytest.raises(UserError, match="torch sees no GPU here"):
        hardware.devices("cuda")
    with pytest.raises(UserError, match="gpu is none of auto, cpu, cuda"):
        hardware.devices("gpu")
    assert hardware.devices("cpu", 3) == [CPU] * 3


def test_each_takes_gpus_that_are_free_and_shares_one_where_none_is(machine):
    machine(4)
    taken = [[device.index for device in hardware.devices("cuda", count)] for count in (2, 1, 2, 1)]
    assert taken == [[0, 1], [2], [3, 0], [0]]
    with pytest.raises(UserError, match="gpus: 5, but torch sees 4 here"):
        hardware.devices("auto", 5)


def test_a_gpu_is_free_again_when_its_process_ends(machine, tmp_path):
    machine(2)
    script = "from mlcl import hardware; print(hardware._take('uuid-0'), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "True\n"
        assert hardware.devices("cuda")[0].index == 1
        other.kill()
    assert hardware.devices("cuda")[0].index == 0


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
