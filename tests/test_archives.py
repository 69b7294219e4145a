"""Archives from strangers: unpacked whole below one folder, or refused with one line and nothing left behind."""

import bz2
import gzip
import io
import random
import stat
import struct
import tarfile
import tempfile
import threading
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mlcl.data import archives
from mlcl.data.archives import unpack, unpacked
from mlcl.errors import UserError

FILES = {"data/a.txt": b"a" * 3000, "data/sub/b.bin": bytes(range(256)) * 9, "empty": b"", "é.png": b"\x89PNG"}
KINDS = {"zip": None, "tar": lambda data: data, "tar.gz": gzip.compress, "tar.bz2": bz2.compress}
LIMIT = 1 << 20


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    """A zip of name -> contents, or ZipInfo -> contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, contents in files:
            file.writestr(name, contents)
    return buffer.getvalue()


def tarred(files, form=tarfile.PAX_FORMAT):
    """A tar of name -> contents, or TarInfo -> contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for name, contents in files:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(contents)
            file.addfile(info, io.BytesIO(contents))
    return buffer.getvalue()


def archived(kind, files):
    return zipped(files) if kind == "zip" else KINDS[kind](tarred(files))


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "stranger"
        path.write_bytes(content)
        return path

    return write


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(archive, limit=LIMIT):
    """The files of an archive, by name."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, Path(folder, "into"), limit)
        return contents(Path(folder, "into"))


def refusal(archive, limit=LIMIT):
    """The line with which the archive is refused, after which nothing is left."""
    folder = archive.parent
    before = contents(folder)
    with pytest.raises(UserError) as error:
        unpack(archive, folder / "into", limit)
    assert contents(folder) == before
    assert not any(path.is_dir() for path in folder.iterdir())
    line = str(error.value)
    assert line.startswith(f"{archive}: ")
    assert line.isprintable()
    return line


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_come_out(write, tmp_path, kind):
    folder = tarfile.TarInfo("data/folder")
    folder.type = tarfile.DIRTYPE
    entries = [("data/" if kind == "zip" else folder, b""), *FILES.items()]
    path = write(archived(kind, entries))
    unpack(path, tmp_path / "new" / "into", LIMIT)
    assert contents(tmp_path / "new" / "into") == FILES
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["into"]
    unpack(path, tmp_path / "part", LIMIT, "data/sub/")
    assert contents(tmp_path / "part") == {"b.bin": FILES["data/sub/b.bin"]}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_forms_of_tar_are_read(write, form):
    long = {"folder/" * 20 + "a" * 90 + ".png": b"x"} if form != tarfile.USTAR_FORMAT else {}
    assert read(write(tarred([*FILES.items(), *long.items()], form))) == FILES | long


def test_detours_and_mode_bits_are_not_taken_over(write, tmp_path):
    program = tarfile.TarInfo("./bin//./run")
    program.mode = 0o6777
    unpack(write(tarred([(program, b"#!")])), tmp_path / "into", LIMIT)
    assert stat.S_IMODE((tmp_path / "into/bin/run").stat().st_mode) & 0o7111 == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_stays(write, tmp_path, kind):
    path = write(archived(kind, FILES.items()))
    (tmp_path / "into").mkdir()
    (tmp_path / "into/mine").write_text("mine")
    with pytest.raises(UserError, match="is there already; remove it"):
        unpack(path, tmp_path / "into", LIMIT)
    assert contents(tmp_path / "into") == {"mine": b"mine"}
    (tmp_path / "into/mine").unlink()
    unpack(path, tmp_path / "into", LIMIT)
    assert contents(tmp_path / "into") == FILES


def test_none_of_the_files_needed(write, tmp_path):
    path = write(zipped(FILES.items()))
    with pytest.raises(UserError, match="none of the files needed"):
        unpack(path, tmp_path / "into", LIMIT, "other/")


BAD_NAMES = [
    "/etc/passwd",
    "//server/share",
    "../outside",
    "..",
    "a/../../outside",
    "a/..",
    "..\\outside",
    "a\\b",
    "\\\\server\\share",
    "C:/windows",
    "C:outside",
    "file:stream",
    "line\nbreak",
    "\x1b[31m",
    ".",
    "a/" * 70 + "b",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_leads_elsewhere_is_refused(write, kind):
    for name in BAD_NAMES:
        path = write(archived(kind, [("good", b"x"), (name, b"y")]))
        assert "leads out" in (line := refusal(path)) or "no name for a file" in line
    for folder in ("/tmp/", "../outside/", "C:/"):
        info = tarfile.TarInfo(folder)
        info.type = tarfile.DIRTYPE
        refusal(write(archived(kind, [("good", b"x"), (folder if kind == "zip" else info, b"")])))


def test_a_zips_name_is_checked_beyond_a_zero_byte(write):
    refusal(write(zipped([("name-one", b"x")]).replace(b"name-one", b"name\0one")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_is_there_once(write, kind):
    for again in ("a/b", "./a/b", "a//b"):
        assert "twice" in refusal(write(archived(kind, [("a/b", b"x"), ("c", b""), (again, b"y")])))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_no_folder(write, tmp_path, kind):
    for first, second in (("a", "a/b"), ("a/b", "a")):
        path = write(archived(kind, [(first, b"x"), (second, b"y")]))
        with pytest.raises(UserError, match="cannot be unpacked into"):
            unpack(path, tmp_path / "into", LIMIT)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2"])
def test_only_files_and_folders_come_out_of_a_tar(write, kind):
    for type in (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"Z",
    ):
        for target in ("good", "/etc/passwd", "../outside"):
            info = tarfile.TarInfo("member")
            info.type, info.linkname = type, target
            line = refusal(write(archived(kind, [("good", b"x"), (info, b"")])))
            assert "'member' is a link, a device or a sparse file" in line
    sparse = tarfile.TarInfo("member")
    sparse.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000"}
    assert "sparse" in refusal(write(archived(kind, [(sparse, b"x")])))


def test_only_files_and_folders_come_out_of_a_zip(write):
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK):
        for name in ("member", "member/"):
            info = zipfile.ZipInfo(name)
            info.external_attr = (kind | 0o777) << 16
            assert "is a link or a device" in refusal(write(zipped([("good", b"x"), (info, b"/etc/passwd")])))


def test_an_encrypted_or_unusual_zip_is_refused(write):
    content = bytearray(zipped([("member", b"x")]))
    central = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[central + 8] |= 1
    assert "is encrypted; decrypt" in refusal(write(content))
    for compression in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        assert "unusual" in refusal(write(zipped([("member", b"x")], compression)))


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2"])
def test_a_bomb_is_refused_before_it_goes_off(write, tmp_path, kind):
    zeros = bytes(1 << 20)
    path = tmp_path / "stranger"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("bomb", "w", force_zip64=True) as bomb:
            for _ in range(1 << 10):
                bomb.write(zeros)
    else:
        info = tarfile.TarInfo("bomb")
        info.size = 1 << 30
        with {"tar.gz": gzip.open, "tar.bz2": bz2.open}[kind](path, "wb", 1) as file:
            file.write(info.tobuf())
            for _ in range(100 if kind == "tar.gz" else 10):
                file.write(zeros)
    assert path.stat().st_size < 6 << 20
    tracemalloc.start()
    assert "'bomb' is more than the" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


@pytest.mark.parametrize("kind", KINDS)
def test_many_small_files_are_a_bomb_as_well(write, monkeypatch, kind):
    path = write(archived(kind, [(f"{i}", b"x" * 1000) for i in range(50)]))
    assert "'40' is more than the 40000 bytes" in refusal(path, 40_000)
    assert len(read(path, 50_000)) == 50
    monkeypatch.setattr(archives, "MOST_MEMBERS", 49)
    assert "or 49 members" in refusal(path)


def test_a_zip_that_declares_less_or_more_than_it_holds(write):
    whole = zipped([("member", bytes(100_000))])
    central = whole.index(b"PK\x01\x02")
    for declared in (10, 99_999, 100_001, 1_000_000):
        content = bytearray(whole)
        content[22:26] = content[central + 24 : central + 28] = struct.pack("<I", declared)
        refusal(write(content))
    assert "more than the" in refusal(write(whole), 99_999)


def test_a_tars_headers_do_not_fill_the_memory(write):
    def header(type, size):
        info = tarfile.TarInfo("header")
        info.type, info.size = type, size
        return info.tobuf(tarfile.GNU_FORMAT)

    for type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
        for size in (1 << 40, 2 << 20, -1, -600, -(1 << 40)):
            content = header(type, size) + bytes(4 << 20)
            for kind in ("tar", "tar.gz"):
                refusal(write(KINDS[kind](content)))
        refusal(write(header(type, 512) * 3000))
    for size in (-1, -512, -(1 << 40)):
        refusal(write(header(tarfile.REGTYPE, size) + bytes(10_240)))


def test_what_is_no_archive_is_refused(write):
    for content in (b"", b"<html>Quota exceeded</html>", b"PK", b"PK\x05\x06", b"BZ", b"BZh9", b"\x1f\x8b", bytes(600)):
        assert "no zip or tar archive" in refusal(write(content))
    assert "no zip or tar archive" in refusal(write(gzip.compress(b"text")))


def test_a_missing_archive_is_named(tmp_path):
    assert "cannot be read (No such file" in refusal(tmp_path / "stranger")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_cut_off_anywhere_is_refused(write, kind):
    content = archived(kind, FILES.items())
    if kind == "tar":
        content = content.rstrip(b"\0") + bytes(tarfile.BLOCKSIZE)  # the zeros after that may be left out
        content = content[: len(content) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE]
    for end in [*range(0, len(content), 97 if kind == "tar" else 7), len(content) - 1]:
        refusal(write(content[:end]))


def test_a_zip_that_lists_fewer_files_than_it_declares_is_refused(write):
    content = bytearray(zipped(FILES.items()))
    first = content.index(b"PK\x01\x02")
    rest = content.index(b"PK\x05\x06") - first - 46 - len("data/a.txt")
    content[first + 32 : first + 34] = struct.pack("<H", rest)  # the first entry's comment, over all the others
    assert "lists 1 files and declares 4" in refusal(write(content))


def test_a_tar_that_goes_on_after_its_end_is_refused(write):
    """As where one header in the midst is lost."""
    content = bytearray(tarred(FILES.items()))
    offset = content.index(b"data/sub/b.bin")
    content[offset : offset + 512] = bytes(512)
    assert "goes on after its end" in refusal(write(content))
    content[offset : offset + 4] = b"lost"
    assert "a header is cut off or broken" in refusal(write(content))


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_give_files_below_the_folder_or_a_refusal(write, tmp_path, kind):
    content = archived(kind, FILES.items())
    rng = random.Random(kind)
    for i in range(200):
        flipped = bytearray(content)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        path = write(flipped)
        with suppress(UserError):
            found = read(path)
            if kind != "tar":  # a tar has no checksum of the contents
                assert sorted(found.values()) == sorted(FILES.values())
        with suppress(UserError):
            unpack(path, tmp_path / f"into{i}", LIMIT)
        assert {p.name for p in tmp_path.iterdir()} <= {path.name, *(f"into{j}" for j in range(i + 1))}


def test_a_folder_is_unpacked_once_and_then_left_alone(tmp_path):
    archive, folder = tmp_path / "data.zip", tmp_path / "data"
    archive.write_bytes(zipped(FILES.items()))
    assert unpacked(archive, folder) == folder
    assert contents(folder) == {"a.txt": FILES["data/a.txt"], "sub/b.bin": FILES["data/sub/b.bin"]}
    archive.unlink()
    assert unpacked(archive, folder) == folder
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["data"]
    with pytest.raises(UserError, match=r"other: is missing, and so is other\.zip beside it; put either there"):
        unpacked(tmp_path / "other.zip", tmp_path / "other")


def test_who_comes_while_it_is_unpacked_waits_and_what_one_that_was_killed_left_goes(tmp_path, monkeypatch):
    (tmp_path / ".data.killed" / "all").mkdir(parents=True)
    archive = tmp_path / "x.zip"
    archive.write_bytes(zipped(FILES.items()))
    calls, begun, whole = [], threading.Event(), archives.unpack

    def slowly(*arguments):
        calls.append(arguments)
        begun.set()
        time.sleep(0.2)
        whole(*arguments)

    monkeypatch.setattr(archives, "unpack", slowly)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(unpacked, archive, tmp_path / "data")
        begun.wait()
        assert unpacked(archive, tmp_path / "data") == first.result()
    assert len(calls) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"x.zip", "data", ".data.lock"}


def test_what_an_archive_cut_off_gave_is_not_taken_for_its_folder(tmp_path):
    archive, folder = tmp_path / "data.tar", tmp_path / "data"
    whole = tarred(FILES.items())
    archive.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        with pytest.raises(UserError, match=r"data\.tar: is no zip or tar archive, or a broken one"):
            unpacked(archive, folder)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["data.tar"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    archive, folder = tmp_path / "data.zip", tmp_path / "data"
    archive.write_bytes(zipped(FILES.items()))
    folder.write_text("a file")
    with pytest.raises(UserError, match=r"data: is there already; remove it to unpack .*data\.zip"):
        unpacked(archive, folder)
    assert folder.read_text() == "a file"
    assert len(list(tmp_path.glob("[!.]*"))) == 2
