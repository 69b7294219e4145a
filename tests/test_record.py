"""Records of trainings: what made a run, and what it took."""

import json
import subprocess
import time
from pathlib import Path

import pytest
import torch

from mlcl import record
from mlcl.energy import Meter
from mlcl.errors import UserError

CPU = torch.device("cpu")


def socket(folder, joules, size=1000, name="package-0"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{int(size * 1e6)}\n")


def test_energy_adds_sockets_up_and_goes_on_where_a_counter_starts_again(tmp_path):
    socket(tmp_path / "intel-rapl:0", 990)
    socket(tmp_path / "intel-rapl:1", 5)
    socket(tmp_path / "intel-rapl:0:0", 7, name="core")  # a part of the first
    socket(tmp_path / "intel-rapl:2", 900, name="psys")  # the whole machine
    meter = Meter([CPU], tmp_path)
    assert meter.read() == 0
    socket(tmp_path / "intel-rapl:0", 15)
    socket(tmp_path / "intel-rapl:2", 990, name="psys")
    socket(tmp_path / "intel-rapl:1", 6)
    assert meter.read() == pytest.approx(26)
    socket(tmp_path / "intel-rapl:0", 20)
    assert meter.read() == pytest.approx(31)


def test_energy_is_unknown_where_a_counter_cannot_be_read(tmp_path):
    assert Meter([CPU], tmp_path).read() is None
    socket(tmp_path / "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert Meter([CPU], tmp_path).read() is None
    socket(tmp_path / "intel-rapl:0", 1)
    meter = Meter([CPU], tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.read() is None
    socket(tmp_path / "intel-rapl:0", 2)
    assert meter.read() is None  # what was missed stays unknown


def test_a_training_that_continues_adds_up_its_sessions():
    first = record.Watch([CPU], None)
    time.sleep(0.05)
    saved = first.so_far()
    assert saved["sessions"] == 1
    assert saved["commit"] == record.commit()
    assert 0.05 <= saved["seconds"] < 5
    again = record.Watch([CPU], {**saved, "seconds": 100.0, "joules": None}).so_far()
    assert again["started"] == saved["started"]
    assert again["sessions"] == 2
    assert 100 <= again["seconds"] < 105
    assert again["joules"] is None


def test_energy_adds_up_over_sessions_unless_that_of_one_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr("mlcl.record.Meter", lambda devices: Meter(devices, tmp_path))
    for before, wanted in ((100.0, 105), (None, None)):
        socket(tmp_path / "intel-rapl:0", 1)
        watch = record.Watch([CPU], {"started": "then", "sessions": 1, "seconds": 9.0, "joules": before})
        socket(tmp_path / "intel-rapl:0", 6)
        assert watch.so_far()["joules"] == wanted


def test_energy_is_unknown_where_others_train_along(tmp_path, monkeypatch):
    socket(tmp_path / "intel-rapl:0", 1)
    monkeypatch.setattr("mlcl.record.Meter", lambda devices: Meter(devices, tmp_path))
    assert record.Watch([CPU, CPU], None, 2).so_far()["joules"] == 0
    assert record.Watch([CPU], None, 2).so_far()["joules"] is None


def test_a_record_says_what_made_the_run(tmp_path):
    took = {
        "commit": {"id": "c0ffee", "changed": False},
        "started": "2021-07-16T00:00:00+00:00",
        "sessions": 1,
        "seconds": 4.0,
        "joules": None,
    }
    record.write(tmp_path / "run.json", {"method": {"a": 1}}, "ab12", took, 200, CPU, 4)
    found = record.read(tmp_path / "run.json")
    assert found["made_by"] == {"method": {"a": 1}}
    assert found["model"] == "ab12"
    assert found["images_per_second"] == 50
    assert found["versions"]["torch"]
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["processor"]
    assert found["hardware"]["gpu"] is None
    assert found["hardware"]["processes"] == 4
    assert {key: found[key] for key in took} == took


def test_the_commit_is_the_package_s_own(tmp_path, monkeypatch):
    def git(*words):
        return subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "mlcl"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(record, "PACKAGE", package)
    commit = record.commit.__wrapped__  # which asks git each time
    assert commit() is None
    git("init", "-q")
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    git(*author, "commit", "-qm", "another's", "--allow-empty")
    assert commit() is None  # another project's repository around it
    git("add", "mlcl")
    git(*author, "commit", "-qm", "one")
    assert commit() == {"id": git("rev-parse", "HEAD"), "changed": False}
    (package / "__init__.py").write_text("1\n")
    assert commit()["changed"] is True


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps({"made_by": {}})])
def test_what_is_no_record_is_named(tmp_path, text):
    path = Path(tmp_path, "run.json")
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"run.json: is no record of a training .* run mlcl train again"):
        record.read(path)
