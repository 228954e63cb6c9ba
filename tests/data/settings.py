"""What `open_dataset` takes of `[@data]`, without a spec around it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    provider: str = "photos"
    path: str = ""
    size: int = 40
    samples: int = 2
    test_samples: int = 1
    train_batches: str = ""
    test_batches: str = ""
