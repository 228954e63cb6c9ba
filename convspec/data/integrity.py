"""Whether the files of a prepared folder are those that its manifest describes.

Sizes are compared whenever the folder is opened. Reading all of a large set for its checksums takes minutes, so that
each file is hashed once: `.checked.json` keeps which file, by inode and times, had the right bytes, and a file that was
copied, replaced or written to since is hashed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from convspec.data.dataset import Notify
from convspec.data.durable import replace_file
from convspec.data.manifest import FileEntry, Manifest, damage
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity

CHECKED = ".checked.json"
MOST_BYTES = 1 << 30
"""Files not yet checked are hashed when the folder is opened, up to this many bytes: a second or two."""

_NAMED = 20
"""Damaged files that are named one by one."""

_Stamp = list[str | int]


def check_on_opening(root: Path, manifest: Manifest, notify: Notify) -> None:
    """Compare sizes, and the checksums of what was not checked before, if that is not too much; else say so.

    Raises DiagnosticError CS724, which names each damaged file.
    """
    raise_damage(root, _wrong_sizes(root, manifest.files()))
    unknown = unchecked(root, manifest.files())
    unread = sum(entry.bytes for entry in unknown)
    small = {entry.name for entry in manifest.files()} - {
        s.file.name for e in manifest.splits.values() for s in e.shards
    }
    chosen = [entry for entry in unknown if unread <= MOST_BYTES or entry.name in small]
    check(root, chosen)
    if len(chosen) < len(unknown):
        message = (
            f"{unread / 1e9:.0f} GB of shards in {root} were copied or changed since their checksums were compared"
        )
        help = f"to compare them, once: convspec data verify {root}"
        notify(Diagnostic("CS724", message, help=help, severity=Severity.NOTE))


def check(
    root: Path,
    entries: Sequence[FileEntry],
    *,
    jobs: int = 2,
    advance: Callable[[FileEntry], None] = lambda entry: None,
) -> None:
    """Hash files, and remember those that are right. advance: is told of each that is done, from this thread.

    Raises DiagnosticError CS724, which names each damaged file.
    """
    raise_damage(root, find_damage(root, entries, jobs=jobs, advance=advance))


def find_damage(
    root: Path,
    entries: Sequence[FileEntry],
    *,
    jobs: int = 2,
    advance: Callable[[FileEntry], None] = lambda entry: None,
) -> list[tuple[FileEntry, str]]:
    """As `check`: damaged files, and what is wrong with each."""
    found = _wrong_sizes(root, entries)
    known = {entry for entry, _ in found}
    left = [entry for entry in entries if entry not in known]
    right: dict[str, _Stamp] = {}
    with ThreadPoolExecutor(jobs, thread_name_prefix="convspec-verify") as pool:
        for entry, (stamp, why) in zip(left, pool.map(lambda entry: _hashed(root, entry), left), strict=True):
            if why:
                found.append((entry, why))
            else:
                right[entry.name] = stamp
            advance(entry)
    if right:
        _write(root, right)
    return found


def _hashed(root: Path, entry: FileEntry) -> tuple[_Stamp, str]:
    """The stamp of a file, and what is wrong with it, if anything."""
    try:
        # taken first: what is written meanwhile must not pass for hashed
        stamp = _stamp(root, entry)
        with (root / entry.name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return [], f"it cannot be read: {error.strerror or error}"
    return stamp, "" if digest == entry.sha256 else "its bytes are not those that were written: its checksum is another"


def _wrong_sizes(root: Path, entries: Iterable[FileEntry]) -> list[tuple[FileEntry, str]]:
    wrong = []
    for entry in entries:
        try:
            size = (root / entry.name).stat().st_size
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError)
            wrong.append((entry, "it is missing" if is_missing else f"it cannot be read: {error.strerror or error}"))
            continue
        if size != entry.bytes:
            how = "cut short" if size < entry.bytes else "too long"
            wrong.append((entry, f"it is {how}: {size:,} bytes of {entry.bytes:,}"))
    return wrong


def raise_damage(root: Path, wrong: Sequence[tuple[FileEntry, str]]) -> None:
    if not wrong:
        return
    found = [damage(f"{root / entry.name} is damaged: {why}") for entry, why in wrong[:_NAMED]]
    if len(wrong) > _NAMED:
        found.append(damage(f"{len(wrong) - _NAMED} more files in {root} are damaged"))
    raise DiagnosticError(*found)


def unchecked(root: Path, entries: Iterable[FileEntry]) -> list[FileEntry]:
    """Files that are not known to be right; those that are not there among them."""
    remembered = _remembered(root)
    return [entry for entry in entries if remembered.get(entry.name) != _stamp_or_nothing(root, entry)]


def _stamp_or_nothing(root: Path, entry: FileEntry) -> _Stamp:
    try:
        return _stamp(root, entry)
    except OSError:
        return []


def _stamp(root: Path, entry: FileEntry) -> _Stamp:
    """What changes when a file is written to or is another one: `touch` cannot set the last of its times."""
    stat = (root / entry.name).stat()
    return [entry.sha256, stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def _remembered(root: Path) -> dict[str, _Stamp]:
    """Stamps by name of file. What cannot be read is as if it were not there."""
    try:
        found = json.loads((root / CHECKED).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(root: Path, entries: Iterable[FileEntry]) -> None:
    """Take the files for right from now on: they were hashed, or written, just now."""
    _write(root, {entry.name: _stamp(root, entry) for entry in entries})


def _write(root: Path, stamps: dict[str, _Stamp]) -> None:
    # a folder that is only read works all the same; its files are hashed each time
    with suppress(OSError):
        replace_file(root / CHECKED, json.dumps({**_remembered(root), **stamps}, indent=1).encode())
