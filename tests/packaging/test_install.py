"""The wheel: it holds what the source tree holds, and the suite imports it and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SITE_PACKAGES = Path(sysconfig.get_path("purelib")).resolve()

# `make test` says so. By hand, the suite may run against the source tree, which knows less of itself.
installed = pytest.mark.skipif("CONVSPEC_EXPECT_INSTALLED" not in os.environ, reason="runs against the source tree")


def files_under(folder: str, *, installed_as: str) -> dict[str, bytes]:
    """Contents by name in the wheel; what Python and editors leave behind is no content."""
    return {
        f"{installed_as}/{path.relative_to(ROOT / folder).as_posix()}": path.read_bytes()
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


@installed
@pytest.mark.parametrize("package", ["convspec", "convspec_kernels"])
def test_packages_come_from_site_packages(package: str) -> None:
    """Here, and in a process that starts in the source tree, as the tests of the command line do."""
    expected = SITE_PACKAGES / package / "__init__.py"
    assert Path(__import__(package).__file__ or "").resolve() == expected
    program = f"import {package}; print({package}.__file__)"
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(process.stdout.strip()).resolve() == expected


@installed
def test_the_wheel_holds_the_source_tree_and_nothing_else() -> None:
    expected = (
        files_under("convspec", installed_as="convspec")
        | files_under("grammars", installed_as="convspec/grammars")
        | files_under("specs", installed_as="convspec/specs")
        | files_under("kernels/convspec_kernels", installed_as="convspec_kernels")
    )
    recorded = {file.as_posix() for file in metadata.files("convspec") or () if "__pycache__" not in file.parts}
    owned = {name for name in recorded if name.startswith(("convspec/", "convspec_kernels/"))}
    assert owned == expected.keys()
    stale = [name for name, content in expected.items() if (SITE_PACKAGES / name).read_bytes() != content]
    assert stale == []


@installed
def test_both_packages_say_that_they_are_typed() -> None:
    assert (SITE_PACKAGES / "convspec" / "py.typed").is_file()
    assert (SITE_PACKAGES / "convspec_kernels" / "py.typed").is_file()


@installed
def test_the_core_install_is_small() -> None:
    requirements = [Requirement(line) for line in metadata.requires("convspec") or ()]
    core = {requirement.name for requirement in requirements if requirement.marker is None}
    assert core == {"click", "lark"}


@installed
def test_every_dependency_is_pinned() -> None:
    """One exact version, and none of a single build such as 2.13.0+cpu."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert [str(pin) for pin in pins if not str(pin.specifier).startswith("==") or "+" in str(pin)] == []
    required = {canonicalize_name(Requirement(line).name) for line in metadata.requires("convspec") or ()}
    assert required - {canonicalize_name(pin.name) for pin in pins} <= {"convspec"}
