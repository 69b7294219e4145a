"""Workflows whose trainings are killed again and again, in every way and at random moments, end as if nothing had been.

Slow: python -m pytest -m kills; -m slurm for one kill on Slurm. It is a real one, of one node: tests/slurm.sh start
"""

import copy
import os
import random
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress

import psutil
import pytest
from project import Repository, wait_for

CONFIG = {
    "name": "glyphs",
    "datasets": {"glyphs": {"source": "glyphs", "size": 16}},
    "encoder": {"width": 8},
    "training": {"epochs": 200, "batch_size": 128, "validation": {"every": 100, "episodes": 5}},
    "methods": {
        "single_level": {"objective": {"contrast": "supcon", "levels": {4: 1}}},
        "multi_level": {"objective": {"contrast": "supcon", "levels": {1: 1, 4: 1}}},
    },
    "evaluation": {"episodes": 20},
    "device": "cpu",
}
MADE = ("glyphs/models/**/*", "glyphs/runs/**/metrics.csv", "glyphs/tables/*")
KILLS_HERE = 12
MOMENT = random.Random(0)


class Training:
    """A training as its files and processes show it."""

    def __init__(self, repository, method):
        run = f"glyphs/{method}/0"
        self.results, self.scratch = repository.folder / "results" / "glyphs", f"training/{run}"
        self.log = self.results / "logs" / "train" / f"{run}.log"
        self.model = self.results / "models" / run / "model.safetensors"
        self.before = None

    def saved(self):
        """When it last saved its state; 0 where it has none."""
        return max([state.stat().st_mtime for state in self.results.glob(f"{self.scratch}/state-*.pt")], default=0)

    def continued(self):
        """The step from which its last start continued; 0 where that was from nothing."""
        text = self.log.read_text() if self.log.exists() else ""
        return max([int(step) for step in re.findall(r"continuing from step (\d+)", text)], default=0)

    def was_killed(self):
        self.before = self.continued(), self.saved()

    def goes_on(self):
        """Whether, after a kill, it continued from where it was, and has come further."""
        if self.before is None:
            return self.saved() > 0
        return self.continued() > self.before[0] and self.saved() > self.before[1]

    def process(self):
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if self.scratch in words and "train" in words and process.cwd() == str(self.results):
                    return process
            except psutil.Error:
                pass
        raise AssertionError(f"no process trains in {self.scratch}")

    @contextmanager
    def held(self):
        process = self.process()
        process.suspend()
        yield
        process.resume()

    def kill(self, how):
        process = self.process()
        process.send_signal(how)
        process.wait(60)
        self.was_killed()


def start(repository, *arguments):
    return subprocess.Popen(
        ["snakemake", "--retries", "100", *arguments], cwd=repository.folder, env=repository.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def under_way(trainings, workflow):
    """Wait until all go on, and one moment more."""

    def go_on():
        assert not any(training.model.exists() for training in trainings), "too short a training for so many kills"
        return all(training.goes_on() for training in trainings)

    wait_for(go_on, workflow)
    time.sleep(MOMENT.uniform(0, 1))


def stop(workflow, how):
    """Again where it had no effect, as one presses Ctrl-C again: Snakemake may lose one at an unlucky moment."""
    for _ in range(3):
        os.killpg(workflow.pid, how)
        with suppress(subprocess.TimeoutExpired):
            workflow.communicate(timeout=30)
            return
    raise AssertionError(f"{how.name} did not stop it")


def undisturbed(folder, config):
    """The models and tables of a run that nobody disturbs."""
    repository = Repository.start(folder, {"config.yaml": config})
    repository.run("snakemake")
    return repository.contents(*MADE)


@pytest.mark.kills
def test_on_this_machine(tmp_path):
    repository = Repository.start(tmp_path / "repository", {"config.yaml": CONFIG})
    trainings = [Training(repository, method) for method in CONFIG["methods"]]
    workflow = start(repository)
    for kill in range(KILLS_HERE):
        under_way(trainings, workflow)
        if kill % 4 < 2:  # one training, which Snakemake starts again
            victim, other = MOMENT.sample(trainings, 2)
            with other.held():
                victim.kill((signal.SIGKILL, signal.SIGTERM)[kill % 4])
                under_way([victim], workflow)
        else:  # everything, as a power cut or Ctrl-C does
            stop(workflow, (signal.SIGKILL, signal.SIGINT)[kill % 4 - 2])
            for training in trainings:
                training.was_killed()
            repository.run("snakemake", "--unlock")
            workflow = start(repository)
    under_way(trainings, workflow)
    output = workflow.communicate(timeout=1200)[0]
    assert workflow.returncode == 0, output
    assert repository.contents(*MADE) == undisturbed(tmp_path / "undisturbed", CONFIG)
    assert repository.jobs("snakemake") == {}


@pytest.mark.parametrize("kills", [pytest.param(1, marks=pytest.mark.slurm), pytest.param(10, marks=pytest.mark.kills)])
@pytest.mark.skipif(
    shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True).returncode != 0,
    reason="no Slurm answers here; tests/slurm.sh start starts one where slurm-wlm and munge are installed",
)
def test_on_slurm(tmp_path, kills):
    config = copy.deepcopy(CONFIG)
    if kills == 1:
        config["training"]["epochs"] = 100
    repository = Repository.start(tmp_path / "repository", {"config.yaml": config})
    trainings = [Training(repository, method) for method in CONFIG["methods"]]
    workflow = start(
        repository, "--workflow-profile", "profiles/slurm", "--config", "device=cpu", "--latency-wait", "5",
        "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1",
    )  # fmt: skip
    under_way(trainings, workflow)
    asked = slurm("scontrol", "show", "job", job(trainings[0].process()))
    assert "MinMemoryNode=3000M" in asked
    assert "TimeLimit=1-00:00:00" in asked
    if kills > 1:
        time_out(trainings)
    for kill in range(min(kills - 1, 2), kills):
        under_way(trainings, workflow)
        victim, other = MOMENT.sample(trainings, 2)
        with other.held():  # a job takes a while to come back
            if kill % 2 or kills == 1:
                cancel(victim)
            else:
                victim.kill(signal.SIGKILL)
            under_way([victim], workflow)
    under_way(trainings, workflow)
    output = workflow.communicate(timeout=1200)[0]
    assert workflow.returncode == 0, output
    assert repository.contents(*MADE) == undisturbed(tmp_path / "undisturbed", config)
    assert repository.jobs("snakemake") == {}


def cancel(training):
    process = training.process()
    slurm("scancel", job(process))
    process.wait(60)
    training.was_killed()


def time_out(trainings):
    """Have all hang until Slurm ends them at their time limit, of which a minute is the shortest."""
    processes = [training.process() for training in trainings]
    for process in processes:
        process.suspend()
        slurm("scontrol", "update", f"jobid={job(process)}", "timelimit=1")
    for training, process in zip(trainings, processes, strict=True):
        process.wait(180)
        training.was_killed()


def job(process):
    return process.environ()["SLURM_JOB_ID"]


def slurm(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
