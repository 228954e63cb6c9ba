"""The dialects of the language, and all that differs between them: rows of tables, and no branch anywhere on a name.

Layer classes declare what our own dialect, `convspec`, reads: everything. For each original program the tables say which
layer types, neurons and keys it lacks (`layer_types`, `neurons`, `UNREAD`), which keys it insists on (`REQUIRED`), in
which file a key stands (`Home`), how a number or a list may be written. A class meets its dialect in two ways: its keys
arrive already adapted (`adapted_keys`), and `self.dialect` answers the rest.

A new layer type or key needs no row where all originals had it, or where none had it and none of them read such a key
as something else. The source of each row is the `layer.py` of its program.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from convspec.layers.keys import REQUIRED, Home, Key
from convspec.syntax import forms


class Placing(Enum):
    """What `gpu=` says.

    NONE: nothing, there is one GPU. ONE: the GPU of the layer. REPLICAS: a GPU for each replica of it. Under both of
    these a layer above data must say it. ANY: as REPLICAS, and what nobody said is GPU 0.
    """

    NONE = "none"
    ONE = "one"
    REPLICAS = "replicas"
    ANY = "any"


class Learning(NamedTuple):
    """What the programs did differently when they updated weights.

    ball_is_exact: wball is the norm of each filter of fc and conv after every step, and not only its largest
        (cuda-convnet2 layer_kernels.cuh:49-58).
    ball_counts_weights: wball is for each number of a filter, so that the bound is wball times their count (2012 code
        layer.py:736).
    counts_cases: the gradients of a short minibatch are divided by the size of a full one (cuda-convnet2
        layer.cu:848-874).
    counts_turns: whether updatePeriod counts turns of a layer and not minibatches, see `convspec.graph.turns`.
    normalises: whether superEps asks for the normalised update.
    own_rates: layer types in which a layer that shares its weights teaches them at its own epsW, and not at that of the
        layer that has them (cuda-convnet include/weights.cuh:52; 2012 layer.cu:659-672; cuda-convnet2 layer.cu:848-856).
    """

    ball_is_exact: bool = False
    ball_counts_weights: bool = False
    counts_cases: bool = False
    counts_turns: bool = False
    normalises: bool = True
    own_rates: frozenset[str] = frozenset()


class Dialect(NamedTuple):
    """One way to read a layer file. All are in `DIALECTS`.

    name: as `--dialect` and `[@net] dialect=` spell it. program: who read it, in messages.
    layer_types, neurons: those that it has; None for all that there are. Types that other packages add are in each.
    repeats_single: whether a list of one entry serves all inputs; else it has an entry for each.
    reads_ahead: whether an input may stand below its reader.
    takes_mark: whether a byte order mark may stand before the first section.
    reads_positions: whether `dexp[250,0,4]`, the schedules of older files, can be read without names.
    limits_top_k: whether topk can be at most the number of classes.
    section_types: layers that need a section in the parameter file although all their keys there have defaults; a type,
    or `pool=rand`, a type and what the key of this name says.
    learning: how weights are updated, where programs differ.
    """

    name: str
    program: str
    layer_types: frozenset[str] | None = None
    neurons: frozenset[str] | None = None
    placing: Placing = Placing.ANY
    repeats_single: bool = True
    reads_ahead: bool = False
    takes_mark: bool = False
    reads_positions: bool = False
    limits_top_k: bool = True
    section_types: frozenset[str] = frozenset()
    learning: Learning = Learning()

    @property
    def is_ours(self) -> bool:
        return self.name == "convspec"

    @property
    def way_out(self) -> str:
        """What a help says of something that other dialects have."""
        return f"--dialect {CONVSPEC.name} reads what any of the programs had"

    def has_type(self, name: str) -> bool:
        """Whether a layer type that is built in is of this dialect."""
        return self.layer_types is None or name in self.layer_types

    def has_neuron(self, name: str) -> bool:
        return self.neurons is None or name in self.neurons


def _words(*texts: str) -> frozenset[str]:
    return frozenset(" ".join(texts).split())


_TYPES_OF_ALL = (
    "data fc conv local pool neuron softmax eltsum eltmax rnorm cnorm cmrnorm nailbed blur resize rscale "
    "rgb2yuv rgb2lab cost.logreg cost.sum2"
)
_NEURONS_OF_ALL = "ident logistic abs relu softrelu square sqrt tanh brelu linear"

CCN1 = Dialect(
    name="ccn1",
    program="cuda-convnet",
    layer_types=_words(_TYPES_OF_ALL),
    neurons=_words(_NEURONS_OF_ALL),
    placing=Placing.NONE,
    repeats_single=False,
    limits_top_k=False,
    learning=Learning(own_rates=_words("conv local fc")),
)
CCN1_DNOURI = Dialect(
    name="ccn1_dnouri",
    program="dnouri's cuda-convnet",
    layer_types=CCN1.layer_types,
    neurons=CCN1.neurons,
    placing=Placing.NONE,
    repeats_single=False,
    limits_top_k=False,
    learning=CCN1.learning,
)
ALEXNET2012 = Dialect(
    name="alexnet2012",
    program="the AlexNet code of 2012",
    layer_types=_words(
        _TYPES_OF_ALL,
        "concat href hs treefc cost.crossent cost.crossent2 cost.msm cost.gsum2 cost.tica cost.rflickr",
    ),
    neurons=_words(_NEURONS_OF_ALL, "nrelu drelu"),
    placing=Placing.ONE,
    repeats_single=False,
    limits_top_k=False,
    learning=Learning(ball_counts_weights=True, own_rates=_words("fc local")),
    section_types=_words("pool=rand"),
)
CCN2 = Dialect(
    name="ccn2",
    program="cuda-convnet2",
    layer_types=_words(
        _TYPES_OF_ALL,
        "concat pass href crop sfc sum cmpool dropout dropout2 cost.crossent cost.bce cost.dce",
    ),
    neurons=_words(_NEURONS_OF_ALL, "nrelu drelu log"),
    placing=Placing.REPLICAS,
    section_types=_words("dropout dropout2 eltsum"),
    learning=Learning(
        ball_is_exact=True, counts_cases=True, counts_turns=True, normalises=False, own_rates=_words("fc local")
    ),
)
CONVSPEC = Dialect(
    name="convspec",
    program="convspec",
    reads_ahead=True,
    takes_mark=True,
    reads_positions=True,
)

DIALECTS: Mapping[str, Dialect] = {d.name: d for d in (CONVSPEC, CCN1, CCN1_DNOURI, ALEXNET2012, CCN2)}
# `ccn1` is the Google Code trunk.
ALIASES: Mapping[str, str] = {"ccn1_google": "ccn1"}
NAMES: tuple[str, ...] = (*DIALECTS, *ALIASES)


def dialect_named(name: str) -> Dialect:
    """The dialect of one of `NAMES`. Raises KeyError for another name."""
    return DIALECTS[ALIASES.get(name, name)]


class Row(NamedTuple):
    """How keys of a dialect differ from their declaration.

    types: names of layer types, or `*`. keys: spellings. change: fields of `Key` with their values there, or `UNREAD`.
    """

    dialects: tuple[Dialect, ...]
    types: str
    keys: str
    change: Mapping[str, Any] | None


UNREAD = None
_REQUIRED = {"default": REQUIRED}
_ANY_NUMBER = {"minimum": None, "maximum": None, "above": None}
_UNBOUND = {"is_bound": False}
# Of a key that has no effect in any dialect: whatever stands there.
_ANYTHING = {"form": forms.TEXT}

_BOTH_CCN1 = (CCN1, CCN1_DNOURI)
_UP_TO_2012 = (*_BOTH_CCN1, ALEXNET2012)
_ORIGINALS = (*_UP_TO_2012, CCN2)
_MAPS = "conv local pool cmpool rnorm cnorm cmrnorm nailbed blur href resize rscale crop"
_LEARNING = "conv local fc sfc treefc"

ROWS: tuple[Row, ...] = (
    # What a layer must say. The originals had defaults for padding, stride and groups alone.
    Row(_ORIGINALS, _MAPS, "channels", _REQUIRED),
    Row(_UP_TO_2012, "conv", "partialSum", {**_REQUIRED, **_ANY_NUMBER}),
    Row((CCN2,), "conv", "sumWidth", {**_REQUIRED, **_ANY_NUMBER}),
    Row(_BOTH_CCN1, _LEARNING, "wc", _REQUIRED),
    Row((ALEXNET2012,), "treefc", "tree", {"default": ""}),
    Row((ALEXNET2012,), "cost.msm", "threads", _REQUIRED),
    Row((ALEXNET2012,), "cost.tica", "channels", _REQUIRED),
    Row((ALEXNET2012, CCN2), "rscale", "tgtSize", _REQUIRED),
    # Which keys it reads.
    Row(_UP_TO_2012, "conv", "sumWidth", _ANYTHING),
    Row((CCN2,), "conv", "partialSum", _ANYTHING),
    Row(_ORIGINALS, "data", "inputs", UNREAD),
    # Their parser kept the values of biases under this name, so that checkpoints have it.
    Row(_ORIGINALS, "conv local fc sfc", "biases", UNREAD),
    Row(_BOTH_CCN1, "*", "quantF quantB", UNREAD),
    Row(_BOTH_CCN1, "*", "gpu", {"has_effect": False, "doc": "cuda-convnet runs on one GPU"}),
    Row((CCN2,), "*", "quantF quantB", UNREAD),
    Row((CCN1, ALEXNET2012, CCN2), "*", "dropout", UNREAD),
    Row((CCN2,), "conv local", "randSparse filterChannels overSample initCFunc", UNREAD),
    Row(_UP_TO_2012, "conv local", "modulesX", UNREAD),
    Row(_BOTH_CCN1, _LEARNING, "wball superEps superMom wcNormMin wcNormMax", UNREAD),
    Row(_UP_TO_2012, _LEARNING, "updatePeriod", UNREAD),
    Row((*_BOTH_CCN1, CCN2), _LEARNING, "schedW schedB", UNREAD),
    Row(_UP_TO_2012, "data", "start end", UNREAD),
    Row(_UP_TO_2012, "pool", "sum", UNREAD),
    Row(_ORIGINALS, "pool", "padding", UNREAD),
    Row(_ORIGINALS, "conv local pool", "rounding", UNREAD),
    Row((CCN2,), "cmpool", "pool outputs", _REQUIRED),
    Row((CCN2,), _LEARNING, "superEps", {"has_effect": False, "doc": "read by cuda-convnet2 and never used"}),
    Row((*_BOTH_CCN1, CCN2), "pool", "doMax", UNREAD),
    Row(_BOTH_CCN1, "rnorm cnorm cmrnorm", "minDiv", UNREAD),
    Row((ALEXNET2012,), "rnorm cnorm", "minDiv", UNREAD),
    Row(_BOTH_CCN1, "rscale", "tgtSize", UNREAD),
    Row(_BOTH_CCN1, "cost.logreg", "topk", UNREAD),
    Row(_UP_TO_2012, "*", "children", UNREAD),
    # What a key can be.
    Row(_BOTH_CCN1, "pool", "pool", {"choices": ("max", "avg")}),
    Row((ALEXNET2012,), "pool", "pool", {"choices": ("max", "maxabs", "avg", "rand")}),
    Row((CCN2,), "pool", "pool", {"choices": ("max", "maxabs", "avg")}),
    Row(_ORIGINALS, "conv local", "filterSize padding stride modulesX", {"form": forms.SQUARES}),
    Row((CCN2,), "conv local", "modulesX", {"form": forms.ONE_SQUARE}),
    Row(_ORIGINALS, "pool", "sizeX stride start outputsX", {"form": forms.SQUARE}),
    Row((ALEXNET2012, CCN2), "*", "topk", _UNBOUND),
    Row((ALEXNET2012,), "*", "gpu", {"form": forms.ONE_INTEGER}),
    Row(_ORIGINALS, _LEARNING, "initW", {"form": forms.NUMBERS}),
    Row(_ORIGINALS, _LEARNING, "initW momW momB wc wball superEps superMom updatePeriod", _UNBOUND),
    Row(_ORIGINALS, "conv", "wcNormMin wcNormMax", _UNBOUND),
    Row(_ORIGINALS, "hs dropout dropout2", "keep", _UNBOUND),
    Row(_ORIGINALS, "*", "dropout minDiv posWeight", _UNBOUND),
    Row(_ORIGINALS, "blur", "stdev", _ANY_NUMBER),
    Row(_ORIGINALS, "*", "neuron weightSource initWFunc initBFunc initCFunc", {"can_be_blank": True}),
    Row(_BOTH_CCN1, "*", "neuron", {"form": forms.CCN1_NEURON}),
    Row((ALEXNET2012, CCN2), "*", "neuron", {"form": forms.CCN2_NEURON}),
    Row(_UP_TO_2012, _LEARNING, "epsW", {"form": forms.NUMBER_RATES}),
    Row(_UP_TO_2012, _LEARNING, "epsB", {"form": forms.NUMBER_RATE}),
    Row((CCN2,), _LEARNING, "epsW", {"form": forms.CCN2_RATES}),
    Row((CCN2,), _LEARNING, "epsB", {"form": forms.CCN2_RATE}),
    # In which file it stands.
    Row(_UP_TO_2012, "eltsum", "coeffs", {"home": Home.LAYERS}),
    Row((CCN2,), "eltsum", "coeffs", {"home": Home.PARAMS}),
)


def adapted_keys(type_name: str, keys: Mapping[str, Key[Any]], dialect: Dialect) -> Mapping[str, Key[Any]]:
    """The keys of a layer type as a dialect has them, by name; those that it does not read are left out."""
    if dialect.is_ours:
        return keys
    changes = _changes(type_name, dialect)
    adapted = ((key, changes.get(name, {})) for name, key in keys.items())
    return {key.name: key.changed(change) if change else key for key, change in adapted if change is not UNREAD}


@cache
def _changes(type_name: str, dialect: Dialect) -> Mapping[str, Mapping[str, Any] | None]:
    """What the rows say of the keys of one layer type, by the name of the key."""
    changes: dict[str, Mapping[str, Any] | None] = {}
    for row in ROWS:
        if dialect in row.dialects and (row.types == "*" or type_name in row.types.split()):
            for name in row.keys.lower().split():
                before = changes.get(name, {})
                changes[name] = None if row.change is None or before is None else {**before, **row.change}
    return changes
