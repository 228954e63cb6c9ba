"""The picture of a network: what stands in it, and that it is well-formed, safe and the same each time."""

from __future__ import annotations

# ruff: noqa: RUF001 - the sign of multiplication is meant
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given

from convspec.checker import check
from convspec.passes.pipeline import Target
from convspec.plan.plan import program_for
from convspec.program.crossings import between_gpus
from convspec.report.network import draw_network
from convspec.resources import spec_path
from convspec.testing import specs

SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)


def texts(root: ET.Element, kind: str) -> list[str]:
    return [
        element.text or "" for element in root.iter(f"{SVG}text") if (element.get("class") or "").split()[0] == kind
    ]


def lines(root: ET.Element, kind: str) -> list[str]:
    """The titles of the lines of a kind: `conv1a to rnorm1a: ...`."""
    return [
        path.findtext(f"{SVG}title") or ""
        for path in root.iter(f"{SVG}path")
        if path.get("class") == kind and path.get("marker-end")
    ]


def test_alexnet_has_all_that_check_prints() -> None:
    checked = check(spec_path("alexnet.cfg"))
    root = parsed(draw_network(checked))
    assert sorted(texts(root, "name")) == sorted(row.name for row in checked.layers)
    assert sorted(texts(root, "shape")) == sorted("×".join(map(str, row.shape or ())) for row in checked.layers)
    notes = texts(root, "note")
    assert notes.count("(227 - 11) / 4 + 1 = 55") == 2
    assert notes.count("17,472 parameters") == 2
    assert notes.count("conv, relu") == 10
    assert texts(root, "gpu") == ["GPU 0", "GPU 1"]
    assert texts(root, "title") == ["AlexNet"]


def test_crossings_are_the_lines_between_the_towers() -> None:
    root = parsed(draw_network(check(spec_path("alexnet.cfg"))))
    crossing = {title.split(":")[0] for title in lines(root, "crossing")}
    assert crossing == {
        "pool2a to conv3b",
        "pool2b to conv3a",
        "pool5a to fc6b",
        "pool5b to fc6a",
        "drop6a to fc7b",
        "drop6b to fc7a",
        "drop7b to fc8",
    }
    assert "pool2a to conv3b: 128×13×13, GPU 0 to GPU 1, 21,632 numbers an image" in lines(root, "crossing")
    # 2 * 128*13*13 + 2 * 128*6*6 + 2 * 2048 + 2048.
    assert any("7 lines from one GPU to another: 58,624 numbers" in text for text in texts(root, "legend"))
    assert len(lines(root, "line")) == sum(len(row.inputs) for row in check(spec_path("alexnet.cfg")).layers) - 7


def test_what_two_layers_of_a_gpu_read_comes_to_it_once() -> None:
    layer = "[{0}]\ntype=neuron\nneuron=relu\ninputs={1}\ngpu={2}\n"
    text = "[@net]\ninput=data:3x4x4\noutputs=b,c\n[data]\ntype=data\ndataIdx=0\n"
    text += layer.format("a", "data", 0) + layer.format("b", "a", 1) + layer.format("c", "a", 1)
    root = parsed(draw_network(check(text)))
    assert len(lines(root, "crossing")) == 2
    assert any("2 lines from one GPU to another: 48 numbers" in line for line in texts(root, "legend"))


def test_a_network_on_one_gpu_speaks_of_none() -> None:
    picture = draw_network(check(spec_path("lenet-digits.cfg")))
    assert "GPU" not in picture
    assert lines(parsed(picture), "crossing") == []


def test_a_rounded_window_is_told_in_two_lines() -> None:
    notes = texts(parsed(draw_network(check(spec_path("alexnet-2012.cfg")))), "note")
    assert notes.count("(224 - 11) / 4 + 1") == notes.count("= 54.25, rounded up to 55") == 2


def test_labels_that_several_costs_read_are_drawn_beside_each() -> None:
    early = "[early]\ntype=softmax\ninputs=fc5\n[cost2]\ntype=cost.logreg\ninputs=labels,early\ncoeff=1\n"
    deep = "[pass]\ntype=neuron\nneuron=relu\ninputs=fc5\n[pass2]\ntype=neuron\nneuron=relu\ninputs=pass\n"
    text = spec_path("lenet-digits.cfg").read_text().replace("[probs]", f"{early}{deep}[probs]")
    text = text.replace("type=softmax\ninputs=fc5\n\n[logprob]", "type=softmax\ninputs=pass2\n\n[logprob]")
    checked = check(text)
    assert checked.ok, checked.diagnostics
    root = parsed(draw_network(checked))
    assert texts(root, "name").count("labels") == 2
    assert sorted(t.split(":")[0] for t in lines(root, "line") if t.startswith("labels")) == [
        "labels to cost2",
        "labels to logprob",
    ]


def test_it_says_in_words_what_it_shows() -> None:
    root = parsed(draw_network(check(spec_path("alexnet.cfg"))))
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "title description")
    assert root.find(f"{SVG}title") is not None
    description = root.findtext(f"{SVG}desc") or ""
    assert description.startswith("A network of 33 layers on 2 GPUs, 60,965,224 parameters")
    assert (
        "conv3a (192×13×13, conv, relu, (13 + 2*1 - 3) / 1 + 1 = 13, 442,560 parameters; GPU 0; reads pool2a, pool2b)"
        in description
    )


def test_names_cannot_write_markup() -> None:
    name = 'a<b>&"c\x1b'
    checked = check(
        f"[@net]\ninput=data:3x4x4\noutputs={name}\n[data]\ntype=data\ndataIdx=0\n[{name}]\ntype=neuron\nneuron=relu\ninputs=data\n"
    )
    if not checked.ok:
        pytest.skip(f"this name is refused: {checked.diagnostics}")
    assert 'a<b>&"c\\x1b' in texts(parsed(draw_network(checked)), "name")


def test_text_fits_its_box() -> None:
    """By the widths of the font: no line is wider than the box that holds it."""
    from convspec.report.network import _card

    for spec in ("alexnet.cfg", "alexnet-2012.cfg", "lenet-digits.cfg"):
        checked = check(spec_path(spec))
        root = parsed(draw_network(checked))
        widths = [
            float(e.get("width") or 0) for e in root.iter(f"{SVG}rect") if (e.get("class") or "").startswith("box")
        ]
        assert min(widths) >= min(_card(row).width for row in checked.layers)
        assert max(widths) >= max(_card(row).width for row in checked.layers) - 0.1


def test_nothing_is_loaded_from_elsewhere() -> None:
    picture = draw_network(check(spec_path("alexnet.cfg"))).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|<script|href|@import|@font-face", picture)


def test_the_same_bytes_under_two_hash_seeds() -> None:
    script = (
        "import sys; from convspec.checker import check; from convspec.report.network import draw_network;"
        f"sys.stdout.write(draw_network(check({str(spec_path('alexnet.cfg'))!r})))"
    )
    pictures = [
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert pictures[0] == pictures[1] != b""


@given(specs(max_layers=6, towers=3))
def test_any_network_is_drawn(text: str) -> None:
    checked = check(text)
    root = parsed(draw_network(checked))
    assert set(texts(root, "name")) == {row.name for row in checked.layers}
    width, height = (float(root.get(key) or 0) for key in ("width", "height"))
    assert 0 < width < 10_000
    assert 0 < height < 10_000


@pytest.mark.parametrize("name", ["alexnet-2012.cfg", "alexnet-hybrid.cfg"])
def test_what_crosses_is_what_plan_says(name: str) -> None:
    checked = check(spec_path(name))
    found = between_gpus(program_for(checked, Target.SPMD))
    numbers = round(sum(each.numbers_forward for each in found))
    root = parsed(draw_network(checked))
    assert any(f": {numbers:,} numbers an image forward, as many back" in text for text in texts(root, "legend"))
    of_lines = [int(title.rpartition(", ")[2].split()[0].replace(",", "")) for title in lines(root, "crossing")]
    assert sum(of_lines) == numbers  # in these networks nothing is read twice on a GPU


def test_slices_of_the_minibatch_count_as_slices() -> None:
    """Each of four GPUs has a quarter of the cases of pool5, and needs the other three."""
    crossing = lines(parsed(draw_network(check(spec_path("alexnet-hybrid.cfg")))), "crossing")
    assert "pool5 to full6c.fc: 256×6×6, GPU 0,1,2,3 to GPU 2, 6,912 numbers an image" in crossing


_POOLED = """[@net]
input=data:3x8x8
classes=2
[@params]
initW=0.1
epsW=0.1
epsB=0.1
momW=0.9
momB=0.9
wc=0
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv]
type=conv
inputs=data
filters=4
filterSize=3
padding=1
epsW={rate}
epsB={rate}
gpu=0
[pool]
type=pool
pool=max
inputs=conv
sizeX=2
stride=2
gpu=1
[fc]
type=fc
inputs=pool
outputs=2
[probs]
type=softmax
inputs=fc
[cost]
type=cost.logreg
inputs=labels,probs
coeff=1
gpu=1
"""


def test_maps_are_pooled_before_they_cross() -> None:
    root = parsed(draw_network(check(_POOLED.format(rate=0.1))))
    assert lines(root, "crossing") == ["conv to pool: 4×8×8, GPU 0 to GPU 1"]
    assert any("a line between GPUs: 64 numbers an image forward, as many back" in t for t in texts(root, "legend"))


def test_what_learns_nothing_gets_no_gradient_back() -> None:
    root = parsed(draw_network(check(_POOLED.format(rate=0))))
    assert any(": 64 numbers an image forward, 0 back" in text for text in texts(root, "legend"))


def test_what_cannot_be_compiled_is_drawn_without_numbers() -> None:
    checked = check(_POOLED.format(rate=0.1).replace("pool=max", "pool=rand"))
    assert checked.ok, checked.diagnostics
    root = parsed(draw_network(checked))
    assert "a line between GPUs" in texts(root, "legend")
    assert lines(root, "crossing") == ["conv to pool: 4×8×8, GPU 0 to GPU 1"]
