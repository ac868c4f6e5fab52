"""Figures as SVG that goes into a page: plain text as text, marks named so that the page's script finds them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK: Final = "#24303c"
FAINT: Final = "#8a97a5"
BLUE: Final = "#1f6fb4"
RED: Final = "#c8473a"
GREEN: Final = "#3a8f5c"
LEFT: Final = 0.7
"""Inches of the margin for the numbers and the name of an axis."""
BOTTOM: Final = 0.5
_LOOK: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "frazil",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": "#e4e9ee",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


class Drawing:
    """Axes to draw on, and the SVG once the block of `drawing` has ended."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.axes: Axes = figure.add_subplot()
        self.svg = ""


@contextmanager
def drawing(width: float, height: float, prefix: str, *, top: float = 0.14, right: float = 0.14) -> Iterator[Drawing]:
    """A figure of some inches; `prefix` keeps its ids apart from those of other figures in the page.

    Margins are fixed (`top` and `right` in inches): working them out would draw everything twice.

    >>> with drawing(2, 1, "demo") as figure:
    ...     _ = figure.axes.plot([1, 2])
    >>> figure.svg.startswith("<svg")
    True
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    look: Any = _LOOK
    with rc_context(look):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        made = Drawing(figure)
        made.axes.grid(True)
        figure.subplots_adjust(LEFT / width, BOTTOM / height, 1 - right / width, 1 - top / height)
        yield made
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    made.svg = _inline(text.getvalue(), prefix)


def plain_numbers(axis: Axis) -> None:
    """Numbers such as 0.5 instead of powers of ten along a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _inline(text: str, prefix: str) -> str:
    """The `svg` element by itself, its size left to the page, and ids other than our marks' made its own."""
    text = text[text.index("<svg") :].strip()
    head, _, rest = text.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    rest = re.sub(r'\bid="mark-', 'data-mark="', rest)
    rest = re.sub(r'\bid="', f'id="{prefix}-', rest)
    rest = re.sub(r"url\(#", f"url(#{prefix}-", rest)
    rest = re.sub(r'href="#', f'href="#{prefix}-', rest)
    return f"{head}>{rest}"
