"""Several processes that train together: a step is the step of one process on the same batch."""

import os
import re
import signal
import socket
import subprocess
import sys

import pandas as pd
import psutil
import pytest
import torch
from project import wait_for

from mlcl import config, distributed
from mlcl.data.packed import Packed
from mlcl.training import Learner, Run

CPU = torch.device("cpu")


def method(batch_size, encoder=None, objective=None, **training):
    validation = {"every": 2, "episodes": 20, "queries": 5}
    training = {"epochs": 2, "precision": "float32", "validation": validation, **training, "batch_size": batch_size}
    objective = objective or {"cross_entropy": 1, "contrast": "supcon", "levels": {1: 1, 2: 0.5, 4: 1}}
    return config.Method(objective=objective, encoder=encoder or {"width": 4}, training=training)


CASES = {
    2: {
        "equal shares": method(16),
        "shares of 8 and 9": method(17),
        "branches, deep supervision": method(
            17,
            encoder={"width": 4, "branches": True},
            objective={
                "cross_entropy": 1,
                "deep_supervision": {1: 1, 3: 0.5},
                "self_distillation": {},
                "contrast": "supcon",
                "levels": {2: 1},
            },
        ),
        "with a teacher": method(17, objective={"cross_entropy": 1, "distillation": {"teacher": "any"}}),
        "resnet12, shares of 3 and 4": method(7, encoder={"name": "resnet12", "width": 2, "pool": 2}),
    },
    4: {
        "shares of 4, 5, 4 and 5": method(18),
        # also: nothing trains level 4
        "shares of 1 and 2": method(5, objective={"contrast": "simclr", "levels": {2: 1, 3: 1}}),
    },
}


def steps(data, spec, count=4):
    """In float64: the parts of the first loss, all its gradients, and all weights and buffers after `count` steps."""
    together = distributed.together
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlcl.distributed.together", lambda model, device: together(model.double(), device))
        run = Run(Packed(data), spec, 0, CPU)
    if spec.objective.distillation:  # in the place of an encoder: some logits of each view
        run.teacher = lambda views: views.flatten(1)[:, 100:108]
    batch = run.batch
    run.batch = lambda: (batch()[0].double(), batch()[1])
    parts = run.advance()
    model = Learner(run.encoder, run.objective)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    for _ in range(count - 1):
        run.advance()
    return {"parts": parts, "gradients": gradients, "weights": model.state_dict()}


def steps_together(data, cases, file):
    with distributed.joined([CPU]):
        made = {name: steps(data, spec) for name, spec in cases.items()}
        if distributed.rank() == distributed.size() - 1:  # as good as the first
            torch.save(made, file)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.distributed)])
def test_loss_gradients_and_weights_are_those_of_one_process(tiny_data, tmp_path, processes):
    cases = CASES[processes]
    distributed.launch(processes, steps_together, tiny_data, cases, tmp_path / "made")
    made = torch.load(tmp_path / "made")
    for case, spec in cases.items():
        alone = steps(tiny_data, spec)
        for kind, expected in alone.items():
            assert expected.keys() == made[case][kind].keys()
            for name, value in expected.items():
                found = made[case][kind][name]
                torch.testing.assert_close(
                    found, value, rtol=1e-5, atol=1e-9, msg=lambda m, at=(case, kind, name): f"{at}: {m}"
                )


def command(data, spec, folder, processes):
    return [
        sys.executable, "-m", "mlcl", "train", "--data", data, "--method", spec.model_dump_json(), "--device", "cpu",
        "--gpus", str(processes), "--out", folder / "out", "--scratch", folder / "scratch",
    ]  # fmt: skip


@pytest.mark.distributed
def test_a_killed_process_stops_all_and_another_number_goes_on_from_the_state(tiny_data, tmp_path):
    spec = method(16, epochs=20, validation={"every": 20, "episodes": 20, "queries": 5})
    with subprocess.Popen(command(tiny_data, spec, tmp_path, 2), stderr=subprocess.PIPE, text=True) as training:
        wait_for(lambda: list(tmp_path.glob("scratch/state-*.pt")), training)
        workers(training)[-1].kill()
        said = training.communicate(timeout=60)[1]
    assert training.returncode == 1
    assert re.search(
        r"process \d of 2 failed \(Signal 9 \(SIGKILL\).*\) and the others were stopped; start again", said
    )
    assert "Traceback" not in said
    assert len(list(tmp_path.glob("scratch/state-*.pt"))) == 1
    assert not (tmp_path / "out").exists()
    rest = subprocess.run(command(tiny_data, spec, tmp_path, 3), capture_output=True, text=True)
    assert rest.returncode == 0, rest.stderr
    assert re.search(r"continuing from step [1-9]\d* of 240", rest.stderr)
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert metrics["epoch"].tolist() == list(range(1, 21))
    assert metrics["loss"].iloc[-1] < 0.8 * metrics["loss"].iloc[0]
    assert metrics["val_last_level"].iloc[-1] > 0.5


@pytest.mark.distributed
def test_ctrl_c_stops_all_processes_and_leaves_the_state(tiny_data, tmp_path):
    spec = method(16, epochs=1000)
    with subprocess.Popen(
        command(tiny_data, spec, tmp_path, 2), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as training:
        wait_for(lambda: list(tmp_path.glob("scratch/state-*.pt")), training)
        started = workers(training)
        os.killpg(training.pid, signal.SIGINT)
        said = training.communicate(timeout=60)[1]
    assert training.returncode == 130
    assert "Traceback" not in said
    assert not any(process.is_running() for process in started)
    assert len(list(tmp_path.glob("scratch/state-*.pt"))) == 1


@pytest.mark.distributed
def test_an_error_of_all_processes_is_said_once(tiny_data, tmp_path):
    done = subprocess.run(command(tiny_data, method(500), tmp_path, 2), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "mlcl train: training.batch_size: 500 is more than the 192 base images; lower it\n"


@pytest.mark.distributed
def test_two_hosts(tiny_data, tmp_path):
    """As on two machines: a torchrun each, that meet at one address."""
    spec = method(16)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    torchrun += ["--master-addr", "localhost", "--master-port", str(port)]
    train = command(tiny_data, spec, tmp_path, 1)[1:]
    hosts = [
        subprocess.Popen([*torchrun, "--node-rank", str(host), *train], stderr=subprocess.PIPE, text=True)
        for host in range(2)
    ]
    said = [host.communicate(timeout=120)[1] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    assert pd.read_csv(tmp_path / "out" / "metrics.csv")["epoch"].tolist() == [1, 2]
    assert "epoch 2/2" in said[0]
    assert "epoch" not in said[1]


def workers(training):
    """The processes that train."""
    found = psutil.Process(training.pid).children(recursive=True)
    return [process for process in found if any("spawn_main" in word for word in process.cmdline())]
