"""`convspec predict`: what it says of pictures of all kinds, and the panel it draws."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convspec.cli import finding, main, pictures, predicting
from convspec.compiler import compile_spec
from convspec.emit.load import instantiate
from convspec.report.panels import MOST_DRAWN, RIGHT, SIDE
from convspec.train.averaging import by_class
from convspec.train.checkpoint import load_newest
from convspec.train.galleries import with_data
from convspec.train.trained import open_trained
from tests.looking.conftest import COLORS, picture
from tests.train.test_trained import old_run


def predict(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    assert main(["predict", *map(str, arguments), "--format", "json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def first_guesses(found: dict[str, Any]) -> list[str]:
    return [image["predictions"][0]["class"] for image in found["images"]]


@pytest.mark.parametrize("views", [1, 10])
def test_probabilities_are_those_of_the_network(
    views: int, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against the emitted module, the mean of the checkpoint, and crops made by hand."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    compiled = compile_spec(trained_run / "resolved.cfg")
    checkpoint = load_newest(trained_run / "checkpoints", lambda diagnostic: None)
    assert checkpoint is not None
    net = instantiate(compiled.source, compiled.name).eval()
    net.load_state_dict(dict(checkpoint.weights))
    five = [pixels[top : top + 12, left : left + 12] for top, left in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4))]
    crops = np.stack(five[:1] if views == 1 else [*five, *(crop[:, ::-1] for crop in five)])
    shown = crops.astype(np.float64) - checkpoint.training["mean"].numpy()
    with torch.inference_mode():
        wanted = net({"data": torch.from_numpy(shown).float().permute(0, 3, 1, 2)})["probs"].mean(0).tolist()

    found = predict(capsys, trained_run, tmp_path / "noise.png", "--top", "4", "--views", str(views))
    predictions = found["images"][0]["predictions"]
    assert [each["probability"] for each in predictions] == pytest.approx(sorted(wanted, reverse=True), abs=1e-6)
    assert [each["class"] for each in predictions] == [list(COLORS)[i] for i in np.argsort(wanted)[::-1]]
    assert sum(wanted) == pytest.approx(1, abs=1e-5)
    assert found["checkpoint"] == "0008-00000032"


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_files_of_all_kinds(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    red = picture("red", 1, (30, 40))
    clear = red.convert("RGBA")
    clear.putalpha(255)
    upright = Image.Exif()
    upright[0x0112] = 6  # turned by a quarter
    files = [
        save(red.convert("CMYK"), tmp_path / "cmyk.jpg"),
        save(clear, tmp_path / "alpha.png"),
        save(red, tmp_path / "turned.jpg", exif=upright),
        save(red.convert("P"), tmp_path / "palette.gif"),
        save(red, tmp_path / "NAME WITHOUT END", format="BMP"),
        save(red.resize((1, 300)), tmp_path / "thin.png"),
    ]
    assert first_guesses(predict(capsys, trained_run, *files)) == ["red"] * 6
    grey = [save(red.convert("L"), tmp_path / "grey.png"), save(red.convert("I;16"), tmp_path / "deep.png")]
    assert len(predict(capsys, trained_run, *grey)["images"]) == 2


def test_a_broken_file_is_named_and_the_others_are_done(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = save(picture("green", 1), tmp_path / "good.jpg")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:300])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    names = [tmp_path / name for name in ("cut.jpg", "good.jpg", "empty.jpg", "text.jpg")]
    assert main(["predict", str(trained_run), *map(str, names)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == str(good)
    assert out.splitlines()[1].endswith("green")
    assert err.count("CS703") == 3
    for broken in ("cut.jpg", "empty.jpg: an empty file", "text.jpg: not a picture"):
        assert broken in err
    # nothing but broken files: no panel, and none that was there is touched
    panel = save(picture("red", 0), tmp_path / "panel.png")
    before = panel.read_bytes()
    assert main(["predict", str(trained_run), str(tmp_path / "cut.jpg"), "-o", str(panel)]) == 1
    assert panel.read_bytes() == before


def test_labels_come_from_folders_or_by_name(
    trained_run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = save(picture("blue", 1), tmp_path / "stray.png")
    found = predict(capsys, trained_run, stray, colors / "red" / "00.png", colors)
    labels = [image["label"] for image in found["images"]]
    assert labels == [None, "red", *(color for color in COLORS for _ in range(20))]
    assert found["images"][2]["image"] == str(colors / "blue" / "00.png")
    assert predict(capsys, trained_run, stray, "--label", "green")["images"][0]["label"] == "green"
    assert main(["predict", str(trained_run), str(stray), "--label", "gren"]) == 2
    assert "has no class 'gren': did you mean 'green'?" in capsys.readouterr().err


def test_a_deeper_folder_says_more(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inner = tmp_path / "red" / "green" / "2012"
    inner.mkdir(parents=True)
    save(picture("green", 2), inner / "a.png")
    save(picture("green", 2), inner / ".hidden.png")
    (inner / "notes.txt").write_text("not looked at")
    found = predict(capsys, trained_run, tmp_path / "red")
    assert [image["label"] for image in found["images"]] == ["green"]


def test_what_people_read(trained_run: Path, colors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(colors / color / "03.png") for color in ("red", "blue")]
    assert main(["predict", str(trained_run), *names, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{names[0]}: red"
    assert lines[1].startswith("  * ")
    assert lines[1].endswith("%  red")
    assert lines[2].startswith("    ")
    assert lines[6] == "the true class is first for 2 of 2, among the first 2 for 2"
    assert main(["predict", str(trained_run), *names, "--top", "1", "--label", "yellow"]) == 0
    out = capsys.readouterr().out
    assert "*" not in out
    assert out.endswith("the true class is first for 0 of 2\n")
    assert main(["predict", str(trained_run), *names]) == 0
    assert capsys.readouterr().out.endswith("the true class is first for 2 of 2\n"), "all four classes were named"


def test_samples_of_the_run(trained_run: Path, colors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = predict(capsys, trained_run, "--samples", "8")
    assert [image["label"] for image in found["images"]] == [color for color in COLORS for _ in range(2)]
    assert first_guesses(found) == [image["label"] for image in found["images"]]
    assert len(predict(capsys, trained_run, "--samples", "1000")["images"]) == 16
    assert len(predict(capsys, trained_run, "--samples", "3", "--data", str(colors / "red"))["images"]) == 3


def test_standard_input(trained_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    picture("yellow", 4).save(content, format="PNG")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.getvalue())))
    found = predict(capsys, trained_run, "-")
    assert first_guesses(found) == ["yellow"]
    assert found["images"][0]["image"] == "standard input"


def test_the_panel(trained_run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A right guess has a red bar as long as its probability, an unknown one a blue bar; pictures stand over them."""
    red, stray = colors / "red" / "05.png", save(picture("blue", 5), tmp_path / "stray.png")
    panel = tmp_path / "panel.png"
    found = predict(capsys, trained_run, red, stray, "-o", panel, "--top", "3")
    pixels = np.asarray(Image.open(panel).convert("RGB")).astype(int)
    assert pixels.shape == (16 + (SIDE + 22 + 3 * 23) + 16, 16 + 2 * (SIDE + 16), 3)
    pictures = [pixels[16 : 16 + SIDE, left : left + SIDE].mean((0, 1)) for left in (16, 32 + SIDE)]
    assert np.abs(pictures[0] - COLORS["red"]).max() < 12
    assert np.abs(pictures[1] - COLORS["blue"]).max() < 12
    pink = tuple(int(RIGHT[i : i + 2], 16) for i in (1, 3, 5))
    is_pink = (pixels == pink).all(2)
    assert not is_pink[:, 16 + SIDE :].any(), "nothing is known of the second picture"
    probability = found["images"][0]["predictions"][0]["probability"]
    rows, columns = np.nonzero(is_pink)
    assert columns.max() + 1 - 16 == pytest.approx(probability * SIDE, abs=2)
    assert 16 + SIDE + 22 <= rows.min() <= rows.max() < 16 + SIDE + 22 + 20, "the first bar"


def test_a_wrong_guess_is_not_red(
    trained_run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panel = tmp_path / "panel.png"
    predict(capsys, trained_run, colors / "red" / "05.png", "--label", "blue", "-o", panel, "--top", "4")
    pixels = np.asarray(Image.open(panel).convert("RGB")).astype(int)
    pink = tuple(int(RIGHT[i : i + 2], 16) for i in (1, 3, 5))
    rows = np.nonzero((pixels == pink).all(2))[0]
    # the true class is there, but far from sure of: a narrow frame around a bar below the first
    assert not len(rows) or rows.min() >= 16 + SIDE + 22 + 23


def test_many_pictures(
    trained_run: Path,
    colors: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MOST_DRAWN == 64
    monkeypatch.setattr(pictures, "MOST_DRAWN", 6)
    assert main(["predict", str(trained_run), str(colors), "-o", str(tmp_path / "p.png"), "--top", "1"]) == 0
    assert "the panel shows the first 6 of 80 pictures" in capsys.readouterr().err
    with Image.open(tmp_path / "p.png") as panel:
        assert panel.size == (16 + 4 * (SIDE + 16), 16 + 2 * (SIDE + 22 + 23 + 16))


def test_what_cannot_be(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(trained_run)
    (tmp_path / "bare").mkdir()
    for arguments, code, said in (
        ([run], 2, "name an IMAGE"),
        ([run, "nowhere.png", "nor here"], 2, "there is no file or folder nor here"),
        ([run, str(tmp_path / "bare")], 1, "there is no picture in"),
        ([str(tmp_path), str(tmp_path)], 2, "is not the folder of a run"),
        ([run, "--samples", "1", "--checkpoint", "none"], 2, "has no checkpoint none"),
        ([run, "--samples", "1", "--data", "nowhere"], 2, "there is no folder nowhere"),
        ([run, "--samples", "1", "-o", str(tmp_path / "not" / "there.png")], 2, "cannot be written"),
    ):
        assert main(["predict", *arguments]) == code, arguments
        assert said in capsys.readouterr().err


def test_a_picture_that_is_looked_at_is_not_written_over(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = save(picture("red", 1), tmp_path / "query.png")
    (tmp_path / "link.png").symlink_to(query)
    monkeypatch.chdir(tmp_path)
    before = query.read_bytes()
    for command in (["predict"], ["similar", "--in", str(tmp_path)]):
        for name in (str(query), "query.png", "link.png"):
            assert main([command[0], str(trained_run), "query.png", *command[1:], "-o", name]) == 2
            assert "is a picture that is looked at" in capsys.readouterr().err
    assert query.read_bytes() == before
    assert main(["predict", str(trained_run), "query.png", "-o", "panel.jpg"]) == 2
    assert "pictures are written as PNG" in capsys.readouterr().err


def test_many_broken_files(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}.png").write_bytes(b"no")
    save(picture("red", 1), tmp_path / "99.png")
    assert main(["predict", str(trained_run), str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(str(tmp_path / "99.png"))
    assert err.count("not a picture") == 20
    assert "skipped 10 more files of 31 that cannot be read" in err


def test_a_wide_panel_is_bounded(
    trained_run: Path, colors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((predicting, "MOST_BARS"), (finding, "MOST_FOUND")):
        monkeypatch.setattr(module, name, 2)
    image, panel = str(colors / "red" / "00.png"), tmp_path / "p.png"
    assert main(["predict", str(trained_run), image, "--top", "3", "-o", str(panel)]) == 0
    assert "the panel has the first 2 classes" in capsys.readouterr().err
    with Image.open(panel) as drawn:
        assert drawn.height == 16 + SIDE + 22 + 2 * 23 + 16
    arguments = ["--in", str(colors), "--cache", str(tmp_path / "cache"), "--top", "3", "-o", str(panel)]
    assert main(["similar", str(trained_run), image, *arguments]) == 0
    assert "the panel has the first 2 pictures" in capsys.readouterr().err
    with Image.open(panel) as drawn:
        assert drawn.width == 16 + 3 * (SIDE + 16) + 16


def test_an_old_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no mean and no names of classes: those of the data that --data names are taken."""
    run = old_run(tmp_path)
    image = save(picture("red", 1), tmp_path / "a.png")
    assert main(["predict", str(run), str(image)]) == 2
    assert "name the data that it was trained on with --data" in capsys.readouterr().err
    trained = open_trained(run, device="cpu")
    completed = with_data(trained, "digits", lambda diagnostic: None)
    assert completed.stored_shape == (8, 8, 3), "a picture is seen whole, and not an 8x8 patch of a large one"
    assert completed.classes == (*"0123456789",)
    assert with_data(trained, None, lambda diagnostic: None) is trained
    found = predict(capsys, run, image, "--data", "digits", "--samples", "3", "--top", "10")
    assert len(found["images"]) == 4
    for each in found["images"]:
        assert {guess["class"] for guess in each["predictions"]} == set("0123456789")
    assert found["images"][0]["label"] is None
    assert all(each["label"] in "0123456789" for each in found["images"][1:])
    target = tmp_path / "f.npz"
    assert main(["features", str(run), "--data", "digits", "--layer", "fc10", "-o", str(target)]) == 0
    with np.load(target) as features:
        assert features["features"].shape == (359, 10)
    assert main(["similar", str(run), str(image), "--in", "digits", "--layer", "fc10"]) == 2
    assert "--data" in capsys.readouterr().err
    arguments = ["--in", "digits", "--data", "digits", "--layer", "fc10", "--top", "2"]
    assert main(["similar", str(run), str(image), *arguments]) == 0
    assert "among 1,438 pictures of digits:train" in capsys.readouterr().out


def test_names_that_no_terminal_should_see(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files whose names are no text, or move the cursor: they are shown harmless, and stay themselves in JSON."""
    folder = tmp_path / "odd"
    folder.mkdir()
    names = ["line\nend.png", "\x1b[31mred.png", os.fsdecode(b"latin-\xe9.png")]
    for name in names:
        with (folder / name).open("wb") as file:
            picture("red", 1).save(file, format="PNG")
    panel = tmp_path / "p.png"
    assert main(["predict", str(trained_run), str(folder), "-o", str(panel), "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 6
    assert "\x1b" not in out
    assert "line\\x0aend.png" in out
    found = predict(capsys, trained_run, folder)
    assert sorted(Path(each["image"]).name for each in found["images"]) == sorted(names)
    arguments = ["--in", str(folder), "--cache", str(tmp_path / "c"), "-o", str(panel)]
    assert main(["similar", str(trained_run), str(folder / names[0]), *arguments]) == 0
    target = tmp_path / "f.npz"
    assert main(["features", str(trained_run), str(folder), "-o", str(target)]) == 0
    with np.load(target) as features:
        assert sorted(Path(name).name for name in features["names"]) == sorted(names)


def test_one_output_tells_two_classes_apart() -> None:
    assert by_class(torch.tensor([[0.25], [1.0]])).tolist() == [[0.75, 0.25], [0.0, 1.0]]
    several = torch.tensor([[0.2, 0.3, 0.5]])
    assert by_class(several) is several
