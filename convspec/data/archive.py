"""A tar of class folders, or of a tar for each class as ImageNet's is: read in its order and never unpacked to disk.

No name in an archive is ever opened, so that none can lead anywhere; what is no plain file of bearable size is refused by
its name, and so is a second file of the same name. An archive is read twice: once for its names, once for its pictures.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.diagnostics.visible import visible

LARGEST_FILE = 128 << 20
"""Bytes of a picture in an archive, which is read into memory as a whole."""

_LARGEST_HEADER = 1 << 20
"""Bytes of a name, or of the attributes of a file: `tarfile` reads them into memory, whatever their size."""

_READ_BYTES = 1 << 20
_HEADERS = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)
_COMPRESSIONS: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)
_INNER = ".tar"


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive. number: of it, from 0, in the order of the archive. name: as the archive has it, cleaned of
    `.`; of a file in a tar for a class, CLASS/FILE. size: in bytes. why: it is not taken, if it is not."""

    number: int
    name: str
    size: int
    why: str


class ArchiveTree:
    """The names of an archive as a `layout.Tree`. A single folder around everything is not a class, and left out.

    order: number of the member by name. refused: names, and why they are not taken.
    """

    def __init__(self, path: Path, notify: Notify) -> None:
        """Raises DiagnosticError CS725 where it is no archive, or is damaged."""
        self.name = str(path)
        self.path = path
        self.order: dict[str, int] = {}
        self.refused: list[tuple[str, str]] = []
        self._sizes: dict[int, int] = {}
        with closing(_members(path, lambda member: False, notify)) as members:
            for member, _ in members:
                why = member.why or ("there is another file of this name" if member.name in self.order else "")
                if why:
                    self.refused.append((member.name, why))
                elif not _is_hidden(member.name):
                    self.order[member.name] = member.number
                    self._sizes[member.number] = member.size
        self._strip_outer()
        self._below: dict[str, list[str]] = {}
        self._folders: dict[str, dict[str, None]] = {}
        for name in self.order:
            parts = name.split("/")[:-1]
            for depth in range(min(2, len(parts))):
                folder = "/".join(parts[: depth + 1])
                self._below.setdefault(folder, []).append(name)
                self._folders.setdefault("/".join(parts[:depth]), {})[parts[depth]] = None

    def folders(self, folder: str) -> list[str]:
        return list(self._folders.get(folder, ()))

    def files(self, folder: str) -> list[str]:
        return self._below.get(folder, [])

    def sizes(self, names: Sequence[str]) -> dict[str, int]:
        return {name: self._sizes[self.order[name]] for name in names}

    def contents(self, names: dict[int, str]) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the members with these numbers, in the order of the archive. Raises as `__init__`."""
        wanted = _members(self.path, lambda member: member.number in names, lambda diagnostic: None)
        with closing(wanted) as members:
            for member, content in members:
                if member.number in names:
                    yield names[member.number], content

    def _strip_outer(self) -> None:
        """Take `flowers/` off flowers/train/rose/1.jpg, and off flowers/rose/1.jpg: but not `train/` off train/rose/1.jpg,
        nor `rose/` off rose/1.jpg."""
        parts = [name.split("/") for name in self.order]
        outer = {each[0] for each in parts}
        if len(outer) == 1 and outer != {"train"} and all(len(each) > 2 for each in parts):
            self.order = {"/".join(each[1:]): self.order["/".join(each)] for each in parts}


def is_archive(path: Path) -> bool:
    """Whether a file may be an archive: it is compressed, or has the mark of a tar, or its name."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        return False
    return (
        path.suffix == _INNER
        or start[257:262] == b"ustar"
        or any(start.startswith(magic) for magic, _ in _COMPRESSIONS)
    )


class _EndOfArchive(Exception):
    """The block of zeros that ends an archive."""


class _Broken(Exception):
    """A header that `tarfile` would take for the end of the archive, or read without bounds."""


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if buf and not any(buf):
            raise _EndOfArchive
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not buf:
                raise
            raise _Broken(str(error)) from error
        if header.size < 0 or (header.type in _HEADERS and header.size > _LARGEST_HEADER):
            raise _Broken(f"a header of {header.size:,} bytes")
        return header


def _members(
    path: Path, wanted: Callable[[Member], bool], notify: Notify
) -> Generator[tuple[Member, bytes], None, None]:
    """Files, links and devices, and the bytes of those that are wanted."""
    last = "its beginning"
    try:
        with _opened(path) as (file, is_seekable):
            for number, (name, header, tar) in enumerate(_walked(file, "", is_seekable, _Marks(path, notify))):
                last = visible(name)
                member = Member(number, _cleaned(name), header.size, _refusal(name, header))
                yield member, _content(header, tar) if wanted(member) else b""
            while file.read(_READ_BYTES):
                pass  # the checksum of what is compressed stands at its end
    except DiagnosticError:
        raise
    except Exception as error:  # on damaged archives, what parses and unpacks them raises almost anything
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        message = f"{path} is damaged or cut short, after {last}: {why}"
        help = "copy the archive again, or name a folder with what could be unpacked of it"
        raise DiagnosticError(Diagnostic("CS725", message, help=help)) from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """What is in the file, unpacked as it is read, and whether it can be read in any order."""
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        unpack = next((unpack for magic, unpack in _COMPRESSIONS if start.startswith(magic)), None)
        if unpack is None:
            yield file, True
            return
        with unpack(file) as unpacked:
            yield cast("IO[bytes]", unpacked), False


class _Marks:
    """Warns of archives that end without the mark of their end."""

    def __init__(self, path: Path, notify: Notify) -> None:
        self._path, self._notify = path, notify

    def missing(self, inner: str) -> None:
        which = f"{inner} in {self._path}" if inner else str(self._path)
        message = f"{which} ends without the mark of its end: it may have been cut short"
        self._notify(Diagnostic("CS725", message, severity=Severity.WARNING))


def _walked(
    file: IO[bytes], folder: str, is_seekable: bool, marks: _Marks
) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """Names, headers and the archives that they are in, of all but folders; those of a tar in `folder` are in one of its
    name. A compressed archive is read as a stream: `tarfile` would go back in it by a byte, and unpack it all again."""
    try:
        with tarfile.open(
            fileobj=file,
            mode="r:" if is_seekable else "r|",
            tarinfo=_Header,
            bufsize=_READ_BYTES,
            errors="surrogateescape",
        ) as tar:
            for header in _headers(tar):
                name = folder + header.name
                if not folder and header.isreg() and name.lower().endswith(_INNER):
                    inner = tar.extractfile(header)
                    assert inner is not None
                    yield from _walked(inner, name[: -len(_INNER)] + "/", is_seekable, marks)
                elif not header.isdir():
                    yield name, header, tar
            marks.missing(folder.rstrip("/"))
    except _EndOfArchive:
        return


def _headers(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Of all members, which are not kept: a list of them would grow with the archive."""
    before = -1
    while (header := tar.next()) is not None:
        if header.size < 0 or tar.offset <= before:
            raise _Broken("a header that leads backwards")
        before = tar.offset
        cast("Any", tar).members.clear()
        yield header


def _content(header: tarfile.TarInfo, tar: tarfile.TarFile) -> bytes:
    file = tar.extractfile(header)
    assert file is not None, "only plain files are wanted"
    return file.read()


def _refusal(name: str, header: tarfile.TarInfo) -> str:
    """Why a member is not taken; empty where it is."""
    if header.islnk() or header.issym():
        return "a link"
    if not header.isreg() or header.issparse():
        return "not a plain file"
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        return "a name that leads out of the archive"
    if header.size > LARGEST_FILE:
        return f"{header.size:,} bytes, more than the {LARGEST_FILE:,} that are read"
    return ""


def _cleaned(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
