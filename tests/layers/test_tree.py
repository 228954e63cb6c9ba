"""Trees of classes: where they stand, what is counted, and that a spec which stands alone has its tree in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import convspec
from convspec.checker import check
from convspec.compiler import compile_spec
from convspec.diagnostics import DiagnosticError
from convspec.layers.tree import ClassTree, TreeError, checked_tree
from tests.emit.small_specs import classifier, layer

TREE = {"children": [[], [], [], [], [0, 1], [2, 3], [4, 5]], "root": 6}


def spec(tree: str, net: str = "") -> str:
    return classifier(
        layer("x", type="treefc", inputs="data", tree=tree, epsW=0.001, wc=0.5, momW=0.9), leaves="x", net=net
    )


def test_a_file_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees/small.json").write_text(json.dumps(TREE, indent=2))
    path = tmp_path / "net.cfg"
    path.write_text(spec("trees/small.json"))
    checked = check(path)
    assert checked.ok, checked.diagnostics
    row = next(row for row in checked.layers if row.name == "x")
    features = 3 * 9 * 9
    assert (row.shape, row.weights, row.biases, row.macs) == ((4,), 7 * features, 4, 4 * features)


def test_the_resolved_spec_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps(TREE))
    path = tmp_path / "net.cfg"
    path.write_text(spec("small.json"))
    compiled = compile_spec(path)
    (tmp_path / "small.json").unlink()
    again = compile_spec(compiled.resolved_text)
    assert again.program.operators == compiled.program.operators
    assert again.program.parameters == compiled.program.parameters
    assert again.resolved_text == compiled.resolved_text


@pytest.mark.parametrize(("name", "code"), [("nowhere.json", "CS101"), (".", "CS101"), ("text.json", "CS415")])
def test_files_that_are_no_trees(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "text.json").write_bytes(b"\xff\xfe")
    path = tmp_path / "net.cfg"
    path.write_text(spec(name))
    found = [d for d in check(path).diagnostics if d.code in ("CS101", "CS415")]
    assert [d.code for d in found] == [code]
    assert found[0].span is not None
    assert found[0].span.line == path.read_text().splitlines().index(f"tree={name}") + 1


def test_rows_learn_by_the_classes_below_them() -> None:
    program = compile_spec(spec(json.dumps(TREE))).program
    update = program.parameter["x.weight"].update
    assert update.divisors == (1, 1, 1, 1, 2, 2, 4)
    assert (update.rate.base, update.momentum, update.decay) == (0.001, 0.9, 0.5)
    assert program.parameter["x.bias"].update.divisors == ()


def test_the_2012_code_has_its_tree_elsewhere() -> None:
    """It is checked without, with as many outputs as there are classes, and not compiled."""
    text = spec("").replace("tree=\n", "gpu=0\n").replace("[@net]\n", "[@net]\ndialect=alexnet2012\n")
    checked = check(text.replace("[cost]", "[c]"))
    assert next(row.shape for row in checked.layers if row.name == "x") == (4,)
    assert "CS203" not in {d.code for d in checked.diagnostics}
    alone = "\n".join(
        [
            "[@net]\ndialect=alexnet2012\ninput=data:8\nclasses=4\noutputs=x",
            "[@params]\ninitW=0.1\nepsW=0.01\nepsB=0.02\nmomW=0.9\nmomB=0.9",
            layer("data", type="data", dataIdx=0),
            layer("x", type="treefc", inputs="data", gpu=0),
        ]
    )
    assert check(alone).ok, check(alone).diagnostics
    with pytest.raises(DiagnosticError) as raised:
        compile_spec(alone)
    assert [d.code for d in raised.value.diagnostics if d.severity.value == "error"] == ["CS606"]


def test_deep_trees_are_walked_without_recursion() -> None:
    depth = 5000
    children = ((), *((node,) for node in range(depth)))
    tree = checked_tree(ClassTree(children, depth))
    assert tree.leaf_counts == (1,) * (depth + 1)
    assert tree.parents[-1] == -1
    text = "[" * 100_000
    checked = convspec.check(spec('{"children": ' + text))
    assert "CS415" in {d.code for d in checked.diagnostics}


def test_a_node_is_named_with_what_is_wrong() -> None:
    with pytest.raises(TreeError, match="node 1 stands below both 3 and 4"):
        checked_tree(ClassTree(((), (), (), (0, 1), (1, 2), (3, 4)), 5))
