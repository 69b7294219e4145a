"""Pickles from strangers: what is data comes back as `pickle.load` gives it, all else is refused and runs nothing."""

import copyreg
import io
import itertools
import os
import pickle
import random
import tracemalloc
from collections import OrderedDict, defaultdict
from contextlib import suppress
from typing import ClassVar

import numpy as np
import pytest

from mlcl.data import pickle_arrays, pickle_machine
from mlcl.data.unpickle import load, stream
from mlcl.errors import UserError

PROTOCOLS = range(6)
PLAIN = (list, tuple, dict, str, bytes, bytearray, int, float, bool, type(None), np.ndarray, np.generic)


class Python2(pickle._Pickler):
    """Writes strings as Python 2 did: bytes and text alike."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        if not self.bin:
            self.write(pickle.STRING + repr(data)[1:].encode() + b"\n")
        elif len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2(value, protocol):
    file = io.BytesIO()
    Python2(file, protocol).dump(value)
    return file.getvalue().replace(b"numpy._core.", b"numpy.core.")


def images(count, size=300):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size + i % 7, 1), np.uint8) for i in range(count)]


def data():
    return {
        "image_data": np.arange(2 * 5 * 5 * 3, dtype=np.uint8).reshape(2, 5, 5, 3),
        "class_dict": {"n01532829": [0, 1], "é": []},
        "arrays": [np.arange(6.0).reshape(2, 3, order="F"), np.arange(3, dtype=">i4"), np.zeros((0, 3)), np.array(7)],
        "turned": np.arange(24).reshape(2, 3, 4).transpose(0, 2, 1),
        "texts": [np.array(["ab", "é"]), np.array([b"x", b"yz"]), np.array([], "U3")],
        "numbers": [0, 1, -1, 255, 256, 70_000, 2**40, -(2**70), 1.5, True, False, None, np.float32(0.5), np.bool_(1)],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        7: [b"", b"\x00\xff", b"long" * 100, "a\nb\\"],
    }


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        native = a.dtype.newbyteorder("="), b.dtype.newbyteorder("=")  # pickle.load swaps bytes
        return native[0] == native[1] and a.shape == b.shape and (a == b).all()
    return a == b


def plain(value):
    if isinstance(value, dict):
        return all(map(plain, value)) and all(map(plain, value.values()))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufSU"
    return isinstance(value, PLAIN) and (not isinstance(value, (list, tuple)) or all(map(plain, value)))


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "data.pkl"
        path.write_bytes(content)
        return path

    return write


def refusal(path, read=load):
    """The line with which the file is refused."""
    with pytest.raises(UserError) as error:
        list(read(path)) if read is stream else read(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    assert len(line) < len(str(path)) + 300
    return line


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_data_comes_back(write, protocol):
    assert same(load(write(pickle.dumps(data(), protocol))), data())


@pytest.mark.parametrize("protocol", range(3))
def test_python_2s_strings_are_text(write, protocol):
    content = python2(data(), protocol)
    assert same(load(write(content)), pickle.loads(content, encoding="latin1"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_special_dictionaries_become_plain(write, protocol):
    value = [OrderedDict(a=[1]), defaultdict(list, a=[1]), defaultdict(int, a=[1]), defaultdict(None, a=[1])]
    assert same(load(write(pickle.dumps(value, protocol))), [{"a": [1]}] * 4)


@pytest.mark.parametrize("chunk", [997, 1 << 20])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_long_array_stays_in_the_file(write, monkeypatch, protocol, chunk):
    monkeypatch.setattr(pickle_machine, "LONG", 20_000)
    monkeypatch.setattr(pickle_arrays, "CHUNK", chunk)
    value = {"image_data": np.random.default_rng(0).integers(0, 256, (30_000, 1), np.uint8), "after": [1]}
    if protocol:
        loaded = load(write(pickle.dumps(value, protocol)))
        assert same(loaded, value)
        assert (type(loaded["image_data"].base).__name__ == "mmap") == (protocol > 2)
    if protocol in (1, 2):
        loaded = load(write(python2(value, protocol)))
        assert same(loaded, value)
        assert type(loaded["image_data"].base).__name__ == "mmap"
    if not protocol:
        for content in (pickle.dumps(value, 0), python2(value, 0)):
            assert "holds images as text (protocol 0); write it with protocol 2 or later" in refusal(write(content))


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stream_has_the_items_of_the_list(write, protocol, count):
    for content in [pickle.dumps(images(count), protocol)] + [python2(images(count), protocol)] * (protocol < 3):
        assert same(list(stream(write(content))), images(count))
    raw = [image.tobytes() for image in images(count)]
    assert list(stream(write(pickle.dumps(raw, protocol)))) == raw


def test_a_stream_goes_on_at_an_item(write):
    path = write(pickle.dumps(images(2100), 2))
    assert same(list(itertools.islice(stream(path), 1500, 1502)), images(2100)[1500:1502])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_stream_takes_no_more_memory_for_more_items(write, protocol):
    path = write(pickle.dumps(images(12_000, 2000), protocol))
    tracemalloc.start()
    assert sum(1 for _ in stream(path)) == 12_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000 < path.stat().st_size


def test_what_is_no_list_of_images_is_not_streamed(write):
    for value, reason in [
        (data(), "holds a dict"),
        ((b"",), "holds a tuple"),
        (images(1)[0], "holds a ndarray"),
        ([{"a": b""}], "lists a dict"),
        (["text"], "lists a str"),
        ([[b""]], "lists a list"),
        ([np.uint8(1)], "lists a uint8"),
    ]:
        for protocol in PROTOCOLS:
            assert reason in refusal(write(pickle.dumps(value, protocol)), stream)


def test_an_image_listed_twice_is_not_streamed(write):
    first = images(1)
    for protocol in PROTOCOLS:
        assert "earlier image" in refusal(write(pickle.dumps(first + images(1000) + first, protocol)), stream)


def test_a_missing_file_is_named(tmp_path):
    for read in (load, stream):
        assert "No such file" in refusal(tmp_path / "data.pkl", read)


class Reduced:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce_ex__(self, protocol):
        return self.reduced


class Stated:
    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        os.system(f"touch {self.path}")


def placements(value):
    """Where an attack may hide."""
    held = np.empty(1, object)
    held[0] = value
    yield from (value, [value], {"image_data": value}, [b"image", (value, [value])], held, OrderedDict(a=value))


def attacks(sentinel):
    """Objects whose unpickling runs something, calls something or makes something other than data."""
    import codecs
    import functools
    import operator
    import subprocess

    shell = f"touch {sentinel}"
    stated = Stated(sentinel)
    stated.__dict__["x"] = 1
    yield from (
        Reduced(os.system, (shell,)),
        Reduced(eval, (f"open({str(sentinel)!r}, 'w')",)),
        Reduced(exec, (f"open({str(sentinel)!r}, 'w')",)),
        Reduced(open, (str(sentinel), "w")),
        Reduced(subprocess.Popen, (["touch", str(sentinel)],)),
        Reduced(subprocess.getoutput, (shell,)),
        Reduced(getattr, (Reduced(__import__, ("os",)), "system")),
        Reduced(operator.attrgetter("system"), (1,)),
        Reduced(functools.partial, (os.system, shell)),
        Reduced(map, (os.system, [shell])),
        Reduced(np.load, (str(sentinel),)),
        Reduced(np.save, (str(sentinel), 1)),
        Reduced(codecs.decode, (b"eA==", "base64")),
        Reduced(bytearray, (1 << 40,)),
        Reduced(type, ("X", (), {})),
        Reduced(object, ()),
        Reduced(set, ([1],)),
        Reduced(complex, (1, 2)),
        Reduced(object, (), {"__class__": 1}),
        Reduced(np.random.default_rng, ()),
        Reduced(copyreg._reconstructor, (Stated, object, None), {"path": str(sentinel)}),
        stated,
        os.system,
        Stated,
        np.array([Reduced(os.system, (shell,))], object),
        np.array([1], "datetime64[s]"),
        np.array([(1, 2)], "i4,i4"),
        np.array([b"ab"], "V2"),
        np.ma.array([1]),
        np.dtype(object),
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_attack_is_refused_and_runs_nothing(write, tmp_path, protocol):
    sentinel = tmp_path / "sentinel"
    tried = 0
    for attack in attacks(sentinel):
        for placed in placements(attack):
            path = write(pickle.dumps(placed, protocol))
            for read in (load, stream):
                refusal(path, read)
                tried += 1
            assert not sentinel.exists()
    assert tried == 30 * 6 * 2


def test_the_attacks_would_work(tmp_path):
    sentinel = tmp_path / "sentinel"
    worked = 0
    for attack in itertools.islice(attacks(sentinel), 4):
        pickle.loads(pickle.dumps(attack))
        worked += sentinel.exists()
        sentinel.unlink(missing_ok=True)
    assert worked == 4


def test_the_name_asked_for_is_given(write):
    for protocol in PROTOCOLS:
        line = refusal(write(pickle.dumps(Reduced(os.system, ("true",)), protocol)))
        assert f"asks for {os.system.__module__}.system, " in line
        assert "nothing was executed" in line


def test_instructions_that_data_does_not_need_are_refused(write, tmp_path):
    sentinel = tmp_path / "sentinel"
    shell = f"touch {sentinel}".encode()
    copyreg.add_extension("posix", "system", 200)
    text = pickle.SHORT_BINUNICODE + bytes([len(shell)]) + shell
    try:
        for content in (
            b"cposix\nsystem\n(S'" + shell + b"'\ntR.",
            b"(S'" + shell + b"'\niposix\nsystem\n.",
            b"(S'" + shell + b"'\ni__builtin__\nlist\n.",
            b"(cposix\nsystem\nS'" + shell + b"'\no.",
            b"(c__builtin__\nlist\no.",
            b"\x82\xc8" + text + b"\x85R.",  # EXT1, EXT2, EXT4
            b"\x83\xc8\x00" + text + b"\x85R.",
            b"\x84\xc8\x00\x00\x00" + text + b"\x85R.",
            b"c__builtin__\nlist\n)\x81.",  # NEWOBJ
            b"c__builtin__\nlist\n)}\x92.",  # NEWOBJ_EX
            b"\x8c\x05posix\x8c\x06system\x93" + text + b"\x85R.",
            b"\x8c\x05posix\x8c\x0bsystem.name\x93.",
            b"K\x01K\x02\x93.",
            b"]]\x93.",
            b"cposix\nsys\xfftem\n.",
            b"cposix\n" + b"system" * 1000 + b"\n.",
            b"cposix\n\x1b[31m\r\n.",
            b"Pname\n.",
            b"U\x01aQ.",
            b"\x97.",  # NEXT_BUFFER
            b"\x98.",
            b"\x8f.",
            b"]2.",
            b"]0.",
            b"\xff.",
        ):
            for read in (load, stream):
                refusal(write(content), read)
                assert not sentinel.exists()
    finally:
        copyreg.remove_extension("posix", "system", 200)


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
DTYPE = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def test_the_allowed_names_are_not_to_be_misused(write):
    ok = ARRAY + b"(K\x01K\x02\x85" + DTYPE + b"\x89U\x02abtb."
    assert same(load(write(ok)), np.frombuffer(b"ab", np.uint8))
    for content in (
        b"c__builtin__\nlist\n.",
        b"cnumpy\nndarray\n.",
        b"(lcnumpy\nndarray\na.",
        b"cnumpy\nndarray\nK\x02\x85R.",
        b"c__builtin__\nlist\nU\x01a\x85R.",
        b"c__builtin__\nint\nU\x019\x85R.",
        b"c__builtin__\nbytes\nJ\x00\x00\x00\x7f\x85R.",
        b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.",
        b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00base64\x86R.",
        b"c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xacX\x06\x00\x00\x00latin1\x86R.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1X\x06\x00\x00\x00strictK\x01tR.",
        b"c_codecs\nencode\n]X\x06\x00\x00\x00latin1\x86R.",
        b"c_codecs\nencode\n)R.",
        b"c_codecs\nencode\n].",
        b"c_codecs\nencode\n}b.",
        b"]}b.",
        b"}}b.",
        ARRAY + b".",
        ARRAY + b"}b.",
        b"]" + ARRAY + b"a.",
        ARRAY + b"q\x00(K\x01K\x02\x85" + DTYPE + b"\x89h\x00tb.",
        ARRAY + b"(K\x01K\x03\x85" + DTYPE + b"\x89U\x02abtb.",
        ARRAY + b"(K\x01K\x02\x85" + DTYPE + b"\x89]tb.",
        ARRAY + b"(K\x01K\x02\x85" + DTYPE + b"\x89NtbN.",
        ARRAY + b"(K\x01J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86" + DTYPE + b"\x89U\x02abtb.",
        ARRAY + b"(K\x01K\x02\x85U\x02u1\x89U\x02abtb.",
        ARRAY + b"(K\x01K\x02" + DTYPE + b"\x89U\x02abtb.",
        ARRAY + b"(K\x01G?\xf0\x00\x00\x00\x00\x00\x00\x85" + DTYPE + b"\x89U\x01atb.",
        ARRAY + b"(K\x01(" + b"K\x01" * 5000 + b"t" + DTYPE + b"\x89U\x01atb.",
        ARRAY + b"(K\x01(" + (b"\x8a\xff" + b"\x7f" * 255) * 30 + b"t" + DTYPE + b"\x89U\x01atb.",
        ARRAY + b"(K\x01K\x00\x8a\x08" + b"\xff" * 7 + b"\x7f\x86" + DTYPE + b"\x89U\x01atb.",
        DTYPE + b".",
        DTYPE.replace(b"U\x02u1", b"U\x01O") + b".",
        DTYPE.replace(b"U\x02u1", b"U\x02O8") + b".",
        DTYPE.replace(b"U\x02u1", b"U\x05u1,u1") + b".",
        DTYPE.replace(b"U\x02u1", b"U\x0aS999999999") + b".",
        DTYPE.replace(b"U\x02u1", b"]") + b".",
        DTYPE.replace(b"|N", b"|]") + b".",
        ARRAY + b"(K\x01K\x01\x85" + DTYPE.replace(b"U\x02u1", b"U\x02U1") + b"\x89U\x04\xff\xff\xff\xfftb.",
        b"cnumpy.core.multiarray\nscalar\n" + DTYPE + b"U\x02ab\x86R.",
        b"cnumpy.core.multiarray\nscalar\n" + DTYPE.replace(b"U\x02u1", b"U\x01O") + b"U\x02ab\x86R.",
        b"cnumpy.core.multiarray\nscalar\n]]\x86R.",
        b"cnumpy.core.numeric\n_frombuffer\n(U\x02ab" + DTYPE + b"K\x03\x85U\x01CtR.",
    ):
        for read in (load, stream):
            refusal(write(content), read)


def test_a_file_takes_no_more_than_it_holds(write, monkeypatch):
    huge = (2**62).to_bytes(8, "little")
    for content in (
        b"B\xff\xff\xff\xff.",
        b"T\xff\xff\xff\xff.",
        b"X\xff\xff\xff\x7f.",
        b"\x8e" + huge + b".",
        b"\x8d" + huge + b".",
        b"\x96" + huge + b".",
        b"\x8e" + b"\xff" * 8 + b".",
        b"I" + b"9" * 100_000 + b"\n.",
        b"L" + b"9" * 100_000 + b"L\n.",
        b"\x8b\xff\xff\xff\x7f.",
        b"(K\x01" * 100_000 + b"t" * 100_000 + b"}q\x00.",
        b"}" + b")" + b"\x85" * 100_000 + b"K\x01s.",  # the hash of such a tuple would overflow the C stack
        b"N" * 1000,
        b"(" * 100_000,
    ):
        refusal(write(content))
    monkeypatch.setattr(pickle_machine, "BUDGET", 20_000)
    text = b"\x8c\xff" + b"a" * 255
    for content in (
        b"]" * 30_000,
        b"(" + b"]" * 30_000 + b"l.",
        b"](" + b"".join(b"]q\x00" for _ in range(15_000)) + b"e.",
        b"](" + text * 6000 + b"e.",
        b"](c_codecs\nencode\nq\x00X\x00\x00\x01\x00" + b"a" * 65_536 + b"q\x01X\x06\x00\x00\x00latin1q\x02"
        b"\x86R" + b"h\x00h\x01h\x02\x86R" * 40 + b"e.",
    ):
        for read in (load, stream):
            assert "more small objects" in refusal(write(content), read)


def test_lists_may_be_deep_or_hold_themselves(write):
    value = load(write(b"]" * 100_000 + b"a" * 99_999 + b"."))
    depth = 1
    while value:
        value, depth = value[0], depth + 1
    assert depth == 100_000
    itself = load(write(b"]q\x00h\x00a."))
    assert itself[0] is itself


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_cut_off_anywhere_is_refused(write, protocol):
    small = {"image_data": np.zeros((2, 3), np.uint8), "é": [b"\xff", 2**40, 300, (1, 1.5, None, True), np.float32(1)]}
    for read, value in ((load, small), (stream, images(3, 20))):
        content = pickle.dumps(value, protocol)
        for end in range(len(content)):
            refusal(write(content[:end]), read)
        refusal(write(content + b"."), read)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_flipped_bits_give_data_or_a_refusal(write, tmp_path, protocol):
    sentinel = tmp_path / "sentinel"
    values = [data(), images(3, 20), [Reduced(os.system, (f"touch {sentinel}",))]]
    contents = [pickle.dumps(value, protocol) for value in values]
    rng = random.Random(protocol)
    for _ in range(150):
        for content in contents:
            flipped = bytearray(content)
            for _ in range(rng.choice((1, 1, 2, 8))):
                flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            path = write(flipped)
            for read in (load, stream):
                with suppress(UserError):
                    assert plain(read(path) if read is load else list(read(path)))
                assert not sentinel.exists()
