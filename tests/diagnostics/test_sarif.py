"""SARIF logs: the parts that the published schema demands, and places that readers find."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from convspec.checker import check
from convspec.diagnostics import Diagnostic, Label, Severity, SourceFile, Span
from convspec.diagnostics.codes import CODES
from convspec.diagnostics.explain import explanation
from convspec.diagnostics.origin import Origin
from convspec.diagnostics.render import Format, render
from convspec.diagnostics.sarif import sarif_log

CASES = Path(__file__).parent / "cases"
ORIGIN = Origin("1.2.3", "specs/my.cfg", "/repo")

# What sarif-schema-2.1.0.json requires of each object that we write, and the types of what we put there.
REQUIRED: dict[str, dict[str, type]] = {
    "log": {"version": str, "runs": list},
    "run": {"tool": dict},
    "driver": {"name": str},
    "rule": {"id": str},
    "result": {"message": dict},
    "text": {"text": str},
}
LEVELS = {"none", "note", "warning", "error"}


def require(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    for key, type_ in REQUIRED[kind].items():
        assert isinstance(value[key], type_), (kind, key)
    return value


def check_log(log: dict[str, Any]) -> None:
    """The schema's demands on a log of ours, by hand: the schema itself is 3,000 lines of somebody else's."""
    require("log", log)
    assert log["version"] == "2.1.0"
    for run in log["runs"]:
        driver = require("driver", require("run", run)["tool"]["driver"])
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
        rules = driver["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        for rule in rules:
            require("rule", rule)
            assert rule["defaultConfiguration"]["level"] in LEVELS
            for key in ("shortDescription", "fullDescription", "help"):
                require("text", rule[key])
        for result in run["results"]:
            check_result(result, rules)


def check_result(result: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    require("text", require("result", result)["message"])
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["level"] in LEVELS
    related = result.get("relatedLocations", [])
    assert len({location["id"] for location in related}) == len(related)
    for location in [*result["locations"], *related]:
        artifact = location["physicalLocation"]["artifactLocation"]
        assert " " not in artifact["uri"]
        assert artifact["uri"].startswith("file:///") or artifact["uriBaseId"] == "%SRCROOT%"
        region = location["physicalLocation"].get("region")
        if region is not None:
            start = (region["startLine"], region["startColumn"])
            end = (region["endLine"], region["endColumn"])
            assert (1, 1) <= start <= end


def log_of(*diagnostics: Diagnostic, origin: Origin = ORIGIN) -> dict[str, Any]:
    log = sarif_log(diagnostics, origin)
    check_log(log)
    return log


def results_of(*diagnostics: Diagnostic, origin: Origin = ORIGIN) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = log_of(*diagnostics, origin=origin)["runs"][0]["results"]
    return found


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.cfg") if ".params" not in path.stem))
def test_every_case_is_a_valid_log(name: str) -> None:
    params = CASES / f"{name}.params.cfg"
    diagnostics = check(CASES / f"{name}.cfg", params if params.exists() else None).diagnostics
    text = render(diagnostics, Format.SARIF, origin=Origin.of(str(CASES / f"{name}.cfg"), "1"))
    log = json.loads(text)
    check_log(log)
    results = log["runs"][0]["results"]
    assert [(r["ruleId"], r["level"]) for r in results] == [(d.code, d.severity.value) for d in diagnostics]
    for result, diagnostic in zip(results, diagnostics, strict=True):
        assert diagnostic.span is not None
        physical = result["locations"][0]["physicalLocation"]
        assert physical["artifactLocation"]["uri"].endswith(f"/cases/{Path(diagnostic.span.file.name).name}")
        assert physical["region"]["startLine"] == diagnostic.span.line
        assert len(result.get("relatedLocations", [])) == len(diagnostic.labels)


def test_a_rule_has_title_and_page_of_its_code() -> None:
    log = log_of(Diagnostic("CS409", "m", severity=Severity.NOTE), Diagnostic("CS106", "n"))
    first, second = log["runs"][0]["tool"]["driver"]["rules"]
    assert (first["id"], second["id"]) == ("CS106", "CS409")
    assert second["defaultConfiguration"] == {"level": "note"}
    assert second["shortDescription"]["text"] == CODES["CS409"].title
    assert second["help"]["markdown"].replace("{{", "{").replace("}}", "}") == explanation("CS409")
    assert first["fullDescription"]["text"] in " ".join(explanation("CS106").split())


def test_columns_are_units_of_utf16_and_lines_may_be_several() -> None:
    file = SourceFile("specs/my.cfg", "[a]\n🐍🐍=1,\n 🐍é2\n")
    [result] = results_of(Diagnostic("CS204", "m", Span(file, 5, 13)))
    region = result["locations"][0]["physicalLocation"]["region"]
    assert file.text[5:13] == "🐍=1,\n 🐍é"
    assert region == {"startLine": 2, "startColumn": 3, "endLine": 3, "endColumn": 5}


def test_paths_are_relative_to_the_root_with_slashes_and_escapes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    uris = {}
    for name in ("a b/ü#.cfg", f"{tmp_path}/x.cfg", "../x.cfg", "y/../z.cfg"):
        span = Span(SourceFile(name, "x"), 0, 1)
        [result] = results_of(Diagnostic("CS204", "m", span), origin=Origin.of("s", ""))
        uris[name] = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert [uri.get("uriBaseId") for uri in uris.values()] == ["%SRCROOT%", "%SRCROOT%", None, "%SRCROOT%"]
    assert uris["a b/ü#.cfg"]["uri"] == "a%20b/%C3%BC%23.cfg"
    assert uris[f"{tmp_path}/x.cfg"]["uri"] == "x.cfg"
    assert uris["../x.cfg"]["uri"] == (tmp_path.parent / "x.cfg").as_uri()
    assert uris["y/../z.cfg"]["uri"] == "z.cfg"


def test_the_checkout_of_a_workflow_is_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert Origin.of("x.cfg", "").relative("x.cfg") == "sub/x.cfg"


def test_what_has_no_file_stands_at_the_spec() -> None:
    override = Span(SourceFile("--set a.b=1", "[a]\nb=1\n"), 4, 5)
    for diagnostic in (Diagnostic("CS101", "m"), Diagnostic("CS204", "m", override)):
        [result] = results_of(diagnostic)
        assert result["locations"] == [
            {"physicalLocation": {"artifactLocation": {"uri": (Path.cwd() / "specs/my.cfg").as_uri()}}}
        ]
    assert results_of(Diagnostic("CS101", "m"), origin=Origin())[0]["locations"] == []


def test_labels_are_related_locations_with_their_texts() -> None:
    file, override = SourceFile("/repo/a.cfg", "abc\ndef\n"), SourceFile("--set x", "x")
    labels = (
        Label(Span(file, 4, 6), "first {here}"),
        Label(Span(override, 0, 1), "no file"),
        Label(Span(file, 0, 1), ""),
    )
    [result] = results_of(Diagnostic("CS106", "m", Span(file, 0, 3), labels))
    first, second = result["relatedLocations"]
    assert first["message"]["text"] == "first {{here}}"
    assert first["physicalLocation"]["region"]["startLine"] == 2
    assert (first["id"], second["id"]) == (1, 2)


def test_message_has_notes_and_help_and_no_control_characters() -> None:
    [result] = results_of(Diagnostic("CS106", "a {0}\x1b", None, (), ("one\ntwo",), "do\x00"))
    assert result["message"]["text"] == "a {{0}}\\x1b\nnote: one\ntwo\nhelp: do\\x00"


def test_no_diagnostics_is_a_log_without_results() -> None:
    run = log_of()["runs"][0]
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])
    assert run["tool"]["driver"]["semanticVersion"] == "1.2.3"
