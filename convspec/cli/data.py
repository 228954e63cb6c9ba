"""`convspec data`: pictures made ready for training, looked at, and compared with their checksums."""

from __future__ import annotations

from importlib import import_module
from math import isnan
from types import ModuleType

import click

from convspec.cli.extras import extra
from convspec.cli.options import named, refuse_other_pictures


@click.group(name="data", short_help="Prepare pictures, look at them, verify them.", no_args_is_help=True)
def command() -> None:
    """What networks are trained on.

    \b
    convspec data prepare flowers flowers-256    shards that training reads fast
    convspec data show flowers-256 -o sheet.png  a row of pictures for each class
    convspec data verify flowers-256             every checksum, after a copy
    """


@command.command(short_help="Pictures to shards of squares.")
@click.argument("source", type=named, metavar="SRC")
@click.argument("target", type=named, metavar="DST")
@click.option(
    "--size",
    type=click.IntRange(1, 4096),
    help="Side of a picture: 256 if it is not given, 32 for digits; batches keep theirs.",
)
@click.option("--grey", is_flag=True, help="One channel instead of red, green and blue.")
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Part of each class that is kept for testing where SRC has no tests.",
)
@click.option("--shard-size", type=click.IntRange(1), metavar="N", help="Pictures in a shard; else what fills 512 MiB.")
@click.option("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Threads; else one for each core.")
@click.option(
    "--limit-broken",
    type=click.IntRange(0),
    metavar="N",
    help="Broken files to leave out before it is an error; else one in a hundred, or 10.",
)
def prepare(
    source: str,
    target: str,
    size: int | None,
    grey: bool,
    test_share: float,
    shard_size: int | None,
    jobs: int | None,
    limit_broken: int | None,
) -> int:
    """Make DST of the pictures in SRC: the shorter side resized, the middle cut out (section 2 of the paper).

    SRC is a folder of class folders, with train and val or without; a tar of one, also compressed, or of a tar for each
    class; a folder of data batches; photos or digits. DST holds .npy shards of bytes, labels, mean image, the principal
    components of the colours, and a manifest with checksums; --data DST trains on it.

    What is interrupted goes on when the same command is typed again. Files that are no pictures are named and left out.

    \b
    convspec data prepare flowers flowers-256
    convspec data prepare ILSVRC2012_img_train.tar imagenet-256 --test-share 0.04
    """
    if isnan(test_share):  # which no range leaves out
        raise click.UsageError("--test-share is a part of 1, such as 0.2")
    code: int = _module("preparing", "preparing pictures").run_prepare(
        source,
        target,
        size=size,
        channels=1 if grey else None,
        test_share=test_share,
        shard_size=shard_size,
        jobs=jobs,
        limit_broken=limit_broken,
    )
    return code


@command.command(short_help="A contact sheet, and how many pictures each class has.")
@click.argument("data", type=named)
@click.option(
    "-o", "--output", type=named, metavar="FILE.png", help="PNG file to write; else NAME-SPLIT.png, if it is new."
)
@click.option(
    "--split", type=click.Choice(["train", "test"]), default="train", show_default=True, help="Pictures to draw."
)
@click.option(
    "--classes",
    type=click.IntRange(1, 200),
    default=20,
    show_default=True,
    metavar="N",
    help="Draw the first N classes.",
)
def show(data: str, output: str | None, split: str, classes: int) -> int:
    """Draw some pictures of each class of DATA, a row a class, and print how many there are.

    DATA is what train takes and what prepare takes: photos, digits, a folder, data batches, a prepared folder, an archive.

    \b
    convspec data show photos -o photos.png
    convspec data show imagenet-256 --split test --classes 50
    """
    refuse_other_pictures(output)
    code: int = _module("showing", "drawing pictures").run_show(data, output=output, split_name=split, classes=classes)
    return code


@command.command(short_help="Compare a prepared folder with its checksums.")
@click.argument("folder", type=named, metavar="DIR")
@click.option("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Threads; else one for each core.")
def verify(folder: str, jobs: int | None) -> int:
    """Read every file of DIR, which data prepare made, and name those that are not as they were written.

    \b
    convspec data verify imagenet-256
    """
    code: int = _module("preparing", "reading prepared pictures").run_verify(folder, jobs=jobs)
    return code


def _module(name: str, purpose: str) -> ModuleType:
    with extra(f"{purpose} needs"):
        return import_module(f"convspec.cli.{name}")
