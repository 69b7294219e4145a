import pytest

from mlcl import fingerprint
from mlcl.errors import UserError


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path)
    (tmp_path / "a.py").write_text("from mlcl import b\nfrom mlcl.sub import c\n\ndef f():\n    return b.g()\n")
    (tmp_path / "b.py").write_text('"""Doc."""\n\ndef g():\n    """Doc."""\n    return 1\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "__init__.py").write_text("")
    (tmp_path / "sub" / "c.py").write_text("x = 1\n")
    (tmp_path / "other.py").write_text("y = 1\n")
    return tmp_path


def test_comments_docstrings_and_layout_do_not_count(package):
    before = fingerprint.fingerprint("a")
    (package / "b.py").write_text('"""Another."""\n\n\ndef g():\n    """More."""\n    # why\n    return (1)\n')
    (package / "other.py").write_text("y = 2\n")
    assert fingerprint.fingerprint("a") == before


@pytest.mark.parametrize("file", ["a.py", "b.py", "sub/c.py"])
def test_code_counts_also_where_it_is_imported(package, file):
    before = fingerprint.fingerprint("a")
    (package / file).write_text((package / file).read_text() + "z = 3\n")
    assert fingerprint.fingerprint("a") != before


def test_tables_of_a_package_count(package):
    (package / "a.csv").write_text("x\n1\n")
    (package / "sub" / "d.csv").write_text("x\n1\n")
    before = fingerprint.fingerprint("a")
    (package / "a.csv").write_text("x\n2\n")  # of the whole, not of a package that is imported
    assert fingerprint.fingerprint("a") == before
    (package / "sub" / "d.csv").write_text("x\n2\n")
    assert fingerprint.fingerprint("a") != before


def test_a_relative_import_is_refused(package):
    (package / "b.py").write_text("from .other import y\n")
    with pytest.raises(UserError, match=r"^from \.other import y: cannot be traced; write it with the whole name"):
        fingerprint.fingerprint("a")


def test_training_reaches_the_loss_and_not_the_tables():
    reached = fingerprint._reach("train")
    assert {"train", "objectives", "augment", "encoders", "episodes"} <= reached
    assert not {"tables", "evaluate", "config", "classifiers", "extract"} & reached
