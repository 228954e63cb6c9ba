"""Pictures with labels: where they come from, how they are cropped, and the thread that assembles batches ahead of use.

Everything here is NumPy and bytes: uint8, (N, H, W, C), 0 to 255. Tensors and floats begin in `convspec.train`.
Order and augmentation are functions of (seed, epoch, index) and of nothing else; see `draws`.
"""

from convspec.data.batches import Batch, BatchStream
from convspec.data.dataset import Dataset, Split
from convspec.data.open import open_dataset
from convspec.data.statistics import Statistics, mean_image, statistics_of

__all__ = ["Batch", "BatchStream", "Dataset", "Split", "Statistics", "mean_image", "open_dataset", "statistics_of"]
