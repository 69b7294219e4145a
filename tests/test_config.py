import json
import re

import pytest
import yaml
from project import ROOT
from pydantic import ValidationError

from mlcl import config, config_text
from mlcl.config import Experiment
from mlcl.errors import UserError


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_that_come_with_it_are_valid(path):
    experiment = Experiment.load(path)
    assert experiment.name == ("glyphs" if path.stem == "config" else path.stem)


def test_methods_inherit_key_by_key(write_config):
    changes = {
        "training.schedule": {"name": "step"},
        "methods.multi_level.training": {"epochs": 7, "schedule": {"decay": 0.5}},
        "methods.multi_level.encoder": {"width": 8},
    }
    experiment = config.Experiment.load(write_config(**changes))
    plain, own = experiment.methods["cross_entropy"], experiment.methods["multi_level"]
    assert plain.training == experiment.training
    assert plain.encoder == experiment.encoder
    assert (own.training.epochs, own.training.batch_size) == (7, 16)
    assert (own.training.schedule.name, own.training.schedule.decay) == ("step", 0.5)
    assert (own.encoder.name, own.encoder.width) == ("conv4", 8)


@pytest.mark.parametrize("own", [{"schedule": {"name": "cosine"}}, {"augmentation": {"views": ["crop", "crop"]}}])
def test_a_method_may_leave_keys_that_it_inherits_without_effect(write_config, own):
    shared = {"schedule": {"name": "step", "milestones": [0.5]}, "augmentation": {"scale": [0.5, 1]}}
    (key,) = own
    (last,) = own[key]
    sweep = {"of": ["cross_entropy"], "key": f"training.{key}.{last}", "values": {"other": own[key][last]}}
    changes = {f"training.{part}": values for part, values in shared.items()}
    changes |= {"methods.multi_level.training": own, "sweeps.t": sweep}
    experiment = config.Experiment.load(write_config(**changes))
    methods = json.loads(experiment.model_dump_json(include={"name", "datasets", "methods"}))
    assert config.Experiment.parse(methods, "again").methods == experiment.methods


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": 3}, "config.yaml: episodes: is no key of the config; check its spelling"),
        ({"training.epoch": 3}, "config.yaml: training.epoch: is no key of the config"),
        ({"name": None}, "config.yaml: name: is missing; add it"),
        ({"training.epochs": "many"}, "training.epochs: Input should be a valid integer"),
        ({"training.epochs": 0}, "training.epochs: Input should be greater than or equal to 1 (given: 0)"),
        ({"training.learning_rate": -1}, "training.learning_rate: Input should be greater than 0"),
        (
            {"methods.multi_level.objective.levels": {5: 1}},
            "methods.multi_level: objective.levels: takes conv4's levels 1 to 4, not 5",
        ),
        (
            {"methods.cross_entropy.objective.deep_supervision": {1: 1, 4: 1}},
            "methods.cross_entropy: objective.deep_supervision: takes conv4's levels 1 to 3, not 4",
        ),
        (
            {"methods.multi_level.encoder": {"branches": True}},
            "methods.multi_level: encoder.branches: that of level 2 would learn nothing; name the level in objective",
        ),
        (
            {"methods.multi_level.objective.deep_supervision": {1: 1}},
            "methods.multi_level.objective: deep_supervision adds to the last level's cross-entropy: give",
        ),
        (
            {"methods.cross_entropy.objective.self_distillation": {}},
            "methods.cross_entropy.objective: self_distillation teaches the classifiers of earlier levels: set deep",
        ),
        ({"methods.multi_level.objective.levels": {}}, "contrast and levels go together"),
        (
            {"methods.mine": {"objectives": {"cross_entropy": 1}}},
            "methods.mine.objectives: is no key of the config; check",
        ),
        ({"seeds": 3}, "seeds: must be a list, in brackets (given: 3)"),
        (
            {"sweeps.t": {"of": ["multi_level"], "key": "objective.temperature", "values": {"b c": 1}}},
            "sweeps.t.values.b c: String should match pattern",
        ),
        (
            {"sweeps.t": {"of": ["multi_level"] * 2, "key": "objective.temperature", "values": [1]}},
            "sweeps.t.of: has multi_level twice; keep one",
        ),
        ({"methods.cross_entropy.objective.cross_entropy": 0}, "nothing to learn"),
        ({"encoder.drop_block": 0.1}, "drop_block is for resnet12"),
        (
            {"methods.multi_level.objective.distillation": {"teacher": "cross_entropy"}},
            "methods.multi_level.objective: distillation is between classifiers of the base classes",
        ),
        (
            {"methods.cross_entropy.objective.distillation": {"teacher": "multi_level"}},
            "methods.cross_entropy.objective.distillation.teacher: multi_level is no method with cross_entropy that",
        ),
        (
            {"methods.student": {"objective": {"cross_entropy": 1, "distillation": {"teacher": "multi_level"}}}},
            "methods.student.objective.distillation.teacher: multi_level is no method with cross_entropy that",
        ),
        ({"encoder.pool": [5, 1]}, "encoder: pool: give one for every level or 4, not 2"),
        ({"encoder.pool": [5, 5, 0, 1]}, "encoder.pool.2: Input should be greater than or equal to 1 (given: 0)"),
        ({"encoder.pooling": "mean"}, "yaml: encoder.pooling: Input should be 'average' or 'max' (given: 'mean')"),
        ({"datasets.glyphs.source": "imagenet"}, "datasets.glyphs"),
        ({"datasets": {"a b": {"source": "glyphs"}}}, "datasets.a b"),
        (
            {"sweeps.t": {"of": ["multi_level"], "key": "training.sides", "values": [[16, 16]]}},
            "sweeps.t.values: lists and parts need names, as in {small: [16, 16], large: [24, 24]}",
        ),
        ({"datasets.own": {"source": "folder", "path": ""}}, "path: String should have at least 1 character"),
        ({"datasets.cub": {"source": "cub", "path": ""}}, "path: String should have at least 1 character"),
        ({"trained_on": {"cub": "glyphs"}}, "trained_on: there is no data set cub among glyphs"),
        (
            {"datasets.far": {"source": "glyphs"}, "trained_on": {"glyphs": "cub"}},
            "trained_on.glyphs: cub is no data set with trainings (far)",
        ),
        ({"evaluation.classifiers": ["svm"]}, "evaluation.classifiers.0"),
        ({"evaluation": {"choose": True, "split": "val"}}, "choose is for split: test"),
        ({"evaluation": {"weigh": True, "split": "val"}}, "weigh is for split: test"),
        ({"training.augmentation": {"scale": [0.9, 0.2]}}, "scale must ascend"),
        (
            {"deep_ensembles": True},
            "deep_ensembles: are of one encoder a seed; give seeds two or more, as in [0, 1, 2]",
        ),
        ({"seeds": [2**63]}, "seeds.0: Input should be less than 9223372036854776000"),
        ({"seeds": [0, 1, 0]}, "config.yaml: seeds: has 0 twice; keep one (given: [0, 1, 0])"),
        ({"evaluation.shots": [5, 5]}, "evaluation.shots: has 5 twice; keep one"),
        ({"training.epochs": True}, "config.yaml: training.epochs: must be a number (given: True)"),
        ({"encoder": {"name": "resnet12", "drop_block": True}}, "encoder.drop_block: must be a number (given: True)"),
        ({"encoder": {"name": "resnet12", "drop_block": 1.0}}, "encoder.drop_block: Input should be less than 1"),
        ({"evaluation.support_copies": True}, "evaluation.support_copies: must be a number (given: True)"),
        ({"methods.multi_level.training": {"epochs": 0}}, "config.yaml: methods.multi_level.training.epochs: Input"),
        (
            {"datasets": {"g": {"source": "folder", "path": "p", "folder": "photos"}}},
            "config.yaml: datasets.g.folder: is no key of the config",
        ),
        ({"datasets.glyphs.size": 1}, "config.yaml: datasets.glyphs.size: Input should be greater than or equal to 16"),
        (
            {"sweeps.t": {"of": ["multi_level"], "key": "objective.temperature", "values": [0.1, 0.2, 0.10]}},
            "sweeps.t.values: has 0.1 twice; keep one",
        ),
        (
            {"training.schedule": {"milestones": [0.5]}},
            "methods.cross_entropy.training.schedule: milestones is for name: step; add that, or remove it",
        ),
        (
            {"sweeps.t": {"of": ["cross_entropy"], "key": "objective.temperature", "values": [0.1, 0.5]}},
            "sweeps.t.key: objective.temperature has no effect on the recipe of cross_entropy; vary another key, or",
        ),
        (
            {"sweeps.t": {"of": ["multi_level"], "key": "training.schedule.decay", "values": [0.5]}},
            "sweeps.t.key: training.schedule.decay has no effect on the recipe of multi_level",
        ),
        (
            {
                "training.augmentation": {"views": ["crop", "crop"]},
                "sweeps.t": {"of": ["multi_level"], "key": "training.augmentation.scale", "values": {"half": [0.5, 1]}},
            },
            "sweeps.t.key: training.augmentation.scale has no effect on the recipe of multi_level",
        ),
        (
            {"sweeps.t": {"of": ["multi_level"], "key": "training.sides", "values": {"s": [16, 15]}}},
            "sweeps.t.values: training.sides: Input should be greater than or equal to 16",
        ),
        (
            {"datasets.cub": {"source": "cub"}, "trained_on": {"cub": "glyphs"}},
            "trained_on.cub: the images of glyphs are grey: its encoders take no colours",
        ),
        ({"training.sides": [42, 8]}, "training.sides.1: Input should be greater than or equal to 16 (given: 8)"),
    ],
)
def test_a_wrong_key_is_named_in_one_line(write_config, changes, message):
    with pytest.raises(UserError) as caught:
        config.Experiment.load(write_config(**changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "3"])
def test_a_file_that_holds_no_config(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: "):
        config.Experiment.load(path)
    with pytest.raises(UserError, match=r"missing\.yaml: cannot be read"):
        config.Experiment.load(tmp_path / "missing.yaml")


def test_a_method_that_was_copied_and_not_renamed_is_named(write_config):
    path = write_config()
    text = path.read_text()
    start, end = text.index("  cross_entropy:"), text.index("  multi_level:")
    path.write_text(text[:end] + text[start:end] + text[end:])
    with pytest.raises(UserError, match=r"config\.yaml: is not YAML: line \d+ has cross_entropy again; rename or"):
        config.Experiment.load(path)


def test_a_key_that_is_merged_may_be_given_again(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b}\n")
    found = config_text.read(path)
    assert found["b"] == {"x": 3, "y": 2}
    assert found == yaml.safe_load(path.read_text())
    path.write_text('{"x": 1, "x": 2}')
    with pytest.raises(UserError, match="line 1 has x again"):
        config_text.read(path)


def test_a_config_in_another_encoding_is_named(write_config):
    path = write_config()
    path.write_bytes(path.read_bytes() + b"# \xe9\n")
    with pytest.raises(UserError, match=r"config\.yaml: is not YAML: 'utf-8' codec can't decode"):
        config.Experiment.load(path)


def test_a_date_that_there_is_not_is_named(write_config):
    path = write_config()
    path.write_text(path.read_text() + "when: 2020-02-31\n")
    with pytest.raises(UserError, match=r"config\.yaml: is not YAML: day is out of range for month"):
        config.Experiment.load(path)
    with pytest.raises(UserError, match="the JSON given: is not JSON: day is out of range"):
        config.part(config.Method, "{title: 2020-02-31}")


def test_a_part_is_found_by_its_key_or_given_as_json(write_config):
    path = write_config()
    method = config.part(config.Method, f"{path}:methods.multi_level")
    assert method.objective.levels == {1: 0.5, 4: 1}
    assert config.part(config.Method, method.model_dump_json()) == method
    assert config.part(config.Experiment, str(path)).name == "tiny"
    with pytest.raises(UserError, match="there is no 'mine' among cross_entropy, multi_level"):
        config.part(config.Method, f"{path}:methods.mine")
    with pytest.raises(UserError, match="there is nothing of the name 'first'"):
        config.part(config.Evaluation, f"{path}:evaluation.shots.first")
    with pytest.raises(UserError, match="the JSON given: objective: is missing"):
        config.part(config.Method, '{"encoder": {}, "training": {}}')


def test_what_is_no_part_is_named_in_one_line(write_config):
    path = write_config()
    with pytest.raises(UserError, match=r"is a whole experiment; name the part of it, as in .*:methods\.cross_entropy"):
        config.part(config.Method, str(path))
    with pytest.raises(UserError, match="the JSON given: is not JSON") as caught:
        config.part(config.Method, "{bad")
    assert "\n" not in str(caught.value)


def test_a_config_cannot_be_changed(write_config):
    experiment = config.Experiment.load(write_config())
    with pytest.raises(ValidationError):
        experiment.name = "other"


def sweeps(**sweep):
    return {"temperature": {"of": ["multi_level"], "key": "objective.temperature", "values": [0.1, 0.2]} | sweep}


def test_a_sweep_trains_each_value_once(write_config):
    values = {"flat": {1: 1, 4: 1}, "same": {4: 1, 1: 0.5}}
    weights = {"of": ["multi_level"], "key": "objective.levels", "values": values}
    path = write_config(sweeps=sweeps() | {"weights": weights})
    experiment = Experiment.load(path)
    by_hand = config.part(config.Method, f"{path}:recipes.multi_level.temperature.0.2")
    assert by_hand == experiment.recipes["multi_level.temperature.0.2"]
    # 0.1 and `same` are what multi_level has anyway, in whatever order its levels are written.
    assert [tuple(variant) for variant in experiment.variants] == [
        ("multi_level", "temperature", "0.1", "multi_level"),
        ("multi_level", "temperature", "0.2", "multi_level.temperature.0.2"),
        ("multi_level", "weights", "flat", "multi_level.weights.flat"),
        ("multi_level", "weights", "same", "multi_level"),
    ]
    assert list(experiment.recipes) == [
        "cross_entropy", "multi_level", "multi_level.temperature.0.2", "multi_level.weights.flat",
    ]  # fmt: skip
    varied = experiment.recipes["multi_level.temperature.0.2"]
    assert varied.objective.temperature == 0.2
    assert varied.encoder == experiment.methods["multi_level"].encoder
    assert experiment.recipes["multi_level.weights.flat"].objective.levels == {1: 1, 4: 1}
    assert Experiment.parse(experiment.model_dump(mode="json"), "again").recipes == experiment.recipes


def test_a_tiny_number_comes_through_json_as_it_is(write_config):
    tiny = {"of": ["cross_entropy"], "key": "training.weight_decay", "values": [1.0e-6, 0.5]}
    experiment = Experiment.load(write_config(sweeps={"decay": tiny}))
    assert list(experiment.recipes)[2:] == ["cross_entropy.decay.1e-06", "cross_entropy.decay.0.5"]
    again = config.part(Experiment, experiment.model_dump_json())
    assert again == experiment
    assert list(again.recipes) == list(experiment.recipes)


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"of": ["mine"]}, "sweeps.temperature.of: there is no method mine among cross_entropy, multi_level"),
        ({"key": "objective.temprature"}, "sweeps.temperature.key: a method has no objective.temprature; name a key"),
        ({"key": "objective.levels.1.2"}, "sweeps.temperature.key: a method has no objective.levels.1.2; name a key"),
        ({"values": [-1]}, "sweeps.temperature.values: objective.temperature: Input should be greater than 0"),
        ({"values": {"a/b": 1}}, "sweeps.temperature.values"),
    ],
)
def test_a_sweep_that_does_not_apply_is_named(write_config, sweep, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Experiment.load(write_config(sweeps=sweeps(**sweep)))
