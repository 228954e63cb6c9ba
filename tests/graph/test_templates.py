"""Templates and `repeat=`: the layers that they make, what is refused, and where the messages point."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import convspec
from convspec.checker import Checked
from convspec.cli import main
from convspec.syntax.formatter import format_document
from convspec.syntax.parser import Report, SourceFile, parse_document

HEAD = """[@net]
input=data:3x16x16
outputs=last
[data]
type=data
dataIdx=0
"""
PARAMS = """[@params conv]
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
initW=0.1
"""
BLOCK = """[@template block]
filters=
side=3
[@block.a]
type=conv
inputs=$inputs
filters=$filters
filterSize=${side}
padding=1
[@block.b]
type=neuron
inputs=a
neuron=relu
"""


def net(text: str, **options: object) -> Checked:
    """A network that gives what the layer `last` gives."""
    return convspec.check(HEAD + PARAMS + text, **options)  # type: ignore[arg-type]


def reads(checked: Checked) -> dict[str, str]:
    return {row.name: ",".join(row.inputs) for row in checked.layers if row.name != "data"}


def told(checked: Checked) -> list[tuple[str, str]]:
    return [(d.code, d.span.text if d.span else "") for d in checked.diagnostics]


def test_repeat_is_a_chain() -> None:
    checked = net("[last]\ntype=conv\ninputs=data\nfilters=4\nfilterSize=3\nrepeat=3\n")
    assert told(checked) == []
    assert reads(checked) == {"last_1": "data", "last_2": "last_1", "last_3": "last_2"}
    assert [row.shape for row in checked.layers[1:]] == [(4, 14, 14), (4, 12, 12), (4, 10, 10)]


def test_readers_of_a_repeated_layer_read_the_last_copy() -> None:
    checked = net("[last]\ntype=neuron\nneuron=abs\ninputs=c\n[c]\ntype=neuron\nneuron=abs\ninputs=data\nrepeat=2\n")
    assert (told(checked), reads(checked)["last"]) == ([], "c_2")


def test_an_instance_is_its_layers() -> None:
    checked = net(BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\n")
    assert told(checked) == []
    assert reads(checked) == {"last.a": "data", "last.b": "last.a"}
    assert checked.layers[1].shape == (4, 16, 16)
    assert convspec.compile(checked.resolved_text) == convspec.compile(
        HEAD + PARAMS + BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\n"
    )


def test_it_is_the_network_that_is_written_out() -> None:
    short = HEAD + PARAMS + BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\nside=5\nrepeat=2\n"
    written_out = HEAD.replace("outputs=last", "outputs=last_2.b") + PARAMS
    for i, source in ((1, "data"), (2, "last_1.b")):
        written_out += f"[last_{i}.a]\ntype=conv\ninputs={source}\nfilters=4\nfilterSize=5\npadding=1\n"
        written_out += f"[last_{i}.b]\ntype=neuron\ninputs=last_{i}.a\nneuron=relu\n"
    assert convspec.compile(short) == convspec.compile(written_out)


def test_instances_may_stand_in_any_order_and_share_a_template() -> None:
    text = "[last]\ntype=block\ninputs=first\nfilters=2\nside=1\n[first]\ntype=block\ninputs=data\nfilters=4\n" + BLOCK
    checked = net(text)
    assert told(checked) == []
    assert reads(checked)["last.a"] == "first.b"
    assert [row.shape for row in checked.layers[1:]] == [(2, 18, 18), (2, 18, 18), (4, 16, 16), (4, 16, 16)]


def test_a_template_in_a_template() -> None:
    outer = "[@template stage]\nwide=\ndeep=2\n[@stage.down]\ntype=pool\npool=max\nsizeX=2\nstride=2\ninputs=$inputs\n"
    outer += "[@stage.blocks]\ntype=block\ninputs=down\nfilters=$wide\nrepeat=$deep\n"
    checked = net(BLOCK + outer + "[last]\ntype=stage\ninputs=data\nwide=6\nrepeat=2\n")
    assert told(checked) == []
    assert reads(checked) == {
        "last_1.down": "data",
        "last_1.blocks_1.a": "last_1.down",
        "last_1.blocks_1.b": "last_1.blocks_1.a",
        "last_1.blocks_2.a": "last_1.blocks_1.b",
        "last_1.blocks_2.b": "last_1.blocks_2.a",
        "last_2.down": "last_1.blocks_2.b",
        "last_2.blocks_1.a": "last_2.down",
        "last_2.blocks_1.b": "last_2.blocks_1.a",
        "last_2.blocks_2.a": "last_2.blocks_1.b",
        "last_2.blocks_2.b": "last_2.blocks_2.a",
    }


def test_names_of_a_template_are_its_own_and_those_of_parameters_are_not() -> None:
    """`a` in the template is its layer, `$inputs` and `$other` are layers of the network, though one is called `a` too."""
    template = "[@template two]\nother=\n[@two.a]\ntype=neuron\nneuron=abs\ninputs=$inputs\n"
    template += "[@two.sum]\ntype=concat\ninputs=a,$other,data\n"
    checked = net(template + "[a]\ntype=neuron\nneuron=relu\ninputs=data\n[last]\ntype=two\ninputs=a\nother=a\n")
    assert told(checked) == []
    assert (reads(checked)["last.a"], reads(checked)["last.sum"]) == ("a", "last.a,a,data")


def test_several_inputs_are_one_parameter() -> None:
    template = "[@template join]\n[@join.all]\ntype=concat\ninputs=$inputs,data\n"
    checked = net(
        template
        + "[a]\ntype=neuron\nneuron=relu\ninputs=data\n[b]\ntype=neuron\nneuron=abs\ninputs=data\n[last]\ntype=join\ninputs=a, b\n"
    )
    assert (told(checked), reads(checked)["last.all"]) == ([], "a,b,data")


def test_a_dense_block_grows_by_repetition() -> None:
    template = "[@template dense]\n[@dense.conv]\ntype=conv\ninputs=$inputs\nfilters=2\nfilterSize=3\npadding=1\n"
    template += "[@dense.join]\ntype=concat\ninputs=$inputs,conv\n"
    checked = net(template + "[last]\ntype=dense\ninputs=data\nrepeat=4\n")
    assert told(checked) == []
    assert [row.shape for row in checked.layers if row.name.endswith("join")] == [(c, 16, 16) for c in (5, 7, 9, 11)]


def test_parameters_may_be_parts_of_values_and_types() -> None:
    template = "[@template act]\nkind=neuron\na=1\nb=$$\n[@act.x]\ntype=$kind\ninputs=$inputs\nneuron=tanh[$a,${a}.5]\n"
    checked = net(template + "[last]\ntype=act\ninputs=data\na=2\n")
    assert told(checked) == []
    assert checked.graph.layers["last.x"].neuron == ("tanh", (2.0, 2.5))


def test_weights_and_children_are_named_as_the_template_calls_them() -> None:
    template = (
        "[@template tied]\nfilters=3\n[@tied.a]\ntype=conv\ninputs=$inputs\nfilters=$filters\nfilterSize=3\npadding=1\n"
    )
    template += "[@tied.b]\ntype=conv\ninputs=a\nfilters=$filters\nfilterSize=3\npadding=1\nweightSource=a[0]\n"
    checked = net(template + "[last]\ntype=tied\ninputs=data\nrepeat=2\n")
    assert told(checked) == []
    assert [checked.graph.layers[f"last_{i}.b"].weight_sources[0].name.text for i in (1, 2)] == ["last_1.a", "last_2.a"]
    assert "weightSource=last_2.a[0]" in checked.resolved_text
    [diagnostic] = net(template.replace("a[0]", "a[7]") + "[last]\ntype=tied\ninputs=data\n").diagnostics
    assert (diagnostic.code, diagnostic.span.text) == ("CS309", "a")  # type: ignore[union-attr]


def test_keys_for_one_copy() -> None:
    text = (
        BLOCK
        + "[last]\ntype=block\ninputs=data\nfilters=4\nrepeat=3\n[last_2]\nfilters=5\nside=5\n[last_3.b]\nneuron=abs\n"
    )
    checked = net(text)
    assert told(checked) == []
    shapes = {row.name: row.shape for row in checked.layers}
    assert [shapes[f"last_{i}.a"] for i in (1, 2, 3)] == [(4, 16, 16), (5, 14, 14), (4, 14, 14)]
    assert [checked.graph.layers[f"last_{i}.b"].neuron[0] for i in (1, 2, 3)] == ["relu", "relu", "abs"]  # type: ignore[index]
    assert "[last_2]" not in checked.resolved_text


def test_overrides_reach_all_of_it() -> None:
    text = BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\nrepeat=2\n"
    overrides = [
        "last.filters=6",
        "last_2.a.filters=7",
        "@template block.side=1",
        "@block.a.padding=0",
        "last.repeat=3",
    ]
    checked = net(text, overrides=overrides)
    assert told(checked) == []
    assert [row.shape for row in checked.layers[1::2]] == [(6, 16, 16), (7, 16, 16), (6, 16, 16)]
    checked = net(text, overrides=["@template.block.side=1"])
    assert checked.layers[1].shape == (4, 18, 18)


def test_repeat_can_come_from_the_command_line() -> None:
    checked = net("[last]\ntype=neuron\nneuron=abs\ninputs=data\n", overrides=["last.repeat=2", "@net.outputs=last"])
    assert (told(checked), list(reads(checked))) == ([], ["last_1", "last_2"])


def test_an_override_of_a_layer_that_is_not_made() -> None:
    text = BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\n"
    [diagnostic] = net(text, overrides=["last.c.filters=7"]).diagnostics
    assert diagnostic.code == "CS213"
    assert diagnostic.help == "did you mean 'last.b'?"


def test_a_claim_of_an_instance_is_one_of_what_it_gives() -> None:
    text = BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\nrepeat=2\nexpect=16x16x"
    assert told(net(text + "4\n")) == []
    assert told(net(text + "5\n")) == [("CS416", "16x16x5")]


def test_an_instance_can_be_taken_out() -> None:
    text = BLOCK + "[mid]\ntype=block\ninputs=data\nfilters=4\nrepeat=2\n[last]\ntype=neuron\nneuron=abs\ninputs=mid\n"
    checked = net(text, overrides=["mid.remove=1"])
    assert (told(checked), reads(checked)) == ([], {"last": "data"})
    checked = net(text, overrides=["mid_2.remove=1"])
    assert (told(checked), reads(checked)["last"]) == ([], "mid_1.b")
    checked = net(text, overrides=["@block.b.remove=1"])
    assert (told(checked), reads(checked)) == ([], {"mid_1.a": "data", "mid_2.a": "mid_1.a", "last": "mid_2.a"})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    text = BLOCK + "[mid]\ntype=block\ninputs=data\nfilters=4\nrepeat=2\n[last]\ntype=neuron\nneuron=abs\ninputs=mid\n"
    (tmp_path / "base.cfg").write_text(HEAD + PARAMS + text)
    return tmp_path


def variant(folder: Path, text: str) -> Checked:
    (folder / "variant.cfg").write_text(f"[@net]\nextends=base.cfg\n{text}")
    return convspec.check(folder / "variant.cfg")


def test_a_variant_changes_template_instance_and_copy(base: Path) -> None:
    checked = variant(
        base, "[@template block]\nside=1\n[@block.b]\nneuron=abs\n[mid]\nrepeat=3\n[mid_2.a]\nfilters=9\n"
    )
    assert told(checked) == []
    assert [row.shape for row in checked.layers[1:-1:2]] == [(4, 18, 18), (9, 20, 20), (4, 22, 22)]
    assert checked.graph.layers["mid_1.b"].neuron[0] == "abs"  # type: ignore[index]


def test_a_variant_adds_a_layer_to_a_template(base: Path) -> None:
    checked = variant(base, "[@block.norm]\ntype=cmrnorm\nafter=a\nsize=3\nscale=0.1\npow=0.75\n")
    assert told(checked) == []
    assert [reads(checked)[f"mid_2.{name}"] for name in ("a", "norm", "b")] == ["mid_1.b", "mid_2.a", "mid_2.norm"]


def test_a_variant_puts_an_instance_after_a_layer(base: Path) -> None:
    checked = variant(base, "[more]\ntype=block\nafter=mid\nfilters=3\nrepeat=2\n")
    assert told(checked) == []
    assert (reads(checked)["more_1.a"], reads(checked)["last"]) == ("mid_2.b", "more_2.b")
    assert list(reads(checked))[4:] == ["more_1.a", "more_1.b", "more_2.a", "more_2.b", "last"]
    checked = variant(base, "[more]\ntype=neuron\nneuron=abs\nafter=data\nrepeat=2\n")
    assert (reads(checked)["more_1"], reads(checked)["mid_1.a"]) == ("data", "more_2")


def test_an_instance_of_an_extended_file_is_not_moved(base: Path) -> None:
    assert told(variant(base, "[mid]\nafter=last\n")) == [("CS308", "last")]


def test_messages_stand_on_the_line_of_the_template_once_and_name_the_instance() -> None:
    text = BLOCK.replace("padding=1", "padding=one") + "[last]\ntype=block\ninputs=data\nfilters=4\nrepeat=3\n"
    [diagnostic] = net(text).diagnostics
    assert (diagnostic.code, diagnostic.span.text) == ("CS204", "one")  # type: ignore[union-attr]
    assert "last_1.a" in diagnostic.message
    [label] = diagnostic.labels
    assert label.span.text == "[last]"
    assert diagnostic.notes == ("the same in 2 more layers made from this text",)


def test_a_bad_value_of_a_parameter_is_blamed_where_it_is_given() -> None:
    [diagnostic] = net(BLOCK + "[last]\ntype=block\ninputs=data\nfilters=four\nrepeat=2\n").diagnostics
    assert (diagnostic.code, diagnostic.span.text) == ("CS204", "four")  # type: ignore[union-attr]
    [diagnostic] = net(BLOCK + "[last]\ntype=block\ninputs=dta\nfilters=4\n").diagnostics
    assert (diagnostic.code, diagnostic.span.text) == ("CS301", "dta")  # type: ignore[union-attr]
    assert diagnostic.help == "did you mean 'data'?"


def test_a_sibling_that_does_not_exist_is_suggested_as_the_template_calls_it() -> None:
    template = BLOCK.replace("[@block.a]", "[@block.conv]").replace("inputs=a", "inputs=cnv")
    [diagnostic] = net(template + "[last]\ntype=block\ninputs=data\nfilters=4\n").diagnostics
    assert (diagnostic.code, diagnostic.help) == ("CS301", "did you mean 'conv'?")


def test_sizes_that_do_not_fit_name_the_instance() -> None:
    checked = net(BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\nside=11\nrepeat=3\n")
    [diagnostic] = checked.diagnostics
    assert diagnostic.code == "CS403"
    assert "last_3.a" in diagnostic.message or "last_2.a" in diagnostic.message


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        (BLOCK + "[last]\ntype=block\ninputs=data\n", "CS203", "block"),
        (BLOCK + "[last]\ntype=block\ninputs=data\nfilters=\n", "CS203", "filters"),
        (BLOCK + "[last]\ntype=block\nfilters=4\n", "CS203", "$inputs"),
        (BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\nwidth=3\n", "CS207", "width"),
        (BLOCK.replace("$filters", "$fliters") + "[last]\ntype=block\ninputs=data\nfilters=4\n", "CS123", "$fliters"),
        (BLOCK + "[last]\ntype=blok\ninputs=data\nfilters=4\n", "CS202", "blok"),
        ("[@blok.c]\ntype=neuron\n" + BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\n", "CS109", "[@blok.c]"),
        ("[@template]\nx=1\n[last]\ntype=neuron\nneuron=abs\ninputs=data\n", "CS120", "[@template]"),
        ("[@template t]\nx=1\n[last]\ntype=t\ninputs=data\n", "CS120", "[@template t]"),
        ("[@template conv]\n[@conv.x]\ntype=neuron\n[last]\ntype=conv\ninputs=data\n", "CS120", "[@template conv]"),
        ("[@template a b]\n[@a b.x]\ntype=neuron\n[last]\ntype=neuron\nneuron=abs\ninputs=data\n", "CS120", "[@template a b]"),
        ("[@template t]\ninputs=data\n[@t.x]\ntype=neuron\n[last]\ntype=t\n", "CS120", "inputs"),
        ("[last]\ntype=neuron\nneuron=abs\ninputs=data\nrepeat=0\n", "CS205", "0"),
        ("[last]\ntype=neuron\nneuron=abs\ninputs=data\nrepeat=20001\n", "CS205", "20001"),
        ("[last]\ntype=neuron\nneuron=abs\ninputs=data\nrepeat=x\n", "CS204", "x"),
        (BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\nrepeat=15000\n", "CS122", "[last]"),
        (
            "[@template t]\n[@t.x]\ntype=t\ninputs=$inputs\n[last]\ntype=t\ninputs=data\n",
            "CS121",
            "t",
        ),
        (
            BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\n[last.a]\ntype=neuron\nneuron=abs\ninputs=data\n",
            "CS124",
            "[last.a]",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_once(text: str, code: str, place: str) -> None:
    assert told(net(text)) == [(code, place)]


def test_templates_that_are_not_used_are_no_mistake() -> None:
    assert told(net(BLOCK + "[last]\ntype=neuron\nneuron=abs\ninputs=data\n")) == []


def test_templates_deep_in_one_another_end() -> None:
    text = "".join(f"[@template t{i}]\n[@t{i}.x]\ntype=t{i + 1}\ninputs=$inputs\n" for i in range(3000))
    text += "[@template t3000]\n[@t3000.x]\ntype=neuron\nneuron=abs\ninputs=$inputs\n"
    assert told(net(text + "[last]\ntype=t2990\ninputs=data\n")) == []
    assert [code for code, _ in told(net(text + "[last]\ntype=t0\ninputs=data\n"))] == ["CS121"]


def test_nested_repeats_are_counted_before_they_are_made() -> None:
    text = "[@template a]\n[@a.x]\ntype=neuron\nneuron=abs\ninputs=$inputs\nrepeat=20000\n"
    for inner, outer in zip("abcdefg", "bcdefgh", strict=True):
        text += f"[@template {outer}]\n[@{outer}.x]\ntype={inner}\ninputs=$inputs\nrepeat=20000\n"
    start = time.process_time()
    assert told(net(text + "[last]\ntype=h\ninputs=data\n")) == [("CS122", "[last]")]
    assert time.process_time() - start < 1


def test_branching_templates_are_counted_before_they_are_made() -> None:
    text = "[@template t0]\n[@t0.x]\ntype=neuron\nneuron=abs\ninputs=$inputs\n"
    for i in range(1, 15):
        text += f"[@template t{i}]\n" + "".join(f"[@t{i}.x{j}]\ntype=t{i - 1}\ninputs=$inputs\n" for j in range(20))
    start = time.process_time()
    assert told(net(text + "[last]\ntype=t14\ninputs=data\n")) == [("CS122", "[last]")]
    assert time.process_time() - start < 5


def test_values_that_double_in_each_template_are_bounded() -> None:
    text = "[@template t0]\np=\n[@t0.x]\ntype=neuron\nneuron=abs\ninputs=$inputs\n"
    for i in range(1, 15):
        text += f"[@template t{i}]\np=\n[@t{i}.x]\ntype=t{i - 1}\ninputs=$inputs\np={'$p' * 40}\n"
    start = time.process_time()
    assert told(net(text + "[last]\ntype=t14\ninputs=data\np=pp\n")) == [("CS122", "[last]")]
    assert time.process_time() - start < 10


def test_twenty_thousand_copies_take_a_bounded_time() -> None:
    start = time.process_time()
    checked = net("[last]\ntype=neuron\nneuron=abs\ninputs=data\nrepeat=19999\n")
    assert checked.ok
    assert len(checked.layers) == 20_000
    assert time.process_time() - start < 20


def test_two_files_may_have_templates() -> None:
    layers = "[@net]\ninput=data:3x8x8\noutputs=x\n[data]\ntype=data\ndataIdx=0\n[@template t]\n[@t.d]\ntype=dropout\ninputs=$inputs\n[x]\ntype=t\ninputs=data\n"
    params = "[@t.d]\nkeep=0.25\n[gone]\nepsW=1\n[x.d]\nenable=1\n"
    checked = convspec.check(layers, params, dialect="convspec")
    assert told(checked) == [("CS209", "[gone]")]
    assert "keep=0.25" in checked.resolved_text
    assert "gone" not in checked.resolved_text


def test_formatting_keeps_templates(tmp_path: Path) -> None:
    text = HEAD + PARAMS + BLOCK + "[last]\ntype=block\ninputs=data\nfilters=4\nrepeat=2\n"
    file = tmp_path / "net.cfg"
    file.write_text(text.replace("=", " = "))
    assert main(["fmt", str(file)]) == 0
    assert convspec.compile(file).replace("net.cfg", "") == convspec.compile(text, overrides=["@net.name=net"]).replace(
        "<string>", ""
    )
    formatted = file.read_text()
    assert format_document(parse_document(SourceFile("net.cfg", formatted), Report())) == formatted
