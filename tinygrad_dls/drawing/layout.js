  // -- the layout of what is left when modules are closed -----------------------------------------------------------
  /* Graphviz has laid out the whole picture. What closed modules held leaves room in it: across and down, each for
     itself, the picture is cut into slabs at the sides of all that is shown. A slab with a box in it keeps its length,
     one without becomes short. So all keeps its order, nothing comes to lie upon anything else, and what was straight
     stays so. Coordinates are those of the picture, in which Graphviz writes y as negative numbers. */

  const GAP = 34;  // between two boxes, at most, where something was between them
  const numbersIn = (text) => text.match(/-?[\d.]+(?:e-?\d+)?/g).map(Number);
  const pairs = (numbers) => Array.from({ length: numbers.length / 2 }, (_, i) => [numbers[2 * i], numbers[2 * i + 1]]);

  function boxAround(points) {
    const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
    return [[Math.min(...xs), Math.max(...xs)], [Math.min(...ys), Math.max(...ys)]];
  }

  function outlineOf(group) {  // as [[left, right], [top, bottom]]; read off, as what is not shown has no measure
    const points = [];
    for (const shape of group.querySelectorAll("polygon, path, ellipse, polyline")) {
      if (shape.tagName === "ellipse") {
        const [cx, cy, rx, ry] = ["cx", "cy", "rx", "ry"].map((name) => Number(shape.getAttribute(name)));
        points.push([cx - rx, cy - ry], [cx + rx, cy + ry]);
      } else {
        points.push(...pairs(numbersIn(shape.getAttribute("points") ?? shape.getAttribute("d"))));
      }
    }
    return boxAround(points);
  }

  // Where the coordinates of an axis go. `solid` are the sides of what keeps its length; `wanted` are of what may become
  // shorter, but not shorter than so much.
  function squeezed(solid, wanted) {
    const stops = [...new Set([...solid.flat(), ...wanted.flatMap(([side]) => side)])].sort((a, b) => a - b);
    const lengths = stops.slice(1).map((stop, i) => {
      const kept = solid.some(([from, to]) => from <= stops[i] && stop <= to);
      return kept ? stop - stops[i] : Math.min(stop - stops[i], GAP);
    });
    for (const [[from, to], least] of [...wanted].sort(([a], [b]) => (a[1] - a[0]) - (b[1] - b[0]))) {
      const within = lengths.map((_, i) => i).filter((i) => from <= stops[i] && stops[i + 1] <= to);
      const lacks = least - within.reduce((sum, i) => sum + lengths[i], 0);
      if (lacks > 0) for (const i of [within[0], within.at(-1)]) lengths[i] += lacks / 2;
    }
    const places = [stops[0] ?? 0];
    lengths.forEach((length, i) => places.push(places[i] + length));
    return (x) => {
      if (!stops.length) return x;
      const last = stops.length - 1;
      if (x <= stops[0]) return places[0] + x - stops[0];
      if (x >= stops[last]) return places[last] + x - stops[last];
      let i = 0;
      while (stops[i + 1] < x) i += 1;
      return places[i] + (x - stops[i]) * lengths[i] / (stops[i + 1] - stops[i]);
    };
  }

  function curvePoints(numbers) {  // of a path of cubic curves, close enough to each other to be drawn as lines
    const points = pairs(numbers);
    const found = [points[0]];
    for (let i = 0; i + 3 < points.length; i += 3) {
      const [a, b, c, d] = points.slice(i, i + 4);
      for (let k = 1; k <= 16; k += 1) {
        const t = k / 16;
        const weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t ** 2 * (1 - t), t ** 3];
        found.push([0, 1].map((axis) => [a, b, c, d].reduce((sum, p, j) => sum + weights[j] * p[axis], 0)));
      }
    }
    return found;
  }

  function textBox(text) {  // letters of 11 are about 5.5 wide
    const [x, y] = ["x", "y"].map((name) => Number(text.getAttribute(name)));
    const half = 2.75 * text.textContent.length;
    return [[x - half, x + half], [y - 10, y + 4]];
  }

  const isIn = ([x, y], [across, down]) => across[0] <= x && x <= across[1] && down[0] <= y && y <= down[1];

  function crossing(inside, outside, box) {  // where a line between two points goes through the sides of a box
    let [from, to] = [outside, inside];
    for (let i = 0; i < 20; i += 1) {
      const middle = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
      if (isIn(middle, box)) to = middle;
      else from = middle;
    }
    return from;
  }

  // Lays the picture out anew. `closed` are modules as { box, size, lid, column }, `solid` the shown nodes, `frames` the
  // open modules with the width of their labels, `edges` the shown edges with the closed modules at their ends.
  function layoutOf(svg) {
    const kept = new Map();  // the attributes as Graphviz wrote them
    function set(element, name, value) {
      if (!kept.has(element)) kept.set(element, new Map());
      const before = kept.get(element);
      if (!before.has(name)) before.set(name, element.getAttribute(name));
      element.setAttribute(name, value);
    }
    function original(element, name) {
      return kept.get(element)?.has(name) ? kept.get(element).get(name) : element.getAttribute(name);
    }
    function restore() {
      for (const [element, attributes] of kept) {
        for (const [name, value] of attributes) {
          if (value === null) element.removeAttribute(name);
          else element.setAttribute(name, value);
        }
      }
      kept.clear();
    }
    let bounds = null;

    function apply({ closed, nodes, frames, edges, whole, texts }) {
      restore();
      bounds = null;
      if (!closed.length) return;
      const labels = edges.filter(({ tail, head, isBackward }) => isBackward || !(tail || head))
        .flatMap(({ element }) => [...element.querySelectorAll("text")].map(textBox));
      const [across, down] = [0, 1].map((axis) => squeezed(
        [...nodes.map(({ box }) => box[axis]), ...labels.map((box) => box[axis])],
        [...closed.map(({ box, size }) => [box[axis], size[axis]]),
          ...frames.map(({ box, label }) => [box[axis], axis ? 0 : label])],
      ));
      const moved = ([x, y]) => [across(x), down(y)];
      const shift = (element, point) => {
        const [x, y] = moved(point);
        set(element, "transform", `translate(${x - point[0]} ${y - point[1]})`);
      };
      const middle = (box) => box.map(([from, to]) => (from + to) / 2);
      const seen = [];
      for (const { element, box } of nodes) {
        shift(element, middle(box));
        const center = moved(middle(box));
        seen.push(box.map(([from, to], axis) => [center[axis] - (to - from) / 2, center[axis] + (to - from) / 2]));
      }
      for (const module of closed) {  // where its chain of values was, as near as its room allows
        const room = module.box.map(([from, to], axis) => [from, to].map(axis ? down : across));
        const center = moved([module.column ?? middle(module.box)[0], middle(module.box)[1]]);
        module.now = center.map((at, axis) => {
          const half = module.size[axis] / 2;
          const [least, most] = [room[axis][0] + half, room[axis][1] - half];
          const place = least > most ? (least + most) / 2 : limited(at, least, most);
          return [place - half, place + half];
        });
        module.room = room;
        module.put(module.now);
        seen.push(module.now);
      }
      for (const { element, box } of frames) {
        for (const shape of element.querySelectorAll("polygon, path")) {
          const name = shape.hasAttribute("points") ? "points" : "d";
          set(shape, name, original(shape, name).replace(/(-?[\d.]+),(-?[\d.]+)/g, (_, x, y) =>
            moved([Number(x), Number(y)]).join(",")));
        }
        for (const text of element.querySelectorAll("text")) {
          const [x, y] = ["x", "y"].map((name) => Number(text.getAttribute(name)));
          const [left, top] = [box[0][0], box[1][0]];
          const start = moved([left, top]);
          set(text, "transform", `translate(${start[0] - left} ${start[1] - top})`);
          seen.push([[start[0], start[0] + x - left], [start[1], start[1] + y - top]]);
        }
        seen.push(box.map((side, axis) => side.map(axis ? down : across)));
      }
      for (const { element, tail, head, isBackward } of edges) drawEdge(element, tail, head, isBackward, moved, shift, seen);
      for (const text of texts) {
        shift(text, ["x", "y"].map((name) => Number(text.getAttribute(name))));
      }
      bounds = boxAround(seen.flatMap(([x, y]) => [[x[0], y[0]], [x[1], y[1]]]));
      const caption = texts.length ? 24 * texts.length : 0;
      bounds = [[bounds[0][0] - 6, bounds[0][1] + 6], [bounds[1][0] - 6, bounds[1][1] + 6 + caption]];
      texts.forEach((text, i) => {  // the caption, below and in the middle
        set(text, "x", (bounds[0][0] + bounds[0][1]) / 2);
        set(text, "y", bounds[1][1] - 24 * (texts.length - i) + 16);
        text.removeAttribute("transform");
      });
    }

    function drawEdge(element, tail, head, isBackward, moved, shift, seen) {
      const [line] = element.querySelectorAll("path");
      if (!line) return;
      const before = curvePoints(numbersIn(original(line, "d")));
      const arrows = [...element.querySelectorAll("polygon")];
      const ends = [before[0], before.at(-1)];
      let points = before.map(moved);
      const ending = [tail, head].filter(Boolean);
      const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (!ending.length) {
        const mapped = original(line, "d").replace(/(-?[\d.]+),(-?[\d.]+)/g, (_, x, y) =>
          moved([Number(x), Number(y)]).join(","));
        set(line, "d", mapped);
        for (const arrow of arrows) {
          const corners = pairs(numbersIn(original(arrow, "points")));
          const center = boxAround(corners).map(([from, to]) => (from + to) / 2);
          const end = distance(center, ends[0]) < distance(center, ends[1]) ? ends[0] : ends[1];
          const tip = corners.reduce((a, b) => (distance(a, end) > distance(b, end) ? a : b));
          shift(arrow, tip);
        }
      } else {
        const atStart = arrows.map((arrow) => {
          const center = boxAround(pairs(numbersIn(original(arrow, "points")))).map(([from, to]) => (from + to) / 2);
          return distance(center, ends[0]) < distance(center, ends[1]);
        });
        // The head of an arrow belongs to the line again: its tip is where the line arrives.
        arrows.forEach((arrow, i) => {
          const corners = pairs(numbersIn(original(arrow, "points")));
          const end = atStart[i] ? ends[0] : ends[1];
          const tip = moved(corners.reduce((a, b) => (distance(a, end) > distance(b, end) ? a : b)));
          if (atStart[i]) points.unshift(tip);
          else points.push(tip);
        });
        for (const { now, room } of ending) {
          const isAtStart = isIn(points[0], room);
          if (!isAtStart && !isIn(points.at(-1), room)) continue;  // another part of an edge that is led around
          points = outside(points, room);
          if (!points.length) break;
          const end = isAtStart ? points[0] : points.at(-1);
          const [isBeside, isAboveOrBelow] = now.map(([from, to], axis) => end[axis] < from || end[axis] > to);
          const target = now.map(([from, to], axis) => {  // on a side, not at a corner
            const inset = (axis ? isBeside && !isAboveOrBelow : isAboveOrBelow) ? 8 : 0;
            return limited(end[axis], from + inset, to - inset);
          });
          if (distance(end, target) > 1) {  // the room is wider than the box
            if (isAtStart) points.unshift(target);
            else points.push(target);
          }
        }
        const length = points.slice(1).reduce((sum, point, i) => sum + distance(point, points[i]), 0);
        const isThere = points.length > 1 && length > 3;
        element.classList.toggle("tg-under", !isThere);
        if (!isThere) return;
        arrows.forEach((arrow, i) => {
          const order = atStart[i] ? points : [...points].reverse();
          const tip = order[0];
          const base = order.find((point) => distance(point, tip) >= 8) ?? order.at(-1);
          const apart = distance(base, tip) || 1;
          const [ux, uy] = [(tip[0] - base[0]) / apart, (tip[1] - base[1]) / apart];
          const at = (back, side) => `${tip[0] - back * ux - side * uy},${tip[1] - back * uy + side * ux}`;
          set(arrow, "points", `${at(0, 0)} ${at(7, 2.5)} ${at(7, -2.5)} ${at(0, 0)}`);
        });
        set(line, "d", `M${points.map((point) => point.join(",")).join("L")}`);
      }
      for (const text of element.querySelectorAll("text")) {
        // Of a closed module, no local derivative is to be told, but the gradient that flows is.
        if (ending.length && !isBackward) set(text, "display", "none");
        else {
          const box = textBox(text);
          shift(text, box.map(([from, to]) => (from + to) / 2));
          seen.push(box.map((side, axis) => side.map((at) => moved([at, at])[axis])));
        }
      }
      if (points.length) seen.push(boxAround(points));
    }

    function outside(points, box) {  // the longest part of a line that is outside a box, up to its sides
      const runs = [];
      let run = null;
      points.forEach((point, i) => {
        if (isIn(point, box)) {
          if (run) run.push(crossing(point, points[i - 1], box));
          run = null;
          return;
        }
        if (!run) {
          run = i ? [crossing(points[i - 1], point, box)] : [];
          runs.push(run);
        }
        run.push(point);
      });
      return runs.sort((a, b) => b.length - a.length)[0] ?? [];
    }

    return { apply, bounds: () => bounds };
  }
