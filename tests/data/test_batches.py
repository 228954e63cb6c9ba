"""Order, crops, the mean, and the thread that runs ahead."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from convspec.data import BatchStream, Dataset, Split, mean_image, readers
from convspec.data.batches import BUFFERS, steps_per_epoch
from convspec.data.dataset import center_crop
from tests.data.numbered import Numbered


def all_of(dataset: Dataset, split: Split = Split.TRAIN, **options: int) -> tuple[np.ndarray, np.ndarray]:
    size = options.pop("batch_size", 8)
    with BatchStream(dataset, split, batch_size=size, crop=(9, 7), mirror=True, **options) as stream:
        parts = [(batch.images.copy(), batch.labels.copy()) for batch in stream]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def test_each_picture_once_in_random_order() -> None:
    images, labels = all_of(Numbered())
    assert sorted(labels.tolist()) == list(range(50))
    assert labels.tolist() != list(range(50))
    assert (images[..., 0] == labels[:, None, None]).all()


def test_tests_are_in_order_from_the_middle_and_unmirrored() -> None:
    images, labels = all_of(Numbered(), Split.TEST)
    assert labels.tolist() == list(range(50))
    assert (images[..., 1] == np.arange(1, 10)[:, None]).all()
    assert (images[..., 2] == np.arange(2, 9)).all()


def test_crops_take_every_place_and_half_are_mirrored() -> None:
    images, _ = all_of(Numbered(count=250))
    tops, left, right = images[:, 0, 0, 1], images[:, 0, 0, 2], images[:, 0, -1, 2]
    mirrored = left > right
    assert set(tops.tolist()) == {0, 1, 2, 3}
    assert set(np.minimum(left, right).tolist()) == {0, 1, 2, 3, 4, 5}
    assert 90 < mirrored.sum() < 160
    assert (np.diff(images[mirrored][:, 0, :, 2].astype(int), axis=1) == -1).all()


def test_crops_of_the_middle_are_mirrored_as_others_are() -> None:
    images, labels = all_of(Numbered(count=250), is_centered=True)
    anywhere, same = all_of(Numbered(count=250))
    assert np.array_equal(labels, same)
    assert (images[..., 1] == np.arange(1, 10)[:, None]).all()
    assert (np.sort(images[..., 2], axis=2) == np.arange(2, 9)).all()
    assert np.array_equal(images[:, 0, 0, 2] > images[:, 0, -1, 2], anywhere[:, 0, 0, 2] > anywhere[:, 0, -1, 2])


def test_a_crop_is_that_of_its_picture_whatever_the_batch_size() -> None:
    one, two = all_of(Numbered(), batch_size=8), all_of(Numbered(), batch_size=50)
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])


def test_epochs_and_seeds_differ() -> None:
    first = all_of(Numbered())[0]
    assert np.array_equal(first, all_of(Numbered())[0])
    assert not np.array_equal(first, all_of(Numbered(), epoch=1)[0])
    assert not np.array_equal(first, all_of(Numbered(), seed=1)[0])


def test_starts_in_the_middle_of_an_epoch() -> None:
    whole, labels = all_of(Numbered())
    rest, rest_labels = all_of(Numbered(), start=3)
    assert np.array_equal(rest, whole[24:])
    assert np.array_equal(rest_labels, labels[24:])
    assert steps_per_epoch(Numbered(), Split.TRAIN, 8) == 7


def test_a_batch_stays_until_the_next_is_asked_for() -> None:
    with BatchStream(Numbered(), Split.TRAIN, batch_size=4, crop=(9, 7)) as stream:
        for batch in stream:
            before = batch.images.copy()
            time.sleep(0.003)  # the thread may do what it likes meanwhile
            assert np.array_equal(batch.images, before)


def test_runs_ahead_but_not_away() -> None:
    dataset = Numbered(count=1000)
    with BatchStream(dataset, Split.TRAIN, batch_size=4, crop=(9, 7)) as stream:
        next(stream)
        limit = time.monotonic() + 5
        while dataset.reads < BUFFERS and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(0.02)
        assert dataset.reads == BUFFERS


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(readers.NAME)}


def test_an_error_in_the_thread_comes_out_in_its_place() -> None:
    with BatchStream(Numbered(fail_at=3), Split.TRAIN, batch_size=8, crop=(9, 7)) as stream:
        next(stream)
        next(stream)
        with pytest.raises(ValueError, match="disk went away"):
            next(stream)
        with pytest.raises(StopIteration):
            next(stream)
    assert not threads()


def test_leaving_early_ends_the_thread() -> None:
    with suppress(KeyError), BatchStream(Numbered(count=1000), Split.TRAIN, batch_size=4, crop=(9, 7)) as stream:
        next(stream)
        raise KeyError
    assert not threads()


def test_crops_of_the_whole_picture_need_no_second_buffer() -> None:
    with BatchStream(Numbered(), Split.TRAIN, batch_size=8, crop=(12, 12)) as stream:
        batch = next(stream)
        assert (batch.images[..., 2] == np.arange(12)).all()


def test_the_mean_of_pictures_channels_and_none() -> None:
    dataset = Numbered()
    image = mean_image(dataset, "image")
    assert image.dtype == np.float32
    assert (image[..., 0] == np.float32(24.5)).all()
    assert (image[..., 1] == np.arange(12)[:, None]).all()
    assert (mean_image(dataset, "channel") == np.float32([24.5, 5.5, 5.5])).all()
    assert not mean_image(dataset, "none").any()
    middle = center_crop(image, 9, 7)
    assert middle[:, 0, 1].tolist() == list(range(1, 10))
    assert middle[0, :, 2].tolist() == list(range(2, 9))
