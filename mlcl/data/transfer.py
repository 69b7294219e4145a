"""A file from its public sources: resumed after a cut, verified, from the next mirror where one fails.

Beside NAME, a download in progress is NAME.part, and NAME.part.json tells which source its bytes came from.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.util import Retry

from mlcl.data.catalogue import File
from mlcl.errors import UserError
from mlcl.files import replacing
from mlcl.progress import Progress

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # without a byte
TRIES = 5  # in a row that bring nothing new, before a mirror is given up
BACKOFF_SECONDS = 0.5  # after the first of them; it doubles
RETRY_AFTER_SECONDS = 10  # the longest wait that a server may ask for
BUSY = (429, 500, 502, 503, 504)
CHUNK = 1 << 16


def download(file: File, path: Path) -> None:
    """Download `file` to `path`. Raises `UserError` with each mirror's reason where none gives it."""
    part, reasons = Part(path), []
    retry = Retry(
        total=None, connect=0, read=False, other=0, status=2, status_forcelist=BUSY, raise_on_status=False,
        backoff_factor=BACKOFF_SECONDS, retry_after_max=RETRY_AFTER_SECONDS,
    )  # fmt: skip
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"  # lengths and ranges are to count the file's own bytes
        session.mount("http://", HTTPAdapter(max_retries=retry))
        session.mount("https://", HTTPAdapter(max_retries=retry))
        for url in file.urls:
            try:
                _persist(session, url, file, part)
                return part.finish()
            except MirrorError as failure:
                reasons.append(f"{urlsplit(url).netloc} {failure}")
    problem = f"cannot be downloaded ({'; '.join(reasons)})" if reasons else "has to be fetched by hand"
    checksum = f" ({file.checksum})" if file.checksum else ""
    remedy = file.by_hand or f"fetch {file.urls[0]} in another way"
    raise UserError(
        f"{path}: {problem}; {remedy}, then put {file.name}{checksum} into {path.parent}, or read the data set from "
        "where you have it with --from"
    )


def is_web_page(start: bytes) -> bool:
    return start.lstrip().lower().startswith((b"<!doctype html", b"<html"))


# -- a part -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """What the bytes of a part are the beginning of."""

    url: str
    length: int
    validator: str | None
    """The ETag, else the date of the last change, by which a server tells whether its file is still the same."""

    @property
    def published(self) -> str | None:
        """The checksum that archives as Zenodo give for an ETag."""
        match = re.fullmatch(r'"(md5:[0-9a-f]{32})"', self.validator or "")
        return match and match[1]


class Part:
    """The beginning of a file, kept from one attempt to the next, and a note of its origin."""

    def __init__(self, final: Path):
        self.final = final
        self.path = final.with_name(f"{final.name}.part")
        self._note = final.with_name(f"{final.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def digest(self, algorithm: str):
        """The hash of the bytes there, to be updated with those that follow."""
        if not self.size:
            return hashlib.new(algorithm)
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, algorithm)

    def origin(self) -> Origin | None:
        """Where the part comes from, if there is one and that is known."""
        try:
            return Origin(**json.loads(self._note.read_text())) if self.size else None
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def begin(self, origin: Origin) -> None:
        self.discard()  # first: a note never stands beside the bytes of another origin
        with replacing(self._note) as [temporary]:
            temporary.write_text(json.dumps(asdict(origin)))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Let the whole file take its name."""
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.final)


# -- one mirror ---------------------------------------------------------------------------------------------


class MirrorError(Exception):
    """What is wrong with a mirror, in a few words; `passing` where another try may mend it."""

    def __init__(self, reason: str, passing: bool = False):
        super().__init__(reason)
        self.passing = passing


class UnreachableError(MirrorError):
    """No connection: final at the start, so that being offline shows at once; passing once bytes have come."""


def _persist(session: requests.Session, url: str, file: File, part: Part) -> None:
    """Download from one mirror, going on after each cut, until `TRIES` in a row bring no new byte."""
    start = most = part.size
    tries = 0
    while True:
        try:
            return _attempt(session, url, file, part)
        except MirrorError as failure:
            tries, most = (0, part.size) if part.size > most else (tries + 1, most)
            passing = most > start if isinstance(failure, UnreachableError) else failure.passing
            if not passing or tries == TRIES:
                raise
            time.sleep(BACKOFF_SECONDS * 2**tries)


def _attempt(session: requests.Session, url: str, file: File, part: Part) -> None:
    """One request for what `part` lacks, and the check of the whole. Raises `MirrorError`."""
    algorithm = file.checksum.split(":")[0] if file.checksum else "md5"
    origin = part.origin()
    if not origin or part.size > origin.length or not (file.checksum or (origin.url == url and origin.validator)):
        part.discard()  # nothing would tell whether the bytes to come belong to those there
        origin = None
    offset, digest = part.size, part.digest(algorithm)
    if not origin or offset < origin.length:
        with _request(session, url, offset, origin) as response:
            if not _continues(response, url, offset, origin, part):
                origin = _described(response, url)
                part.begin(origin)
                offset, digest = 0, part.digest(algorithm)
            with open(part.path, "ab") as out, Progress(file.name, origin.length, "bytes", offset) as progress:
                for chunk in _chunks(response):
                    if not out.tell() and is_web_page(chunk):
                        raise MirrorError("gives a web page")
                    out.write(chunk)
                    digest.update(chunk)
                    progress.advance(len(chunk))
    if part.size < origin.length:
        raise MirrorError("breaks off", passing=True)
    found, expected = f"{algorithm}:{digest.hexdigest()}", file.checksum or origin.published
    if part.size > origin.length or expected not in (None, found):
        part.discard()
        raise MirrorError(f"gives {found}", passing=offset > 0)  # the fault may lie in the bytes that were there


# -- one response -------------------------------------------------------------------------------------------


def _request(session: requests.Session, url: str, offset: int, origin: Origin | None) -> requests.Response:
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and origin.url == url and origin.validator:
        headers["If-Range"] = origin.validator
    try:
        return session.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    except requests.RequestException as error:
        if isinstance(error, requests.ReadTimeout) or any(isinstance(cause, ProtocolError) for cause in error.args):
            raise MirrorError("does not answer", passing=True) from error
        raise UnreachableError(f"cannot be reached ({type(error).__name__})") from error


def _continues(response: requests.Response, url: str, offset: int, origin: Origin | None, part: Part) -> bool:
    """Whether the response goes on from `offset`; else it starts again. Raises `MirrorError` where it does neither."""
    status = response.status_code
    if status not in (200, 206, 416):
        raise MirrorError(f"answers {status} {response.reason}")
    if status != 416 and response.headers.get("Content-Type", "").startswith("text/html"):
        raise MirrorError("gives a web page")
    if status == 200:
        return False
    if (
        origin
        and response.headers.get("Content-Range") == f"bytes {offset}-{origin.length - 1}/{origin.length}"
        and (origin.url != url or _validator(response) in (None, origin.validator))
    ):
        return True
    part.discard()
    raise MirrorError("has changed the file", passing=True)


def _described(response: requests.Response, url: str) -> Origin:
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal() or not int(length):
        raise MirrorError("does not tell the file's length")
    return Origin(url, int(length), _validator(response))


def _validator(response: requests.Response) -> str | None:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")  # a weak tag promises no same bytes


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The bytes as they are sent: a .tar.gz labelled as gzip-encoded is not to be unpacked."""
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except HTTPError as error:
        raise MirrorError("breaks off", passing=True) from error
