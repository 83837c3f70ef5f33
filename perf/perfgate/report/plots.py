"""Charts drawn as SVG by matplotlib. Every colour is one of the page's CSS variables, so that a chart follows the page
into the dark; text stays text."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perfgate.report.charts import Axis, Chart, Series
from perfgate.report.formats import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN, HEIGHT_IN, ROW_IN = 7.2, 4.2, 0.26
"""A chart's size in inches of 72 of the SVG's units; a chart with categories is as high as they need."""
NAME_AWAY, NAME_GAP, MARK = 12.0, 5.5, 5.0
"""A point's name begins so far from it, and moves up or down by such steps; half a mark's size. In the SVG's units."""
NAME_SIZE, LINE = 8.0, 1.2
"""A name's font size, and the height of a line as a multiple of it: DejaVu Sans has 1.164 from ascent to descent.
Source: the font's hhea table."""
NAME_STEPS = sorted(range(-30, 31), key=abs)
LONGEST_LABEL, LONGEST_NAME = 60, 40
"""Characters of a text beside or above a chart; of one inside it or along its height."""
LEGEND_WIDTH = 100
"""Characters that fit beside each other in a legend."""
MANY_DECADES = 1e3
"""From this ratio on a logarithmic axis has ticks at powers of ten alone."""

MARKERS = "osD^vPX"
"""Series differ by marker as well as by colour: not everybody sees every colour. There are seven of the one and eight
of the other, so that many series stay apart."""
DASHES = ("--", ":", "-.", (0, (1, 4)), (0, (8, 3)))
"""Lines to compare with differ by their dashes; they have one colour."""
COLOURS = tuple(f"series-{number}" for number in range(1, 9))
SHADES = tuple(f"shade-{number}" for number in range(1, 6))
"""From the worst to the best fifth of the values."""
STATUSES = {
    "REGRESSED": "bad",
    "FELL_BACK": "bad",
    "MISSING": "bad",
    "INCONCLUSIVE": "unsure",
    "IMPROVED": "good",
    "SAME": "same",
}
NAMES = ("ink", "faint", "paper", "bad", "unsure", "good", "same", *COLOURS, *SHADES)
_STAND_IN = {name: f"#0101{number + 16:02x}" for number, name in enumerate(NAMES)}
"""matplotlib knows no CSS variables: each has a colour of its own here that is replaced in the finished SVG."""

_METADATA = ("Date", "Creator", "Format", "Type")
"""What matplotlib would say of a file; this one is a part of a page."""
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _STAND_IN["faint"],
    "axes.labelcolor": _STAND_IN["ink"],
    "text.color": _STAND_IN["ink"],
    "xtick.color": _STAND_IN["ink"],
    "ytick.color": _STAND_IN["ink"],
    "grid.color": _STAND_IN["faint"],
    "grid.alpha": 0.35,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def svg(chart: Chart) -> str:
    """The chart as one SVG element that fills its container's width; what it shows is in ``chart.alt``."""
    import warnings

    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    height = 1.1 + ROW_IN * len(chart.categories) if chart.categories else HEIGHT_IN
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": chart.name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the reader's fonts draw it, not matplotlib's
        figure = Figure(figsize=(WIDTH_IN, height), dpi=72, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _axes(axes, chart)
        plain = [series for series in chart.series if not series.status]
        for number, series in enumerate(chart.series):
            place = plain.index(series) if series in plain else number
            _draw(axes, chart, series, place)
        for number, (name, x) in enumerate(chart.marks.items()):
            dashes = DASHES[number % len(DASHES)]
            axes.axvline(
                _shown(chart.x, [x])[0], color=_STAND_IN["faint"], linestyle=dashes, linewidth=1.2, label=_label(name)
            )
        if chart.shade is not None:
            _shade_legend(axes, chart)
        handles, names = axes.get_legend_handles_labels()
        if len(names) > 1:  # above the axes: inside it would cover a point sooner or later
            columns = max(1, min(4, LEGEND_WIDTH // (max(map(len, names)) + 6)))
            figure.legend(handles, names, loc="outside upper left", ncols=columns, fontsize=8)
        figure.canvas.draw()  # now the layout is known, and stays
        figure.set_layout_engine("none")
        _labels(axes, chart)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    return _as_part_of_a_page(out.getvalue(), chart.alt)


def _axes(axes: Axes, chart: Chart) -> None:
    axes.set_xlabel(_label(chart.x.title), loc="right" if chart.categories else "center")  # names may take the left
    _scale(axes.xaxis, axes.set_xscale, chart.x, [x for series in chart.series for x in series.x])
    if any(series.labels for series in chart.series):
        axes.margins(x=0.06, y=0.08)
    if chart.categories:
        axes.set_yticks(range(len(chart.categories)), [_label(one) for one in chart.categories])
        axes.set_ylim(len(chart.categories) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
    else:
        axes.set_ylabel(_label(chart.y.title, LONGEST_NAME))
        _scale(axes.yaxis, axes.set_yscale, chart.y, [y for series in chart.series for y in series.y])


def _scale(which: Any, set_scale: Any, axis: Axis, values: Sequence[float]) -> None:
    """A linear or a logarithmic axis whose ticks are round numbers in the unit that is shown."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if axis.log and axis.render.kind == "text":  # counts that double from one to the next
        set_scale("log", base=2)
    elif axis.log:
        set_scale("log")
        subs = (1.0,) if values and max(values) > MANY_DECADES * min(values) else (1.0, 2.0, 5.0)
        which.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    elif axis.render.kind == "text":
        which.set_major_locator(MaxNLocator(integer=True))
    which.set_minor_formatter(NullFormatter())
    suffix = axis.render.suffix
    which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}{suffix}"))


def _shown(axis: Axis, values: Sequence[float]) -> list[float]:
    """Values in the unit that the axis shows."""
    return [value * axis.render.scale for value in values]


def _draw(axes: Axes, chart: Chart, series: Series, number: int) -> None:
    colour = _STAND_IN[STATUSES[series.status] if series.status in STATUSES else COLOURS[number % len(COLOURS)]]
    marker, name = MARKERS[number % len(MARKERS)], _label(series.name) if series.name else "_nolegend_"
    x, y = _shown(chart.x, series.x), list(series.y) if chart.categories else _shown(chart.y, series.y)
    if series.style == "line":
        axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.6, label=name)
    elif series.style == "guide":
        guides = [one for one in chart.series if one.style == "guide"]
        dashes = DASHES[guides.index(series) % len(DASHES)]
        axes.plot(x, y, color=_STAND_IN["faint"], linestyle=dashes, linewidth=1.4, label=name, zorder=1)
    elif series.style == "front":
        axes.plot(x, y, color=_STAND_IN["ink"], linewidth=1.2, alpha=0.7, label=name, zorder=1)
    elif series.style == "spread":
        axes.plot(x, y, color=colour, marker="o", markersize=4, alpha=0.45, linestyle="none", label=name)
    elif series.style == "intervals":
        low, high = _shown(chart.x, series.low), _shown(chart.x, series.high)
        reach = [[a - b for a, b in zip(x, low, strict=True)], [b - a for a, b in zip(x, high, strict=True)]]
        axes.errorbar(x, y, xerr=reach, color=colour, fmt=marker, markersize=5, capsize=3, label=name)
    elif chart.shade is None:
        axes.plot(x, y, color=colour, marker=marker, markersize=7, linestyle="none", label=name)
    else:
        edges, ink = _edges(chart), _STAND_IN["ink"]
        for one, other, value in zip(x, y, series.shades, strict=True):
            fill = _STAND_IN["paper" if value is None else SHADES[_fifth(edges, value)]]
            axes.plot([one], [other], color=fill, marker=marker, markersize=9, markeredgecolor=ink)


def _edges(chart: Chart) -> list[float]:
    """The five equal parts of what colours the points."""
    values = [value for series in chart.series for value in series.shades if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    return [low + (high - low) * part / len(SHADES) for part in range(len(SHADES) + 1)]


def _fifth(edges: Sequence[float], value: float) -> int:
    whole = edges[-1] - edges[0]
    return len(SHADES) - 1 if not whole else min(len(SHADES) - 1, int(len(SHADES) * (value - edges[0]) / whole))


def _shade_legend(axes: Axes, chart: Chart) -> None:
    assert chart.shade is not None
    edges, render = _edges(chart), chart.shade.render
    taken = {_fifth(edges, one) for series in chart.series for one in series.shades if one is not None}
    for number in sorted(taken, reverse=True):
        name = f"{chart.shade.title} {render(edges[number])} to {render(edges[number + 1])}"
        if edges[0] == edges[-1]:
            name = f"{chart.shade.title} {render(edges[0])}"
        fill = _STAND_IN[SHADES[number]]
        axes.plot(
            [], [], color=fill, marker="o", linestyle="none", markeredgecolor=_STAND_IN["ink"], label=_label(name)
        )


def _labels(axes: Axes, chart: Chart) -> None:
    """The points' names, each with a line to its point and at the nearest place inside the axes where it covers neither
    a name nor a point; one that has no such place is left out: the table has it."""
    frame, names = axes.bbox, []
    for series in chart.series:
        shown = zip(_shown(chart.x, series.x), _shown(chart.y, series.y), strict=True)
        for point, label in zip(shown, series.labels, strict=False):
            x, y = axes.transData.transform(point)
            names.append((float(x), float(y), _label(label, LONGEST_NAME)))
    taken = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y, _ in names]
    for x, y, label in sorted(names, key=lambda name: -name[1]):
        width, height = _size(axes, label)
        sides = (-1, 1) if x > frame.x0 + frame.width * 2 / 3 else (1, -1)
        for step, side in ((step, side) for step in NAME_STEPS for side in sides):
            near, middle = x + side * NAME_AWAY, y + step * NAME_GAP
            left, low = (near if side > 0 else near - width), middle - height / 2
            right, high = left + width, middle + height / 2
            inside = frame.x0 < left and right < frame.x1 and frame.y0 < low and high < frame.y1
            if inside and not any(left < c and a < right and low < d and b < high for a, b, c, d in taken):
                taken.append((left, low, right, high))
                _annotate(axes, label, (x, y), (near, middle), side)
                break


def _size(axes: Axes, label: str) -> tuple[float, float]:
    """A name's width and the height of its line in the SVG's units; its letters may be less high than the line that a
    browser gives them."""
    probe = axes.text(0, 0, label, fontsize=NAME_SIZE)
    box = probe.get_window_extent()
    probe.remove()
    return float(box.width), max(float(box.height), LINE * NAME_SIZE)


def _annotate(axes: Axes, label: str, point: tuple[float, float], place: tuple[float, float], side: int) -> None:
    axes.annotate(
        label,
        point,
        place,
        xycoords="figure pixels",
        textcoords="figure pixels",
        fontsize=NAME_SIZE,
        verticalalignment="center",
        horizontalalignment="right" if side < 0 else "left",
        arrowprops={"arrowstyle": "-", "color": _STAND_IN["faint"], "linewidth": 0.8, "relpos": (side < 0, 0.5)},
    )


def _label(text: str, longest: int = LONGEST_LABEL) -> str:
    flat = printable(text)
    return flat if len(flat) <= longest else f"{flat[: longest - 3]}..."


def _as_part_of_a_page(text: str, alt: str) -> str:
    """The SVG element alone, named for those who do not see it, its colours the page's."""
    from html import escape

    element = text[text.index("<svg") :]
    for name, colour in _STAND_IN.items():
        element = element.replace(colour, f"var(--{name})")
    element = re.sub(r'<g id="[^"]*"', "<g", element)  # every chart of a page would have the same ones
    opening, _, rest = element.partition(">")
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{escape(printable(alt))}">{rest}'
