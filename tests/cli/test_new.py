"""`convspec new`: a variant or a copy, that checks, and never over a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convspec.checker import check
from convspec.cli import main
from convspec.resources import spec_names, spec_path

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "files"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("base", spec_names())
@pytest.mark.parametrize("how", [[], ["--copy"]], ids=["variant", "copy"])
def test_every_spec_of_ours_can_be_started_from(base: str, how: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "my", "--from", base.removesuffix(".cfg"), *how]) == 0
    assert "next: convspec check my.cfg" in capsys.readouterr().out
    assert main(["check", "my.cfg"]) == 0
    assert main(["diff", base, "my.cfg"]) == 0
    assert main(["fmt", "--check", "my.cfg"]) == 0


@pytest.mark.parametrize("base", spec_names())
def test_the_example_in_a_variant_works(base: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["new", "my", "--from", base])
    lines = (folder / "my.cfg").read_text().splitlines()
    example = [line.removeprefix("# ") for line in lines[lines.index("[@net]") :]]
    assert example[-2].startswith("[")
    key, value = example[-1].split("=")
    (folder / "my.cfg").write_text("\n".join([*example[:-1], f"{key}={value}\n"]))
    assert main(["diff", base, "my.cfg"]) == 0
    capsys.readouterr()
    (folder / "my.cfg").write_text("\n".join([*example[:-1], f"{key}={int(value) // 2}\n"]))
    main(["check", "my.cfg", "--format", "concise"])
    assert "nothing reads" not in capsys.readouterr().out


def test_a_variant_is_short_and_shows_how_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["new", "my", "--from", "alexnet"])
    text = (folder / "my.cfg").read_text()
    assert "extends=alexnet.cfg" in text
    assert len(text.splitlines()) < 20
    # Its example is an override that works.
    (folder / "my.cfg").write_text(text.replace("# [conv1a]\n# filters=48", "[conv1a]\nfilters=64"))
    capsys.readouterr()
    assert main(["diff", "alexnet.cfg", "my.cfg"]) == 1
    assert "conv1a: filters 48 -> 64" in capsys.readouterr().out


def test_a_copy_keeps_the_comments_and_takes_the_name_of_its_file(folder: Path) -> None:
    main(["new", "my", "--from", "alexnet", "--copy"])
    original = spec_path("alexnet.cfg").read_text()
    assert (folder / "my.cfg").read_text() == original.replace("name=AlexNet\n", "")


def test_files_can_be_started_from_wherever_they_lie(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    main(["new", "a/one", "--from", "lenet-digits", "--copy"])
    assert main(["new", "b/two.cfg", "--from", "a/one.cfg"]) == 0
    assert "extends=../a/one.cfg" in (folder / "b" / "two.cfg").read_text()
    assert main(["diff", "a/one.cfg", "b/two.cfg"]) == 0
    # A copy of a variant is the whole network.
    assert main(["new", "three", "--from", "b/two.cfg", "--copy"]) == 0
    assert "extends" not in (folder / "three.cfg").read_text()
    assert main(["diff", "a/one.cfg", "three.cfg"]) == 0


def test_a_variant_may_have_the_name_of_its_base(folder: Path) -> None:
    assert main(["new", "alexnet", "--from", "alexnet"]) == 0
    assert main(["check", "alexnet.cfg"]) == 0
    assert main(["new", "other", "--from", "specs/alexnet"]) == 0
    assert check("other.cfg").ok


def test_a_file_that_is_there_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my.cfg").write_text("mine")
    for how in ([], ["--copy"]):
        assert main(["new", "my", "--from", "alexnet", *how]) == 2
        assert "CS114" in capsys.readouterr().err
    assert (folder / "my.cfg").read_text() == "mine"


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  alexnet +AlexNet as the paper describes it$", out, re.MULTILINE)
    assert len(out.splitlines()) == 1 + len(spec_names())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["my"], "--from alexnet"),
        (["my", "--from", "alexnt"], "did you mean 'alexnet'?"),
        (["my", "--from", "zzz"], "lenet-digits"),
        (["nowhere/my", "--from", "alexnet"], "cannot be written"),
        (["m\0y", "--from", "alexnet"], "cannot be written"),
    ],
)
def test_mistakes(arguments: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside this checkout")
def test_a_pair_of_files_is_joined(folder: Path) -> None:
    source = CORPUS / "computerhistory__layers_layers-166__p-160"
    (folder / "layers-166.cfg").write_bytes((source / "layers.cfg").read_bytes())
    (folder / "layer-params-166.cfg").write_bytes((source / "params.cfg").read_bytes())
    assert main(["new", "my", "--from", "layers-166.cfg", "--copy"]) == 0
    text = (folder / "my.cfg").read_text()
    assert "epsW=" in text
    assert "[conv1a]" in text
