"""The command as a user meets it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mlcl import cli


def test_help_imports_nothing_heavy():
    code = (
        "import sys, contextlib\nfrom mlcl.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'pandas', 'pydantic', 'snakemake'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for stage in ("data", "train", "features", "evaluate", "tables"):
        assert stage in said


def test_the_stages_by_hand(write_config, tmp_path):
    training = {"epochs": 1, "batch_size": 128, "validation": {"episodes": 5}}
    config = write_config(**{"datasets.glyphs.size": 16, "training": training})
    packed, runs = tmp_path / "packed", []
    steps = [["data", f"{config}:datasets.glyphs", "--out", packed]]
    for method in ("cross_entropy", "multi_level"):
        run = tmp_path / method
        steps += [
            [
                "train",
                "--data",
                packed,
                "--method",
                f"{config}:methods.{method}",
                "--out",
                run,
                "--scratch",
                run / "scratch",
            ],
            ["features", "--data", packed, "--model", run / "model.safetensors", "--out", run / "features"],
            [
                *("evaluate", "--data", packed, "--features", run / "features"),
                *("--evaluation", f"{config}:evaluation", "--run", f"glyphs/{method}/0", "--out", run / "e.parquet"),
            ],
        ]
        runs.append(run / "e.parquet")
    steps.append(["tables", "--experiment", config, "--evaluations", *runs, "--out", tmp_path / "out"])
    for step in steps:
        cli.main([str(word) for word in step])
    assert np.load(packed / "images.npy", mmap_mode="r").shape[1:] == (16, 16, 1)
    comparison = pd.read_csv(tmp_path / "out" / "tables" / "comparison.csv")
    assert set(comparison["method"]) == {"cross_entropy", "multi_level"}
    assert (tmp_path / "out" / "figures" / "levels.png").exists()


EVALUATED = ("--data", "d", "--features", "f", "--evaluation", "{}", "--out", "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", '{"source": "glyph"}', "--out", "x"], "mlcl data: the JSON given"),
        (
            ["data", '{"source": "mini-imagenet", "path": "no"}', "--out", "x"],
            "no: holds no mini-ImageNet: put there images/ with train.csv",
        ),
        (["train", "--data", "no", "--method", "no.yaml:methods.a", "--out", "x", "--scratch", "s"], "no.yaml: cannot"),
        (["data", "photos"], "photos is none of glyphs, mini-imagenet, "),
        (["data", "omniglot", "--from", "nowhere"], "--from: nowhere does not exist"),
        (["features", "--data", "no", "--model", "m", "--out", "x"], "no: holds no packed data set"),
        (
            ["evaluate", *EVALUATED, "--run", "a/b"],
            "--run: a/b is not DATASET/METHOD/SEED",
        ),
        (
            ["evaluate", *EVALUATED, "--run", "a/b/0", "--choices", "c"],
            "--choices: is for choose: true",
        ),
        (
            ["features", "--data", "d", "--model", "m", "--out", "x", "--device", "gpu"],
            "gpu is none of auto, cpu, cuda",
        ),
    ],
)
def test_bad_input_is_one_line_and_a_status(tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert message in ended.value.code  # of which Python makes a line on standard error and the status 1
    assert len(ended.value.code.splitlines()) == 1
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_the_state_of_an_experiment_from_anywhere(write_config, tmp_path, capsys):
    config = write_config()
    with pytest.raises(SystemExit, match=r"^mlcl status: --root: .*/elsewhere holds no results/; name the folder that"):
        cli.main(["status", str(config), "--root", str(tmp_path / "elsewhere")])
    (tmp_path / "results").mkdir()
    cli.main(["status", str(config), "--root", str(tmp_path)])
    assert "ready to run" in capsys.readouterr().out


def test_an_error_of_the_system_is_one_line_too(tmp_path, tiny_data):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"^mlcl show: .*file.*: (File exists|Not a directory)$"):
        cli.main(["data", "show", str(tiny_data), "--out", str(tmp_path / "file" / "below")])
