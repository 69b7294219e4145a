"""An experiment in one process: what it makes, keeps, and where it stops."""

import hashlib
import json
import shutil
import subprocess
from itertools import count
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml
from project import ROOT
from test_tables import tables_alone

from mlcl import cli, config, encoders, evaluate, evaluations, extract, record
from mlcl import train as training
from mlcl.config import Experiment
from mlcl.data import definition
from mlcl.data.packed import Packed
from mlcl.episodes import check_tasks
from mlcl.errors import UserError
from mlcl.features import load, origin
from mlcl.paths import Files
from mlcl.run import run

CONFIG = {
    "name": "spell",
    "datasets": {"tiny": {"source": "glyphs"}},
    "encoder": {"width": 4},
    "training": {"epochs": 2, "batch_size": 16, "validation": {"episodes": 5, "queries": 5}},
    "methods": {"cross_entropy": {"objective": {"cross_entropy": 1}}},
    "sweeps": {"pooling": {"of": ["cross_entropy"], "key": "encoder.pooling", "values": ["max"]}},
    "evaluation": {
        "episodes": 5, "queries": 5, "shots": [1], "support_copies": 2, "processing": ["centre"], "choose": True,
        "classifiers": ["nearest_centroid"],
    },
    "device": "cpu",
}  # fmt: skip
RUNS = ("tiny/cross_entropy/0", "tiny/cross_entropy.pooling.max/0")


pytestmark = pytest.mark.usefixtures("torch_as_before")


def place(tiny_data, root):
    """The packed data as if they were what the configs call tiny."""
    folder = root / "data" / "packed" / "tiny"
    shutil.copytree(tiny_data, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    spec = config.part(config.Dataset, json.dumps(CONFIG["datasets"]["tiny"]))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"dataset": definition.of(spec)}))


def test_a_trained_model_is_evaluated_though_time_is_up(tiny_data, tmp_path, monkeypatch):
    experiment = Experiment.parse(CONFIG | {"seeds": [0, 1]}, "test")  # the first seed first
    results, now = Files(tmp_path, "spell"), [0.0]
    place(tiny_data, tmp_path)

    def train(*arguments):
        assert arguments[7] == 60  # the minutes that are left
        training.train(*arguments)
        now[0] = 3601.0

    monkeypatch.setattr("mlcl.run.train", train)
    monkeypatch.setattr("mlcl.run.time", SimpleNamespace(monotonic=lambda: now[0]))
    with pytest.raises(UserError, match=f"time is up before train {RUNS[1]}; run again to continue"):
        run(experiment, tmp_path, max_minutes=60)
    assert evaluations.read(results.evaluation(RUNS[0])).run == ("tiny", "cross_entropy", 0)


@pytest.mark.parametrize("count", [1, 6])
def test_an_encoder_may_have_any_number_of_levels(tiny_data, tmp_path, monkeypatch, count):
    class Other(encoders.Conv4):
        def __init__(self, channels, width):
            super().__init__(channels, width)
            self.channels = (width,) * count

        def forward(self, images):
            return (super().forward(images) * 2)[:count]

    monkeypatch.setitem(config.LEVELS, "conv4", count)
    monkeypatch.setattr(encoders, "Conv4", Other)
    every = {level: 1 for level in range(1, count + 1)}
    methods = CONFIG["methods"] | {"contrast": {"objective": {"contrast": "supcon", "levels": every}}}
    asked = CONFIG["evaluation"] | {"subsets": True, "weigh": True}
    experiment = Experiment.parse(CONFIG | {"methods": methods, "evaluation": asked}, "test")
    results = Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    names = [f"tiny/{method}/0" for method in experiment.recipes]
    tables_alone(experiment, [results.evaluation(name) for name in names], tmp_path)
    table = (tmp_path / "tables" / "ablation.csv").read_text()
    assert all(f"level{level}," in table for level in every)
    rows = evaluations.read(results.evaluation(names[0])).rows
    by = {name: some["accuracy"].tolist() for name, some in rows.groupby("representation")}
    if count == 1:  # both ensembles of one level are that level
        assert by["level1"] == by["concatenate"] == by["mean_probability"] == by["weighted"]
    history = pd.read_csv(results.records(names[0]) / "metrics.csv")
    assert history["val_ensemble"].notna().any()


def test_a_spell_ends_cleanly_and_the_next_goes_on(tiny_data, tmp_path, monkeypatch, capsys):
    experiment, results = Experiment.parse(CONFIG, "test"), Files(tmp_path, "spell")
    whole = Files(tmp_path / "whole", "spell")
    for root in (results.root, whole.root):
        place(tiny_data, root)
    clock = count(0, 600)  # every look at it is ten minutes
    monkeypatch.setattr(training.time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(training, "LOG_STEPS", 1)
    with pytest.raises(UserError, match=r"at step \d+ of 24 time is up; run again to continue"):
        run(experiment, tmp_path, max_minutes=60)
    monkeypatch.undo()
    assert not results.model(RUNS[0]).exists()
    packed = results.manifest("tiny").stat().st_mtime_ns
    run(experiment, tmp_path, max_minutes=60)
    said = capsys.readouterr().err
    assert "continuing from step" in said
    for name in RUNS:
        assert f"train {name}: " in said
        assert results.records(name).joinpath("run.json").exists()
        assert evaluations.read(results.evaluation(name)).run == (*name.split("/")[:2], 0)
    assert results.manifest("tiny").stat().st_mtime_ns == packed
    run(experiment, whole.root, max_minutes=60)
    for name in RUNS:  # as if it had never stopped
        assert results.model(name).read_bytes() == whole.model(name).read_bytes()
        assert results.evaluation(name).read_bytes() == whole.evaluation(name).read_bytes()

    # What is there is kept, what is missing made again.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    results.evaluation(RUNS[1]).unlink()
    config = tmp_path / "config.yaml"
    config.write_text(experiment.model_dump_json())
    cli.main(["run", str(config), "--root", str(tmp_path)])
    changed = [path for path, when in before.items() if path.stat().st_mtime_ns != when]
    assert set(changed) == {results.evaluation(RUNS[1]), results.choices(RUNS[1])}
    assert results.evaluation(RUNS[1]).read_bytes() == whole.evaluation(RUNS[1]).read_bytes()

    # An evaluation of another kind is made again, here with what stood there before.
    more = Experiment.parse(CONFIG | {"evaluation": CONFIG["evaluation"] | {"queries": 6, "subsets": True}}, "test")
    with pytest.raises(UserError, match=r"time is up before evaluate .*; run again to continue"):
        run(more, tmp_path, max_minutes=0)
    assert results.evaluation(RUNS[0]).read_bytes() == whole.evaluation(RUNS[0]).read_bytes()
    capsys.readouterr()
    run(more, tmp_path, max_minutes=60)
    said = capsys.readouterr().err
    for name in RUNS:
        what = "was evaluated with queries 5, where the config asks for 6; run mlcl evaluate again: evaluated again"
        assert f"{results.evaluation(name)}: {what}" in said
        assert evaluations.read(results.evaluation(name)).protocol["queries"] == 6
    run(experiment, tmp_path, max_minutes=60)
    assert results.evaluation(RUNS[1]).read_bytes() == whole.evaluation(RUNS[1]).read_bytes()

    # Of other code, it is kept, which is said.
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("mlcl.run.TRAINING_CODE", "other")
        run(experiment, tmp_path, max_minutes=60)
    assert f"{results.model(RUNS[0])}: was trained by other code than what is here" in capsys.readouterr().err

    # Of another recipe, it is not taken for the config's.
    changed = Experiment.parse(CONFIG | {"training": CONFIG["training"] | {"epochs": 3}}, "test")
    with pytest.raises(UserError, match=r"model\.safetensors: was trained by another recipe than the config's"):
        run(changed, tmp_path, max_minutes=60)

    # Nor are data that were packed since.
    manifest = results.manifest("tiny")
    text = manifest.read_text()
    other = json.loads(text)
    other["sha256"]["images.npy"] = "0"
    manifest.write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"model\.safetensors: was trained on other data than those in .*tiny; delete"):
        run(experiment, tmp_path, max_minutes=60)
    manifest.write_text(text)

    # As in a clone where git has the evaluations: those of a new model would be others.
    for name in RUNS:
        results.model(name).unlink()
    capsys.readouterr()
    run(experiment, tmp_path, max_minutes=60)
    assert capsys.readouterr().err == "".join(f"{name}: is evaluated, which is kept\n" for name in RUNS)
    assert not results.model(RUNS[0]).exists()
    with pytest.raises(UserError, match=r"0\.parquet: was evaluated with queries 5, where the config asks for 6; run"):
        run(more, tmp_path, max_minutes=60)
    with pytest.raises(UserError, match=r"run\.json: was trained by another recipe than the config's"):
        run(changed, tmp_path, max_minutes=60)

    # Whoever removes it as is said has the method trained anew, and nothing of the old model stays.
    seeded = {name: results.evaluation(name).read_bytes() for name in RUNS}
    for name in RUNS:
        with pytest.raises(UserError) as caught:
            run(changed, tmp_path, max_minutes=60)
        told = str(caught.value).partition("what is of this run goes by: ")[2]
        assert told == results.removal(name)
        subprocess.run(told, shell=True, check=True)
    run(changed, tmp_path, max_minutes=60)
    for name in RUNS:
        assert encoders.load_made_by(results.model(name))["method"]["training"]["epochs"] == 3
        assert results.evaluation(name).read_bytes() != seeded[name]
        assert results.features(name, "val").stat().st_mtime_ns > results.model(name).stat().st_mtime_ns


def test_an_encoder_solves_another_data_set_s_tasks_too(tiny_data, tmp_path, capsys):
    """Here the same images, on which it must do as well."""
    datasets = CONFIG["datasets"] | {"far": {"source": "glyphs"}}
    far = CONFIG | {"datasets": datasets, "trained_on": {"far": "tiny"}, "sweeps": {}}
    far |= {"seeds": [0, 1], "deep_ensembles": True}
    experiment, results = Experiment.parse(far, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    shutil.copytree(tmp_path / "data" / "packed" / "tiny", tmp_path / "data" / "packed" / "far")
    run(experiment, tmp_path, max_minutes=60)
    for seed in (0, 1, "0+1"):
        own, other = (evaluations.read(results.evaluation(f"{name}/cross_entropy/{seed}")) for name in ("tiny", "far"))
        assert other.run == ("far", "cross_entropy", seed)
        assert (other.made_by, other.chosen) == (own.made_by, own.chosen)
        pd.testing.assert_frame_equal(other.rows.assign(dataset="tiny"), own.rows)
    assert not list(tmp_path.glob("results/spell/*/far/cross_entropy/*/model.safetensors"))
    tables_alone(experiment, list(tmp_path.glob("results/spell/evaluations/*/*/*.parquet")), tmp_path / "out")
    assert "; far by the encoders trained on tiny. After" in (tmp_path / "out" / "tables" / "comparison.md").read_text()

    capsys.readouterr()
    run(experiment, tmp_path, max_minutes=60)
    assert capsys.readouterr().err == ""
    evaluation = CONFIG["evaluation"] | {"queries": 6}
    run(Experiment.parse(far | {"evaluation": evaluation}, "test"), tmp_path, max_minutes=60)
    assert evaluations.read(results.evaluation("far/cross_entropy/0+1")).protocol["queries"] == 6
    run(experiment, tmp_path, max_minutes=60)
    capsys.readouterr()
    results.model(RUNS[0]).unlink()
    run(experiment, tmp_path, max_minutes=60)
    assert capsys.readouterr().err.count("is evaluated, which is kept") == 2
    results.evaluation("far/cross_entropy/0").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: is missing, whose encoder far/cross_entropy/0 is solved"):
        run(experiment, tmp_path, max_minutes=60)


def test_an_encoder_solves_no_tasks_of_classes_that_it_learns(tiny_data, tmp_path):
    """Which is said before it has learnt them."""
    far = CONFIG | {"datasets": CONFIG["datasets"] | {"far": {"source": "glyphs"}}, "trained_on": {"far": "tiny"}}
    place(tiny_data, tmp_path)
    folder = tmp_path / "data" / "packed" / "far"
    shutil.copytree(folder.parent / "tiny", folder)
    classes = pd.read_csv(folder / "classes.csv")
    classes["class"] = classes["class"].iloc[::-1].to_numpy()
    classes.to_csv(folder / "classes.csv", index=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["classes.csv"] = "other"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    message = r"config: trained_on\.far: tiny trains on 8 classes, train0 among them, that far"
    with pytest.raises(UserError, match=message):
        run(Experiment.parse(far, "test"), tmp_path, max_minutes=60)
    assert not (tmp_path / "results").exists()


def test_what_came_of_another_model_is_made_again(tiny_data, tmp_path):
    """As where a training was repeated, and stopped before its features were extracted."""
    experiment, results = Experiment.parse(CONFIG, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    model, before = results.model(RUNS[0]), results.evaluation(RUNS[0]).read_bytes()
    checksum = hashlib.sha256(model.read_bytes()).hexdigest()
    assert record.read(results.records(RUNS[0]) / "run.json")["model"] == checksum
    encoder, classifier, made_by = encoders.load_with_classifier(model)
    with torch.no_grad():
        for weights in encoder.parameters():
            weights += 0.1 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0))
    encoders.save(encoder, model, made_by, classifier)
    run(experiment, tmp_path, max_minutes=60)
    checksum = hashlib.sha256(model.read_bytes()).hexdigest()
    assert results.evaluation(RUNS[0]).read_bytes() != before
    for path in (results.evaluation, results.choices):
        assert evaluations.read(path(RUNS[0])).made_by["model"] == checksum
    for part in ("test", "val", "train", "copies"):
        assert load(results.features(RUNS[0], part)).made_by["model"] == checksum


def test_what_came_of_other_code_is_made_again(tiny_data, tmp_path, monkeypatch, capsys):
    experiment, results = Experiment.parse(CONFIG | {"sweeps": {}}, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    features = results.features(RUNS[0], "test")
    before = features.stat().st_mtime_ns
    monkeypatch.setattr("mlcl.run.EVALUATION_CODE", "another")
    monkeypatch.setattr(evaluate, "CODE", "another")
    run(experiment, tmp_path, max_minutes=60)
    assert "is of another code (evaluate) than what is there: evaluated again" in capsys.readouterr().err
    assert features.stat().st_mtime_ns == before
    monkeypatch.setattr(extract, "CODE", "another")
    run(experiment, tmp_path, max_minutes=60)
    assert "is of another code (extract) than what is there: evaluated again" in capsys.readouterr().err
    made_by = evaluations.read(results.evaluation(RUNS[0])).made_by
    assert (made_by["extract"], made_by["evaluate"]) == ("another", "another")
    assert load(features).made_by["extract"] == "another"
    run(experiment, tmp_path, max_minutes=60)
    assert not capsys.readouterr().err


def test_features_of_another_precision_are_made_again_with_the_copies(tiny_data, tmp_path, monkeypatch):
    experiment, results = Experiment.parse(CONFIG | {"sweeps": {}}, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    was = load(results.features(RUNS[0], "test")).made_by["precision"]
    other = {"float32": "bfloat16", "bfloat16": "float32"}[was]  # as on a machine that is lent the next time
    monkeypatch.setattr("mlcl.hardware.precision", lambda *_: other)
    run(experiment, tmp_path, max_minutes=60)
    assert load(results.features(RUNS[0], "test")).made_by["precision"] == was  # what is evaluated stays
    results.evaluation(RUNS[0]).unlink()
    run(experiment, tmp_path, max_minutes=60)
    for part in ("test", "val", "train", "copies"):
        assert load(results.features(RUNS[0], part)).made_by["precision"] == other


def test_choices_that_are_missing_are_made_again(tiny_data, tmp_path):
    experiment, results = Experiment.parse(CONFIG | {"sweeps": {}}, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    before = results.choices(RUNS[0]).read_bytes()
    results.choices(RUNS[0]).unlink()
    run(experiment, tmp_path, max_minutes=60)
    assert results.choices(RUNS[0]).read_bytes() == before


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("batch_size", [192, 193], r"training\.batch_size: 193 is more than the 192 base images; lower it"),
        ("batch_size", [8, 3], r"training\.batch_size: 3 leaves some of 4 GPUs no image"),
        ("sides", {"24": [24], "16": [16]}, r"training\.sides: 16 is less than half of the images' 36 pixels, of"),
    ],
)
def test_batches_and_views_that_do_not_fit_are_named_before_training(tiny_data, key, values, message):
    experiment = CONFIG | {"sweeps": {"t": {"of": ["cross_entropy"], "key": f"training.{key}", "values": values}}}
    splits = json.loads((tiny_data / "manifest.json").read_text())["splits"]
    experiment |= {"gpus": 4, "datasets": {"tiny": {"source": "glyphs", "size": 36}}}
    with pytest.raises(UserError, match=rf"config: cross_entropy\.t\.{list(values)[1]}: tiny: {message}"):
        check_tasks(Experiment.parse(experiment, "test"), "tiny", splits)


def test_an_older_record_and_an_older_manifest_say_less_and_do(tiny_data, tmp_path):
    experiment, results = Experiment.parse(CONFIG | {"sweeps": {}}, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    for path, key in ((results.records(RUNS[0]) / "run.json", None), (results.manifest("tiny"), "train")):
        found = json.loads(path.read_text())
        found.pop("model") if key is None else found["splits"][key].pop("images")
        path.write_text(json.dumps(found))
    results.model(RUNS[0]).unlink()
    run(experiment, tmp_path, max_minutes=60)
    assert not results.model(RUNS[0]).exists()


def test_deep_ensembles_are_solved_when_their_members_are(tiny_data, tmp_path, capsys):
    values = CONFIG | {"sweeps": {}, "seeds": [0, 1], "deep_ensembles": True}
    values |= {"evaluation": {"episodes": 5, "queries": 5, "shots": [1], "classifiers": ["nearest_centroid"]}}
    experiment, results = Experiment.parse(values, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    together = results.evaluation("tiny/cross_entropy/0+1")
    found = evaluations.read(together)
    members = [evaluations.read(results.evaluation(f"tiny/cross_entropy/{seed}")) for seed in (0, 1)]
    assert found.run == ("tiny", "cross_entropy", "0+1")
    assert found.made_by["model"] == "+".join(member.made_by["model"] for member in members)
    before = together.stat().st_mtime_ns
    run(experiment, tmp_path, max_minutes=60)
    assert together.stat().st_mtime_ns == before
    evaluations.write(together, found.run, found.rows, experiment.evaluation, found.data, {"model": "other"})
    run(experiment, tmp_path, max_minutes=60)
    assert "0+1.parquet: is of another encoder than what is there: evaluated again" in capsys.readouterr().err
    assert evaluations.read(together).made_by == found.made_by
    results.model("tiny/cross_entropy/0").unlink()  # as git brings it: kept, by whatever code it was solved
    evaluations.write(
        together, found.run, found.rows, experiment.evaluation, found.data, {"model": found.made_by["model"]}
    )
    run(experiment, tmp_path, max_minutes=60)
    assert evaluations.read(together).made_by == {"model": found.made_by["model"]}


def test_deep_ensembles_get_the_copies_that_went_to_save_room(tiny_data, tmp_path):
    values = CONFIG | {"sweeps": {}, "seeds": [0, 1], "deep_ensembles": True}
    experiment, results = Experiment.parse(values, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    together = results.evaluation("tiny/cross_entropy/0+1")
    before = together.read_bytes()
    shutil.rmtree(tmp_path / "results" / "spell" / "features")
    together.unlink()
    run(experiment, tmp_path, max_minutes=60)
    assert together.read_bytes() == before
    copies = results.features(RUNS[0], "copies")
    load(copies, origin(Packed(tiny_data), "test", 2, seed=0))
    seeded = Experiment.parse(values | {"evaluation": CONFIG["evaluation"] | {"seed": 1}}, "test")
    run(seeded, tmp_path, max_minutes=60)
    load(copies, origin(Packed(tiny_data), "test", 2, seed=1))


def test_evaluations_that_git_brings_are_of_the_record_beside_them_and_of_the_data(tiny_data, tmp_path):
    experiment, results = Experiment.parse(CONFIG, "test"), Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    for name in RUNS:
        results.model(name).unlink()
    kept = results.evaluation(RUNS[0]).read_bytes()
    shutil.copy(results.evaluation(RUNS[1]), results.evaluation(RUNS[0]))
    with pytest.raises(UserError, match=r"cross_entropy/0\.parquet: is of another encoder than what is there"):
        run(experiment, tmp_path, max_minutes=60)
    results.evaluation(RUNS[0]).write_bytes(kept)
    found = evaluations.read(results.evaluation(RUNS[0]))
    spec = experiment.evaluation
    args = (found.made_by, found.chosen)
    evaluations.write(results.evaluation(RUNS[0]), found.run, found.rows, spec, {"images.npy": "0"}, *args)
    with pytest.raises(UserError, match=r"cross_entropy/0\.parquet: is of other data than what is there"):
        run(experiment, tmp_path, max_minutes=60)


def test_a_student_finds_its_teacher(tiny_data, tmp_path):
    objective = {"cross_entropy": 1, "distillation": {"teacher": "cross_entropy"}}
    methods = {**CONFIG["methods"], "student": {"objective": objective}}
    experiment = Experiment.parse(CONFIG | {"methods": methods, "sweeps": {}}, "test")
    results = Files(tmp_path, "spell")
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    _, made_by = encoders.load(results.model("tiny/student/0"))
    teacher = results.model("tiny/cross_entropy/0").read_bytes()
    assert made_by["teacher"] == hashlib.sha256(teacher).hexdigest()

    _, made_by = encoders.load(results.model("tiny/cross_entropy/0"))
    other = encoders.Encoder(experiment.encoder, [0.4], [0.2])
    encoders.save(other, results.model("tiny/cross_entropy/0"), made_by)
    with pytest.raises(UserError, match=r"student/0/model\.safetensors: has learnt from another model than .*; delete"):
        run(experiment, tmp_path, max_minutes=60)
    results.model("tiny/student/0").unlink()  # as git brings the record without it
    with pytest.raises(UserError, match=r"student/0/run\.json: has learnt from another model than .*; delete"):
        run(experiment, tmp_path, max_minutes=60)


def test_data_of_another_definition_are_not_taken_for_the_configs(tiny_data, tmp_path):
    shutil.copytree(tiny_data, tmp_path / "data" / "packed" / "tiny")
    message = (
        "packed from another definition of tiny.*give the data set another name in the config, or delete the folder"
    )
    with pytest.raises(UserError, match=message):
        run(Experiment.parse(CONFIG, "test"), tmp_path, max_minutes=60)
    before = (tmp_path / "data" / "packed" / "tiny" / "manifest.json").read_bytes()
    config_file = tmp_path / "config.yaml"
    config_file.write_text(yaml.safe_dump(CONFIG))
    with pytest.raises(SystemExit, match=message):
        cli.main(["data", f"{config_file}:datasets.tiny", "--out", str(tmp_path / "data" / "packed" / "tiny")])
    assert (tmp_path / "data" / "packed" / "tiny" / "manifest.json").read_bytes() == before


def test_novel_classes_too_few_for_the_episodes_are_named_before_training(tiny_data, tmp_path):
    place(tiny_data, tmp_path)
    experiment = Experiment.parse(CONFIG | {"evaluation": CONFIG["evaluation"] | {"way": 7, "choose": False}}, "test")
    with pytest.raises(UserError, match=r"config: evaluation: tiny: split test has 6 classes, fewer than the 7 of way"):
        run(experiment, tmp_path, max_minutes=60)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("learnt", ["choose", "weigh"])
def test_validation_classes_too_few_to_learn_from_are_named_before_training(tiny_data, tmp_path, learnt):
    place(tiny_data, tmp_path)
    evaluation = CONFIG["evaluation"] | {"way": 6, "choose": False, learnt: True}
    with pytest.raises(UserError, match=r"config: evaluation: tiny: split val has 5 classes, fewer than the 6 of way"):
        run(Experiment.parse(CONFIG | {"evaluation": evaluation}, "test"), tmp_path, max_minutes=60)


def test_no_stage_begins_when_time_is_up(tmp_path):
    with pytest.raises(UserError, match="time is up before data tiny; run again to continue"):
        run(Experiment.parse(CONFIG, "test"), tmp_path, max_minutes=-1)
    assert not (tmp_path / "data").exists()


def test_the_papers_experiment_runs_cut_down(tiny_data, tmp_path):
    """All its methods, seeds apart, with its encoder and schedule, on a narrow scale; and its tables."""
    paper = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    paper["datasets"] = {"tiny": {"source": "glyphs"}}
    paper["encoder"]["width"] = 2
    paper["training"] |= {"epochs": 1, "batch_size": 64, "validation": {"episodes": 5, "queries": 5}}
    paper["evaluation"] |= {"episodes": 5, "queries": 5}
    paper |= {"seeds": [0], "deep_ensembles": False, "device": "cpu"}
    experiment, results = Experiment.parse(paper, "test"), Files(tmp_path, "paper")
    assert len(experiment.methods) == 11
    place(tiny_data, tmp_path)
    run(experiment, tmp_path, max_minutes=60)
    tables_alone(experiment, [results.evaluation(f"tiny/{name}/0") for name in experiment.methods], results.folder)
    factorial = pd.read_csv(results.folder / "tables" / "factorial.csv")
    pairs = factorial[["single", "multi"]].drop_duplicates()
    assert len(pairs) == 6  # each loss, with and without cross-entropy; two of them through branches, too
