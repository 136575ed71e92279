"""Which frames of modules the edges and labels of an SVG meet that have no part in them."""

import re
from xml.etree import ElementTree as ET

import numpy as np

SVG = "{http://www.w3.org/2000/svg}"
LETTER = 5.5  # points, of a letter of 11 points


def _points(text):
    return np.array(re.findall(r"-?\d+\.?\d*", text), float).reshape(-1, 2)


def _box(group):
    """Left, top, right and bottom of the first outline."""
    shape = next(x for x in group.iter() if x.get("points") or x.get("d") or x.tag == f"{SVG}ellipse")
    if shape.tag == f"{SVG}ellipse":
        center, radii = ([float(shape.get(x)) for x in names] for names in (("cx", "cy"), ("rx", "ry")))
        corners = np.array([np.subtract(center, radii), np.add(center, radii)])
    else:
        corners = _points(shape.get("points") or shape.get("d"))
    return *corners.min(axis=0), *corners.max(axis=0)


def _curve(path):
    points = _points(path.get("d"))
    t = np.linspace(0, 1, 40)[:, None]
    pieces = [points[i : i + 4] for i in range(0, len(points) - 3, 3)]
    return np.concatenate(
        [(1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d for a, b, c, d in pieces]
    )


def frames_met(svg):
    """How often edges cross a frame beyond what they need, by edge and frame; and the labels on the line of a frame."""
    frames, nodes, edges = {}, {}, {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        kind, title = group.get("class", "").split(), group.findtext(f"{SVG}title")
        if "cluster" in kind:
            frames[title] = _box(group)
        elif "node" in kind:
            nodes[title] = _box(group)
        elif "edge" in kind:  # the parts of one that is led around belong together
            edges.setdefault(re.sub(r"-(out|in)$", "", group.get("id")), []).append((title, group))
    ends = {
        id: {x for title, _ in parts for x in re.split("->|--", title) if x in nodes} for id, parts in edges.items()
    }

    def holds(frame, box):
        return frame[0] <= box[0] and box[2] <= frame[2] and frame[1] <= box[1] and box[3] <= frame[3]

    crossings, covered = {}, []
    for id, parts in edges.items():
        for name, (left, top, right, bottom) in frames.items():
            count = 0
            for _, group in parts:
                x, y = _curve(next(group.iter(f"{SVG}path"))).T
                inside = (left < x) & (x < right) & (top < y) & (y < bottom)
                count += np.sum(inside[1:] != inside[:-1])
                for text in group.iter(f"{SVG}text"):
                    at, base, width = float(text.get("x")), float(text.get("y")), LETTER * len(text.text.strip())
                    one = (at - width / 2, base - 9, at + width / 2, base + 3)
                    apart = one[2] < left or right < one[0] or one[3] < top or bottom < one[1]
                    if not apart and not holds((left, top, right, bottom), one):
                        covered.append((id, text.text.strip(), name))
            needed = len({holds(frames[name], nodes[end]) for end in ends[id]}) - 1
            if count > needed:
                crossings[id, name] = int(count)
    return crossings, covered
