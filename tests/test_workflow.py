"""The workflow end to end, in a copy of its files, on a tiny config."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import yaml
from PIL import Image
from project import BIN, ROOT, job_counts, wait_for

from mlcl import evaluations
from mlcl.config import Evaluation

CONFIG = {
    "name": "tiny",
    "datasets": {"plain": {"source": "folder", "path": "photos", "size": 16, "shares": [0.4, 0.3, 0.3]}},
    "encoder": {"width": 4},
    "training": {"epochs": 1, "batch_size": 64, "validation": {"episodes": 5}},
    "methods": {
        "single_level": {"objective": {"cross_entropy": 1, "contrast": "supcon", "levels": {4: 1}}},
        "multi_level": {"objective": {"contrast": "supcon", "levels": {1: 1, 4: 1}}},
    },
    "evaluation": {"episodes": 20, "choose": True, "weigh": True},
    "device": "cpu",
}
NAMES = ("comparison", "choice", "weights", "ablation", "differences", "factorial", "classifiers")
TABLES = {f"tables/{name}.{form}" for name in NAMES for form in ("md", "csv", "tex")}
DRAWN = ["levels", "gain", "shots", "episodes", "training"]
DRAWN += [f"{dataset}/{name}" for dataset in CONFIG["datasets"] for name in ("embedding", "neighbours", "pairs")]
FIGURES = {f"figures/{name}.{form}" for name in DRAWN for form in ("svg", "png")}
FIGURES |= {f"figures/{d}/{name}" for d in CONFIG["datasets"] for name in ("sheet.png", "classes.png", "data.json")}


class Checkout:
    """A copy of what the workflow is made of; `snakemake` runs there on its config."""

    def __init__(self, folder):
        self.folder, self.results = folder, folder / "results" / "tiny"
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
        for name in ("workflow", "profiles", "mlcl"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Snakefile", folder)
        rng = np.random.default_rng(0)
        for name in range(20):
            (folder / "photos" / f"{name}").mkdir(parents=True)
            for i in range(24):
                grey = np.linspace(12 * name, 12 * name + rng.integers(25), 18) + rng.normal(0, 9, (18, 18))
                Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / "photos" / f"{name}" / f"{i}.png")
        self.configure(CONFIG)

    def configure(self, config):
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def start(self, *arguments, config="config.yaml", **options):
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments, "--configfile", config],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def snakemake(self, *arguments, config="config.yaml"):
        with self.start(*arguments, config=config) as process:
            out, error = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def run(self, command):
        subprocess.run(command, shell=True, cwd=self.folder, env=self.environment, check=True)

    def jobs(self, *arguments, config="config.yaml"):
        """How often each rule would run, by a dry run."""
        done = self.snakemake("--dry-run", *arguments, config=config)
        assert done.returncode == 0, done.stderr
        return job_counts(done.stdout + done.stderr)

    def bytes(self):
        return {name: (self.results / name).read_bytes() for name in TABLES | FIGURES}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    done = checkout.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


@pytest.fixture(autouse=True)
def restored(request):
    """Tests that change the config or the code leave both as they were."""
    yield
    if "checkout" in request.fixturenames:
        checkout = request.getfixturevalue("checkout")
        checkout.configure(CONFIG)
        shutil.copytree(ROOT / "mlcl", checkout.folder / "mlcl", dirs_exist_ok=True)


def test_from_nothing_to_tables(checkout):
    assert all(checkout.bytes().values())
    text = (checkout.results / "tables" / "comparison.md").read_text()
    assert "multi\\_level" in text
    assert "±" in text
    for log in ("data/plain", "train/plain/multi_level/0", "features/plain/single_level/0", "tables"):
        assert (checkout.results / "logs" / f"{log}.log").exists()
    assert (checkout.results / "benchmarks" / "train" / "plain" / "multi_level" / "0.tsv").exists()
    assert "epoch 1/1" in (checkout.results / "logs" / "train" / "plain" / "multi_level" / "0.log").read_text()


def test_done_means_nothing_to_do(checkout):
    assert checkout.jobs() == {}
    assert checkout.jobs("data", "train", "features", "evaluate", "tables", "figures", "report") == {}
    before = {path: path.stat().st_mtime_ns for path in checkout.results.rglob("*")}
    for path, when in before.items():
        os.utime(path, ns=(when, when - len(path.name) * 10**9))
    assert checkout.jobs() == {}
    for path, when in before.items():
        os.utime(path, ns=(when, when))


def test_what_was_made_beside_snakemake_is_taken_as_it_is(checkout, tmp_path):
    """As after `mlcl run`, which leaves no records of Snakemake's and does not link the data."""
    for name in (".snakemake", "packed"):
        shutil.move(checkout.results / name, tmp_path / name)
    done = checkout.snakemake("--dry-run", "tables")
    for name in (".snakemake", "packed"):
        shutil.rmtree(checkout.results / name, ignore_errors=True)
        shutil.move(tmp_path / name, checkout.results / name)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert job_counts(said) == {}
    assert "holds results of 2 runs, plain/multi_level/0 the first, but not Snakemake's records" in said


def test_a_model_that_nobody_recorded_is_not_taken_for_one_of_another_recipe(checkout, tmp_path):
    """As where a cluster's job ended after Snakemake, which never heard of it."""
    shutil.move(checkout.results / ".snakemake", tmp_path)
    checkout.configure(changed(("training", "batch_size"), 32))
    done = checkout.snakemake("--dry-run", "tables")
    shutil.rmtree(checkout.results / ".snakemake", ignore_errors=True)
    shutil.move(tmp_path / ".snakemake", checkout.results)
    assert done.returncode != 0
    message = (
        "multi_level/0/model.safetensors: was trained by another recipe than the config's; give the method another"
    )
    assert message in done.stdout + done.stderr
    assert checkout.jobs("train") == {"train_encoder": 2, "train": 1}  # what is known to be of another is made again


def test_a_model_that_something_else_put_in_a_recorded_ones_place_is_not_taken_for_it(checkout):
    """As where a cluster's job ended after Snakemake, of whose earlier job there is a record, or after `mlcl run`."""
    path = checkout.results / "runs" / "plain" / "multi_level" / "0" / "run.json"
    before = path.read_text()
    known = json.loads(before)
    known["made_by"]["method"]["training"]["epochs"] = 150
    path.write_text(json.dumps(known))
    done = checkout.snakemake("--dry-run", "tables")
    path.write_text(before)
    assert done.returncode != 0
    assert "multi_level/0/model.safetensors: was trained by another recipe" in done.stdout + done.stderr


def test_an_evaluation_that_nobody_recorded_is_not_taken_for_one_of_another_recipe(checkout, tmp_path):
    """As in git's results, whose models are elsewhere, under a config that was changed since."""
    for name in (".snakemake", "models"):
        shutil.move(checkout.results / name, tmp_path)
    same = checkout.snakemake("--dry-run", "tables")
    checkout.configure(changed(("training", "batch_size"), 32))
    other = checkout.snakemake("--dry-run", "tables")
    shutil.rmtree(checkout.results / ".snakemake", ignore_errors=True)
    for name in (".snakemake", "models"):
        shutil.move(tmp_path / name, checkout.results)
    assert same.returncode == 0
    assert other.returncode != 0
    said = other.stdout + other.stderr
    assert "multi_level/0/run.json: was trained by another recipe than the config's; give the method another" in said
    assert "rm -rf models/plain/multi_level/0 runs/plain/multi_level/0 features/plain/multi_level/0 evaluations" in said


def test_features_that_were_extracted_again_after_the_evaluation_can_go_too(checkout, tmp_path):
    shutil.copytree(checkout.results, tmp_path / "before", symlinks=True)
    shutil.rmtree(checkout.results / "features")
    assert checkout.snakemake("features").returncode == 0
    shutil.rmtree(checkout.results / "features")
    assert checkout.jobs() == {}
    shutil.rmtree(checkout.results)
    shutil.move(tmp_path / "before", checkout.results)


def test_levels_are_chosen_also_where_they_were_not(checkout, tmp_path):
    """As after `choose: true` in an experiment that has run: a job's new output, of which Snakemake has no record."""
    for name in ("choices", "tables"):
        shutil.move(checkout.results / name, tmp_path)
    jobs = checkout.jobs("tables")
    for name in ("choices", "tables"):
        shutil.move(tmp_path / name, checkout.results)
    assert jobs == {"evaluate_episodes": 2, "make_tables": 1, "tables": 1}


def test_models_are_not_trained_again_for_data_that_are_gone(checkout, tmp_path):
    shutil.move(checkout.folder / "data" / "packed", tmp_path)
    done = checkout.snakemake("--dry-run")
    left = (checkout.results / "packed" / "plain.json").is_symlink()
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert not left
    assert "data/packed/plain: is missing, and packed by this run it would have everything trained again; first" in said
    (command,) = re.findall("first run (mlcl data '.*' --out data/packed/plain), by which only", said)
    checkout.run(command)
    assert checkout.jobs("train") == {}
    shutil.rmtree(checkout.folder / "data" / "packed")
    shutil.move(tmp_path / "packed", checkout.folder / "data")
    assert checkout.jobs("train") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config", "gpus=2", "device=cuda"],
            "config: a training takes 2 GPUs, but jobs may have 1 at a time; add gpu=2",
        ),
        (
            ["--config", "device=cuda", "--resources", "mem_mb=9"],
            "takes 1 GPU, but jobs may have 0 at a time; add gpu=1",
        ),
        (["--config", "name=linked"], "results/linked: lies behind a link; link data/ instead, or move the whole"),
    ],
)
def test_what_would_go_wrong_later_is_said_first(checkout, tmp_path, arguments, message):
    link = checkout.folder / "results" / "linked"
    link.symlink_to(tmp_path)
    done = checkout.snakemake("--dry-run", *arguments)
    link.unlink()
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_a_student_is_trained_after_its_teacher(checkout):
    objective = {"cross_entropy": 1, "distillation": {"teacher": "single_level"}}
    student = {"student": {"objective": objective}}
    checkout.configure({**CONFIG, "methods": {**CONFIG["methods"], **student}})
    model = "models/plain/student/0/model.safetensors"
    done = checkout.snakemake(model)
    assert done.returncode == 0, done.stdout + done.stderr
    teacher = {"single_level": {"objective": {**CONFIG["methods"]["single_level"]["objective"], "cross_entropy": 2}}}
    checkout.configure({**CONFIG, "methods": {**CONFIG["methods"], **teacher, **student}})
    assert checkout.jobs(model)["train_encoder"] == 2  # who learns from it is trained again too
    shutil.rmtree(checkout.results / "models" / "plain" / "student")


def test_removed_tables_come_back_the_same(checkout):
    before = checkout.bytes()
    shutil.rmtree(checkout.results / "tables")
    assert checkout.jobs() == {"make_tables": 1, "write_report": 1}
    assert checkout.snakemake("tables").returncode == 0
    assert checkout.bytes() == before


def changed(path, value):
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    *parents, key = path
    place = config
    for parent in parents:
        place = place.setdefault(parent, {})
    place[key] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "jobs"),
    [
        (
            ("methods", "multi_level", "training"),
            {"learning_rate": 0.01},
            {
                "train_encoder": 1, "extract_features": 1, "evaluate_episodes": 1, "make_tables": 1,
                "draw_training": 1, "draw_features": 1, "write_report": 1,
            },
        ),
        (("evaluation", "episodes"), 30, {"evaluate_episodes": 2, "make_tables": 1, "write_report": 1}),
        (
            ("methods", "multi_level", "title"), "Ours",
            {"make_tables": 1, "draw_training": 1, "draw_features": 1, "write_report": 1},
        ),
        (
            ("seeds",), [0, 1],
            {
                "train_encoder": 2, "extract_features": 2, "evaluate_episodes": 2, "make_tables": 1,
                "draw_training": 1, "write_report": 1,
            },
        ),
        (
            ("sweeps",), {"t": {"of": ["multi_level"], "key": "objective.temperature", "values": [0.1, 0.2]}},
            {"train_encoder": 1, "extract_features": 1, "evaluate_episodes": 1, "make_tables": 1, "write_report": 1},
        ),
        (("device",), "auto", {}),
        (("gpus",), 2, {}),
    ],
)  # fmt: skip
def test_a_change_of_the_config_costs_its_branch(checkout, path, value, jobs):
    checkout.configure(changed(path, value))
    assert checkout.jobs() == jobs


@pytest.mark.parametrize(
    ("run", "message", "one"),
    [("plain/misspelt/0", "method misspelt", "multi_level, "), ("far/multi_level/0", "data set far", "plain\n")],
)
def test_what_the_config_has_not_is_named(checkout, run, message, one):
    done = checkout.snakemake("--dry-run", f"evaluations/{run}.parquet")
    assert done.returncode != 0
    assert f"config: has no {message}; take one of {one}" in done.stdout + done.stderr


def test_another_data_set_costs_no_training_where_its_encoders_are_there(checkout):
    datasets = CONFIG["datasets"] | {"far": CONFIG["datasets"]["plain"] | {"seed": 1}}
    checkout.configure(CONFIG | {"datasets": datasets, "trained_on": {"far": "plain"}})
    assert checkout.jobs() == {
        "pack": 1, "extract_features": 2, "evaluate_episodes": 2, "make_tables": 1, "draw_features": 1, "draw_data": 1,
        "write_report": 1,
    }  # fmt: skip


def test_encoders_solve_no_tasks_of_classes_that_they_learn(checkout):
    """Which is said before they have learnt them, once both data sets are there."""
    far = CONFIG["datasets"]["plain"] | {"seed": 1}
    checkout.configure(CONFIG | {"datasets": CONFIG["datasets"] | {"far": far}, "trained_on": {"far": "plain"}})
    folder = checkout.folder / "data" / "packed" / "far"
    checkout.run("mlcl data config.yaml:datasets.far --out data/packed/far")
    done = checkout.snakemake("--dry-run")
    shutil.rmtree(folder)
    assert done.returncode != 0
    assert re.search(r"trained_on\.far: plain trains on \d+ classes, .* that far validates", done.stdout + done.stderr)


def test_encoders_of_all_seeds_solve_together(checkout):
    """Those of seed 0 twice, which saves a training."""
    checkout.configure(CONFIG | {"seeds": [0, 1], "deep_ensembles": True})
    assert checkout.jobs("evaluate")["evaluate_deep_ensemble"] == 2
    folder, features = (checkout.results / name / "plain/multi_level" for name in ("evaluations", "features"))
    found = evaluations.read(folder / "0.parquet")
    spec = Evaluation(**CONFIG["evaluation"])
    run = ("plain", "multi_level", 1)
    evaluations.write(
        folder / "1.parquet", run, found.rows, spec, found.data, found.made_by, found.chosen, found.weights
    )
    shutil.copytree(features / "0", features / "1")
    target = "evaluations/plain/multi_level/0+1.parquet"
    done = checkout.snakemake(target, "--allowed-rules", "evaluate_deep_ensemble")
    shutil.rmtree(features / "1")
    (folder / "1.parquet").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert job_counts(done.stdout + done.stderr) == {"evaluate_deep_ensemble": 1}
    together = evaluations.read(checkout.results / target)
    assert together.run == ("plain", "multi_level", "0+1")
    rows = found.rows.set_index([*evaluations.KEYS, "episode"])["accuracy"]
    both = together.rows.set_index([*evaluations.KEYS, "episode"])["accuracy"]
    assert both.equals(rows.reindex(both.index))


def test_a_change_of_code_costs_what_follows_and_a_comment_nothing(checkout):
    features = checkout.folder / "mlcl" / "features.py"
    features.write_text(features.read_text() + "\n# a remark\n")
    assert checkout.jobs() == {}
    tables = checkout.folder / "mlcl" / "tables" / "__init__.py"
    tables.write_text(tables.read_text() + "\nANSWER = 42\n")
    assert checkout.jobs() == {"make_tables": 1, "write_report": 1}
    pairs = checkout.folder / "mlcl" / "figures" / "pairs.py"
    pairs.write_text(pairs.read_text() + "\nANSWER = 42\n")
    assert checkout.jobs() == {"make_tables": 1, "draw_features": 1, "write_report": 1}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("episodes",), 5, "config.yaml: episodes: is no key of the config; check its spelling"),
        (("methods", "multi_level", "objective", "levels"), {9: 1}, "takes conv4's levels 1 to 4, not 9"),
        (("evaluation", "shots"), ["one"], "evaluation.shots.0: Input should be a valid integer"),
        (("datasets", "plain", "size"), 20, "give the data set another name in the config"),
    ],
)
def test_a_wrong_config_stops_before_anything_runs(checkout, path, value, message):
    before = checkout.bytes()
    checkout.configure(changed(path, value))
    done = checkout.snakemake()
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert checkout.bytes() == before


def test_a_key_that_is_there_twice_stops_too(checkout):
    (checkout.folder / "twice.yaml").write_text(yaml.safe_dump(CONFIG) + "name: other\n")
    done = checkout.snakemake("--dry-run", config="twice.yaml")
    assert done.returncode != 0
    assert "has name again; rename or remove it" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_impossible_episodes_stop_with_the_reason_and_leave_the_results(checkout):
    files = [path for path in checkout.results.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    for key, value, message in (
        ("way", 60, "config: evaluation: plain: split test has 6 classes, fewer than the 60 of way: 60; lower way"),
        ("queries", 80, "fewer than 5 shots plus 80 queries; lower either"),
    ):
        checkout.configure(changed(("evaluation", key), value))
        done = checkout.snakemake("--keep-going")
        assert done.returncode != 0
        assert message in done.stdout + done.stderr
    assert all(path.exists() for path in files)


def test_impossible_tasks_stop_before_the_first_packing(tmp_path):
    checkout = Checkout(tmp_path)
    checkout.configure(changed(("evaluation", "way"), 7))
    done = checkout.snakemake()
    assert done.returncode != 0
    assert "evaluation: plain: split test has 6 classes, fewer than the 7 of way: 7" in done.stdout + done.stderr
    assert not list(tmp_path.glob("data/packed/*/images.npy*"))
    assert not list(checkout.results.glob("logs/train"))
    public = {"datasets": {"mini-imagenet": {"source": "mini-imagenet"}}}
    checkout.configure(changed(("evaluation", "way"), 21) | public)
    done = checkout.snakemake("--dry-run")
    assert "mini-imagenet: split test has 20 classes, fewer than the 21 of way: 21" in done.stdout + done.stderr


def test_what_a_failed_job_was_to_replace_is_made_again(checkout, tmp_path):
    """Snakemake's record of it has the code as it is now, and between files that are there it misses none."""
    shutil.copytree(checkout.results, tmp_path / "before", symlinks=True)
    code, broken = checkout.folder / "mlcl" / "extract.py", checkout.results / "broken"
    start = "    extractor = Extractor(data, model, device, overlap)\n    images = "
    fail = "    if Path('broken').exists():\n        raise UserError('broken')\n"
    code.write_text(code.read_text().replace(start, fail + start))
    broken.touch()
    assert checkout.snakemake("--keep-going").returncode != 0
    broken.unlink()
    again = {"extract_features": 2, "evaluate_episodes": 2, "make_tables": 1}
    assert checkout.jobs() == again | {"draw_features": 1, "write_report": 1}
    assert checkout.jobs("tables") == again | {"tables": 1}
    shutil.rmtree(checkout.results)
    shutil.move(tmp_path / "before", checkout.results)


def test_an_evaluation_that_is_missing_is_made_again(checkout, tmp_path):
    path = checkout.results / "evaluations" / "plain" / "multi_level" / "0.parquet"
    shutil.move(path, tmp_path)
    assert checkout.jobs() == {"evaluate_episodes": 1, "make_tables": 1, "write_report": 1}
    shutil.move(tmp_path / path.name, path)
    assert checkout.jobs() == {}


def test_a_model_that_an_unfinished_training_replaced_is_made_again(checkout, tmp_path):
    model = checkout.results / "models" / "plain" / "multi_level" / "0" / "model.safetensors"
    log = checkout.results / "logs" / "train" / "plain" / "multi_level" / "0.log"
    before = model.read_bytes()
    checkout.configure(changed(("training", "epochs"), 1000))
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which what runs in the background does not
    with checkout.start("train", start_new_session=True, preexec_fn=heed) as process:
        # Not as soon as the model is gone: between that and the command's start, the signal reaches Snakemake alone.
        wait_for(lambda: log.exists() and "/1000" in log.read_text(), process)
        assert not model.exists()
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.communicate()
    assert not model.exists()
    checkout.configure(CONFIG)
    done = checkout.snakemake("train")
    assert done.returncode == 0, done.stderr
    assert model.read_bytes() == before
    assert checkout.jobs() == {"write_report": 1}  # which tells of the training, not only of its result
    aside = model.rename(tmp_path / model.name)  # as where somebody removes it to save room
    assert checkout.jobs() == {"write_report": 1}
    assert checkout.jobs(str(model.relative_to(checkout.results)))["train_encoder"] == 1
    aside.rename(model)


def test_experiments_at_once_pack_their_data_once(tmp_path):
    checkout = Checkout(tmp_path)
    for name in ("one", "two"):
        values = {**CONFIG, "name": name, "datasets": {"shared": CONFIG["datasets"]["plain"]}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    running = [checkout.start("data", config=f"{name}.yaml") for name in ("one", "two")]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    packed = tmp_path / "data" / "packed" / "shared" / "manifest.json"
    for name in ("one", "two"):
        assert (tmp_path / "results" / name / "packed" / "shared.json").resolve() == packed
    made = packed.stat().st_mtime_ns
    # Nor does one that comes later pack again, or take the data with it when it goes.
    (tmp_path / "results" / "two" / "packed" / "shared.json").unlink()
    assert checkout.jobs("data", config="two.yaml") == {}
    shutil.rmtree(tmp_path / "results" / "two")
    assert checkout.jobs("data", config="one.yaml") == {}
    assert packed.stat().st_mtime_ns == made


def test_numbers_of_ones_own_reach_the_comparison_and_a_change_of_them_costs_the_tables(checkout):
    own = checkout.folder / "own.csv"
    checkout.configure({**CONFIG, "published": ["own.csv"]})
    own.write_text("method,dataset,shot,accuracy\nMine,plain,1,8125\n")
    done = checkout.snakemake("--dry-run")
    assert done.returncode != 0
    assert "own.csv, line 2: accuracy: Input should be less than or equal to 100" in done.stdout + done.stderr
    own.write_text("method,dataset,shot,accuracy\nMine,plain,1,81.25\n")
    assert checkout.jobs("tables") == {"make_tables": 1, "tables": 1}
    assert checkout.snakemake("tables").returncode == 0
    assert "81.25" in (checkout.results / "tables" / "comparison.md").read_text()
    assert checkout.jobs("tables") == {}
    own.write_text("method,dataset,shot,accuracy\nMine,plain,1,81.5\n")
    assert checkout.jobs("tables") == {"make_tables": 1, "tables": 1}


def test_a_second_snakemake_on_the_same_experiment_is_told_so(checkout):
    locks = checkout.results / ".snakemake" / "locks"
    with checkout.start("tables", "--forcerun", "make_tables") as first:
        wait_for(lambda: list(locks.glob("*.lock")), first)
        first.send_signal(signal.SIGSTOP)
        second = checkout.snakemake()
        first.send_signal(signal.SIGCONT)
        first.communicate()
    assert first.returncode == 0
    assert second.returncode != 0
    assert "no other Snakemake process is trying to create the same files" in second.stdout + second.stderr
    assert "Traceback" not in second.stdout + second.stderr


def test_an_experiment_longer_than_an_argument_reaches_the_tables(tmp_path):
    checkout = Checkout(tmp_path)
    methods = {f"m{i}": CONFIG["methods"]["single_level"] for i in range(300)}
    checkout.configure({**CONFIG, "methods": methods, "evaluation": {"episodes": 20}})
    for name in methods:
        evaluation = checkout.results / "evaluations" / "plain" / name / "0.parquet"
        evaluation.parent.mkdir(parents=True)
        evaluation.touch()
    done = checkout.snakemake("tables")
    assert "m0/0.parquet: cannot be read as an evaluation" in done.stdout + done.stderr
