"""What `check --solve` prints: sizes of an input at which every window fits exactly."""

from __future__ import annotations

from convspec.diagnostics import listed
from convspec.graph.fitting import Fit, Fits, described
from convspec.program.shape import Shape

_MOST_ROWS = 12
_MOST_NAMES = 4


class FitsReport:
    """The result of a search, to be printed."""

    def __init__(self, fits: Fits) -> None:
        self._fits = fits

    def table(self) -> str:
        """The windows that do not fit now, the sizes that fit, and those that give the same maps as now."""
        fits = self._fits
        first, last = (described([size]) for size in fits.tried)
        lines = [f"{fits.layer} is {fits.size}; sizes from {first} to {last} were tried", ""]
        if fits.loose:
            lines.append("windows that do not fit:")
            lines += [
                f"  {listed(w.layers, _MOST_NAMES)}: {w.formula}, rounded up {w.up}, down {w.down}" for w in fits.loose
            ]
        else:
            lines.append("every window fits")
        lines += ["", f"sizes at which every window fits, and up and down are the same: {_sizes(fits)}"]
        shown = _nearest(fits.exact, fits.size)
        lines += [f"  {described([fit.size]):<9} {_maps(fit)}".rstrip() for fit in shown]
        if len(shown) < len(fits.exact):
            lines.append(f"  and {len(fits.exact) - len(shown)} more, farther away")
        lines.append("")
        for rounding, sizes in fits.same.items():
            lines.append(f"sizes with the maps there are now, rounding={rounding.value}: {described(sizes)}")
        return "\n".join(lines) + "\n"

    def as_data(self) -> dict[str, object]:
        """For `--format json`; docs/json.md describes it."""
        fits = self._fits
        return {
            "layer": fits.layer,
            "size": list(fits.size.dims),
            "tried": [list(size.dims) for size in fits.tried],
            "exact": [
                {"size": list(fit.size.dims), "maps": {name: list(shape.dims) for name, shape in fit.maps.items()}}
                for fit in fits.exact
            ],
            "loose": [{**window._asdict(), "layers": list(window.layers)} for window in fits.loose],
            "same": {rounding.value: [list(size.dims) for size in sizes] for rounding, sizes in fits.same.items()},
        }


def _sizes(fits: Fits) -> str:
    return described([fit.size for fit in fits.exact])


def _nearest(exact: tuple[Fit, ...], size: Shape) -> list[Fit]:
    """The rows to show, in order of size: those nearest to the size there is now."""
    nearest = sorted(exact, key=lambda fit: abs(fit.size.height - size.height))[:_MOST_ROWS]
    return sorted(nearest, key=lambda fit: fit.size.height)


def _maps(fit: Fit) -> str:
    """`pool5a, pool5b 128x6x6`: layers that give the same are named together."""
    groups: dict[str, list[str]] = {}
    for name, shape in fit.maps.items():
        groups.setdefault(str(shape), []).append(name)
    return "; ".join(f"{listed(names, _MOST_NAMES)} {shape}" for shape, names in groups.items())
