"""The sections of a spec that are not layers: `[@net]`, `[@train]`, `[@data]`, with their keys, ranges and defaults.

`[@params]` holds defaults for the layers' own keys and has no class here.
"""

from __future__ import annotations

from convspec.layers.base import Rounding
from convspec.layers.dialects import NAMES
from convspec.layers.keyed import Keyed
from convspec.layers.keys import choice, flag, integer, names, number, sizes, text, word
from convspec.program.numerics import Numerics


class NetSettings(Keyed):
    """`[@net]`: what is true of the whole network."""

    extends = text("extends", default="", doc="the spec that this one is a variant of, relative to this file")
    network_name = word("name", default="", doc="name of the network and of its class; else that of the file")
    input = sizes("input", default=(), doc="sizes of data layers, as in data:3x227x227")
    classes = integer("classes", default=None, minimum=1, doc="number of classes of the data")
    rounding_name = choice("rounding", ("ceil", "floor"), default="ceil", doc="how window counts round: ceil or floor")
    outputs = names("outputs", default=(), doc="layers that the network gives beside its costs, as in probs,fc7")
    dialect_name = choice(
        "dialect", NAMES, default="", doc="the program whose language the file speaks; else recognised"
    )

    ties = choice(
        "ties",
        ("first", "all"),
        default="first",
        doc="which equal pixels of a max pool learn: first, or all as in 2012",
    )
    contrast_gradient = choice(
        "cnormGradient",
        ("exact", "published"),
        default="exact",
        doc="gradient of cnorm: exact, or published, which takes local means for constants",
    )
    note = text("note", default="", doc="what check prints below its table")

    @property
    def rounding(self) -> Rounding:
        return Rounding(self.rounding_name or "ceil")

    @property
    def numerics(self) -> Numerics:
        return Numerics(ties_share=self.ties == "all", holds_means=self.contrast_gradient == "published")


class TrainSettings(Keyed):
    """`[@train]`: how `convspec train` runs the network. The defaults are those of the paper (section 5)."""

    batch = integer("batch", default=128, minimum=1, maximum=65536, doc="images a step")
    epochs = integer("epochs", default=90, minimum=1, maximum=1_000_000, doc="passes over the training images")
    schedule = choice(
        "schedule",
        ("plateau", "spec"),
        default="plateau",
        doc="plateau: divide all rates when the validation error stops improving; spec: epsW and epsB say all",
    )
    plateau_factor = number("plateauFactor", default=10.0, above=1, doc="what plateau divides the rates by")
    plateau_patience = integer("plateauPatience", default=3, minimum=1, doc="validations without improvement it waits")
    plateau_drops = integer("plateauDrops", default=3, minimum=0, doc="times it divides; the next plateau ends the run")
    seed = integer("seed", default=0, minimum=0, doc="of weights, order, crops, mirrors and dropout")
    precision = choice("precision", ("fp32", "bf16"), default="fp32", doc="fp32, or bf16 for products under autocast")
    validate_every = integer("validateEvery", default=1, minimum=1, doc="epochs between validations")
    checkpoint_every = integer(
        "checkpointEvery", default=0, minimum=0, doc="steps between checkpoints; 0: at epoch ends"
    )
    keep_checkpoints = integer("keepCheckpoints", default=2, minimum=1, doc="checkpoints to keep")
    init = text("init", default="", doc="run whose weights each layer of the same name and shape starts from")
    init_from = text("initFrom", default="", doc="run that initWFunc, initBFunc and initCFunc copy from")


class DataSettings(Keyed):
    """`[@data]`: what the network is trained on, and how images become batches (section 2 and 4.1 of the paper)."""

    provider = choice(
        "provider",
        ("photos", "digits", "folder", "cifar", "jpeg"),
        default="photos",
        doc="photos, digits, folder (of pictures), or cifar or jpeg: batches of matrices or JPEG files",
    )
    path = text("path", default="", doc="folder of class folders, or of batches; provider says which")
    train_batches = text("train", default="", doc="cifar, jpeg: numbers of the training batches, as in 1-5")
    test_batches = text("test", default="", doc="cifar, jpeg: numbers of the test batches, as in 6")
    size = integer("size", default=256, minimum=1, maximum=4096, doc="side of a stored image, from which crops are cut")
    crop = choice("crop", ("random", "center"), default="random", doc="where training images are cropped")
    mirror = flag("mirror", default=True, doc="1: mirror a training image half of the time")
    color_noise = number(
        "colorNoise",
        default=0.0,
        minimum=0,
        doc="deviation of the shifts along the principal components of the colours, in deviations of these; 0.1 in the paper",
    )
    color_scale = flag(
        "colorScale", default=False, doc="1: divide training images by 1 + colorNoise, as the original programs do"
    )
    mean = choice("mean", ("image", "channel", "none"), default="image", doc="what is subtracted from an image")
    samples = integer("samples", default=100, minimum=1, doc="photos: training crops of each photograph an epoch")
    views = integer(
        "views", choices=("1", "10"), default=1, doc="of a picture that convspec test averages over, 10 in the paper"
    )
    test_samples = integer("testSamples", default=25, minimum=1, doc="photos: test crops of each photograph")


SETTINGS = ("@net", "@train", "@data")
