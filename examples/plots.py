"""The pictures of the examples, with matplotlib.

matplotlib is imported inside the functions: without an output folder no example needs it. Figures are made directly,
not with pyplot, so that no window opens and nothing is left over from one picture to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_dls.extras import install

# Okabe and Ito's colours, which colour-blind readers can tell apart; lines differ in dashes too, points in shape.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
LINES = [(BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":")]
CLASSES = [(VERMILION, "o"), (BLUE, "^")]  # the course's red and blue
PALE = ["#F2B48A", "#8FC3E0"]  # their backgrounds


def new_figure(width: float = 6.4, height: float = 4.4, **axes: Any) -> tuple[Any, Any]:
    """Make a figure of `width` by `height` inches, and its axes (``ncols=2`` gives two)."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib: {install('plot')}") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**axes)


def save(figure: Any, output: Path, name: str) -> Path:
    """Write the figure to ``output/name`` and say so."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / name
    figure.savefig(path, dpi=130)
    print(f"wrote {path}")
    return path


def draw_curves(ax: Any, curves: Mapping[str, Sequence[float] | tuple[Any, Any]]) -> None:
    """Draw lines with a legend: each is its values by epoch, or a pair (x, y) of arrays."""
    for (label, curve), (colour, dashes) in zip(curves.items(), LINES, strict=False):
        points = curve if isinstance(curve, tuple) else (range(len(curve)), curve)
        ax.plot(*points, dashes, color=colour, linewidth=1.8, label=label)
    if len(curves) > 1:
        ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)


def draw_intervals(ax: Any, names: Sequence[str], middles: np.ndarray, halves: np.ndarray) -> None:
    """Draw intervals, ``middle - half`` to ``middle + half``, one row per name from the top, and a line at 0."""
    rows = range(len(names))
    ax.axvline(0, color="black", linewidth=0.8)
    ax.errorbar(middles, rows, xerr=halves, fmt="o", color=BLUE, capsize=4, linewidth=1.8)
    ax.set_yticks(rows, labels=names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", alpha=0.25)


def cost_curves(curves: Mapping[str, Sequence[float]], title: str) -> Any:
    """Draw the cost J over the epochs, one line per entry of `curves`."""
    figure, ax = new_figure()
    draw_curves(ax, curves)
    ax.set_ylim(bottom=0)
    ax.set(title=title, xlabel="epoch", ylabel="cost J")
    return figure


def draw_boundary(ax: Any, model: Any, X: np.ndarray, Y: np.ndarray) -> Any:
    """Colour the plane by the model's probability A of class 1, and draw its line A = 0.5 and the examples."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("classes", [PALE[0], "#FFFFFF", PALE[1]])
    margin = 0.08 * np.ptp(X, axis=1)
    low, high = X.min(axis=1) - margin, X.max(axis=1) + margin
    x1, x2 = np.meshgrid(np.linspace(low[0], high[0], 300), np.linspace(low[1], high[1], 300))
    A = model.predict_proba(np.stack([x1.ravel(), x2.ravel()])).reshape(x1.shape)
    shades = ax.pcolormesh(x1, x2, A, vmin=0, vmax=1, cmap=colours, shading="gouraud", rasterized=True)
    if A.min() < 0.5 < A.max():
        ax.contour(x1, x2, A, levels=[0.5], colors="black", linewidths=1.4)
    for label, (colour, marker) in enumerate(CLASSES):
        chosen = Y[0] == label
        ax.scatter(
            *X[:, chosen], s=22, c=colour, marker=marker, edgecolors="white", linewidths=0.5, label=f"y = {label}"
        )
    ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    return shades


def decision_boundary(model: Any, X: np.ndarray, Y: np.ndarray, title: str) -> Any:
    """Draw what a model says of the plane, with a legend and a scale."""
    figure, ax = new_figure(6.0, 5.0)
    shades = draw_boundary(ax, model, X, Y)
    ax.legend(loc="upper right", framealpha=0.9)
    figure.colorbar(shades, ax=ax, label="A, the probability of y = 1", ticks=np.linspace(0, 1, 6))
    ax.set(title=title)
    return figure


def boundaries(models: Mapping[str, Any], X: np.ndarray, Y: np.ndarray) -> Any:
    """Draw what several models say of the plane side by side, each under its title."""
    breadth, height = np.ptp(X, axis=1)
    width = 11.0 / len(models)
    figure, axes = new_figure(11.0, width * height / breadth + 0.7, ncols=len(models), sharey=True)
    for ax, (title, model) in zip(axes, models.items(), strict=True):
        draw_boundary(ax, model, X, Y)
        ax.set(title=title)
        ax.label_outer()
    return figure


def picture_grid(pictures: Sequence[tuple[np.ndarray, str]], title: str, columns: int = 5) -> Any:
    """Draw small grey pictures in rows, each with its caption."""
    rows = -(-len(pictures) // columns)
    figure, axes = new_figure(1.35 * columns, 1.55 * rows + 0.5, nrows=rows, ncols=columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, (picture, caption) in zip(axes.flat, pictures, strict=False):
        ax.imshow(picture, cmap="gray_r")
        ax.set_title(caption, fontsize=10)
    figure.suptitle(title)
    return figure
