"""`convspec similar`: what it finds, keeps and draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convspec.cli import main
from convspec.report.panels import SIDE
from convspec.train import code_search
from tests.looking.conftest import COLORS, picture


def similar(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    assert main(["similar", *map(str, arguments), "--format", "json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_nearest_by_features(run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Distances against those of the features that `convspec features` writes."""
    query = tmp_path / "query.png"
    picture("green", 900).save(query)
    found = similar(capsys, run, query, "--in", colors, "--top", "9")
    assert main(["features", str(run), str(query), "-o", str(tmp_path / "q.npz")]) == 0
    assert main(["features", str(run), str(colors), "-o", str(tmp_path / "all.npz")]) == 0
    with np.load(tmp_path / "q.npz") as asked, np.load(tmp_path / "all.npz") as all_features:
        names = all_features["names"]
        distances = np.sqrt(np.square(all_features["features"].astype(float) - asked["features"][0]).sum(1))
    order = np.argsort(distances, kind="stable")[:9]
    [answer] = found["queries"]
    assert answer["image"] == str(query)
    assert [hit["image"] for hit in answer["nearest"]] == names[order].tolist()
    assert [hit["distance"] for hit in answer["nearest"]] == pytest.approx(distances[order].tolist())
    assert {hit["label"] for hit in answer["nearest"]} == {"green"}
    assert (found["layers"], found["features"], found["pictures"]) == (["fc2a", "fc2b"], 16, 80)
    assert found["codes"] is None


def test_a_picture_does_not_find_itself(run: Path, colors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = colors / "red" / "03.png"
    found = similar(capsys, run, query, "--in", colors, "--top", "79")
    hits = [hit["image"] for hit in found["queries"][0]["nearest"]]
    assert len(hits) == 79
    assert str(query) not in hits
    # one of the same pixels under another name is found, and first
    shutil.copy(query, colors / "red" / "twin.png")
    try:
        found = similar(capsys, run, query, "--in", colors, "--top", "2")
    finally:
        (colors / "red" / "twin.png").unlink()
    assert found["queries"][0]["nearest"][0] == {
        "image": str(colors / "red" / "twin.png"),
        "label": "red",
        "distance": pytest.approx(0, abs=1e-3),
    }


def test_what_people_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Test pictures of the run among its training pictures, as in Figure 4."""
    assert main(["similar", str(run), "--samples", "4", "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 * 4 + 2
    assert [line.rpartition(": ")[2] for line in lines[:16:4]] == list(COLORS)
    assert all(line.startswith("  * ") for i, line in enumerate(lines[:16]) if i % 4)
    assert lines[16].startswith("by fc2a, fc2b, 16 features, among 64 pictures of ")
    assert lines[17] == "12 of 12 are of the class of their query"
    kept = sorted(path.name for path in (run / "features").glob("*.npy"))
    assert len(kept) == 2
    stamps = [(run / "features" / name).stat().st_mtime_ns for name in kept]
    assert main(["similar", str(run), "--samples", "1"]) == 0
    assert [(run / "features" / name).stat().st_mtime_ns for name in kept] == stamps, "they are read, not written"


def test_classes_are_not_kept_beyond_their_meaning(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty folder gives the classes of the others other numbers, and changes no picture."""
    for name in ("rust", "sky"):
        (tmp_path / "fruit" / name).mkdir(parents=True)
        for i in range(2):
            picture("red" if name == "rust" else "blue", i).save(tmp_path / "fruit" / name / f"{i}.png")
    query = tmp_path / "q.png"
    picture("blue", 7).save(query)
    for _ in range(2):
        found = similar(capsys, run, query, "--in", tmp_path / "fruit", "--top", "2")
        assert [hit["label"] for hit in found["queries"][0]["nearest"]] == ["sky", "sky"]
        (tmp_path / "fruit" / "empty").mkdir(exist_ok=True)


def test_features_are_kept_where_the_user_says(
    run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "deep" / "cache"
    similar(capsys, run, "--samples", "1", "--in", colors, "--cache", cache)
    assert not (run / "features").exists()
    assert len([*cache.glob("*.npy")]) == 2


def test_the_panel(run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row a query: itself, then what was found; framed where the classes agree."""
    red, stray = colors / "red" / "00.png", tmp_path / "stray.png"
    picture("blue", 901).save(stray)
    panel = tmp_path / "panel.png"
    similar(capsys, run, red, stray, "--in", colors, "--top", "3", "-o", panel)
    pixels = np.asarray(Image.open(panel).convert("RGB")).astype(int)
    assert pixels.shape == (16 + 2 * (SIDE + 22 + 16), 16 + 4 * (SIDE + 16) + 16, 3)
    lefts = [16, *(32 + column * (SIDE + 16) for column in (1, 2, 3))]
    for row, color in enumerate(("red", "blue")):
        top = 16 + row * (SIDE + 22 + 16)
        for left in lefts:
            assert np.abs(pixels[top : top + SIDE, left : left + SIDE].mean((0, 1)) - COLORS[color]).max() < 12
    # nothing is known of the class of the second query: no frames in its row
    frame = (pixels == (0xB3, 0x12, 0x2A)).all(2)
    assert frame[14:16].sum() == 2 * 3 * (SIDE + 4)
    assert not frame[16 + SIDE + 22 + 14 :].any()


def test_a_broken_query_and_a_broken_picture(
    run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(colors, tmp_path / "copy"))
    (folder / "red" / "05.png").write_bytes(b"no")
    assert main(["similar", str(run), str(colors / "red" / "00.png"), "--in", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "05.png: not a picture" in err
    assert "among 79 pictures of" in out
    # the rows of features and the places in the gallery part there, and are not taken for one another
    shutil.copy(folder / "yellow" / "07.png", tmp_path / "query.png")
    found = similar(capsys, run, tmp_path / "query.png", "--in", folder, "--top", "1")
    assert found["queries"][0]["nearest"][0]["image"] == str(folder / "yellow" / "07.png")
    broken = str(folder / "red" / "05.png")
    assert main(["similar", str(run), broken, str(colors / "red" / "00.png"), "--in", str(colors)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(str(colors / "red" / "00.png"))
    assert "05.png: not a picture" in err


def test_codes(run: Path, colors: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_search.learn_and_measure, "__kwdefaults__", {"steps": 150})
    found = similar(capsys, run, "--samples", "4", "--in", colors, "--codes", "16", "--top", "4")
    figures = found["codes"]
    assert (figures["bits"], figures["k"], figures["queries"], figures["short_list"]) == (16, 4, 16, 40)
    assert figures["short_list_recall"] > 0.8, "by chance half"
    for answer in found["queries"]:
        distances = [hit["distance"] for hit in answer["nearest"]]
        assert distances == sorted(distances)
        assert all(distance == int(distance) and 0 <= distance <= 16 for distance in distances)
        assert {hit["label"] for hit in answer["nearest"]} == {answer["label"]}
    assert main(["similar", str(run), "--samples", "1", "--in", str(colors), "--codes", "16"]) == 0
    out = capsys.readouterr().out
    assert "16-bit codes, looked for 16 pictures that they were not learned from:" in out
    assert "recall@6 against exact search" in out
    assert " bits  " in out


def test_what_cannot_be(run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = tmp_path / "few"
    few.mkdir()
    picture("red", 1).save(few / "a.png")
    query = str(few / "a.png")
    for arguments, code, said in (
        ([], 2, "name a QUERY"),
        (["nowhere.png"], 2, "there is no file or folder nowhere.png"),
        ([query, "--in", "nowhere"], 2, "there is no folder nowhere"),
        ([query, "--in", str(few), "--codes", "8"], 2, "from 10 pictures or more, and there are 1 picture"),
        ([query, "--in", str(colors), "--layer", "fc2aa"], 2, "did you mean 'fc2a'?"),
        ([query, "--in", str(colors), "--codes", "0"], 2, "0 is not in the range"),
        ([query, "--in", str(colors), "-o", str(tmp_path / "no" / "p.png")], 2, "cannot be written"),
    ):
        assert main(["similar", str(run), *arguments]) == code, arguments
        assert said in capsys.readouterr().err
    # only itself to find
    assert main(["similar", str(run), query, "--in", str(few), "-o", str(tmp_path / "p.png")]) == 0
    assert "among 1 picture of" in capsys.readouterr().out


def test_data_of_other_classes(run: Path, colors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture of a known class among digits: nothing is of its class, though numbers of classes agree."""
    found = similar(capsys, run, colors / "red" / "00.png", "--in", "digits", "--top", "5")
    [answer] = found["queries"]
    assert answer["label"] == "red"
    assert all(hit["label"] in "0123456789" for hit in answer["nearest"])
    assert main(["similar", str(run), str(colors / "red" / "00.png"), "--in", "digits"]) == 0
    assert "0 of 6 are of the class of their query" in capsys.readouterr().out


def test_pictures_of_which_nothing_is_known(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are not alike for that."""
    for i in range(3):
        picture("red", i).save(tmp_path / f"{i}.png")
    panel = tmp_path / "p.png"
    assert main(["similar", str(run), str(tmp_path / "0.png"), "--in", str(tmp_path), "-o", str(panel)]) == 0
    out = capsys.readouterr().out
    assert "1.png" in out
    assert "*" not in out
    assert "of their query" not in out
    assert not (np.asarray(Image.open(panel).convert("RGB")) == (0xB3, 0x12, 0x2A)).all(2).any()
