"""What `convspec test` computes: costs and error rates of runs on test pictures, by themselves and averaged.

Predictions are averaged over the views of a picture, and those over runs, after the softmax (section 4.1): the rows of
5 and 7 networks of Table 2. Pictures pass once, through all networks, so that memory does not grow with their number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import torch

from convspec.data import Batch, BatchStream, Dataset, Split
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, Severity
from convspec.train.confusion import Confusion
from convspec.train.display import Display, SilentDisplay
from convspec.train.member import Member, Outcome
from convspec.train.predictions import Guesses
from convspec.train.together import Joint, Together, check_testable, check_together, is_same, no_classes
from convspec.train.trained import Trained


@dataclass(frozen=True, slots=True)
class Result:
    """data: their name. pictures: how many. classes: names of the outputs.

    runs: in the order given. together: None for a single run. confusion: of them all, None where it was not asked for.
    """

    data: str
    pictures: int
    classes: tuple[str, ...]
    runs: tuple[Outcome, ...]
    together: Together | None
    confusion: Confusion | None


class Test:
    """A test that is set up: runs that fit together, and the pictures that they are tested on. Close it."""

    __test__ = False  # pytest would take it for one of its own

    def __init__(
        self,
        runs: Sequence[Trained],
        *,
        views: int | None = None,
        data: str | None = None,
        batch: int | None = None,
        notify: Notify = lambda diagnostic: None,
    ) -> None:
        """views: 1 or 10; None takes what @data of each run says. data: as in `Trained.open_data`. batch: views a forward
        pass, at most, or all of one picture; None for the minibatch of training.

        Raises DiagnosticError: CS740 where a network has nothing to test, CS741 where runs do not fit together, and what
        `Trained.open_data` raises.
        """
        for run in runs:
            check_testable(run, averages=len(runs) > 1)
        self._notify = notify
        self._stack = ExitStack()
        try:
            datasets = self._open(runs, data, notify)
            check_together(runs, datasets)
            self._members = [
                Member(run, dataset, run.compiled.data.views if views is None else views)
                for run, dataset in zip(runs, datasets, strict=True)
            ]
            rows = [batch or run.compiled.train.batch for run in runs]
            self._step = max(1, min(most // member.views for most, member in zip(rows, self._members, strict=True)))
            for member in self._members:
                member.make_room(min(self._step, self.pictures))
        except BaseException:
            self._stack.close()
            raise

    @property
    def pictures(self) -> int:
        return self._members[0].dataset.count(Split.TEST)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs, those of the data first. Raises DiagnosticError CS740 for a network that predicts none."""
        self.require_classes()
        return self._members[0].classes

    def require_classes(self) -> None:
        """Raises DiagnosticError CS740 for a network that predicts no classes."""
        if self._members[0].judged is None:
            raise no_classes(self._members[0].trained, "there are no predictions to write or to count")

    def run(
        self,
        *,
        must_confuse: bool = False,
        take: Callable[[Guesses], None] | None = None,
        display: Display | None = None,
    ) -> Result:
        """Test on every picture.

        must_confuse: whether it matters which class is taken for which. Where pictures have several labels this has no
        answer: then it raises DiagnosticError CS740, else `confusion` is None.
        take: is given the averaged predictions, in the order of the pictures.
        """
        display = display or SilentDisplay()
        for member in self._members:
            member.begin()
        joint = Joint(self._members, take, must_confuse=must_confuse)
        display.start("testing", -(-self.pictures // self._step), 0)
        devices = [m.trained.device.index for m in self._members if m.trained.device.type == "cuda"]
        with torch.random.fork_rng(devices=devices), closing(self._batches()) as stream:
            torch.manual_seed(self._members[0].trained.compiled.train.seed)
            for batches in stream:
                began = time.perf_counter()
                judged = [member.judge(batch) for member, batch in zip(self._members, batches, strict=True)]
                joint.add(batches, judged)
                display.advance(f"{len(batches[0].labels) / (time.perf_counter() - began):.0f} images/s")
        self._note_not_finite()
        return Result(
            data=self._members[0].dataset.name,
            pictures=self.pictures,
            classes=self.classes if self._members[0].judged is not None else (),
            runs=tuple(member.outcome() for member in self._members),
            together=joint.together(),
            confusion=joint.confusion,
        )

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Test:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # its parts

    def _open(self, runs: Sequence[Trained], data: str | None, notify: Notify) -> list[Dataset]:
        """The data of each run; those that are the same are opened once."""
        found: list[Dataset] = []
        for run in runs:
            dataset = run.open_data(data, notify=notify)
            same = next((other for other in found if is_same(dataset, other)), None)
            if same is not None:
                dataset.close()
            else:
                self._stack.callback(dataset.close)
            found.append(same or dataset)
        return found

    def _batches(self) -> Generator[list[Batch]]:
        """The batch of each member: stored pictures, uncut."""
        with ExitStack() as stack:
            streams: dict[int, BatchStream] = {}
            for member in self._members:
                if id(member.dataset) not in streams:
                    height, width, _ = member.dataset.shape
                    stream = BatchStream(
                        member.dataset, Split.TEST, batch_size=self._step, crop=(height, width), mirror=False
                    )
                    streams[id(member.dataset)] = stack.enter_context(stream)
            for batches in zip(*streams.values(), strict=True):
                by_stream = dict(zip(streams, batches, strict=True))
                yield [by_stream[id(member.dataset)] for member in self._members]

    def _note_not_finite(self) -> None:
        for member in self._members:
            if member.not_finite:
                message = (
                    f"{member.not_finite} of {self.pictures} predictions of {member.trained.run_dir} are not finite"
                )
                help = "they count as wrong; the training went astray: name an earlier checkpoint with --checkpoint, or another run"
                self._notify(Diagnostic("CS707", message, help=help, severity=Severity.WARNING))
