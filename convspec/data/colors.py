"""Colours of light: shifts of a whole training picture along the principal components of all colours (section 4.1).

The paper adds [p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T to every pixel, a_i from N(0, 0.1), and calls l_i the eigenvalue of the
covariance of the RGB values. With values from 0 to 255 that covariance has eigenvalues of thousands, so that 0.1 of one
would leave nothing of a picture. Both programs of its author take the deviation along p_i in its place, the square root
of that eigenvalue (2012 code convdata.py:178-205, cuda-convnet2 convdata.py:65-76), and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convspec.data import draws
from convspec.data.dataset import ColorPca
from convspec.data.draws import Indices, Stream


@dataclass(frozen=True, slots=True)
class ColorNoise:
    """steps: (3, 3), float64: what a draw of 1 for component i adds to red, green and blue is steps[i], in grey levels.

    scale: what a picture is multiplied by once its mean is subtracted and its shift added.
    """

    steps: NDArray[np.float64]
    scale: float = 1.0

    @classmethod
    def of(cls, pca: ColorPca, strength: float, *, rescales: bool = False) -> ColorNoise:
        """strength: deviation of the draws, 0.1 in the paper.

        rescales: divide by 1 + strength, as both original programs do and the paper does not say.
        """
        deviations, directions = (part.astype(np.float64) for part in pca)
        return cls(strength * deviations[:, None] * directions.T, 1 / (1 + strength) if rescales else 1.0)

    def shifts(self, indices: Indices, *, seed: int, epoch: int) -> NDArray[np.float32]:
        """What is added to red, green and blue of each picture, (N, 3): one draw a component, picture and epoch."""
        shifts = np.zeros((len(indices), 3))
        # term by term, where a product of matrices may round otherwise for another number of pictures
        for component, step in enumerate(self.steps):
            shifts += draws.normals(indices, seed, epoch, Stream.COLOR, component)[:, None] * step
        return shifts.astype(np.float32)
