"""Training: it learns, it is repeatable, and it survives being killed."""

import errno
import hashlib
import io
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mlcl import config, encoders, fingerprint, hardware, record, solve
from mlcl.centroids import nearest_centroid
from mlcl.data.packed import Packed
from mlcl.episodes import sample
from mlcl.errors import UserError
from mlcl.features import Features
from mlcl.files import alone
from mlcl.sgd import SGD
from mlcl.teacher import Teacher
from mlcl.train import CODE, collapsed, train
from mlcl.training import Run, copied, learning_rate, order, pixels

CPU = torch.device("cpu")


def method(**training):
    training = {"epochs": 3, "batch_size": 16, "validation": {"every": 2, "episodes": 20, "queries": 5}, **training}
    objective = {"cross_entropy": 1, "contrast": "supcon", "levels": {2: 0.5, 4: 1}}
    return config.Method(objective=objective, encoder={"width": 4}, training=training)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def run(data, folder, spec, seed=0, teacher=None):
    train(data, spec, seed, [CPU], folder / "out", folder / "out", folder / "scratch", teacher=teacher)
    return folder / "out"


def saved_step(scratch):
    return max((torch.load(state, weights_only=True)["step"] for state in scratch.glob("state*.pt")), default=0)


def test_the_code_that_is_named_is_that_which_was_read(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path)  # as where the files have changed since
    (tmp_path / "train.py").write_text("")
    out = run(tiny_data, tmp_path, method(epochs=1))
    assert encoders.load_made_by(out / "model.safetensors")["code"] == CODE != fingerprint.fingerprint("train")


def test_training_learns_and_writes_its_metrics(tiny_data, tmp_path):
    out = run(tiny_data, tmp_path, method(epochs=8))
    metrics = pd.read_csv(out / "metrics.csv")
    assert metrics["epoch"].tolist() == list(range(1, 9))
    assert metrics["loss"].iloc[-1] < metrics["loss"].iloc[0]
    assert metrics["cross_entropy"].iloc[-1] < 0.7 * metrics["cross_entropy"].iloc[0]
    assert {"cross_entropy", "accuracy", "level2", "level4", "learning_rate"} <= set(metrics)
    assert metrics["val_last_level"].notna().tolist() == [False, True] * 4
    assert metrics["val_last_level"].iloc[-1] > 0.5  # chance is 0.2
    assert list((tmp_path / "scratch").glob("events.*"))
    assert not list((tmp_path / "scratch").glob("state*"))


def test_the_checkpoint_says_what_made_it(tiny_data, tmp_path):
    _, made_by = encoders.load(run(tiny_data, tmp_path, method(epochs=1), seed=5) / "model.safetensors")
    assert made_by["seed"] == 5
    assert made_by["data"] == Packed(tiny_data).identity
    assert made_by["shape"] == [16, 16, 1]
    assert config.Method.model_validate(made_by["method"]) == method(epochs=1)


def test_a_seed_repeats_and_another_does_not(tiny_data, tmp_path):
    first, again, other = (run(tiny_data, tmp_path / str(i), method(), seed) for i, seed in enumerate([0, 0, 1]))
    assert weights(first) == weights(again)
    assert (first / "metrics.csv").read_bytes() == (again / "metrics.csv").read_bytes()
    assert weights(first) != weights(other)


def test_killed_at_any_moment_it_ends_with_the_same_weights(tiny_data, tmp_path):
    """SIGKILL to the process at random moments, again and again until it gets through."""
    spec = method(epochs=6)
    whole = run(tiny_data, tmp_path / "whole", spec)
    command = [sys.executable, "-m", "mlcl", "train", "--data", tiny_data, "--method", spec.model_dump_json()]
    command += ["--device", "cpu", "--out", tmp_path / "out", "--scratch", tmp_path / "scratch"]
    # Saving after every step and a slow step make the moments land inside the training.
    script = (
        "import mlcl.train, mlcl.cli, sys, time; mlcl.train.SAVE_SECONDS = 0; advance = mlcl.train.Run.advance\n"
        "mlcl.train.Run.advance = lambda self: (time.sleep(0.02), advance(self))[1]\n"
        "mlcl.cli.main(sys.argv[1:])\n"
        "assert 'torch._dynamo' not in sys.modules  # which takes seconds to load"
    )
    command[1:3] = ["-c", script]
    steps = Run(Packed(tiny_data), spec, 0, CPU).steps
    moments = sorted(np.random.default_rng(0).integers(1, steps - 5, 2))
    assert moments[-1] > steps / 3  # after the first validation
    for kills in range(len(moments) + 1):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        if kills < len(moments):
            while process.poll() is None and saved_step(tmp_path / "scratch") < moments[kills]:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        assert process.returncode == (-signal.SIGKILL if kills < len(moments) else 0), said
        assert ("continuing from step" in said) == (kills > 0)
    assert weights(tmp_path / "out") == weights(whole)
    assert (tmp_path / "out" / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_sgd_is_torchs():
    """Bit by bit, also from a state, and where a parameter has no gradient."""
    ours, theirs = (
        [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(2))] for _ in "ab"
    )
    optimiser, reference = SGD(ours, 0.9, 0.05), torch.optim.SGD(theirs, momentum=0.9, weight_decay=0.05, fused=True)
    draw = torch.Generator().manual_seed(0)
    for step in range(6):
        for one, other in zip(ours[:2], theirs[:2], strict=True):
            one.grad = torch.randn(one.shape, generator=draw)
            other.grad = one.grad.clone()
        reference.param_groups[0]["lr"] = 0.1 * step
        optimiser.step(0.1 * step)
        reference.step()
        assert all(map(torch.equal, ours, theirs))
        if step == 2:
            state, optimiser = optimiser.state(), SGD(ours, 0.9, 0.05)
            optimiser.restore(state)


DROPPING = {"name": "resnet12", "width": 2, "drop_block": 0.3}


@pytest.mark.parametrize("encoder", [{}, DROPPING])
def test_a_state_from_the_middle_of_an_epoch_is_exact(tiny_data, encoder):
    """Of an epoch after the first that met the validation classes, so that the history has their figures."""
    packed, spec = Packed(tiny_data), method()
    spec = config.Method(objective=spec.objective, encoder=encoder or spec.encoder, training=spec.training)
    one = Run(packed, spec, 0, CPU)
    for _ in range(2 * one.steps_per_epoch):
        one.advance()
        if one.step % one.steps_per_epoch == 0:
            one.close_epoch()
    one.advance()
    assert 0 < one.history[-1]["val_last_level"] <= 1
    other = Run(packed, spec, 0, CPU)
    saved = io.BytesIO()
    torch.save(one.state(), saved)
    other.restore(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
    assert other.history == one.history
    assert other.sums == one.sums != {}
    for _ in range(4):
        a, b = one.advance(), other.advance()
        assert float(a["loss"]) == float(b["loss"])


def stopped(data, folder, monkeypatch, spec=None, teacher=None):
    """The state of a training that was stopped before its model was saved."""
    with monkeypatch.context() as patch:
        patch.setattr("mlcl.train.write_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(data, folder, spec or method(), teacher=teacher)
    (state,) = (folder / "scratch").glob("state*.pt")
    return state


def distilled():
    objective = {"cross_entropy": 1, "distillation": {"teacher": "any", "weight": 1}}
    return config.Method(objective=objective, encoder={"width": 4}, training=method().training)


@pytest.mark.parametrize("other", ["recipe", "seed", "code", "data"])
def test_another_recipe_seed_code_or_data_does_not_continue_a_training(tiny_data, tmp_path, monkeypatch, capsys, other):
    state = stopped(tiny_data, tmp_path, monkeypatch)
    before, spec, seed = state.read_bytes(), method(**({"weight_decay": 0.1} if other == "recipe" else {})), 0
    if other == "data":
        tiny_data = shutil.copytree(tiny_data, tmp_path / "data")
        manifest = json.loads((tiny_data / "manifest.json").read_text())
        manifest["sha256"]["images.npy"] = "0"
        (tiny_data / "manifest.json").write_text(json.dumps(manifest))
    if other == "seed":
        seed = 1
    if other == "code":
        monkeypatch.setattr("mlcl.train.CODE", "of other code")
    found = weights(run(tiny_data, tmp_path, spec, seed))
    assert f"{state}: is of another recipe, data, version or device; not continued" in capsys.readouterr().err
    assert state.read_bytes() == before
    assert found == weights(run(tiny_data, tmp_path / "afresh", spec, seed))


def test_another_teacher_does_not_continue_a_training(tiny_data, tmp_path, monkeypatch, capsys):
    one, other = (run(tiny_data, tmp_path / f"{i}", method(epochs=1), i) / "model.safetensors" for i in (0, 1))
    stopped(tiny_data, tmp_path, monkeypatch, distilled(), one)
    run(tiny_data, tmp_path, distilled(), teacher=other)
    assert "is of another recipe, data, version or device; not continued" in capsys.readouterr().err


def test_a_training_that_was_stopped_is_continued(tiny_data, tmp_path, monkeypatch, capsys):
    state = stopped(tiny_data, tmp_path, monkeypatch)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.csv", "run.json"}  # before the model
    half = state.with_name(f".{state.name}.1.part")
    half.write_bytes(state.read_bytes()[:1000])
    run(tiny_data, tmp_path, method())
    assert f"{state}: continuing from step " in capsys.readouterr().err
    assert not state.exists()
    assert not half.exists()
    found = record.read(tmp_path / "out" / "run.json")
    assert found["sessions"] == 2
    assert found["images_per_second"] * found["seconds"] == pytest.approx(36 * 16)  # steps of images


def test_a_state_half_written_leaves_the_one_before(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("mlcl.train.SAVE_SECONDS", 0)
    saves, write = itertools.count(), Path.write_bytes

    def full(path, content):
        if not path.name.startswith(".state-") or next(saves) < 2:
            return write(path, content)
        write(path, content[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/state-\w+\.pt'"):
        run(tiny_data, tmp_path, method())
    assert saved_step(tmp_path / "scratch") == 2


def test_a_training_stops_when_its_minutes_are_over(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("mlcl.train.LOG_STEPS", 1)
    looks = itertools.count(0, 10)  # seconds
    clock = SimpleNamespace(time=lambda: next(looks), monotonic=time.monotonic)
    monkeypatch.setattr("mlcl.train.time", clock)
    with pytest.raises(UserError, match="at step 6 of 36 time is up; run again to continue"):
        train(tiny_data, method(), 0, [CPU], tmp_path / "out", tmp_path / "out", tmp_path / "scratch", max_minutes=1)
    assert saved_step(tmp_path / "scratch") == 6


def test_every_step_and_seed_drops_other_blocks(tiny_data, monkeypatch):
    drawn = []
    for seed in (0, 1):
        made = Run(Packed(tiny_data), method(), seed, CPU)
        forward = made.model.forward
        monkeypatch.setattr(
            made.model, "forward", lambda *given, go=forward: drawn.append(torch.initial_seed()) or go(*given)
        )
        for _ in range(3):
            made.advance()
    assert len(set(drawn)) == 6


def test_every_step_and_seed_draws_other_views(tiny_data, monkeypatch):
    monkeypatch.setattr("mlcl.training.order", lambda images, *_: torch.zeros(images, dtype=torch.long))  # of one image
    found = []
    for seed in (0, 1):
        made = Run(Packed(tiny_data), method(), seed, CPU)
        for step in (0, 1, made.steps_per_epoch):
            made.step = step
            found.append(made.batch()[0].numpy().tobytes())
    assert len(set(found)) == 6


def test_images_are_scaled_and_mirrored_as_the_manifest_says(tiny_data):
    packed = Packed(tiny_data)
    made = Run(packed, method(), 0, CPU)
    assert made.encoder.mean.flatten().tolist() == pytest.approx(packed.manifest["mean"])
    assert made.encoder.std.flatten().tolist() == pytest.approx(packed.manifest["std"])
    views, mirrored = made.batch()[0], []
    for flip in (False, True):
        made.flip = flip
        mirrored.append(made.batch()[0])
    assert packed.manifest["flip"] is False
    assert torch.equal(views, mirrored[0])
    assert not torch.equal(views, mirrored[1])


def test_every_seed_begins_with_other_weights(tiny_data):
    one, other = (next(Run(Packed(tiny_data), method(), seed, CPU).encoder.parameters()) for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epochs_batches_are_its_order(tiny_data, monkeypatch, epoch):
    made, met = Run(Packed(tiny_data), method(), 3, CPU), []
    images, steps = made.images, range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
    monkeypatch.setattr(made, "images", lambda rows: met.append(rows) or images(rows))
    for step in steps:
        made.step = step
        made.batch()
    whole = order(len(made.labels), 3, epoch)
    assert torch.cat(met).tolist() == whole[: len(met) * 16].tolist()
    assert len(whole) - len(met) * 16 < 16


def test_the_last_epoch_is_validated_by_the_last_level_and_the_ensemble(tiny_data, tmp_path):
    metrics = pd.read_csv(run(tiny_data, tmp_path, method(epochs=3)) / "metrics.csv")
    assert metrics["val_last_level"].notna().tolist() == [False, True, True]
    encoder, _ = encoders.load(tmp_path / "out" / "model.safetensors")
    split = Packed(tiny_data).split("val")
    with torch.no_grad():
        levels = encoder(torch.tensor(split.images).movedim(3, 1) / 255)
    bank = solve.Bank(Features(torch.cat(levels, 1).numpy(), encoder.dims), CPU)
    tasks = sample(split.labels, split="val", episodes=20, way=5, shot=5, queries=5, seed=0)
    found = solve.accuracies(bank, tasks, {"nearest_centroid": nearest_centroid})
    for column, name in (("val_last_level", "level4"), ("val_ensemble", "mean_probability")):
        assert metrics[column].iloc[-1] == pytest.approx(found["nearest_centroid", name].mean(), abs=0.01)


def test_every_epoch_meets_every_image_in_an_order_of_its_own():
    orders = [order(50, 0, epoch).tolist() for epoch in range(3)]
    assert all(sorted(each) == list(range(50)) for each in orders)
    assert len(set(map(tuple, orders))) == 3
    assert order(50, 1, 0).tolist() not in orders


def test_steps_follow_the_schedule_and_an_epochs_row_is_their_mean(tiny_data):
    spec = method()
    one = Run(Packed(tiny_data), spec, 0, CPU)
    losses = []
    for step in range(one.steps_per_epoch):
        losses.append(float(one.advance()["loss"]))
        assert one.rate == learning_rate(spec.training, step / one.steps)
    row = one.close_epoch()
    assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-9)
    assert row["learning_rate"] == one.rate
    second = [float(one.advance()["loss"]) for _ in range(one.steps_per_epoch)]
    assert one.close_epoch()["loss"] == pytest.approx(np.mean(second), rel=1e-9)


def test_weight_decay_and_momentum_are_the_recipes(tiny_data):
    found = []
    for changed in ({}, {"weight_decay": 0.1}, {"momentum": 0.5}):
        one = Run(Packed(tiny_data), method(**changed), 0, CPU)
        for _ in range(3):
            one.advance()
        found.append(next(one.encoder.parameters()).detach().numpy().tobytes())
    assert len(set(found)) == 3


def test_processes_of_torchrun_start_none_themselves(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.distributed.is_torchelastic_launched", lambda: True)
    with pytest.raises(UserError, match="--gpus: torchrun has started the processes"):
        train(tiny_data, method(), 0, [CPU, CPU], tmp_path / "out", tmp_path / "out", tmp_path / "scratch")


def test_a_damaged_state_is_named_and_left(tiny_data, tmp_path, monkeypatch):
    state = stopped(tiny_data, tmp_path, monkeypatch)
    damaged = state.read_bytes()[:-200]
    state.write_bytes(damaged)
    with pytest.raises(UserError, match=r"state-.*\.pt: is damaged \(.+\); delete it"):
        run(tiny_data, tmp_path, method())
    assert state.read_bytes() == damaged
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_student_learns_from_its_teacher(tiny_data, tmp_path):
    teacher = run(tiny_data, tmp_path / "teacher", method(epochs=8)) / "model.safetensors"
    student = distilled()
    out = run(tiny_data, tmp_path / "student", student, teacher=teacher)
    metrics = pd.read_csv(out / "metrics.csv")
    assert metrics["distillation"].iloc[-1] < 0.7 * metrics["distillation"].iloc[0]
    assert metrics["cross_entropy"].iloc[-1] < metrics["cross_entropy"].iloc[0]  # by the teacher alone
    _, made_by = encoders.load(out / "model.safetensors")
    assert made_by["teacher"] == hashlib.sha256(teacher.read_bytes()).hexdigest()
    assert weights(run(tiny_data, tmp_path / "again", student, teacher=teacher)) == weights(out)

    with pytest.raises(UserError, match=r"give the teacher's model\.safetensors with --teacher"):
        run(tiny_data, tmp_path / "other", student)
    with pytest.raises(UserError, match=r"the method has no objective\.distillation"):
        run(tiny_data, tmp_path / "other", method(), teacher=teacher)
    encoder, classifier, made_by = encoders.load_with_classifier(teacher)
    encoders.save(encoder, tmp_path / "bare", made_by)
    with pytest.raises(UserError, match="bare: has no classifier to learn from"):
        run(tiny_data, tmp_path / "other", student, teacher=tmp_path / "bare")
    encoders.save(encoder, tmp_path / "strange", {**made_by, "base_classes": ["cat"]}, classifier)
    with pytest.raises(UserError, match="strange: knows other base classes"):
        run(tiny_data, tmp_path / "other", student, teacher=tmp_path / "strange")


def test_two_trainings_do_not_share_a_scratch_folder(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("mlcl.train.LOCK_SECONDS", 0.1)
    with (
        alone(tmp_path / "scratch", "training there"),
        pytest.raises(UserError, match="scratch: another process is training there; wait for its end, or end it"),
    ):
        run(tiny_data, tmp_path, method())
    assert not (tmp_path / "scratch").exists()


def test_weights_that_blow_up_in_the_last_step_are_no_model(tiny_data, tmp_path):
    with pytest.raises(UserError, match=r"left weights that are not finite; lower training\.learning_rate"):
        run(tiny_data, tmp_path, method(learning_rate=1e300, epochs=1, batch_size=192, schedule={"warmup": 0}))
    assert not list(tmp_path.rglob("model.safetensors"))


@pytest.mark.parametrize("steps", [1, 1000])
def test_a_loss_that_blows_up_stops_the_training(tiny_data, tmp_path, monkeypatch, steps):
    monkeypatch.setattr("mlcl.train.LOG_STEPS", steps)
    with pytest.raises(UserError, match=r"lower training\.learning_rate"):
        run(tiny_data, tmp_path, method(learning_rate=1e30))
    assert not list(tmp_path.rglob("model.safetensors"))
    assert not list(tmp_path.rglob("state*"))


def test_a_validation_split_too_small_is_named_before_training(tiny_data, tmp_path):
    with pytest.raises(UserError, match=r"training\.validation: split val has 5 classes, fewer than the 6 of way: 6"):
        run(tiny_data, tmp_path, method(validation={"way": 6}))


def test_a_batch_larger_than_the_data(tiny_data, tmp_path):
    with pytest.raises(UserError, match=r"training\.batch_size: 500 is more than the 192 base images"):
        run(tiny_data, tmp_path, method(batch_size=500))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_trains_too(tiny_data, tmp_path, monkeypatch, compiled):
    """All that has a part in it, stopped and gone on with; then a student."""
    encoder = {"name": "resnet12", "width": 4, "branches": True, "drop_block": 0.1}
    objective = {"cross_entropy": 1, "contrast": "supcon", "levels": {1: 1, 4: 1}}
    objective |= {"deep_supervision": {2: 1, 3: 0.5}, "self_distillation": {}}
    training = method(sides=[16, 32], compile=compiled).training
    teacher = config.Method(objective=objective, encoder=encoder, training=training)
    student = teacher.model_copy(
        update={
            "objective": config.Objective(cross_entropy=1, distillation={"teacher": "any"}),
            "encoder": config.Encoder(),
        }
    )
    device, (whole, out, other) = hardware.devices("auto"), (tmp_path / name for name in ("whole", "out", "other"))
    train(tiny_data, teacher, 0, device, whole, whole, whole / "scratch")
    with monkeypatch.context() as patch:
        patch.setattr("mlcl.train.LOG_STEPS", 1)
        looks = itertools.count()
        patch.setattr("mlcl.train.time.time", lambda: 6e3 * (next(looks) > 20))
        with pytest.raises(UserError, match="time is up; run again to continue"):
            train(tiny_data, teacher, 0, device, out, out, out / "scratch", 1)
    train(tiny_data, teacher, 0, device, out, out, out / "scratch")
    for path in (whole, out):
        assert pd.read_csv(path / "metrics.csv").iloc[-1][["loss", "self_distillation"]].notna().all()
    losses = [pd.read_csv(path / "metrics.csv")["loss"].iloc[-1] for path in (whole, out)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    train(tiny_data, student, 0, device, other, other, other / "scratch", teacher=out / "model.safetensors")
    assert pd.read_csv(other / "metrics.csv")["distillation"].notna().all()


def test_images_are_copied_in_blocks(tiny_data):
    images = Packed(tiny_data).split("train").images
    assert torch.equal(copied(images, CPU, block=50), torch.tensor(images))


def test_learning_rate_schedules():
    cosine = config.Training(learning_rate=2, schedule={"name": "cosine", "warmup": 0.1})
    assert learning_rate(cosine, 0.05) == pytest.approx(1)
    assert learning_rate(cosine, 0.1) == pytest.approx(2)
    assert learning_rate(cosine, 0.55) == pytest.approx(1)
    assert learning_rate(cosine, 1.0) == pytest.approx(0)
    step = config.Training(learning_rate=2, schedule={"name": "step", "warmup": 0, "milestones": [0.6, 0.8]})
    assert [learning_rate(step, p) for p in (0, 0.59, 0.6, 0.8)] == pytest.approx([2, 2, 0.2, 0.02])
    at_once = config.Training(learning_rate=2, schedule={"warmup": 0})
    assert math.isclose(learning_rate(at_once, 0.0), 2)


def test_views_grow_in_equal_shares_of_the_training(tiny_data):
    run = Run(Packed(tiny_data), method(sides=[16, 24, 32]), 0, CPU)
    sides = []
    while run.step < run.steps:
        sides.append(run.batch()[0].shape[2:])
        run.step += 1
    assert sides == [(16, 16)] * 12 + [(24, 24)] * 12 + [(32, 32)] * 12
    assert Run(Packed(tiny_data), method(), 0, CPU).batch()[0].shape[2:] == (16, 16)


def test_views_too_small_are_named(tiny_data):
    large = Packed(tiny_data)
    large.images = np.repeat(large.images, 3, 1)
    with pytest.raises(UserError, match=r"training\.sides: 16 is less than half of the images' 48 pixels"):
        Run(large, method(sides=[24, 16]), 0, CPU)


def test_the_time_left_counts_the_pixels_of_the_views():
    growing = config.Training(sides=[20, 40])
    assert [pixels(growing, share) for share in (0, 0.25, 0.5, 0.75, 1)] == [0, 200, 400, 1200, 2000]
    assert [pixels(config.Training(), share) for share in (0, 0.3, 1)] == [0, 0.3, 1]


def test_a_training_on_growing_views_learns(tiny_data, tmp_path):
    out = run(tiny_data, tmp_path, method(epochs=8, sides=[16, 24]))
    assert pd.read_csv(out / "metrics.csv")["val_last_level"].iloc[-1] > 0.5  # chance is 0.2


def test_a_level_whose_projections_are_all_the_same_is_reported(tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mlcl.encoders.Encoder.forward", lambda self, x: [x.new_ones(len(x), d) for d in self.dims])
    monkeypatch.setattr("torch.Tensor.backward", lambda self: None)
    spec = method(epochs=1)
    run(tiny_data, tmp_path, spec)
    assert "level 2: its projections are all the same; raise training.schedule.warmup" in capsys.readouterr().err
    assert collapsed({"level2": math.log(31), "level4": 1.0}, spec) == [2]


def test_at_a_high_temperature_projections_that_differ_are_not_taken_for_equal():
    spec = method(epochs=1)
    objective = spec.objective.model_copy(update={"temperature": 5.0})
    spec = spec.model_copy(update={"objective": objective})
    assert collapsed({"level2": math.log(31), "level4": math.log(31) - 0.01}, spec) == [2]


def test_a_training_is_in_the_precision_of_its_recipe(tiny_data):
    one, other = (Run(Packed(tiny_data), method(precision=name), 0, CPU) for name in ("float32", "bfloat16"))
    assert float(one.advance()["level4"]) != float(other.advance()["level4"])


def test_a_teacher_says_what_its_classifier_makes_of_the_last_level(tiny_data, tmp_path):
    path = run(tiny_data, tmp_path, method(epochs=1)) / "model.safetensors"
    encoder, classifier, made_by = encoders.load_with_classifier(path)
    views = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    said = Teacher(path, made_by["base_classes"], CPU)(views)
    torch.testing.assert_close(said, classifier(encoder(views)[-1]).detach())


def test_every_seed_is_validated_on_other_tasks(tiny_data):
    one, other = (Run(Packed(tiny_data), method(), seed, CPU) for seed in (0, 1))
    assert not np.array_equal(one.met[one.tasks.support], other.met[other.tasks.support])
