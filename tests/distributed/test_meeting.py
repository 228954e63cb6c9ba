"""How processes find one another, and what they hear of one another: several of them as threads of this one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # listed for no type checker

from convspec.diagnostics import DiagnosticError
from convspec.launch import Launch
from convspec.train import vigil
from convspec.train.meeting import Meeting, meet
from convspec.train.vigil import Vigil
from tests.distributed.processes import free_port

BRIEF = timedelta(seconds=0.5)


def kept_store() -> TCPStore:
    """As a launcher keeps it; it ends with the object."""
    return TCPStore("127.0.0.1", free_port(), is_master=True, wait_for_workers=False, timeout=timedelta(seconds=5))


@pytest.fixture
def store() -> TCPStore:
    return kept_store()


def launch(store: TCPStore, rank: int, world_size: int = 2) -> Launch:
    return Launch(rank, world_size, rank, world_size, address="127.0.0.1", port=store.port, keeps_store=True)


def all_meet(store: TCPStore, world_size: int = 2, restarts: int = 0) -> list[Meeting]:
    with ThreadPoolExecutor(world_size) as pool:
        launches = [replace(launch(store, rank, world_size), restarts=restarts * rank) for rank in range(world_size)]
        return list(pool.map(lambda each: meet(each, {"rank": str(each.rank)}), launches))


def test_all_hear_what_all_say(store: TCPStore) -> None:
    for meeting in all_meet(store, 3):
        assert meeting.said == ({"rank": "0"}, {"rank": "1"}, {"rank": "2"})
        assert not meeting.is_restart
    assert all(meeting.is_restart for meeting in all_meet(store, 3, restarts=1))


def test_meetings_of_an_earlier_start_are_over(store: TCPStore) -> None:
    """Process 1 comes first, and finds what an earlier chief has left; it goes to no meeting but that with the next one."""
    [before, _] = all_meet(store)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(meet, launch(store, 1), {"second": "1"})
        time.sleep(0.3)
        assert not other.done()
        chief = meet(launch(store, 0), {"second": "0"})
        assert chief.name == other.result().name != before.name
        assert chief.said == other.result().said == ({"second": "0"}, {"second": "1"})


@pytest.mark.parametrize(("rank", "missing"), [(0, "processes 1 and 2 have"), (1, "process 0 has")])
def test_a_process_that_does_not_come(store: TCPStore, rank: int, missing: str) -> None:
    with pytest.raises(DiagnosticError, match=f"CS755: {missing} not come, and process {rank} waits no longer"):
        meet(launch(store, rank, 3), {}, patience=BRIEF)


def test_a_store_that_is_not_there() -> None:
    with pytest.raises(DiagnosticError, match=r"CS755: the launcher at 127.0.0.1:\d+, where the processes find"):
        meet(Launch(1, 2, address="127.0.0.1", port=free_port(), keeps_store=True), {}, patience=BRIEF)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, seconds in {"BEAT_SECONDS": 0.05, "SILENCE_SECONDS": 1.0, "SECONDS_TO_SPEAK": 0.01}.items():
        monkeypatch.setattr(vigil, name, seconds)
    return


def named(rank: int) -> str:
    return f"process {rank}"


def watching(meeting: Meeting) -> tuple[Vigil, list[str]]:
    losses: list[str] = []
    return Vigil(meeting, named, losses.append), losses


@pytest.mark.usefixtures("quick")
def test_who_leaves_as_it_should_is_not_missed(store: TCPStore) -> None:
    (first, losses), (second, _) = map(watching, all_meet(store))
    time.sleep(0.3)
    second.leave(failed=False)
    assert first.lost(0.6) is None
    first.leave(failed=False)
    assert not losses


@pytest.mark.usefixtures("quick")
def test_who_has_failed_or_is_silent_is_missed(store: TCPStore) -> None:
    meetings = all_meet(store)
    first, losses = watching(meetings[0])
    second, _ = watching(meetings[1])
    second.leave(failed=True)
    assert first.lost(2) == "process 1 has stopped; it says why"
    time.sleep(0.3)
    assert losses == ["process 1 has stopped; it says why"]
    meetings[1].store.set("1", json.dumps(["lives", 7, 1, "another machine", ""]))
    assert first.lost(0.2) is None
    assert first.lost(4) == "process 1 has said nothing for 1 s"
    first.leave(failed=False)


@pytest.mark.usefixtures("quick")
def test_who_stops_for_another_is_not_blamed(store: TCPStore) -> None:
    meetings = all_meet(store, 3)
    (first, losses), (second, _), (third, _) = map(watching, meetings)
    second.stop_for("process 2 has ended")
    assert first.lost(2) == "process 2 has ended"
    time.sleep(0.3)
    assert losses == ["process 2 has ended"]
    third.leave(failed=False)
    first.leave(failed=False)


@pytest.mark.usefixtures("quick")
def test_a_launcher_that_ends() -> None:
    store = kept_store()
    first, losses = watching(all_meet(store)[0])
    says = f"the launcher at 127.0.0.1:{store.port}, where the processes hear of one another, has ended"
    time.sleep(0.2)
    assert not losses
    del store
    assert (first.lost(2) or "").startswith(says)
    time.sleep(0.5)
    assert len(losses) == 1
    assert losses[0].startswith(says)
