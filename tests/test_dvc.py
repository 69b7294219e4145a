"""DVC beside Snakemake, in a repository of its own with the project's own files and a tiny experiment.

A story, told in order: every test starts where the one before it ended. Slow: python -m pytest -m dvc
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import time

import pytest
import yaml
from project import BIN, Repository

pytestmark = [pytest.mark.dvc, pytest.mark.skipif(not (BIN / "dvc").exists(), reason="dvc is not installed")]

TRAINING = {"epochs": 1, "batch_size": 256, "validation": {"episodes": 5}}
METHODS = {
    "cross_entropy": {"objective": {"cross_entropy": 1}},
    "single_level": {"objective": {"contrast": "supcon", "levels": {4: 1}}},
    "multi_level": {"objective": {"contrast": "supcon", "levels": {1: 1, 4: 1}}},
}
GLYPHS = {"source": "glyphs", "size": 16}
COMMON = {"encoder": {"width": 4}, "training": TRAINING, "evaluation": {"episodes": 20}, "device": "cpu"}
SMALL = {
    "name": "glyphs", "datasets": {"glyphs": GLYPHS, "glyphs-tiered": {**GLYPHS, "split": "script"}},
    "methods": METHODS, **COMMON,
}  # fmt: skip
# What is tested is the pipeline, whose data sets are called so.
PAPER = {
    "name": "paper",
    "datasets": {"mini-imagenet": GLYPHS, "tiered-imagenet": {**GLYPHS, "split": "script"}},
    "methods": {"multi_level": METHODS["multi_level"]},
    **COMMON,
    "evaluation": {"episodes": 20, "choose": True},
}

ALL = {
    "pack": 2, "train_encoder": 6, "extract_features": 6, "evaluate_episodes": 6, "make_tables": 1,
    "draw_data": 2, "draw_training": 1, "draw_features": 2, "write_report": 1,
}  # fmt: skip
BRANCH = {
    "train_encoder": 2, "extract_features": 2, "evaluate_episodes": 2, "make_tables": 1,
    "draw_training": 1, "draw_features": 2, "write_report": 1,
}  # fmt: skip
PAPER_ALL = {rule: min(count, 2) for rule, count in ALL.items()}
OF_EPISODES = {"evaluate_episodes": 6, "make_tables": 1, "write_report": 1}
OF_PAPER = ("--configfile", "config/paper.yaml")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dvc") / "project"
    repository = Repository.start(folder, {"config.yaml": SMALL, "paper.yaml": PAPER})
    repository.run("dvc", "remote", "add", "-d", "store", str(folder.parent / "store"))
    repository.commit("start")
    return repository


@pytest.fixture(scope="module")
def clone(repository):
    return repository.clone("clone")


def test_dvc_has_nothing_to_do_after_snakemake(repository):
    assert repository.jobs("snakemake") == ALL
    assert repository.jobs("dvc", "repro") == {}
    assert repository.jobs("dvc", "repro") == {}
    assert repository.clean() or "paper" in repository.run("dvc", "status")


def test_a_clone_pulls_what_was_run(repository):
    repository.commit("default experiment")
    repository.run("dvc", "push")
    early = repository.clone("early")
    early.run("dvc", "pull", "--allow-missing")
    assert early.jobs("snakemake") == {}


def test_snakemake_has_nothing_to_do_after_dvc(repository):
    assert repository.jobs("snakemake") == {}
    assert repository.jobs("dvc", "repro", "paper/dvc.yaml") == PAPER_ALL
    assert repository.jobs("snakemake", *OF_PAPER) == {}
    assert repository.jobs("dvc", "repro", "paper/dvc.yaml") == {}
    assert repository.clean()
    repository.commit("run")


def test_metrics_plots_and_artifacts(repository):
    shown = repository.run("dvc", "metrics", "show", "--json")
    assert "multi_level" in shown
    assert "1-shot" in shown
    repository.run("dvc", "plots", "show", "--out", "plots")
    page = (repository.folder / "plots" / "index.html").read_text()
    assert "Training loss on glyphs" in page
    assert "levels.png" in page
    shutil.rmtree(repository.folder / "plots")
    artifacts = yaml.safe_load((repository.folder / "dvc.yaml").read_text())["artifacts"]
    assert all((repository.folder / artifact["path"]).exists() for artifact in artifacts.values())


def test_every_output_has_one_owner(repository):
    """Snakemake's outputs belong to DVC or to git, never to both or neither."""
    listed = repository.run("dvc", "list", ".", "--dvc-only", "--recursive").split()
    in_git = repository.run("git", "ls-files").split()
    assert not set(listed) & set(in_git)
    for arguments in ((), OF_PAPER):
        summary = repository.run("snakemake", "--summary", *arguments)
        name = "paper" if arguments else "glyphs"
        outputs = [line.split("\t")[0] for line in summary.splitlines() if "\t" in line][1:]
        assert len(outputs) > 15
        for output in outputs:
            file = (repository.folder / "results" / name / output).resolve()  # packed data are linked
            path = os.path.relpath(file, repository.folder.resolve())
            assert (path in listed) + (path in in_git) == 1, path


def test_a_clone_that_pulls_has_nothing_to_do(repository, clone):
    repository.run("dvc", "push")
    clone.run("dvc", "pull")
    assert clone.clean()
    assert clone.jobs("snakemake") == {}
    assert clone.jobs("snakemake", *OF_PAPER) == {}


@pytest.mark.parametrize("seed", range(3))
def test_modification_times_do_not_matter(clone, seed):
    rng = random.Random(seed)
    for top in ("results", "data"):
        for path in (clone.folder / top).rglob("*"):
            moment = time.time() - rng.random() * 1e4
            os.utime(path, (moment, moment))
    assert clone.jobs("snakemake") == {}
    assert clone.jobs("snakemake", *OF_PAPER) == {}


def test_removed_tables_are_made_again_alone(clone):
    for name, arguments in (("glyphs", ()), ("paper", OF_PAPER)):
        before = clone.contents(f"{name}/tables/*", f"{name}/figures/*")
        shutil.rmtree(clone.folder / "results" / name / "tables")
        assert clone.jobs("snakemake", *arguments) == {"make_tables": 1, "write_report": 1}
        assert clone.contents(f"{name}/tables/*", f"{name}/figures/*") == before
    assert clone.run("git", "status", "--short") == ""
    assert clone.jobs("dvc", "repro") == clone.jobs("dvc", "repro", "paper/dvc.yaml") == {}
    assert clone.clean()
    clone.commit("tables")


def test_a_hyperparameter_costs_its_branch_by_snakemake(clone):
    clone.change("methods.multi_level.training.learning_rate", 0.2)
    assert clone.jobs("snakemake") == BRANCH
    assert clone.jobs("dvc", "repro") == {}
    assert clone.clean()
    assert "multi_level" in clone.run("dvc", "metrics", "diff", "--json")
    clone.commit("by snakemake")


def test_a_hyperparameter_costs_its_branch_by_dvc(clone):
    clone.change("methods.single_level.training.learning_rate", 0.2)
    assert clone.jobs("dvc", "repro") == BRANCH
    assert clone.jobs("snakemake") == {}
    assert clone.clean()
    clone.commit("by dvc")


def test_an_experiment_in_a_temporary_folder_costs_its_branch(clone):
    key = "config/config.yaml:methods.cross_entropy.objective.cross_entropy=0.5"
    assert clone.jobs("dvc", "exp", "run", "--temp", "--name", "half", "--set-param", key) == BRANCH
    assert "half" in clone.run("dvc", "exp", "show", "--csv")
    assert clone.jobs("snakemake") == {}
    assert clone.clean()


def test_episodes_cost_the_evaluation(clone):
    clone.change("evaluation.episodes", 21)
    assert clone.jobs("snakemake") == OF_EPISODES
    clone.change("evaluation.episodes", 20)
    assert clone.jobs("snakemake") == OF_EPISODES
    assert clone.jobs("dvc", "repro") == {}
    clone.commit("back")


def test_a_comment_and_a_docstring_cost_nothing(clone):
    file = clone.folder / "mlcl" / "extract.py"
    text = file.read_text()
    assert text.startswith('"""Encoder and')
    file.write_text("# A comment.\n" + text.replace('"""Encoder and', '"""Encoders and', 1))
    assert clone.jobs("snakemake") == clone.jobs("dvc", "repro") == {}
    assert clone.clean() or "paper" in clone.run("dvc", "status")
    file.write_text(text)


def test_code_of_a_stage_costs_what_follows(clone):
    file = clone.folder / "mlcl" / "evaluate.py"
    text = file.read_text()
    file.write_text(text + "\nNEW = 1\n")
    assert clone.jobs("dvc", "repro") == OF_EPISODES
    file.write_text(text)
    assert clone.jobs("snakemake") == OF_EPISODES
    assert clone.jobs("dvc", "repro") == clone.jobs("dvc", "repro", "paper/dvc.yaml") == {}
    assert clone.clean()
    clone.commit("code")


def test_an_old_commit_and_back_cost_nothing(clone):
    old = clone.run("git", "log", "--format=%h", "--grep", "^by snakemake$").strip()
    for commit in (old, "main"):
        clone.run("git", "checkout", "-q", commit)
        clone.run("dvc", "checkout")
        assert clone.jobs("snakemake") == {}
        assert clone.jobs("dvc", "repro") == {}
        clone.run("git", "checkout", "-q", "--", ".")
        assert clone.clean()


def test_without_a_pull_tables_in_git_are_made_again_with_a_warning(repository):
    fresh = repository.clone("fresh")
    output = fresh.run("snakemake", *OF_PAPER, "--forcerun", "make_tables")
    assert "but not Snakemake's records of what made them" in output
    assert "run 'dvc pull --allow-missing'" in output
    assert "make_tables" in output
    assert "train_encoder" not in output
    assert fresh.run("git", "status", "--short") == ""


def test_without_a_pull_dvc_runs_the_default_experiment_alone(repository):
    fresh = repository.folder.parent / "fresh"
    assert Repository(fresh).jobs("dvc", "repro") == ALL
    assert not (fresh / "results" / "paper" / "models").exists()


def test_a_store_that_speaks_s3(repository, tmp_path):
    pytest.importorskip("dvc_s3", reason="dvc-s3 is not installed")
    pytest.importorskip("moto", reason="moto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        repository.run("dvc", "remote", "add", "s3", "s3://mlcl/store")
        repository.run("dvc", "remote", "modify", "s3", "endpointurl", url)
        client = f"import boto3; boto3.client('s3', endpoint_url='{url}', region_name='us-east-1')"
        for _ in range(50):
            if subprocess.run(
                [sys.executable, "-c", f"{client}.create_bucket(Bucket='mlcl')"], capture_output=True,
                env=repository.environment,
            ).returncode == 0:  # fmt: skip
                break
            time.sleep(0.2)
        repository.run("dvc", "push", "-r", "s3")
        repository.commit("s3")
        clone = repository.clone("from-s3")
        clone.run("dvc", "pull", "-r", "s3")
        assert clone.jobs("snakemake") == {}
    finally:
        server.kill()
