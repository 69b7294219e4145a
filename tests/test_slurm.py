"""The workflow on a real Slurm of one node. Slow: tests/slurm.sh start && python -m pytest -m slurm"""

import shutil
import subprocess

import pytest
from project import Repository, wait_for

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True).returncode != 0,
        reason="no Slurm answers here; tests/slurm.sh start starts one where slurm-wlm and munge are installed",
    ),
]
CONFIG = {
    "name": "glyphs",
    "datasets": {"glyphs": {"source": "glyphs", "size": 16}},
    "encoder": {"width": 8},
    "training": {"epochs": 12, "batch_size": 128, "validation": {"every": 12, "episodes": 5}},
    "methods": {"multi_level": {"objective": {"contrast": "supcon", "levels": {1: 1, 4: 1}}}},
    "evaluation": {"episodes": 20},
    "device": "cpu",
}
MADE = ("glyphs/models/**/*", "glyphs/tables/*")


def test_a_cancelled_job_is_submitted_again_and_ends_as_if_nothing_had_been(tmp_path):
    local = Repository.start(tmp_path / "local", {"config.yaml": CONFIG})
    local.run("snakemake")
    remote = Repository.start(tmp_path / "remote", {"config.yaml": CONFIG})
    flags = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1")
    with subprocess.Popen(
        ["snakemake", "--workflow-profile", "profiles/slurm", "--latency-wait", "5", *flags],
        cwd=remote.folder, env=remote.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as workflow:  # fmt: skip
        wait_for(lambda: list(remote.folder.glob("results/glyphs/training/*/*/*/state-*.pt")), workflow)
        job = slurm("squeue", "-h", "-o", "%i").strip()
        asked = slurm("scontrol", "show", "job", job)
        assert "TresPerJob=gres:gpu:1" in asked
        assert "MinMemoryNode=3000M" in asked
        slurm("scancel", job)
        output = workflow.communicate(timeout=300)[0]
        assert workflow.returncode == 0, output
    log = (remote.folder / "results/glyphs/logs/train/glyphs/multi_level/0.log").read_text()
    assert "continuing from step" in log
    assert remote.contents(*MADE) == local.contents(*MADE)
    assert remote.jobs("snakemake") == {}


def slurm(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
