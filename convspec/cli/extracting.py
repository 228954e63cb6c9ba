"""What `convspec features` does once torch and Pillow are known to be there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from convspec.cli.guard import refuse_what_is_read
from convspec.cli.messages import STARTS_ANEW, counted, interrupted_saying
from convspec.cli.pictures import Progress, Warned, refuse_pictures
from convspec.cli.write import replace_text, replacing
from convspec.data import Split
from convspec.diagnostics.visible import visible
from convspec.train.feature_files import About, describe, write_npy, write_npz
from convspec.train.features import features_of
from convspec.train.galleries import files_named, pictures_in, with_data
from convspec.train.looking import Looker, open_with_layers


@interrupted_saying(STARTS_ANEW)
def run_extraction(
    run: str,
    images: Sequence[str],
    *,
    layer: str | None,
    data: str | None,
    split: str | None,
    output: str,
    checkpoint: str | None,
    device: str,
) -> int:
    """Write the file and say what is in it; returns the exit code, 1 where a picture could not be read."""
    warned = Warned()
    trained, layers = open_with_layers(run, layer, device=device, checkpoint=checkpoint, notify=warned)
    trained = with_data(trained, data, warned)
    looker = Looker(trained)
    gallery = (
        files_named(trained, images, warned)
        if images
        else pictures_in(
            trained, data, Split(split or "test"), warned, whole_folders=split is None, takes_other_classes=True
        )
    )
    for written in (output, f"{output}.json"):
        refuse_what_is_read(written, data, trained.data)
    refuse_pictures(output, gallery)
    # twice on the disk, the second time whole: how many pictures can be read is known at the end
    beside = Path(output).resolve().parent
    with (
        closing(gallery),
        replacing(output) as file,
        Progress() as progress,
        features_of(looker, gallery, layers, notify=warned, temporary_in=beside, advance=progress) as features,
    ):
        names = [gallery.name(place) for place in features.places.tolist()]
        about = About(names, gallery.classes, layers, str(trained.run_dir), trained.checkpoint)
        shape = "x".join(map(str, features.numbers.shape[1:]))
        if output.endswith(".npz"):
            write_npz(file, features, about)
        else:
            write_npy(file, features)
            replace_text(f"{output}.json", describe(features, about))
    click.echo(f"{visible(output)}: {', '.join(layers)}, {shape} for each of {counted(len(names), 'picture')}")
    return 1 if "CS703" in warned.codes else 0
