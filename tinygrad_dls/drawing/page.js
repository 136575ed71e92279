"use strict";
/* Brings every .tg-figure of the page to life. A figure holds a picture that Graphviz drew, and facts about it as JSON.
   Its state is small: where the camera is, which modules are collapsed, which parameter is chosen. What is seen is
   computed from all of it, anew after every change; no handler undoes what another one did. */

(() => {
  const limited = (x, low, high) => Math.min(Math.max(x, low), high);

  function make(kind, text, like = document.body) {
    const made = document.createElementNS(like.namespaceURI, kind);
    if (text !== undefined) made.textContent = text;  // never markup: a name may hold anything
    return made;
  }

  // -- the camera ---------------------------------------------------------------------------------------------------

  function cameraOn(view, svg, moved) {
    const { width, height } = svg.viewBox.baseVal;
    const stage = make("g", undefined, svg);
    stage.append(...svg.childNodes);
    svg.append(stage);
    svg.removeAttribute("viewBox");
    svg.setAttribute("width", "100%");
    svg.setAttribute("height", "100%");
    let x = 0, y = 0, scale = 1;

    function place() {
      stage.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
      moved();
    }
    function move(dx, dy) {
      x += dx;
      y += dy;
      place();
    }
    function zoom(factor, toX = view.clientWidth / 2, toY = view.clientHeight / 2) {  // the point stays where it is
      const before = scale;
      scale = limited(scale * factor, 0.02, 20);
      move((toX - x) * (1 - scale / before), (toY - y) * (1 - scale / before));
    }
    function fit() {
      const [across, down] = [view.clientWidth, view.clientHeight];
      if (!across || !down) return;  // not shown yet; the observer of the size comes back
      scale = limited(Math.min((across - 24) / width, (down - 24) / height), 0.02, 2);
      [x, y] = [(across - scale * width) / 2, (down - scale * height) / 2];
      place();
    }
    return { move, zoom, fit };
  }

  // Wheel, dragging, and two fingers.
  function steerByHand(figure, view, camera) {
    const pointers = new Map();
    const point = ({ clientX, clientY }) => {
      const { left, top } = view.getBoundingClientRect();
      return [clientX - left, clientY - top];
    };
    let travelled = 0;

    view.addEventListener("wheel", (event) => {
      // In a page that has more than this picture, scrolling past it must not get caught in it.
      if (!event.ctrlKey && !figure.closest(".tg-page") && !figure.contains(document.activeElement)) return;
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 30);
      const speed = event.ctrlKey ? 0.01 : 0.0015;  // a pinch on a touchpad comes as ctrl and a slow wheel
      camera.zoom(Math.exp(-pixels * speed), ...point(event));
    }, { passive: false });
    view.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      if (!pointers.size) travelled = 0;
      pointers.set(event.pointerId, point(event));
    });
    view.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = point(event);
      const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
      travelled += Math.hypot(dx, dy);
      const others = [...pointers].filter(([id]) => id !== event.pointerId);
      pointers.set(event.pointerId, now);
      if (travelled > 4) {
        // Capture only now: it would make the view the target of a mere click.
        if (!view.hasPointerCapture(event.pointerId)) capture(event.pointerId);
        view.classList.add("tg-moving");
      }
      if (others.length) {
        const still = others[0][1];
        const apart = (a) => Math.max(Math.hypot(a[0] - still[0], a[1] - still[1]), 1);
        camera.zoom(apart(now) / apart(before), ...still);
      } else {
        camera.move(dx, dy);
      }
    });
    function capture(pointer) {
      try {
        view.setPointerCapture(pointer);
      } catch {
        // The pointer is gone already; then there is nothing to capture.
      }
    }
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      view.addEventListener(end, (event) => {
        if (end === "pointerleave" && view.hasPointerCapture(event.pointerId)) return;
        pointers.delete(event.pointerId);
        if (!pointers.size) view.classList.remove("tg-moving");
      });
    }
    view.addEventListener("click", (event) => {
      if (travelled > 4) event.stopPropagation();  // the end of a drag
      travelled = 0;
    }, true);
  }

  // -- the card of a node -------------------------------------------------------------------------------------------

  function cardOf(figure, nodes, nodeOf) {
    const card = figure.querySelector(".tg-card");
    const stage = figure.querySelector(".tg-stage");
    let leaving;

    function hide() {
      clearTimeout(leaving);
      card.hidden = true;
    }
    function show(element) {
      clearTimeout(leaving);
      const { name, ...facts } = nodes.get(nodeOf(element));
      const list = make("dl");
      for (const [what, text] of Object.entries(facts)) {
        if (text) list.append(make("dt", what), make("dd", text));
      }
      card.replaceChildren(make("h3", name), list);
      card.hidden = false;
      card.style.left = card.style.top = "0";  // its place limits its width
      const [node, frame] = [element.getBoundingClientRect(), stage.getBoundingClientRect()];
      const [width, height] = [card.offsetWidth, card.offsetHeight];
      const places = [  // right, left, below, above; none of them covers the node
        [node.right + 8, node.top, node.right + 8 + width <= frame.right],
        [node.left - 8 - width, node.top, node.left - 8 - width >= frame.left],
        [node.left, node.bottom + 8, node.bottom + 8 + height <= frame.bottom],
        [node.left, node.top - 8 - height, node.top - 8 - height >= frame.top],
      ];
      const [left, top] = places.find(([, , fits]) => fits) ?? places[2];
      card.style.left = `${limited(left - frame.left, 0, Math.max(frame.width - width, 0))}px`;
      card.style.top = `${limited(top - frame.top, 0, Math.max(frame.height - height, 0))}px`;
    }
    function later() {  // enough time to reach the card with the pointer, to read on or to copy
      clearTimeout(leaving);
      leaving = setTimeout(() => {
        const focused = document.activeElement?.closest(".node");
        if (focused && figure.contains(focused)) show(focused);
        else hide();
      }, 200);
    }
    card.addEventListener("pointerenter", () => clearTimeout(leaving));
    card.addEventListener("pointerleave", later);
    return { show, hide, later };
  }

  // -- a figure -----------------------------------------------------------------------------------------------------

  // The opaque box over a module, in the coordinates of the picture. They are read off the outline, not measured: what
  // is not shown yet has no measure.
  function lidOf(cluster, label) {
    const outline = cluster.querySelector("polygon, path");
    const corners = outline.getAttribute("points") ?? outline.getAttribute("d");
    const numbers = corners.match(/-?[\d.]+(e-?\d+)?/g).map(Number);
    const [xs, ys] = [0, 1].map((axis) => numbers.filter((_, i) => i % 2 === axis));
    const [left, top] = [Math.min(...xs), Math.min(...ys)];
    const [width, height] = [Math.max(...xs) - left, Math.max(...ys) - top];
    const lines = `\u25b8 ${label}`.split("\n");
    const longest = Math.max(...lines.map((line) => line.length));
    // A letter is about 0.55 of its size wide, a line 1.3 high.
    const size = Math.max(Math.min(14, (width - 8) / (0.55 * longest), (height - 4) / (1.3 * lines.length)), 1);
    const lid = make("g", undefined, cluster);
    lid.setAttribute("class", "tg-lid tg-module");
    const box = make("rect", undefined, cluster);
    const sides = { x: left, y: top, width, height, rx: 6 };
    for (const [side, value] of Object.entries(sides)) box.setAttribute(side, value);
    lid.append(box);
    lines.forEach((line, i) => {
      const text = make("text", line, cluster);
      text.setAttribute("x", left + width / 2);
      text.setAttribute("y", top + height / 2 + 1.3 * size * (i - (lines.length - 1) / 2));
      text.setAttribute("font-size", size);
      lid.append(text);
    });
    return lid;
  }

  function start(figure) {
    const facts = JSON.parse(figure.querySelector(".tg-facts").textContent);
    const [view, status] = [figure.querySelector(".tg-view"), figure.querySelector(".tg-status")];
    const svg = view.querySelector("svg");
    const nameOf = (element) => element.id.slice(figure.id.length + 1);
    const named = (id) => document.getElementById(`${figure.id}-${id}`);
    const nodes = new Map(Object.entries(facts.nodes).filter(([id]) => named(id)));
    const modules = new Map(Object.entries(facts.modules).filter(([id]) => named(id)));
    const parameters = new Map(Object.entries(facts.parameters).map(([name, path]) => [name, new Set(path)]));
    const parts = [...svg.querySelectorAll(".node, .edge, .cluster")];
    const card = cardOf(figure, nodes, nameOf);
    const camera = cameraOn(view, svg, card.hide);
    steerByHand(figure, view, camera);
    const collapsed = new Set();
    let chosen = null;

    function allHeldBy(id, found = new Set()) {
      for (const held of modules.get(id)?.holds ?? []) {
        if (found.has(held)) continue;
        found.add(held);
        allHeldBy(held, found);
      }
      return found;
    }
    const held = new Map([...modules.keys()].map((id) => [id, allHeldBy(id)]));

    function redraw() {
      const path = parameters.get(chosen) ?? new Set();
      const hidden = new Set([...collapsed].flatMap((id) => [...held.get(id)]));
      const passes = (id) => [...held.get(id)].some((part) => path.has(part));
      for (const part of parts) {
        const id = nameOf(part);
        part.classList.toggle("tg-hidden", hidden.has(id) || collapsed.has(id));
        part.classList.toggle("tg-lit", path.has(id) || (modules.has(id) && passes(id)));
      }
      for (const [id, lid] of lids) {
        lid.classList.toggle("tg-hidden", hidden.has(id) || !collapsed.has(id));
        lid.classList.toggle("tg-lit", passes(id));
      }
      svg.classList.toggle("tg-dim", chosen !== null);
      for (const button of list.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", button.textContent === chosen);
      }
      status.textContent = chosen === null ? "" : `Path of the gradient to ${chosen}. Esc clears it.`;
      card.hide();
    }

    function toggle(id) {
      const opened = collapsed.delete(id);
      if (!opened) collapsed.add(id);
      const left = document.activeElement;
      const [cluster, lid] = [named(id), lids.get(id)];
      const wasHere = cluster.contains(left) || lid.contains(left);
      redraw();
      if (wasHere) (opened ? cluster : lid).focus();  // the one that had the focus is not shown any more
    }
    function choose(name) {
      chosen = name === chosen ? null : name;
      redraw();
    }

    // Graphviz's own tooltips would come up over the card.
    svg.querySelectorAll("title").forEach((title) => title.remove());
    svg.querySelectorAll("a").forEach((link) => link.removeAttribute("xlink:title"));
    for (const [id, { name }] of nodes) {
      const node = named(id);
      node.setAttribute("tabindex", "0");
      node.setAttribute("role", "img");
      node.setAttribute("aria-label", name);
      node.setAttribute("aria-describedby", `${figure.id}-card`);
      node.addEventListener("pointerenter", () => card.show(node));
      node.addEventListener("pointerleave", card.later);
      node.addEventListener("focus", () => {
        bringIntoView(node);
        card.show(node);
      });
      node.addEventListener("blur", card.later);
    }
    function bringIntoView(node) {
      const [shape, frame] = [node.getBoundingClientRect(), view.getBoundingClientRect()];
      const [x, y] = [(shape.left + shape.right) / 2, (shape.top + shape.bottom) / 2];
      if (x > frame.left && x < frame.right && y > frame.top && y < frame.bottom) return;
      camera.move((frame.left + frame.right) / 2 - x, (frame.top + frame.bottom) / 2 - y);
    }

    const lids = new Map();
    for (const [id, { label }] of modules) {
      const cluster = named(id);
      const lid = lidOf(cluster, label);
      lids.set(id, lid);
      cluster.parentNode.append(lid);  // the last is on top
      cluster.classList.add("tg-module");
      for (const [box, open] of [[cluster, true], [lid, false]]) {
        box.setAttribute("tabindex", "0");
        box.setAttribute("role", "button");
        box.setAttribute("aria-expanded", open);
        box.setAttribute("aria-label", label);
        box.addEventListener("click", () => toggle(id));
        box.addEventListener("keydown", (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          toggle(id);
        });
      }
    }

    const list = figure.querySelector(".tg-side ul");
    for (const name of parameters.keys()) {
      const button = make("button", name);
      button.type = "button";
      button.addEventListener("click", () => choose(name));
      const item = make("li");
      item.append(button);
      list.append(item);
    }
    figure.querySelector(".tg-side").hidden = !parameters.size;

    const actions = {
      in: () => camera.zoom(1.25),
      out: () => camera.zoom(0.8),
      fit: camera.fit,
      collapse: () => [...modules.keys()].forEach((id) => collapsed.add(id)),
      expand: () => collapsed.clear(),
    };
    for (const button of figure.querySelectorAll("[data-do]")) {
      const what = button.dataset.do;
      button.hidden = !modules.size && (what === "collapse" || what === "expand");
      button.addEventListener("click", () => {
        actions[what]();
        redraw();
      });
    }

    const arrows = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    const keys = { "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.fit, Escape: () => choose(null) };
    const alone = document.querySelectorAll(".tg-figure").length === 1;
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const here = figure.contains(event.target);
      if (here || (alone && event.target === document.body)) {
        if (Object.hasOwn(keys, event.key)) keys[event.key]();
      }
      if (view.contains(event.target) && Object.hasOwn(arrows, event.key)) {
        event.preventDefault();
        camera.move(...arrows[event.key]);
      }
    });

    new ResizeObserver(camera.fit).observe(view);
    camera.fit();
    redraw();
    figure.dataset.ready = "";
  }

  for (const figure of document.querySelectorAll(".tg-figure:not([data-ready])")) start(figure);

  const page = document.documentElement;
  for (const button of document.querySelectorAll(".tg-theme")) {
    button.addEventListener("click", () => {
      const wanted = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      page.dataset.theme = (page.dataset.theme ?? wanted) === "dark" ? "light" : "dark";
    });
  }
})();
