"""Downloads from a server on this machine that cuts, stalls, lies and changes its mind."""

import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mlcl.data import transfer
from mlcl.data.catalogue import File
from mlcl.data.download import fetch
from mlcl.errors import UserError

SIZE = 600_000
CONTENT = random.Random(0).randbytes(SIZE)
OTHER = random.Random(1).randbytes(SIZE)
PAGE = b"<!DOCTYPE html><html><title>Quota exceeded</title></html>"
OFFLINE_SECONDS = 2


def md5(content):
    return "md5:" + hashlib.md5(content).hexdigest()


CHECKSUM = md5(CONTENT)


@dataclass
class Resource:
    """What the server gives at one path; each scripted list is used up request by request."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    ranges: bool = True
    conditions: bool = True
    """Whether it heeds If-Range."""
    type: str = "application/octet-stream"
    length: int | None = None
    """The Content-Length claimed, if not the true one."""
    tells_rest: bool = True
    """Whether a partial response has a Content-Length."""
    statuses: list[int] = field(default_factory=list)
    """Errors to answer before the first success."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of its body a response ends."""
    stalls: list[int] = field(default_factory=list)
    """After how many bytes of its body a response falls silent."""
    pause: float = 0.0
    """Seconds between two blocks of 32 kB."""
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)
    """Range and If-Range of each request."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        resource = self.server.resources.get(self.path)
        if resource is None:
            return self.send_error(404)
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        resource.requests.append((wanted, condition))
        if resource.statuses:
            return self.send_error(resource.statuses.pop(0))
        body, size, start = resource.content, len(resource.content), 0
        if wanted and resource.ranges and (not resource.conditions or condition in (None, resource.etag)):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= size:
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        if resource.tells_rest or not start:
            self.send_header("Content-Length", str((resource.length or size) - start))
        self.send_header("Content-Type", resource.type)
        if resource.etag:
            self.send_header("ETag", resource.etag)
        self.end_headers()
        body = body[start:]
        if resource.cuts:
            body = body[: resource.cuts.pop(0)]
        silent = bool(resource.stalls)
        if silent:
            body = body[: resource.stalls.pop(0)]
        try:
            for i in range(0, len(body), 1 << 15):
                self.wfile.write(body[i : i + (1 << 15)])
                time.sleep(resource.pause)
            if silent:
                self.server.over.wait(5)
        except OSError:
            pass  # the client is gone, as some tests want it
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.resources, server.over = {}, threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def offer(server):
    """Put resources on the server, in the order of mirrors, and describe the file they ought to be."""

    def put(*resources, checksum=CHECKSUM, by_hand=""):
        urls = []
        for resource in resources:
            path = f"/{len(server.resources)}/data.bin"
            server.resources[path] = resource
            urls.append(f"http://127.0.0.1:{server.server_port}{path}")
        return File("data.bin", checksum, tuple(urls), by_hand)

    return put


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def only(folder, *names):
    """Nothing but these files, save for hidden locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == sorted(names)


# -- a willing server ---------------------------------------------------------------------------------------


def test_a_file_comes_once(offer, tmp_path, capsys):
    resource = Resource()
    file = offer(resource)
    path = fetch(file, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert only(path.parent, "data.bin")
    assert "data.bin 100%" in capsys.readouterr().err
    assert fetch(file, path.parent) == path
    assert len(resource.requests) == 1


@pytest.mark.parametrize("checksum", [CHECKSUM, "sha256:" + hashlib.sha256(CONTENT).hexdigest(), None])
def test_cuts_are_resumed_where_they_came(offer, tmp_path, checksum):
    resource = Resource(cuts=[200_000, 150_000, 100_000])
    assert fetch(offer(resource, checksum=checksum), tmp_path).read_bytes() == CONTENT
    starts = [int(wanted[6:-1]) for wanted, _ in resource.requests[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 100_000
    assert [condition for _, condition in resource.requests] == [None, '"one"', '"one"', '"one"']


def test_more_cuts_than_tries_are_overcome_as_long_as_bytes_come(offer, tmp_path):
    resource = Resource(cuts=[80_000] * (transfer.TRIES + 1))
    assert fetch(offer(resource), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"one"', None])
def test_without_ranges_it_starts_again(offer, tmp_path, etag):
    resource = Resource(ranges=False, etag=etag, cuts=[300_000, 200_000])
    assert fetch(offer(resource), tmp_path).read_bytes() == CONTENT
    assert len(resource.requests) == 3


@pytest.mark.parametrize("etag", [None, 'W/"one"'])  # a weak one may be of other bytes
def test_without_a_checksum_or_a_validator_it_starts_again(offer, tmp_path, etag):
    resource = Resource(etag=etag, cuts=[300_000])
    assert fetch(offer(resource, checksum=None), tmp_path).read_bytes() == CONTENT
    assert resource.requests[1] == (None, None)


def test_a_rest_of_untold_length_is_counted(offer, tmp_path):
    resource = Resource(tells_rest=False, cuts=[300_000, 100_000])
    assert fetch(offer(resource, checksum=None), tmp_path).read_bytes() == CONTENT


def test_a_later_call_resumes(offer, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    resource = Resource(cuts=[300_000, 0])
    file = offer(resource)
    with pytest.raises(UserError, match="breaks off"):
        fetch(file, tmp_path)
    assert only(tmp_path, "data.bin.part", "data.bin.part.json")
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert resource.requests[-1][0] is not None
    assert only(tmp_path, "data.bin")


def test_a_whole_part_needs_no_request(offer, tmp_path):
    resource = Resource()
    file = offer(resource)
    part = transfer.Part(tmp_path / "data.bin")
    part.begin(transfer.Origin(file.urls[0], SIZE, '"one"'))
    part.path.write_bytes(CONTENT)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert not resource.requests


# -- changed, corrupt and wrong files -----------------------------------------------------------------------


@pytest.mark.parametrize("conditions", [True, False])
@pytest.mark.parametrize("new", [OTHER, OTHER[:400_000]], ids=["same length", "shorter"])
def test_a_changed_file_starts_again(offer, tmp_path, monkeypatch, new, conditions):
    monkeypatch.setattr(transfer, "TRIES", 1)
    resource = Resource(cuts=[300_000, 0])
    file = offer(resource, checksum=None)
    with pytest.raises(UserError):
        fetch(file, tmp_path)
    monkeypatch.setattr(transfer, "TRIES", 2)
    resource.content, resource.etag, resource.conditions = new, '"two"', conditions
    assert fetch(file, tmp_path).read_bytes() == new


@pytest.mark.parametrize("known", [True, False], ids=["from the catalogue", "published as the ETag"])
def test_a_corrupt_part_is_noticed_and_fetched_again(offer, tmp_path, known):
    resource = Resource(etag=f'"{CHECKSUM}"')
    file = offer(resource, checksum=CHECKSUM if known else None)
    part = transfer.Part(tmp_path / "data.bin")
    part.begin(transfer.Origin(file.urls[0], SIZE, resource.etag))
    part.path.write_bytes(OTHER[:300_000])
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert [wanted for wanted, _ in resource.requests] == ["bytes=300000-", None]


def test_a_broken_note_starts_again(offer, tmp_path):
    file = offer(Resource())
    (tmp_path / "data.bin.part").write_bytes(OTHER[:300_000])
    (tmp_path / "data.bin.part.json").write_text("{")
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert only(tmp_path, "data.bin")


def test_a_wrong_file_in_the_folder_is_kept_aside(offer, tmp_path, capsys):
    (tmp_path / "data.bin").write_bytes(OTHER)
    assert fetch(offer(Resource()), tmp_path).read_bytes() == CONTENT
    assert (tmp_path / "data.bin.wrong").read_bytes() == OTHER
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "kept as data.bin.wrong" in line]
    assert md5(OTHER).removeprefix("md5:") in line


def test_a_page_saved_by_hand_is_no_data_set(tmp_path):
    (tmp_path / "data.pkl").write_bytes(PAGE)
    with pytest.raises(UserError, match=r"has to be fetched by hand; open the drive, then put data\.pkl into"):
        fetch(File("data.pkl", by_hand="open the drive"), tmp_path)
    assert only(tmp_path, "data.pkl.wrong")


# -- mirrors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        Resource(OTHER),
        Resource(CONTENT[:-1]),
        Resource(PAGE, type="text/html; charset=utf-8"),
        Resource(PAGE),
        Resource(statuses=[403] * 9),
        Resource(statuses=[503] * 9),
        Resource(length=SIZE + 5),
        Resource(length=SIZE - 5),
        Resource(b""),
    ],
    ids=["other", "short", "page", "unlabelled page", "forbidden", "busy", "claims more", "claims less", "empty"],
)
def test_a_bad_mirror_is_passed_over(offer, tmp_path, bad):
    good = Resource()
    bad = Resource(**{**bad.__dict__, "statuses": list(bad.statuses), "requests": []})
    path = fetch(offer(bad, good), tmp_path)
    assert path.read_bytes() == CONTENT
    assert bad.requests
    assert good.requests
    assert only(tmp_path, "data.bin")


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_passed_over_though_nothing_is_known_of_the_file(offer, tmp_path, kind):
    file = offer(Resource(PAGE, type=kind), Resource(), checksum=None)
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_a_missing_file_is_passed_over(offer, server, tmp_path):
    file = offer(Resource(), Resource())
    del server.resources["/0/data.bin"]
    assert fetch(file, tmp_path).read_bytes() == CONTENT


def test_a_passing_error_is_tried_again(offer, tmp_path):
    first, second = Resource(statuses=[500, 503]), Resource()
    assert fetch(offer(first, second), tmp_path).read_bytes() == CONTENT
    assert len(first.requests) == 3
    assert not second.requests


def test_the_next_mirror_goes_on_where_the_first_broke_off(offer, tmp_path):
    first, second = Resource(cuts=[400_000] + [0] * 9), Resource(etag='"theirs"')
    assert fetch(offer(first, second), tmp_path).read_bytes() == CONTENT
    ((wanted, condition),) = second.requests
    assert wanted is not None
    assert condition is None


def test_without_a_checksum_the_next_mirror_starts_again(offer, tmp_path):
    first, second = Resource(OTHER, cuts=[400_000] + [0] * 9), Resource(etag='"theirs"')
    assert fetch(offer(first, second, checksum=None), tmp_path).read_bytes() == CONTENT
    assert second.requests == [(None, None)]


def test_a_stall_is_cut_and_resumed(offer, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "READ_SECONDS", 0.3)
    resource = Resource(stalls=[200_000])
    start = time.monotonic()
    assert fetch(offer(resource), tmp_path).read_bytes() == CONTENT
    assert time.monotonic() - start < 2
    assert len(resource.requests) == 2


def test_the_message_names_file_folder_checksum_and_reasons(offer, server, tmp_path):
    file = offer(Resource(OTHER), Resource(PAGE), Resource(), by_hand="fetch data.bin from the drive")
    del server.resources["/2/data.bin"]
    with pytest.raises(UserError) as error:
        fetch(file, tmp_path)
    text = one_line(error)
    for part in (
        f"{tmp_path}/data.bin: cannot be downloaded (127.0.0.1:",
        f"gives {md5(OTHER)}",
        "gives a web page",
        "answers 404",
        f"fetch data.bin from the drive, then put data.bin ({CHECKSUM}) into {tmp_path}",
        "--from",
    ):
        assert part in text
    assert only(tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_offline_says_so_at_once(tmp_path, monkeypatch, host):
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = File("data.bin", CHECKSUM, urls=(f"http://{host}:{port}/data.bin", f"http://{host}:{port}/again"))
    start = time.monotonic()
    with pytest.raises(UserError, match="cannot be reached") as error:
        fetch(file, tmp_path)
    assert time.monotonic() - start < OFFLINE_SECONDS
    assert f"fetch http://{host}:{port}/data.bin in another way" in one_line(error)


# -- the user's copy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["file", "folder", "symbolic link", "another name", "another disk"])
def test_a_copy_is_taken_as_it_is(offer, tmp_path, monkeypatch, way):
    resource = Resource()
    source = tmp_path / "mine" / ("renamed.bin" if way == "another name" else "data.bin")
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    if way == "symbolic link":
        source.rename(tmp_path / "real.bin")
        source.symlink_to(tmp_path / "real.bin")
    if way == "another disk":
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    path = fetch(offer(resource), tmp_path / "data", source.parent if way == "folder" else source)
    assert path.read_bytes() == CONTENT
    assert path.is_file()
    assert not path.is_symlink()
    assert source.read_bytes() == CONTENT
    assert not resource.requests
    assert only(path.parent, "data.bin")


def test_a_wrong_copy_is_refused_and_left_alone(offer, tmp_path):
    resource = Resource()
    source = tmp_path / "data.bin"
    source.write_bytes(OTHER)
    before = source.stat()
    with pytest.raises(UserError) as error:
        fetch(offer(resource), tmp_path / "data", source)
    assert f"{source}: has {md5(OTHER).replace(':', ' ')} instead of" in one_line(error)
    after = source.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert only(tmp_path / "data")
    assert not resource.requests


def test_a_copy_that_is_not_there(offer, tmp_path, capsys):
    with pytest.raises(UserError, match=r"is missing; give the path of data\.bin"):
        fetch(offer(Resource()), tmp_path, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert fetch(offer(Resource()), tmp_path / "data", tmp_path / "empty").read_bytes() == CONTENT
    assert "has no data.bin" in capsys.readouterr().err


def test_a_folder_that_is_a_file_is_a_one_line_error(offer, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError) as error:
        fetch(offer(Resource()), tmp_path / "data")
    assert str(tmp_path / "data") in one_line(error)


# -- processes ----------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
from mlcl.data.catalogue import File
from mlcl.data.download import fetch
url, checksum, folder = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
fetch(File("data.bin", checksum, urls=(url,)), Path(folder))
"""


def start(file, folder):
    command = [sys.executable, "-c", PROGRAM, file.urls[0], file.checksum, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def test_a_killed_download_resumes(offer, tmp_path):
    content = random.Random(2).randbytes(2_000_000)
    resource = Resource(content, pause=0.01)  # 0.6 s in all
    file = offer(resource, checksum=md5(content))
    folders = [tmp_path / str(i) for i in range(10)]

    def kill(folder, size):
        process = start(file, folder)
        go(process)
        while transfer.Part(folder / "data.bin").size < size and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    rng = random.Random(3)
    threads = [threading.Thread(target=kill, args=(folder, rng.randrange(len(content)))) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    resource.pause = 0
    begun = 0
    for folder in folders:
        there = transfer.Part(folder / "data.bin").size
        resource.requests.clear()
        path = fetch(file, folder)
        assert path.read_bytes() == content
        assert only(folder, "data.bin")
        if there:
            assert resource.requests == [(f"bytes={there}-", '"one"')]
            begun += 1
    assert begun >= 5  # most were killed amid the bytes


def test_two_processes_fetch_it_once(offer, tmp_path):
    resource = Resource(pause=0.02)
    file = offer(resource)
    processes = [start(file, tmp_path) for _ in range(3)]
    for process in processes:
        go(process)
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(resource.requests) == 1
    assert sum("another process is fetching it; waiting" in error for error in errors) == 2
    assert only(tmp_path, "data.bin")
