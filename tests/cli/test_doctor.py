"""`convspec doctor`: what it finds amiss, and that it finds it where packages are missing or the machine is odd."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from convspec import machine
from convspec.cli import main
from convspec.train import doctor
from convspec.train.doctor import Finding, Grade, examine

Found = dict[str, Finding]


def found(runs: Path) -> Found:
    return {finding.name.split(" (")[0]: finding for finding in examine(runs)}


def test_this_machine_can_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.endswith("training can run\n")
    assert torch.__version__.split("+")[0] in text
    assert main(["doctor", "--format", "json", "--runs", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["can_train"] is True
    assert {row["group"] for row in report["findings"]} == {"versions", "processor", "GPUs", "kernels", "disks"}
    assert all(row["help"] for row in report["findings"] if row["grade"] != "ok")


WITHOUT = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
from convspec.cli import main
sys.exit(main(["doctor", "--format", "json"]))
"""


@pytest.mark.parametrize(
    ("missing", "code", "helps"),
    [
        (["numpy", "torch", "PIL", "safetensors"], 1, {"torch": "convspec[train]", "pillow": "convspec[train]"}),
        (
            ["numba", "rich", "sklearn"],
            0,
            {"numba": "convspec[cpu]", "rich": "convspec[train]", "cpu": "convspec[cpu]"},
        ),
    ],
)
def test_what_is_missing_is_named_with_what_to_type(
    missing: list[str], code: int, helps: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == code, done.stderr
    report = json.loads(done.stdout)
    assert report["can_train"] is (code == 0)
    rows: dict[str, Any] = {row["name"]: row for row in report["findings"]}
    for name, help in helps.items():
        assert help in rows[name]["help"]
        assert rows[name]["grade"] == ("problem" if code else "note")
        assert rows[name]["why"]


def test_a_package_that_does_not_load_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = doctor.import_module

    def refuse(name: str) -> object:
        if name == "safetensors":
            raise OSError("libfoo.so.3: cannot open shared object file")
        return load(name)

    monkeypatch.setattr(doctor, "import_module", refuse)
    finding = found(tmp_path)["safetensors"]
    assert finding.grade is Grade.PROBLEM
    assert "libfoo.so.3" in finding.value
    assert "--force-reinstall" in finding.help


def test_an_old_package_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_wanted", lambda: {"numpy": "99.1"})
    finding = found(tmp_path)["numpy"]
    assert (finding.grade, finding.help) == (Grade.NOTE, 'pip install "numpy>=99.1"')
    monkeypatch.setattr(doctor, "_wanted", lambda: {"numpy": "2.0"})
    assert found(tmp_path)["numpy"].grade is Grade.OK
    assert doctor._numbers("2.13.0+cpu") == (2, 13, 0)


def test_threads_cores_and_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 3.5)
    findings = found(tmp_path)
    assert findings["threads"].help == "export OMP_NUM_THREADS=4"
    assert "3.5 by control group" in findings["cores"].value
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert found(tmp_path)["threads"].why == "3 of 4 cores compute nothing"
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert found(tmp_path)["bf16"].grade is Grade.NOTE


def test_memory_and_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: 1 << 30)
    monkeypatch.setattr(machine, "huge_pages", lambda: "never")
    findings = found(tmp_path)
    assert findings["memory"].value == "1.0 GiB by control group"
    assert findings["memory"].grade is Grade.NOTE
    assert "madvise" in findings["huge pages"].help


def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: usage(10, 9, 1 << 20))
    findings = found(tmp_path / "not" / "made" / "yet")
    assert findings["runs"].grade is Grade.NOTE
    assert f"free in {tmp_path}" in findings["runs"].value
    monkeypatch.setattr(machine, "refusal_of", lambda folder: "Read-only file system")
    findings = found(tmp_path)
    assert findings["runs"].grade is Grade.PROBLEM
    assert "--run DIR" in findings["runs"].help
    assert findings["temporary files"].grade is Grade.NOTE


def test_torch_that_computes_wrongly_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, weight: weight * 2)
    assert found(tmp_path)["convolution"].value == "wrong"

    def refuse(x: object, weight: object) -> None:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(torch.nn.functional, "conv2d", refuse)
    finding = found(tmp_path)["convolution"]
    assert finding.grade is Grade.PROBLEM
    assert "primitive" in finding.value


def test_kernels_that_are_forced_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSPEC_KERNELS", "eager")
    assert found(tmp_path)["cpu"].help == "unset CONVSPEC_KERNELS"
    monkeypatch.setenv("CONVSPEC_KERNELS", "fast")
    assert found(tmp_path)["cpu"].grade is Grade.PROBLEM


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_gpu_names", list)
    monkeypatch.setattr(doctor, "_has_nvidia_driver", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert found(tmp_path)["cuda"].value == "torch was built without CUDA"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert found(tmp_path)["cuda"].help == "nvidia-smi"
    monkeypatch.setattr(doctor, "_gpu_names", lambda: ["H100"])
    monkeypatch.setattr(machine, "compiler", lambda: None)
    findings = found(tmp_path)
    assert findings["cuda:0"].value == "H100"
    assert findings["C compiler"].grade is Grade.NOTE


def test_what_the_system_tells(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("processor : 0\nmodel name\t: Zen 4\n")
    assert machine.processor_name(file) == "Zen 4"
    assert machine.processor_name(tmp_path / "none")
    file.write_text("MemTotal:       2048 kB\n")
    assert machine.memory_bytes(file) == 2 << 20
    assert machine.memory_bytes(tmp_path / "none") is None
    file.write_text("always [madvise] never\n")
    assert machine.huge_pages(file) == "madvise"
    assert machine.huge_pages(tmp_path / "none") is None
    assert machine.memory_limit(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory_limit(tmp_path) is None
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    assert machine.memory_limit(tmp_path) == 1 << 30
    assert machine.nearest_folder(tmp_path / "a" / "b") == tmp_path
    assert machine.refusal_of(tmp_path) is None
    assert machine.refusal_of(tmp_path / "none") == "No such file or directory"
