import os
from pathlib import Path

import pytest

from mlcl.errors import UserError
from mlcl.files import alone, check_place, clear_unfinished, replacing, write_all


def test_both_files_or_none(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("old")

    def fail_half_way():
        with replacing(first, second) as (one, _):
            one.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert first.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    with replacing(first, second) as (one, two):
        one.write_text("new")
        two.write_text("new")
        assert first.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    assert first.read_text() == second.read_text() == "new"


def test_the_last_name_is_taken_last(tmp_path, monkeypatch):
    taken, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda before, after: taken.append(after) or replace(before, after))
    write_all({tmp_path / name: b"" for name in "bac"})
    assert [path.name for path in taken] == ["b", "a", "c"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_file_takes_no_place_of_what_is_none(tmp_path, make):
    make(tmp_path / "place")
    with pytest.raises(UserError, match="place: is no file; name one to write"):  # noqa: SIM117
        with replacing(tmp_path / "place"):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    with pytest.raises(UserError, match="/dev/stdout: is no file"):
        check_place(Path("/dev/stdout"))  # a link, which may lead to one


def test_a_folder_is_made(tmp_path):
    with replacing(tmp_path / "x" / "y" / "file") as (temporary,):
        temporary.write_text("")
    assert (tmp_path / "x" / "y" / "file").exists()


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    (tmp_path / ".a.123.part").write_text("half")
    others = {".b.123.part", ".ab.123.part"}
    for name in others:
        (tmp_path / name).write_text("of another")
    clear_unfinished(tmp_path / "a")
    assert {p.name for p in tmp_path.iterdir()} == others


def test_who_comes_second_waits_or_gives_up(tmp_path, capsys):
    path = tmp_path / "new" / "data"
    with alone(path, "packing it") as waited:
        assert not waited
        with pytest.raises(UserError, match="data: another process is packing it; wait for its end, or end it"):  # noqa: SIM117
            with alone(path, "packing it", seconds=0.1):
                pass
    assert "data: another process is packing it; waiting" in capsys.readouterr().err
    with alone(path, "packing it") as waited:
        assert not waited


def test_the_working_directory_can_be_held(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with alone(Path(), "working here"):
        assert (tmp_path.parent / f".{tmp_path.name}.lock").exists()
