"""`mlcl status` from the files of an experiment."""

import os
import time

from mlcl import config
from mlcl.progress import LOG_SECONDS
from mlcl.status import status

EXPERIMENT = config.Experiment.parse(
    {
        "name": "e", "datasets": {"d": {"source": "glyphs"}},
        "methods": {name: {"objective": {"cross_entropy": 1}} for name in ("one", "two")},
    },
    "test",
)  # fmt: skip


def write(file, text=""):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def lines(tmp_path, experiment=EXPERIMENT):
    *jobs, last = status(experiment, tmp_path).splitlines()
    return {job.split("  ")[0]: job.split("  ", 1)[1].strip() for job in jobs}, last


def test_before_anything_ran(tmp_path):
    jobs, last = lines(tmp_path)
    assert jobs["data d"] == "ready to run"
    assert jobs["train d/one/0"] == "waits for data d"
    assert jobs["tables"] == "waits for evaluate d/one/0 and 1 more"
    assert jobs["report"] == "waits for tables and 3 more"
    assert last == "0 of 12 done"


def test_what_another_data_set_s_encoders_solve_has_no_training(tmp_path):
    datasets = {"d": {"source": "glyphs"}, "far": {"source": "glyphs", "seed": 1}}
    values = EXPERIMENT.model_dump() | {"datasets": datasets, "trained_on": {"far": "d"}}
    write(tmp_path / "data/packed/far/manifest.json")
    jobs, _ = lines(tmp_path, config.Experiment.parse(values, "test"))
    assert [job for job in jobs if job.startswith("train")] == ["train d/one/0", "train d/two/0"]
    assert jobs["features far/one/0"] == "waits for train d/one/0"
    assert jobs["draw training"] == "waits for train d/one/0 and 1 more"


def test_done_running_stopped_and_waiting(tmp_path):
    results = tmp_path / "results" / "e"
    write(tmp_path / "data/packed/d/manifest.json")
    write(results / "models/d/one/0/model.safetensors")
    write(
        results / "logs/train/d/two/0.log",
        "d/two/0 38% 329 images/s, 01:26 left\nd/two/0 50% 330 images/s, 01:10 left\n",
    )
    jobs, last = lines(tmp_path)
    assert jobs["data d"] == jobs["train d/one/0"] == "done"
    assert jobs["features d/one/0"] == "ready to run"
    assert jobs["train d/two/0"] == "running  d/two/0 50% 330 images/s, 01:10 left"
    assert jobs["evaluate d/two/0"] == "waits for features d/two/0"
    assert last == "2 of 12 done"
    since = time.time() - LOG_SECONDS - 5  # it says so every LOG_SECONDS
    os.utime(results / "logs/train/d/two/0.log", (since, since))
    assert lines(tmp_path)[0]["train d/two/0"].startswith("running  d/two/0 50%")
    log = results / "logs/train/d/two/0.log"
    write(log, f"{log.read_text()}mlcl train: the loss is nan at step 12; lower training.learning_rate\n")
    assert lines(tmp_path)[0]["train d/two/0"].startswith("stopped  mlcl train: the loss is nan")
    write(log, "d/two/0 50% 330 images/s, 01:10 left\n")
    long_ago = time.time() - 1000
    os.utime(results / "logs/train/d/two/0.log", (long_ago, long_ago))
    assert lines(tmp_path)[0]["train d/two/0"].startswith("stopped  d/two/0 50%")


def test_what_was_deleted_to_save_room_is_done(tmp_path):
    results = tmp_path / "results" / "e"
    write(tmp_path / "data/packed/d/manifest.json")
    write(results / "runs/d/one/0/metrics.csv")
    write(results / "evaluations/d/one/0.parquet")
    log = results / "logs/features/d/one/0.log"
    write(log, "d/one/0 100% 9,000 images/s, 00:00 left\n")
    write(results / "models/d/one/0/model.safetensors")
    assert lines(tmp_path)[0]["features d/one/0"].startswith("running  d/one/0 100%")  # another time
    os.utime(log, (0, 0))
    (results / "models/d/one/0/model.safetensors").unlink()
    jobs, last = lines(tmp_path)
    assert jobs["train d/one/0"] == jobs["features d/one/0"] == "done, and deleted since"
    assert jobs["evaluate d/one/0"] == "done"
    assert last == "4 of 12 done"
    assert jobs["draw training"] == "waits for train d/two/0"
    (results / "runs/d/one/0/metrics.csv").unlink()  # as Snakemake does when it trains another recipe
    assert lines(tmp_path)[0]["train d/one/0"] == "ready to run"


def test_a_job_that_has_said_nothing_yet_runs(tmp_path):
    write(tmp_path / "results/e/logs/data/d.log")
    assert lines(tmp_path)[0]["data d"] == "running"


def test_copies_are_a_job_of_their_own(tmp_path):
    evaluation = EXPERIMENT.model_dump()["evaluation"] | {"support_copies": 5}
    jobs, last = lines(tmp_path, config.Experiment.parse(EXPERIMENT.model_dump() | {"evaluation": evaluation}, "test"))
    assert jobs["copies d/one/0"] == "waits for train d/one/0"
    assert jobs["evaluate d/one/0"] == "waits for features d/one/0 and 1 more"
    assert last == "0 of 14 done"
    write(tmp_path / "results/e/evaluations/d/one/0.parquet")
    jobs, _ = lines(tmp_path, config.Experiment.parse(EXPERIMENT.model_dump() | {"evaluation": evaluation}, "test"))
    assert jobs["copies d/one/0"] == "done, and deleted since"


def test_a_deep_ensemble_waits_for_its_members(tmp_path):
    values = EXPERIMENT.model_dump() | {"seeds": [0, 2], "deep_ensembles": True}
    jobs, last = lines(tmp_path, config.Experiment.parse(values, "test"))
    assert jobs["evaluate d/one/0+2"] == "waits for evaluate d/one/0 and 1 more"
    assert jobs["tables"] == "waits for evaluate d/one/0 and 5 more"
    assert last == "0 of 20 done"


def test_figures_wait_for_methods_and_not_for_what_is_varied_around_them(tmp_path):
    sweeps = {"t": {"of": ["one"], "key": "training.epochs", "values": [3]}}
    experiment = config.Experiment.parse(EXPERIMENT.model_dump() | {"sweeps": sweeps}, "test")
    jobs, _ = lines(tmp_path, experiment)
    assert jobs["draw training"] == "waits for train d/one/0 and 1 more"
    assert jobs["tables"] == "waits for evaluate d/one/0 and 2 more"


def test_a_student_waits_for_its_teacher(tmp_path):
    methods = EXPERIMENT.model_dump()["methods"]
    methods["three"] = {"objective": {"cross_entropy": 1, "distillation": {"teacher": "one"}}}
    experiment = config.Experiment.parse({**EXPERIMENT.model_dump(), "methods": methods}, "test")
    jobs, _ = lines(tmp_path, experiment)
    assert jobs["train d/three/0"] == "waits for data d and 1 more"
    write(tmp_path / "data/packed/d/manifest.json")
    jobs, _ = lines(tmp_path, experiment)
    assert jobs["train d/three/0"] == "waits for train d/one/0"
