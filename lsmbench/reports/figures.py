"""The report's pictures: scores over N, and translations of the same test samples by every method."""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageFont

from lsmbench.lettering import lettered
from lsmbench.reports import markup
from lsmbench.reports.table import Column, Row, Table

INK, SOFT, GRID, PAPER = "#1b2230", "#5d6675", "#dfe3ea", "#ffffff"
FLOOR = "#7b8494"
# Okabe and Ito's colours for all kinds of colour vision, without black (the text's) and yellow (too pale on paper);
# from the seventh on darker ones.
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#5e3c99", "#7a8b00", "#0b5351",
    "#9b1b30",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h")  # as many as not to repeat with the colours
# A method looks the same in every report. Rows of other words take what is left. From the twelfth on, colours come
# again with other markers.
PLACES = (
    "baseline", "ioda", "sop", "lsm", "pix2pix", "cyclegan", "hybrid", "tripathy", "unet", "fcn8s", "ridge",
    "lstnet", "unit", "cogan", "deepjdot",
)  # fmt: skip
DASHES: tuple[Any, ...] = ((0, (5, 3)), (0, (2, 2)), (0, (7, 2, 1, 2)))
CHOSEN = "-k_medoids"  # what a row with chosen pairs has behind the name of the row without

LEGEND_COLUMNS = 4  # most entries side by side
_LABEL_POINTS, _LABEL_LETTERS = 8, 18  # of a sample's name: size, and width of a line
_LEGEND_LINE, _SWATCH = 0.17, 0.11  # inches of a legend of classes: height of a line, side of a colour's square
_CLASS_LETTERS = 28  # longer names of classes are cut
LARGE = 128  # pixels; the size of SIT's images in the papers, of which smaller tiles show everything

# No setting of the user's matplotlibrc may change the report.
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,  # a "$" in a method's name is a dollar sign
    "svg.hashsalt": "lsmbench",  # without it, the SVG's ids are new every time
    "svg.fonttype": "path",
    "figure.constrained_layout.w_pad": 0.09,
    "figure.constrained_layout.h_pad": 0.08,
}


ClassColour = tuple[str, tuple[int, int, int]]
"""A class's name and the colour that it is drawn in, RGB."""


@dataclass(frozen=True)
class Style:
    """How a method looks in every figure.

    Attributes:
        colour: Hexadecimal RGB.
        marker: Matplotlib's word.
        chosen: Whether the row is another one with chosen pairs, whose colour it has.
        refined: Whether the row is another one with refined codes, whose colour it has.
    """

    colour: str
    marker: str
    chosen: bool = False
    refined: bool = False

    @property
    def dash(self) -> Any:
        """Matplotlib's line style: broken for chosen pairs and refined codes, so that a legend's line shows it."""
        return (0, (5, 1, 1, 1)) if self.refined else (0, (3.4, 1.3)) if self.chosen else "-"


@dataclass(frozen=True)
class Translations:
    """A column of the panel: the same test samples as one method translates them, or as they are.

    Attributes:
        title: The method, `input` or `truth`.
        images: uint8, shape (K, H, W, 3).
        scores: Text below each image; empty for none.
        colour: The method's, for a line below the title; empty for none.
        dash: The line's style.
    """

    title: str
    images: NDArray[np.uint8]
    scores: tuple[str, ...] = ()
    colour: str = ""
    dash: Any = "-"


def styles(rows: Sequence[Row]) -> dict[str, Style]:
    """A colour and a marker for each method: the same in every report, as far as no two rows of one look alike.

    A row with chosen pairs or refined codes has the colour of the row that it belongs to, with another marker and a
    broken line.

    Args:
        rows: Rows of the primary table.

    Returns:
        Styles by label.
    """
    labels = [row.label for row in rows]
    places = {label: PLACES.index(label) for label in labels if label in PLACES}
    looks = {}
    for row in rows:
        own = row.of or row.label
        plain = own.removesuffix(CHOSEN)
        chosen = plain != own and plain in labels
        place = _place(plain if chosen else own, places)
        # Half-way round the markers: no two rows share both colour and marker.
        marker = place + len(MARKERS) // 2 if chosen else place
        marker += sum(other.of == own for other in rows[: rows.index(row) + 1]) if row.of else 0
        look = Style(PALETTE[place % len(PALETTE)], MARKERS[marker % len(MARKERS)], chosen, bool(row.of))
        looks[row.label] = look
    return looks


def _place(label: str, places: dict[str, int]) -> int:
    """A row's place among colours and markers; that of a new word is its hash's, or the next whose colour is free."""
    if label not in places:
        colours = len(PALETTE)
        wanted = zlib.crc32(label.encode()) % colours
        taken = {place % colours for place in places.values()}
        free = [place for i in range(colours) if (place := (wanted + i) % colours) not in taken]
        # With all colours taken, those of the first rows come again, with other markers.
        places[label] = free[0] if free else max(*places.values(), colours - 1) + 1
    return places[label]


def curves(table: Table) -> Figure:
    """Draws the mean score over N, with its 95 % interval as a band.

    N is drawn at even spaces: the interesting ones (0, 1, 5, 10, 100) are far apart on no common scale.

    Args:
        table: One metric's table.

    Returns:
        The figure.
    """
    order = sorted(range(len(table.columns)), key=lambda i: table.columns[i].paired)
    at = np.arange(len(order), dtype=np.float64)
    looks = styles(table.rows)
    with settings():
        figure = Figure(figsize=(6.6, 3.45), facecolor=PAPER, layout="constrained")
        axes = figure.add_subplot()
        frame(axes)
        handles: list[Line2D] = []
        means = [cell.mean for row in table.every_row for cell in row.cells if cell.mean is not None]
        span, rows = max(means, default=0.0) - min(means, default=0.0), len(table.rows)
        for place, row in enumerate(table.rows):
            aside = 0.012 * (place - (rows - 1) / 2)
            handles += _method(axes, row, order, at, looks[row.label], span, 0.16 * min(1.0, 5 / rows), aside)
        for row, dash in zip(table.floors, DASHES * len(table.floors), strict=False):
            handles += _floor(axes, row, order, at, dash)
        _published(axes, table, order, at, looks)
        if table.used:
            handles.append(Line2D([], [], color=SOFT, linestyle=":", linewidth=1.3, label="published, same colour"))
        _fit(axes, table)
        columns = [table.columns[i] for i in order]
        axes.set_xticks(at, [heading(column, "\n{}") for column in columns])
        axes.set_xlim(at[0] - 0.3, at[-1] + 0.3)
        axes.set_xlabel("training samples that are paired", color=INK, labelpad=7)
        axes.set_ylabel(f"{table.title} ({table.better} is better)", color=INK)
        legend(figure, handles)
    return figure


def panel(columns: Sequence[Translations], samples: Sequence[str], classes: Sequence[ClassColour] = ()) -> Figure:
    """Draws translations: a row per test sample, a column per method.

    Args:
        columns: Input, truth, then the methods.
        samples: The samples' numbers in the dataset, or their names.
        classes: What the images' colours mean, for a legend below them.

    Returns:
        The figure.
    """
    large = is_large(columns)
    titles = [wrapped(column.title, 15) for column in columns]
    top = 0.45 + 0.11 * max(0, max(title.count("\n") for title in titles) - 1)
    size, gap = 1.3 if large else 0.95, 0.07  # inches, as `top` is
    labels = [(_folded(shown), font) for shown, font in map(lettered, samples)]
    left = max(0.62, *(0.2 + inches(label, font) for label, font in labels))
    below = gap + (0.17 if any(column.scores for column in columns) else 0.0)
    width = left + len(columns) * (size + gap)
    entries = _entries(classes, left, width)
    foot = 0.04 + _LEGEND_LINE * (1 + max(place for *_, place in entries)) if entries else 0.0
    height = top + len(samples) * (size + below) + foot
    grid = {"left": left / width, "right": 1 - gap / width, "top": 1 - top / height, "bottom": (below + foot) / height}
    grid |= {"wspace": gap / size, "hspace": below / size}
    with settings():
        figure = Figure(figsize=(width, height), facecolor=PAPER)
        tiles = figure.subplots(len(samples), len(columns), squeeze=False, gridspec_kw=grid)
        renderer = _renderer(figure)
        for column, title, down in zip(columns, titles, tiles.T, strict=True):
            points = 7.5 if len(column.title) > 11 else 8.5
            head = down[0].set_title(title, fontsize=points, fontweight="bold", linespacing=1.05, color=INK, pad=9)
            # A long word that is not broken becomes smaller instead of running into its neighbour.
            head.set_fontsize(points / max(1.0, 1.07 * head.get_window_extent(renderer).width / (figure.dpi * size)))
            for r, axes in enumerate(down):
                # Tiles have fewer pixels than a large image: taking the nearest would tear thin lines.
                axes.imshow(column.images[r], interpolation="auto" if large else "nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(color=GRID, linewidth=0.8)
                axes.set_xlabel(column.scores[r] if column.scores else "", fontsize=7, color=SOFT, labelpad=2)
            if column.colour:
                level = 1 + 0.05 / size
                look = {"color": column.colour, "linestyle": column.dash, "linewidth": 2.2, "clip_on": False}
                line = Line2D((0, 1), (level, level), transform=down[0].transAxes, dash_capstyle="butt", **look)
                down[0].add_artist(line).set_solid_capstyle("butt")
        for (label, font), axes in zip(labels, tiles[:, 0], strict=True):
            axes.set_ylabel(
                label, rotation=0, ha="right", va="center", multialignment="right", color=SOFT, labelpad=6,
                fontproperties=FontProperties(fname=font, size=_LABEL_POINTS),
            )  # fmt: skip
        figure.text((left - 0.09) / width, 1 - (top - 0.125) / height, "sample", ha="right", fontsize=8, color=SOFT)
        for name, font, colour, x, place in entries:
            middle = foot - _LEGEND_LINE * (place + 0.5)
            figure.add_artist(
                Rectangle(
                    (x / width, (middle - _SWATCH / 2) / height), _SWATCH / width, _SWATCH / height, linewidth=0.8,
                    transform=figure.transFigure, facecolor=[part / 255 for part in colour], edgecolor=SOFT,
                )
            )  # fmt: skip
            figure.text(
                (x + _SWATCH + 0.06) / width, middle / height, name, va="center", color=INK,
                fontproperties=FontProperties(fname=font, size=_LABEL_POINTS),
            )  # fmt: skip
    return figure


def is_large(columns: Sequence[Translations]) -> bool:
    """Whether images hold fine detail, such as points drawn over a photograph, and need larger tiles."""
    return any(max(column.images.shape[1:3]) > LARGE for column in columns)


def png(figure: Figure, dpi: int = 200) -> bytes:
    """Renders a figure as PNG; the same figure gives the same bytes.

    Args:
        figure: What to draw.
        dpi: Dots per inch.

    Returns:
        The file's content.
    """
    buffer = io.BytesIO()
    with settings():
        FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def jpeg(picture: bytes) -> bytes:
    """Compresses a PNG of photographs to about a fifth, with thin coloured lines still in their colour.

    Args:
        picture: The PNG's content.

    Returns:
        The JPEG's.
    """
    buffer = io.BytesIO()
    with Picture.open(io.BytesIO(picture)) as opened:
        opened.convert("RGB").save(buffer, format="JPEG", quality=85, subsampling=0)
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """Renders a figure as SVG; the same figure gives the same text.

    Args:
        figure: What to draw.

    Returns:
        The file's content.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with settings():
        FigureCanvasAgg(figure).print_figure(buffer, format="svg", metadata=nothing)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def settings() -> AbstractContextManager[None]:
    """What every figure is drawn with, whatever the user's own settings."""
    return matplotlib.style.context(["default", _STYLE])


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Puts a legend below everything, with as many entries side by side as fit, and makes the figure taller by it."""
    renderer = _renderer(figure)
    for columns in range(min(LEGEND_COLUMNS, len(handles)), 0, -1):
        drawn = figure.legend(
            handles=handles, loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK, handlelength=2.6,
            columnspacing=1.6, fontsize=8.5,
        )  # fmt: skip
        box = drawn.get_window_extent(renderer)
        if columns == 1 or box.width <= figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
            return
        drawn.remove()


def entry(row: Row, look: Style) -> Line2D:
    """A method in a legend."""
    return Line2D(
        [], [], color=look.colour, linestyle=stroke(row, look), linewidth=1.7, marker=look.marker, markersize=5.5,
        label=row.label + (" (not tuned)" if row.untuned else ""),
    )  # fmt: skip


def floor_entry(row: Row, dash: Any) -> Line2D:
    """A floor in a legend."""
    return Line2D([], [], color=FLOOR, linestyle=dash, linewidth=1.3, label=row.label)


def stroke(row: Row, look: Style) -> Any:
    """A method's line: dash-dotted where the score is no function of N."""
    return "-." if row.independent else look.dash


def heading(column: Column, pairs: str = " ({})") -> str:
    """What an N is called in figures, with its number of pairs if N does not tell it."""
    seen = markup.saw(column)
    return column.amount + (pairs.format(seen) if seen else "")


def frame(axes: Axes) -> None:
    """Gives axes the figures' look: a foot, lines across, and nothing else."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.tick_params(axis="x", colors=INK, length=3, color=SOFT, labelsize=8.5)
    axes.tick_params(axis="y", colors=SOFT, length=0, labelsize=8.5)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _renderer(figure: Figure) -> RendererAgg:
    """What measures the figure's texts, whose sizes are not known before."""
    canvas: Any = FigureCanvasAgg(figure)
    renderer: RendererAgg = canvas.get_renderer()
    return renderer


def _method(
    axes: Axes,
    row: Row,
    order: Sequence[int],
    at: NDArray[np.float64],
    look: Style,
    most: float,
    alpha: float,
    aside: float,
) -> list[Line2D]:
    """Draws a row's mean and interval.

    Args:
        axes: Where.
        row: The row.
        order: The columns in order of N.
        at: Their places.
        look: The row's.
        most: The greatest half of an interval's width that is drawn as a band.
        alpha: The band's.
        aside: How far beside their places bars stand, so that those of several rows are seen.
    """
    cells = [row.cells[i] for i in order]
    if all(cell.mean is None for cell in cells):
        return []
    mean, half = _numbers(cell.mean for cell in cells), _numbers(cell.half_width for cell in cells)
    # A wider band than all values together span would say nothing, and hide the others: it is drawn as a bar alone.
    half = np.where(half <= most, half, np.nan)
    if row.independent:  # not a function of N, so that its line ends at no N
        if not math.isnan(half[0]):
            axes.axhspan(mean[0] - half[0], mean[0] + half[0], color=look.colour, alpha=alpha, linewidth=0)
        axes.axhline(mean[0], color=look.colour, linestyle=stroke(row, look), linewidth=1.7, zorder=3)
    else:
        axes.fill_between(at, mean - half, mean + half, color=look.colour, alpha=alpha, linewidth=0)
        axes.plot(at, mean, color=look.colour, linestyle=stroke(row, look), linewidth=1.7, zorder=3)
        wide = _numbers(cell.half_width for cell in cells)
        axes.vlines(at + aside, mean - wide, mean + wide, color=look.colour, alpha=0.4, linewidth=1.2)
    whole = np.array([cell.whole for cell in cells])
    for mask, face in ((whole, look.colour), (~whole, PAPER)):
        axes.plot(
            at[mask], mean[mask], color=look.colour, marker=look.marker, markerfacecolor=face, linestyle="none",
            markersize=5.5, markeredgewidth=1.3, zorder=4,
        )  # fmt: skip
    return [entry(row, look)]


def _fit(axes: Axes, table: Table) -> None:
    """Leaves bands room beside the values, but not more than these take: with two seeds a band can be very wide."""
    cells = [cell for row in table.every_row for cell in row.cells]
    values = [value for cell in cells for value in (cell.mean, cell.published) if value is not None]
    if values and (room := 0.5 * (max(values) - min(values))) > 0:
        low, high = axes.get_ylim()
        low, high = max(low, min(values) - room), min(high, max(values) + room)
        bounded = "0 to 1" in table.unit
        axes.set_ylim(*((max(low, -0.02), min(high, 1.02)) if bounded else (low, high)))


def _floor(axes: Axes, row: Row, order: Sequence[int], at: NDArray[np.float64], dash: Any) -> list[Line2D]:
    mean = _numbers(row.cells[i].mean for i in order)
    if np.isnan(mean).all():
        return []
    if row.independent:
        axes.axhline(float(mean[0]), color=FLOOR, linestyle=dash, linewidth=1.3, zorder=2)
    else:
        axes.plot(at, mean, color=FLOOR, linestyle=dash, linewidth=1.3, zorder=2)
    return [floor_entry(row, dash)]


def _published(
    axes: Axes, table: Table, order: Sequence[int], at: NDArray[np.float64], looks: dict[str, Style]
) -> None:
    for row in table.rows:
        values = _numbers(row.cells[i].published for i in order)
        if np.isnan(values).all():
            continue
        look = looks[row.label]
        if all(cell.published_any_n for cell in row.cells):
            axes.axhline(values[0], color=look.colour, linestyle=":", linewidth=1.3, zorder=2)
            continue
        known = ~np.isnan(values)
        axes.plot(at[known], values[known], color=look.colour, linestyle=":", linewidth=1.3, zorder=2)
        axes.plot(
            at[known], values[known], color=look.colour, linestyle="none", marker=look.marker, markersize=2.6, zorder=2
        )


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _folded(name: str) -> str:
    """A file's name in three lines at most, broken behind its folders and words; of a longer one, its end."""
    lines = [""]
    for part in re.findall(rf"[^/_ -]{{1,{_LABEL_LETTERS - 1}}}[/_ -]?|[/_ -]", name):
        if lines[-1] and len(lines[-1] + part) > _LABEL_LETTERS:
            lines.append("")
        lines[-1] += part
    lines = [line.rstrip() for line in lines]
    return "\n".join(lines if len(lines) <= 3 else ["…" + lines[-3], *lines[-2:]])


def _entries(
    classes: Sequence[ClassColour], left: float, width: float
) -> list[tuple[str, Path, tuple[int, int, int], float, int]]:
    """The legend of classes' colours: name, font, colour, place in inches from the left, and line, from the top.

    Entries stand in columns below each other, as many side by side as fit between the left and the figure's width.
    """
    if not classes:
        return []
    shown = [(lettered(cut(name)), c) for name, c in classes]
    wide = _SWATCH + 0.3 + max(inches(name, font) for (name, font), _ in shown)
    across = min(len(shown), max(1, int((width - left) / wide)))
    down = math.ceil(len(shown) / across)
    return [(name, font, colour, left + i // down * wide, i % down) for i, ((name, font), colour) in enumerate(shown)]


def cut(name: str, letters: int = _CLASS_LETTERS) -> str:
    """A name of a class, shortened to some letters."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def inches(text: str, font: Path) -> float:
    """The width of a sample's or a class's label, of 8 points."""
    points = ImageFont.truetype(str(font), 10 * _LABEL_POINTS)
    return max(float(points.getlength(line)) for line in text.split("\n")) / 720


def wrapped(text: str, width: int) -> str:
    """Breaks a title at blanks and behind hyphens into lines of about `width` letters, three at most."""
    lines = [""]
    for part in re.findall(r"[^ -]*[ -]|[^ -]+$", text):
        if lines[-1] and len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    lines = [line.rstrip() for line in lines]
    if len(lines) > 3:
        lines = [*lines[:2], " ".join(lines[2:])]
    return "\n".join(line if len(line) <= width + 4 else line[: width + 3] + "…" for line in lines)
