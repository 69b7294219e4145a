"""The project's own files in a folder of their own, under git, for tests of the whole."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def job_counts(output):
    """How many jobs of each rule Snakemake's output speaks of."""
    counts = dict(re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE))
    return {rule: int(count) for rule, count in counts.items() if rule not in ("all", "total")}


def wait_for(condition, process, seconds=120):
    """Until the condition holds, while the process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)


class Repository:
    def __init__(self, folder):
        self.folder = folder

    @classmethod
    def start(cls, folder, configs):
        """A repository with the project's files, and `configs` in the place of its own."""
        files = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        for file in files:
            if not file.startswith(("results/", "tests/", "docs/", "benchmarks/")):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, folder / file)
        for name, config in configs.items():
            (folder / "config" / name).write_text(yaml.safe_dump(config))
        repository = cls(folder)
        repository.run("git", "init", "-q", "-b", "main")
        return repository

    @property
    def environment(self):
        return {
            **os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(self.folder),
            "DVC_SITE_CACHE_DIR": str(self.folder.parent / "site-cache"), "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }  # fmt: skip

    def run(self, *command):
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def jobs(self, *command):
        """How many jobs of each rule the command ran."""
        return job_counts(self.run(*command))

    def commit(self, message):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message, "--allow-empty")

    def clean(self):
        return self.run("dvc", "status").strip() == "Data and pipelines are up to date."

    def change(self, key, value):
        file = self.folder / "config" / "config.yaml"
        config = yaml.safe_load(file.read_text())
        *parents, last = key.split(".")
        part = config
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
        file.write_text(yaml.safe_dump(config))

    def clone(self, name):
        self.run("git", "clone", "-q", str(self.folder), str(self.folder.parent / name))
        return Repository(self.folder.parent / name)

    def contents(self, *patterns):
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for pattern in patterns for path in sorted((self.folder / "results").glob(pattern)) if path.is_file()
        }  # fmt: skip
