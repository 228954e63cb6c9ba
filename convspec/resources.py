"""Files that come with convspec: the grammars and the specs.

They live in the top-level folders `grammars/` and `specs/`, where people look for them; the wheel carries both inside
the package. Found by path and not through `importlib.resources`, whose import costs `check` some 5 ms of its start;
a zipped install, which would need it, is not supported.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def read_grammar(name: str) -> str:
    """Text of `grammars/{name}`, such as `values.lark`. FileNotFoundError where there is none."""
    return grammar_path(name).read_text(encoding="utf-8")


def grammar_path(name: str) -> Path:
    """Path of `grammars/{name}`, whether or not it is there."""
    return _folder("grammars") / name


def spec_path(name: str) -> Path:
    """Path of the spec `name`, such as `alexnet.cfg`, that comes with convspec.

    FileNotFoundError, which lists the specs, where `name` is none of them; a path to elsewhere is none.
    """
    if name not in spec_names():
        raise FileNotFoundError(f"no spec {name!r} comes with convspec; there is {', '.join(spec_names())}")
    return _folder("specs") / name


def spec_names() -> tuple[str, ...]:
    """Names of the specs that come with convspec, `alexnet.cfg` and others, sorted."""
    return tuple(sorted(path.name for path in _folder("specs").glob("*.cfg")))


def _folder(name: str) -> Path:
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
