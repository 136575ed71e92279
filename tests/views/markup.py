"""Views as trees of elements: a parser that takes well-formed HTML alone, and what stands in a view for a reader."""

import xml.etree.ElementTree as ET

EVIL = '<img src=x onerror="alert(&)"></style></div><script>'  # as a name


def parsed(html):
    """The elements of a view; what XML calls well-formed is well-formed HTML too, as views have no void elements."""
    return ET.fromstring(html)


def text_of(html):
    """What a reader sees, piece by piece with spaces between."""
    root = parsed(html)
    root.remove(root.find("style"))
    return " ".join(" ".join(piece.split()) for piece in root.itertext() if piece.strip())


def rows_of(html):
    """The cells of the table of a view, its head first."""
    return [["".join(cell.itertext()) for cell in row] for row in parsed(html).iter("tr")]


def tags_of(html):
    return {element.tag for element in parsed(html).iter()}
