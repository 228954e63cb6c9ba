"""What `conv` and `local` have in common: filters that slide over the maps of one or several inputs, in groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

from convspec.diagnostics import Label, Report
from convspec.layers.base import Context, Cost, Inference, Rounding, entry_label
from convspec.layers.initialization import validate_function
from convspec.layers.keys import extents, flags, function_call, integers
from convspec.layers.origins import parting_labels, way_notes
from convspec.layers.reading import read_maps
from convspec.layers.sums import SummingLayer
from convspec.layers.windows import Windows, infer_windows, rounding_key
from convspec.program.initial import Piece
from convspec.program.parameter import Permutations
from convspec.program.shape import Shape
from convspec.syntax.values import Extent

if TYPE_CHECKING:
    from convspec.program.builder import Builder


class FilterLayer(SummingLayer):
    """Bias + sum over inputs of what that input's filters find at each window.

    Windows along an axis: 1 + ceil((side + 2*padding - filterSize) / stride) (cuda-convnet2 layer.py:1097). Where the
    division is not exact the last one hangs over the right or bottom edge, and what it sees there is zero (cudaconv3
    filter_acts.cu:25, 913). `modulesX` asks for another number of windows, as long as they cover the map (layer.py:1075,
    1096-1099, 1118): more, which hang over further, or fewer, which leave out zeros behind the map. `filters` counts the
    filters of one group, so the layer gives filters * groups maps (layer.py:1094).

    Sizes may differ by axis, `filterSize=3x5` for 3 rows and 5 columns; the originals know square ones alone.
    """

    channels = integers("channels", default=None, minimum=1, doc="maps of the input; inferred where absent")
    filters = integers("filters", minimum=1, doc="kernels of one group; times groups, the maps that the layer gives")
    filter_size = extents("filterSize", minimum=1, doc="side of a kernel, pixels; 3x5 for 3 rows and 5 columns")
    padding = extents("padding", default=Extent(0, 0), minimum=0, doc="zeros around the input on each side, pixels")
    stride = extents("stride", default=Extent(1, 1), minimum=1, doc="pixels from one window to the next")
    groups = integers("groups", default=1, minimum=1, doc="parts of the input that have kernels of their own")
    modules = extents(
        "modulesX",
        default=Extent(0, 0),
        minimum=0,
        doc="windows a side, at least as many as cover the map; 0: as many as its zeros ask for",
    )
    own_rounding = rounding_key()
    rand_sparse = flags(
        "randSparse",
        default=False,
        doc="1: each group sees channels drawn at random, rather than those beside one another",
    )
    filter_channels = integers(
        "filterChannels", default=0, minimum=0, doc="channels that a filter sees under randSparse; 0: channels / groups"
    )
    init_c_func = function_call(
        "initCFunc", doc="function that gives the channels of sparse groups, in place of chance"
    )

    @property
    def out_channels(self) -> int:
        return self.filters[0] * self.groups[0]

    def validate(self, report: Report) -> None:
        super().validate(report)
        validate_function(self, "init_c_func", self.init_c_func, report)
        if self.is_broken:
            return
        if self.init_c_func is not None and not any(self.rand_sparse):
            message = f"nothing reads initCFunc of {self.name}: no input has randSparse"
            self.blame(report, "CS207", "init_c_func", message, help="delete it, or add randSparse=1")
        maps = [filters * groups for filters, groups in zip(self.filters, self.groups, strict=True)]
        if len(set(maps)) > 1:
            self.is_broken = True
            report.add(
                "CS405",
                self.span("filters"),
                f"{self.name} adds up its inputs, but filters * groups differ: {', '.join(map(str, maps))} maps",
                labels=entry_label(self, "groups", f"groups {', '.join(map(str, self.groups))}"),
                help="filters counts the kernels of one group: make filters * groups equal for all inputs",
            )

    def rounds(self, rounding: Rounding) -> Rounding:
        return Rounding(self.own_rounding) if self.own_rounding else rounding

    def initial_functions(self) -> Iterator[tuple[Piece, str]]:
        yield from super().initial_functions()
        if self.init_c_func is not None:
            yield Piece.CONNECTIONS, "init_c_func"

    def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
        sizes: list[Inference] = []
        for index, shape in enumerate(inputs):
            size = self._infer_input(index, shape, context)
            if size is None:
                return None
            sizes.append(size)
        for index, size in enumerate(sizes):
            if size.shape != sizes[0].shape:
                self._report_unlike(index, inputs, sizes, context)
                return None
        return sizes[0]

    def _report_unlike(self, index: int, inputs: Sequence[Shape], sizes: Sequence[Inference], context: Context) -> None:
        """Report an input of which other maps are made than of the first one, and why."""
        (first, size), (one, other) = (sizes[0], sizes[index]), (self.inputs[0], self.inputs[index])
        windows = ((a, getattr(self, a)) for a in ("filter_size", "padding", "stride", "modules"))
        lists = [Label(self.span(attribute), "these differ") for attribute, value in windows if len(set(value)) > 1]
        is_same_size = inputs[0].dims[1:] == inputs[index].dims[1:]
        context.report.add(
            "CS406",
            self.part("inputs", other),
            f"{self.name} adds up what it makes of its inputs: "
            f"{first.shape} of {one.text}, but {size.shape} of {other.text}",
            labels=lists if is_same_size else parting_labels(context, one.text, other.text),
            notes=[f"{one.text}: {first.window}", f"{other.text}: {size.window}"],
            help="filterSize, padding and stride may be lists, with an entry for each input",
        )

    def _infer_input(self, index: int, shape: Shape, context: Context) -> Inference | None:
        channels = self.channels[index] if self.is_given("channels") else None
        maps = read_maps(self, index, shape, channels, context)
        if maps is None or not self._can_connect(index, maps, context.report):
            return None
        rows, columns = axes = self._axes(index, maps)
        if any(windows.kernel > windows.size + 2 * windows.before for windows in axes):
            self._report_too_large(index, axes, context)
            return None
        needed = infer_windows(self.out_channels, rows, columns, self.rounds(context.rounding))
        return needed if self.modules[index] == Extent(0, 0) else self._forced(index, needed.shape, axes, context)

    def _axes(self, index: int, maps: Shape) -> tuple[Windows, Windows]:
        """Windows along rows and along columns."""
        size, stride, padding = self.filter_size[index], self.stride[index], self.padding[index]
        return (
            Windows(maps.height, size.height, stride.height, padding.height, padding.height),
            Windows(maps.width, size.width, stride.width, padding.width, padding.width),
        )

    def _forced(self, index: int, needed: Shape, axes: tuple[Windows, Windows], context: Context) -> Inference | None:
        """The size that `modulesX` asks for."""
        wanted = [given or least for given, least in zip(self.modules[index], needed.dims[1:], strict=True)]
        for count, natural, windows in zip(wanted, needed.dims[1:], axes, strict=True):
            least = min(natural, windows.fewest)
            if count < least:
                its = f" and has {natural}" if least < natural else ""
                context.report.add(
                    "CS412",
                    self.span("modules"),
                    f"{count} windows a side do not cover {self.input_names[index]}: {self.name} needs {least}{its}, "
                    f"{windows.arithmetic(self.rounds(context.rounding))}",
                    labels=entry_label(self, "stride", "pixels from one window to the next"),
                    help=f"write modulesX={least} or more, or leave it out",
                )
                return None
        return Inference(Shape.of_maps(self.out_channels, *wanted), f"modulesX = {Extent(*wanted)}")

    def _can_connect(self, index: int, maps: Shape, report: Report) -> bool:
        if not self.rand_sparse[index]:
            return self._groups_divide(index, maps, report)
        source, channels, groups = self.input_names[index], maps.channels, self.groups[index]
        seen = self.filter_channels[index]
        if groups == 1:
            problem = f"{self.name} draws the channels of each group at random, but has one group that sees them all"
            help = "write groups=2 or more, or randSparse=0"
        elif not seen and channels % groups:
            return self._groups_divide(index, maps, report)
        elif seen and channels % seen:
            problem = f"the {channels} channels of {source} are not dealt out {seen} at a time: {channels} / {seen} = "
            problem += f"{channels / seen:g}"
            help = f"write a filterChannels that divides {channels}"
        elif seen and groups * seen % channels:
            problem = (
                f"{groups} groups of {seen} channels are {groups * seen}, no multiple of the {channels} of {source}"
            )
            help = "each channel is seen equally often: make groups * filterChannels a multiple of the channels"
        else:
            return True
        labels = [
            *entry_label(self, "groups", f"groups {groups}"),
            *entry_label(self, "filter_channels", "channels of one"),
        ]
        report.add("CS413", self.span("rand_sparse"), problem, labels=labels, help=help)
        return False

    def channels_of_a_filter(self, index: int, channels: int) -> int:
        """How many of the `channels` of input `index` a filter sees."""
        given = self.filter_channels[index] if self.rand_sparse[index] else 0
        return given or channels // self.groups[index]

    def _groups_divide(self, index: int, maps: Shape, report: Report) -> bool:
        groups = self.groups[index]
        if maps.channels % groups == 0:
            return True
        report.add(
            "CS405",
            self.span("groups"),
            f"{self.name} has {groups} groups, but {self.input_names[index]} gives {maps.channels} channels: "
            f"{maps.channels} / {groups} = {maps.channels / groups:g}",
            help=f"write a number of groups that divides {maps.channels}",
        )
        return False

    def _report_too_large(self, index: int, axes: tuple[Windows, Windows], context: Context) -> None:
        kernel = "x".join(str(windows.kernel) for windows in axes)
        windows = next(windows for windows in axes if windows.kernel > windows.size + 2 * windows.before)
        side = "high" if windows is axes[0] and windows != axes[1] else "wide"
        least = -(-(windows.kernel - windows.size) // 2)
        padded = f"{windows.size} + 2*{windows.before} = " if windows.before else ""
        context.report.add(
            "CS403",
            self.span("filter_size"),
            f"the {kernel} filters of {self.name} do not fit {self.input_names[index]}, "
            f"which is {padded}{windows.size + 2 * windows.before} pixels {side}",
            labels=entry_label(self, "padding", "zeros on each side"),
            notes=way_notes(context, self.input_names[index]),
            help=f"use padding={least}, or a filterSize of at most {windows.size + 2 * windows.before}",
        )

    def _maps(self, index: int, shape: Shape) -> Shape:
        """Input `index` as the maps that `infer` found it to be."""
        if shape.is_map:
            return shape
        maps = shape.as_square_maps(self.channels[index])
        assert maps is not None
        return maps

    def weight_shape(self, index: int, inputs: Sequence[Shape], output: Shape) -> tuple[int, ...]:
        return self._weight_shape(index, self._maps(index, inputs[index]).channels, output)

    def describe_weights(self, index: int, inputs: Sequence[Shape], output: Shape) -> str:
        size = super().describe_weights(index, inputs, output)
        if not self.rand_sparse[index]:
            return size
        return f"{size} over {self._maps(index, inputs[index]).channels} channels drawn for {self.groups[index]} groups"

    def cost(self, inputs: Sequence[Shape], output: Shape) -> Cost:
        sizes = [self.weight_shape(index, inputs, output) for index in range(len(inputs))]
        macs = sum(prod(size[:4]) for size in sizes) * output.height * output.width
        return Cost(sum(map(prod, sizes)), self._bias_count(output), macs)

    def lower(self, builder: Builder, inputs: Sequence[str], output: Shape) -> str:
        values = [self._lower_input(builder, i, value) for i, value in enumerate(inputs)]
        are_alike = len({builder.shape(value).dims[1:] for value in values}) == 1 and self._is_one_operator
        widths = [builder.shape(value).channels for value in values]
        return self._lower_sum(builder, values, widths, output, can_join=are_alike)

    def _lower_input(self, builder: Builder, index: int, value: str) -> str:
        """Input `index` as the maps that its groups see one after another."""
        maps = builder.reshape(value, self._maps(index, builder.shape(value)))
        channels = builder.shape(maps).channels
        if not self.rand_sparse[index]:
            return maps
        seen = self.groups[index] * self.channels_of_a_filter(index, channels)
        term = index if self.input_count > 1 else None
        connections = builder.buffer("connections", (seen,), Permutations(channels), is_integer=True, term=term)
        return builder.gather(maps, connections, seen)

    @property
    def _is_one_operator(self) -> bool:
        """Whether one set of filters can read inputs of one size, joined by channel: same windows, no groups, same rates."""
        alike = set(zip(self.filter_size, self.padding, self.stride, strict=True))
        return len(alike) == 1 and set(self.groups) == {1} and self.learns_alike
