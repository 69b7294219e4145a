import pytest

from mlcl.files import replacing


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


def test_a_folder_is_made(tmp_path):
    with replacing(tmp_path / "x" / "y" / "file") as (temporary,):
        temporary.write_text("")
    assert (tmp_path / "x" / "y" / "file").exists()
