"""Archives of pictures: those that people have, and those that mean harm."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convspec.data import Split, archive
from convspec.data.archive import ArchiveTree, is_archive
from convspec.data.filling import Stopped
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from tests.data.pictures import colorful, flowers
from tests.data.preparing import Quiet, digests, pictures_of, prepared

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def packed(source: Path, target: Path, *, inside: str = "", form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of a folder, sorted; inside: folder around everything."""
    suffix = "".join(target.suffixes[-2:]) if target.suffix != ".tar" else ".tar"
    with tarfile.open(target, MODES[suffix], format=form) as tar:  # type: ignore[call-overload]
        for path in sorted(source.rglob("*")):
            tar.add(path, inside + path.relative_to(source).as_posix(), recursive=False)
    return target


def jpeg(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    colorful(seed).save(buffer, "JPEG")
    return buffer.getvalue()


def written(path: Path, members: Sequence[tuple[str, bytes]], specials: Sequence[tarfile.TarInfo] = ()) -> Path:
    """A tar with these files, and after them, those that have no content."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
        for header in specials:
            tar.addfile(header)
    return path


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, link
    return header


GOOD = [(f"{name}/{i}.jpg", jpeg(i)) for name in ("rose", "tulip") for i in range(4)]

END = sum(512 + -(-len(content) // 512) * 512 for _, content in GOOD)
"""Where a tar of them has the mark of its end."""


def tree(path: Path, told: list[Diagnostic] | None = None) -> ArchiveTree:
    return ArchiveTree(path, (told if told is not None else []).append)


@pytest.mark.parametrize("suffix", MODES)
@pytest.mark.parametrize("inside", ["", "./", "flowers/", "./flowers/"])
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, suffix: str, inside: str) -> None:
    source = flowers(tmp_path / "flowers", each=5)
    (source / "rose" / ".DS_Store").write_bytes(b"x")
    prepared(source, tmp_path / "of-folder")
    prepared(packed(source, tmp_path / f"flowers{suffix}", inside=inside), tmp_path / "of-archive")
    before, after = digests(tmp_path / "of-folder"), digests(tmp_path / "of-archive")
    assert before.pop("manifest.json") != after.pop("manifest.json")
    assert before == after


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_for_each_class(tmp_path: Path, suffix: str) -> None:
    """As ILSVRC2012_img_train.tar is laid out."""
    source = flowers(tmp_path / "flowers", each=5)
    (tmp_path / "tars").mkdir()
    for folder in source.iterdir():
        packed(folder, tmp_path / "tars" / f"{folder.name}.tar", form=tarfile.GNU_FORMAT)
    prepared(source, tmp_path / "of-folder")
    prepared(packed(tmp_path / "tars", tmp_path / f"all{suffix}"), tmp_path / "of-archive")
    for split in Split:
        ours, theirs = (pictures_of(tmp_path / name, split) for name in ("of-archive", "of-folder"))
        assert ours[1] == theirs[1]
        assert sorted(p.tobytes() for p in ours[0]) == sorted(p.tobytes() for p in theirs[0])


def test_train_and_val(tmp_path: Path) -> None:
    flowers(tmp_path / "in" / "train", each=3)
    flowers(tmp_path / "in" / "val", each=1)
    for inside in ("", "flowers/"):
        manifest = prepared(
            packed(tmp_path / "in", tmp_path / f"{len(inside)}.tar.gz", inside=inside), tmp_path / f"out{inside}"
        )
        assert [manifest.splits[split].pictures for split in Split] == [6, 2]


def test_a_class_alone_is_no_outer_folder(tmp_path: Path) -> None:
    assert tree(written(tmp_path / "x.tar", GOOD[:4])).folders("") == ["rose"]
    assert tree(written(tmp_path / "y.tar", [(f"train/{n}", c) for n, c in GOOD])).folders("") == ["train"]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_an_archive_goes_on_after_a_stop(tmp_path: Path, suffix: str) -> None:
    path = packed(flowers(tmp_path / "in", each=10), tmp_path / f"x{suffix}")
    prepared(path, tmp_path / "undisturbed")
    for after in (3, 9, 15):
        progress = Quiet()
        with pytest.raises(Stopped):
            prepared(path, tmp_path / "out", progress=progress, is_stopped=lambda p=progress, n=after: p.done >= n)
    prepared(path, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


HARMFUL: dict[str, tuple[str, tuple[str, bytes] | tarfile.TarInfo]] = {
    "parent": ("a name that leads out of the archive", ("rose/../../../etc/cron.d/x.jpg", jpeg())),
    "absolute": ("a name that leads out of the archive", ("/etc/x.jpg", jpeg())),
    "symbolic link": ("a link", special("rose/l.jpg", tarfile.SYMTYPE, "/etc/passwd")),
    "hard link": ("a link", special("rose/h.jpg", tarfile.LNKTYPE, "rose/0.jpg")),
    "device": ("not a plain file", special("rose/d.jpg", tarfile.CHRTYPE)),
    "block device": ("not a plain file", special("rose/b.jpg", tarfile.BLKTYPE)),
    "pipe": ("not a plain file", special("rose/p.jpg", tarfile.FIFOTYPE)),
    "twin": ("there is another file of this name", ("./rose//0.jpg", jpeg(9))),
    "broken": ("not a picture", ("rose/x.jpg", b"<html>")),
    "empty": ("an empty file", ("rose/y.jpg", b"")),
    "stranger": ("not a picture", ("rose/readme.txt", b"hello")),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_what_is_harmful_is_named_and_left_out(tmp_path: Path, kind: str) -> None:
    why, member = HARMFUL[kind]
    is_header = isinstance(member, tarfile.TarInfo)
    path = written(tmp_path / "x.tar", GOOD if is_header else [*GOOD, member], [member] if is_header else [])  # type: ignore[list-item]
    told: list[Diagnostic] = []
    manifest = prepared(path, tmp_path / "out", notify=told.append)
    assert sum(manifest.splits[split].pictures for split in Split) == 8
    assert manifest.broken == 1
    assert (tmp_path / "out" / "broken.txt").read_text().strip().endswith(f"\t{why}")
    assert [d.code for d in told] == ["CS703"]
    assert {p.name for p in tmp_path.iterdir()} == {"x.tar", "out"}


def test_a_gigantic_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LARGEST_FILE", 5000)
    found = tree(written(tmp_path / "x.tar", [*GOOD, ("rose/x.jpg", bytes(5001))]))
    assert found.refused == [("rose/x.jpg", "5,001 bytes, more than the 5,000 that are read")]
    assert len(found.order) == 8


def test_a_size_that_the_archive_does_not_have(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tar", GOOD)
    content = bytearray(path.read_bytes())
    header = tarfile.TarInfo("rose/large.jpg")
    header.size = 1 << 40
    path.write_bytes(content[:END] + header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(DiagnosticError, match=r"CS725: .*x\.tar is damaged or cut short, after rose/large\.jpg"):
        tree(path)


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        header = special("x", kind)
        header.size = 1 << 33
        with gzip.open(tmp_path / "x.tar.gz", "wb") as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            file.write(bytes(1 << 20))
        with pytest.raises(DiagnosticError, match=r"CS725: .*a header of 8,589,934,592 bytes"):
            tree(tmp_path / "x.tar.gz")


def test_a_header_that_leads_backwards(tmp_path: Path) -> None:
    """Archives of this kind made `tarfile` run for ever (CVE-2025-8194)."""
    header = tarfile.TarInfo("rose/x.jpg")
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (-512 & ((1 << 96) - 1) | 0xFF << 88).to_bytes(12, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(block) * 3)
    with pytest.raises(DiagnosticError, match="CS725"):
        tree(path)


def test_attributes_that_lead_backwards(tmp_path: Path) -> None:
    header = tarfile.TarInfo("rose/x.jpg")
    header.pax_headers = {"size": "-4096"}
    path = tmp_path / "x.tar"
    path.write_bytes(header.tobuf(tarfile.PAX_FORMAT) * 3 + bytes(1024))
    with pytest.raises(DiagnosticError, match=r"CS725: .*a header that leads backwards"):
        tree(path)


@pytest.mark.parametrize("suffix", MODES)
def test_an_archive_cut_short(tmp_path: Path, suffix: str) -> None:
    path = packed(flowers(tmp_path / "in", each=5), tmp_path / f"x{suffix}")
    whole = path.stat().st_size
    for share in (0.6, 0.3, 0.1):
        length = int(whole * share)
        # between two files of a tar alone there is nothing to be missed
        os.truncate(path, length - length % 512 + 100)
        with pytest.raises(DiagnosticError, match=r"CS725: .* is damaged or cut short, after"):
            prepared(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_an_archive_without_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tar", GOOD)
    os.truncate(path, END)
    told: list[Diagnostic] = []
    assert len(tree(path, told).order) == 8
    assert [(d.code, d.severity) for d in told] == [("CS725", Severity.WARNING)]
    assert "ends without the mark of its end" in told[0].message


@pytest.mark.parametrize("padding", [0, 3 << 20])
def test_a_bad_checksum_of_what_is_compressed(tmp_path: Path, padding: int) -> None:
    """Also behind the end of the archive, where nothing else is read."""
    path = tmp_path / "x.tar.gz"
    content = bytearray(gzip.compress(written(tmp_path / "x.tar", GOOD).read_bytes() + bytes(padding)))
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(DiagnosticError, match=r"CS725: .*CRC"):
        tree(path)


def test_garbage_in_the_middle_is_no_end(tmp_path: Path) -> None:
    """`tarfile` itself ends at a header that it cannot read, as if all were well."""
    path = written(tmp_path / "x.tar", GOOD)
    content = bytearray(path.read_bytes())
    second = 512 + -(-len(GOOD[0][1]) // 512) * 512
    content[second : second + 512] = b"x" * 512
    path.write_bytes(content)
    with pytest.raises(DiagnosticError, match=r"CS725: .*after rose/0\.jpg"):
        tree(path)


def test_a_tar_in_it_that_is_damaged(tmp_path: Path) -> None:
    inner = written(tmp_path / "rose.tar", [(name.split("/")[1], content) for name, content in GOOD[:4]]).read_bytes()
    path = written(tmp_path / "all.tar", [("rose.tar", inner[:1500]), ("tulip.tar", inner)])
    with pytest.raises(DiagnosticError, match=r"CS725: .*all\.tar is damaged or cut short, after"):
        tree(path)


def test_what_may_be_an_archive(tmp_path: Path) -> None:
    assert is_archive(written(tmp_path / "named-otherwise", GOOD))
    (tmp_path / "x.jpg").write_bytes(jpeg())
    assert not is_archive(tmp_path / "x.jpg")
    with pytest.raises(DiagnosticError, match=r"CS701: .*x\.jpg is neither a folder nor an archive"):
        prepared(tmp_path / "x.jpg", tmp_path / "out")
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    with pytest.raises(DiagnosticError, match=r"CS702: .*empty\.tar holds no class folders"):
        prepared(tmp_path / "empty.tar", tmp_path / "out")


def test_names_in_no_encoding(tmp_path: Path) -> None:
    members = [(os.fsdecode(name.encode() + b"\xff/1.jpg"), jpeg()) for name in ("a", "b")]
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        for i in range(2):
            for name, content in members:
                header = tarfile.TarInfo(name.replace("1", str(i)))
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    assert prepared(path, tmp_path / "out").classes == ("a\udcff", "b\udcff")
    assert set(pictures_of(tmp_path / "out", Split.TRAIN)[1]) == {"a\udcff", "b\udcff"}


@settings(max_examples=80)
@given(data=st.data(), suffix=st.sampled_from([".tar", ".tar.gz"]))
def test_any_damage_is_read_or_diagnosed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"spoilt{suffix}"
    with tarfile.open(path, MODES[suffix], format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for name, content in (*GOOD[:3], ("rose/" + "long" * 40 + ".jpg", b"x"), ("ü/\udcff.jpg", b"y")):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    codes: set[str] = set()
    try:
        found = tree(path)
        assert all(isinstance(content, bytes) for _, content in found.contents({n: x for x, n in found.order.items()}))
    except DiagnosticError as error:
        codes = {d.code for d in error.diagnostics}
    assert codes <= {"CS725"}
