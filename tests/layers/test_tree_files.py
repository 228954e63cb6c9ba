"""What `tree=` names is read only where reading ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from convspec.layers.tree import TreeError, read_tree


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_tree(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tree")
    with pytest.raises(TreeError, match="neither a file nor a folder"):
        read_tree("tree", str(tmp_path / "net.cfg"))
    (tmp_path / "plain").write_text('{"children": [[], [], [0, 1]], "root": 2}')
    assert read_tree("plain", str(tmp_path / "net.cfg")).root == 2
