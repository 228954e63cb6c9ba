"""`convspec check --watch`: what it waits for, and a whole session in a process of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from convspec.checker import check
from convspec.cli import main
from convspec.cli.watching import snapshot, wait_for_change
from convspec.graph.files import source_paths

SPEC = "[@net]\ninput=data:3x8x8\noutputs=n\n[data]\ntype=data\ndataIdx=0\n[n]\ntype=neuron\ninputs=data\nneuron=relu\n"


def sleeping(steps: Sequence[Callable[[], object] | None]) -> tuple[Callable[[float], None], list[float]]:
    """A sleep that does one step each time, and what it was asked to sleep."""
    slept: list[float] = []
    left = list(steps)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        step = left.pop(0) if left else None
        if step is not None:
            step()

    return sleep, slept


def test_nothing_happens_until_a_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.cfg"
    file.write_text("one")
    seen = snapshot([str(file)])
    sleep, slept = sleeping([None, None, None, lambda: file.write_text("two!")])
    wait_for_change(seen, sleep=sleep)
    assert slept == [0.25] * 4 + [0.1]


def test_a_file_that_vanishes_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "a.cfg"
    file.write_text("one")
    seen = snapshot([str(file)])
    sleep, slept = sleeping([file.unlink, None, None, lambda: file.write_text("one")])
    wait_for_change(seen, sleep=sleep)
    assert file.exists()
    assert len(slept) == 5
    assert snapshot([str(file)]) != seen


def test_an_editor_that_empties_a_file_first_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "a.cfg"
    file.write_text("one")
    sleep, slept = sleeping([lambda: file.write_text(""), None, lambda: file.write_text("two")])
    wait_for_change(snapshot([str(file)]), sleep=sleep)
    assert file.read_text() == "two"
    assert len(slept) == 4


def test_a_file_that_is_gone_for_good_is_told_after_a_second(tmp_path: Path) -> None:
    file = tmp_path / "a.cfg"
    file.write_text("one")
    sleep, slept = sleeping([file.unlink])
    wait_for_change(snapshot([str(file)]), sleep=sleep)
    assert sum(slept[1:]) == pytest.approx(1)


def test_a_file_that_appears_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "a.cfg"
    sleep, slept = sleeping([lambda: file.write_text("new")])
    wait_for_change(snapshot([str(file)]), sleep=sleep)
    assert len(slept) == 2


def test_a_file_replaced_by_one_as_long_and_as_old_is_a_change(tmp_path: Path) -> None:
    file, other = tmp_path / "a.cfg", tmp_path / "b.cfg"
    file.write_text("one")
    other.write_text("two")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    sleep, _ = sleeping([lambda: other.replace(file)])
    wait_for_change(snapshot([str(file)]), sleep=sleep)
    assert file.read_text() == "two"


def test_what_a_check_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layers-x.cfg").write_text("[@net]\nextends=base.cfg\n")
    assert source_paths(check("layers-x.cfg").sections.files) == ("layers-x.cfg", "layer-params-x.cfg", "base.cfg")
    (tmp_path / "base.cfg").write_text("[@net]\nextends=alexnet.cfg\n")
    *own, ours = source_paths(check("layers-x.cfg").sections.files)
    assert own == ["layers-x.cfg", "layer-params-x.cfg", "base.cfg"]
    assert Path(ours).name == "alexnet.cfg"


class Session:
    """A watching process, read line by line."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "convspec", "check", *arguments, "--watch"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))},
        )
        self.lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.lines.put(line)

    def wait_for(self, text: str) -> list[str]:
        """The lines up to the one that has `text` in it."""
        seen: list[str] = []
        while not seen or text not in seen[-1]:
            seen.append(self.lines.get(timeout=30))
        return seen

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    (tmp_path / "base.cfg").write_text(SPEC)
    (tmp_path / "my.cfg").write_text("[@net]\nextends=base.cfg\n")
    session = Session(["my.cfg", "--format", "concise"], tmp_path)
    yield session
    session.end()


def test_a_session(session: Session, tmp_path: Path) -> None:
    assert session.wait_for("Ctrl-C") == [
        "my.cfg: no errors\n",
        "watching my.cfg and base.cfg; Ctrl-C ends\n",
    ]
    # The file itself, replaced as editors do.
    (tmp_path / "new").write_text("[@net]\nextends=base.cfg\n[n]\nneuron=rely\n")
    (tmp_path / "new").replace(tmp_path / "my.cfg")
    assert "CS210" in session.wait_for("Ctrl-C")[0]
    # What it extends.
    (tmp_path / "base.cfg").write_text(SPEC.replace("3x8x8", "3x8x8x8"))
    assert any("base.cfg:2" in line for line in session.wait_for("Ctrl-C"))
    (tmp_path / "base.cfg").unlink()
    assert any("CS101" in line for line in session.wait_for("Ctrl-C"))
    (tmp_path / "base.cfg").write_text(SPEC)
    (tmp_path / "my.cfg").write_text("[@net]\nextends=base.cfg\n")
    while "my.cfg: no errors\n" not in session.wait_for("Ctrl-C"):
        pass
    assert session.interrupt() == 130
    session.reader.join()
    rest = "".join(session.lines.get() for _ in range(session.lines.qsize()))
    assert "Traceback" not in rest
    assert "\x1b" not in rest


@pytest.mark.parametrize("form", ["json", "sarif", "github"])
def test_programs_do_not_watch(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "alexnet.cfg", "--watch", "--format", form]) == 2
    assert "--watch is for people" in capsys.readouterr().err


def test_a_file_that_is_not_there_ends_it_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nowhere.cfg", "--watch"]) == 2
    assert "CS101" in capsys.readouterr().err
