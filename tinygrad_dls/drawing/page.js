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

  const READABLE = 0.6;  // the least scale at which the texts can be read
  const OPENED = 0.85;  // of a picture that is too large to be read as a whole

  // -- the camera ---------------------------------------------------------------------------------------------------

  function cameraOn(view, svg, moved) {
    const { width, height } = svg.viewBox.baseVal;
    const stage = make("g", undefined, svg);
    stage.append(...svg.childNodes);
    svg.append(stage);
    svg.removeAttribute("viewBox");
    svg.setAttribute("width", "100%");
    svg.setAttribute("height", "100%");
    const offset = stage.querySelector(".graph")?.getAttribute("transform")?.match(/translate\((\S+)[ ,](\S+)\)/);
    const origin = offset ? offset.slice(1).map(Number) : [0, 0];
    const whole = [[0, width], [0, height]];
    let [x, y, scale, sides] = [0, 0, 1, whole];

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
    function sizes() {
      const [room, size] = [[view.clientWidth, view.clientHeight], sides.map(([from, to]) => to - from)];
      return { room, size, all: limited(Math.min((room[0] - 24) / size[0], (room[1] - 24) / size[1]), 0.02, 2) };
    }
    function show(wanted, isWhole) {
      const { room, size } = sizes();
      if (!room[0] || !room[1]) return;  // not shown yet; the observer of the size comes back
      scale = wanted;
      [x, y] = room.map((length, axis) => {
        const fits = isWhole || scale * size[axis] <= length - 24;
        return (fits ? (length - scale * size[axis]) / 2 : 12) - scale * sides[axis][0];
      });
      place();
    }
    const fit = () => show(sizes().all, true);
    function open() {  // the whole picture if that can be read, else its beginning
      const { all } = sizes();
      if (all >= READABLE) fit();
      else show(OPENED, false);
    }
    function lookAt(box) {  // what there is to see, in the coordinates of the picture; or all of it
      sides = box ? box.map((side, axis) => side.map((at) => at + origin[axis])) : whole;
    }
    return { move, zoom, fit, open, lookAt, isReadable: () => sizes().all >= READABLE };
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
      card.style.cssText = "left: 0; top: 0";  // its place limits its width
      const [node, frame] = [element.getBoundingClientRect(), stage.getBoundingClientRect()];
      const [width, height] = [card.offsetWidth, card.offsetHeight];
      const rooms = [  // right, left, below, above; none of them has the node in it
        { x: [node.right + 8, frame.right], y: [frame.top, frame.bottom] },
        { x: [frame.left, node.left - 8], y: [frame.top, frame.bottom] },
        { x: [frame.left, frame.right], y: [node.bottom + 8, frame.bottom] },
        { x: [frame.left, frame.right], y: [frame.top, node.top - 8] },
      ].map(({ x: [left, right], y: [top, bottom] }) => ({
        left: Math.max(left, frame.left), right: Math.min(right, frame.right),
        top: Math.max(top, frame.top), bottom: Math.min(bottom, frame.bottom),
      }));
      const share = (room) => limited((room.right - room.left) / width, 0, 1)
        * limited((room.bottom - room.top) / height, 0, 1);
      const room = rooms.reduce((best, other) => (share(other) > share(best) ? other : best));
      card.style.maxWidth = `min(26rem, ${Math.max(room.right - room.left, 60)}px)`;
      card.style.maxHeight = `min(24rem, ${Math.max(room.bottom - room.top, 40)}px)`;
      const at = (wanted, from, to, length) => limited(wanted, from, Math.max(to - length, from));
      const left = room === rooms[1] ? room.right - card.offsetWidth : at(node.left, room.left, room.right, card.offsetWidth);
      const top = room === rooms[3] ? room.bottom - card.offsetHeight : at(node.top, room.top, room.bottom, card.offsetHeight);
      card.style.left = `${left - frame.left}px`;
      card.style.top = `${top - frame.top}px`;
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

/* layout.js */

  // The box that a module is when it is closed. It is put where the layout has it.
  function lidOf(cluster, label) {
    const lines = `\u25b8 ${label}`.split("\n");
    const longest = Math.max(...lines.map((line) => line.length));
    const size = [7.2 * longest + 24, 18 * lines.length + 16];  // letters of 13, about 0.55 of that wide
    const lid = make("g", undefined, cluster);
    lid.setAttribute("class", "tg-lid tg-module");
    const box = make("rect", undefined, cluster);
    box.setAttribute("rx", 6);
    lid.append(box);
    const texts = lines.map((line) => make("text", line, cluster));
    lid.append(...texts);
    function put([[left, right], [top, bottom]]) {
      const sides = { x: left, y: top, width: right - left, height: bottom - top };
      for (const [side, value] of Object.entries(sides)) box.setAttribute(side, value);
      texts.forEach((text, i) => {
        text.setAttribute("x", (left + right) / 2);
        text.setAttribute("y", (top + bottom) / 2 + 18 * (i - (lines.length - 1) / 2));
      });
    }
    return { lid, size, put };
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
    const ends = new Map(Object.entries(facts.edges));
    const layout = layoutOf(svg);
    const collapsed = new Set();
    let laidOut = "";
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
      relay(hidden);
      for (const [id, { lid }] of lids) {
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

    function relay(hidden) {  // lay out anew what is shown, if modules were opened or closed
      const key = [...collapsed].sort().join(" ");
      if (key === laidOut) return;
      laidOut = key;
      const closed = new Map([...collapsed].filter((id) => !hidden.has(id)).map((id) => [id, {
        box: outlines.get(id), size: lids.get(id).size, put: lids.get(id).put, xs: [],
      }]));
      const within = (id) => [...closed.keys()].find((module) => held.get(module).has(id));
      const shown = new Set();
      const edges = [];
      for (const element of svg.querySelectorAll(".edge")) {
        const id = nameOf(element);
        element.classList.remove("tg-under");
        if (hidden.has(id)) continue;
        const [tail, head, isBackward] = ends.get(id) ?? [];
        const modules = [tail, head].map((node) => node && within(node));
        modules.forEach((module, i) => {
          const outline = module && outlines.get([tail, head][i]);
          if (outline && !isBackward) closed.get(module).xs.push((outline[0][0] + outline[0][1]) / 2);
        });
        if (modules[0] || modules[1]) {  // one is enough of what goes the same way
          const way = [modules[0] ?? tail, modules[1] ?? head, isBackward].join(" ");
          const first = id.replace(/-(out|in)$/, "");
          if (modules[0] === modules[1] || (shown.has(way) && !shown.has(`${way} ${first}`))) {
            element.classList.add("tg-under");
            continue;
          }
          shown.add(way).add(`${way} ${first}`);
        }
        edges.push({ element, isBackward, tail: closed.get(modules[0]), head: closed.get(modules[1]) });
      }
      for (const module of closed.values()) {
        if (module.xs.length) module.column = module.xs.reduce((sum, x) => sum + x, 0) / module.xs.length;
      }
      layout.apply({
        closed: [...closed.values()],
        edges,
        nodes: [...svg.querySelectorAll(".node")].filter((node) => !hidden.has(nameOf(node)))
          .map((element) => ({ element, box: outlineOf(element) })),
        frames: [...modules.keys()].filter((id) => !hidden.has(id) && !collapsed.has(id))
          .map((id) => ({ element: named(id), box: outlines.get(id), label: 7 * modules.get(id).label.length + 24 })),
        texts: [...svg.querySelectorAll(".graph > text, .graph > g:not([class]) > a > text")],
      });
      camera.lookAt(layout.bounds());
    }

    function toggle(id) {
      const opened = collapsed.delete(id);
      const [cluster, { lid }] = [named(id), lids.get(id)];
      const before = (opened ? lid : cluster).getBoundingClientRect();
      if (!opened) collapsed.add(id);
      const left = document.activeElement;
      const wasHere = cluster.contains(left) || lid.contains(left);
      redraw();
      if (camera.isReadable()) {
        camera.fit();
      } else {  // what was clicked stays where it was
        const after = (opened ? cluster : lid).getBoundingClientRect();
        camera.move((before.left + before.right - after.left - after.right) / 2, before.top - after.top);
      }
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

    const outlines = new Map();
    for (const part of svg.querySelectorAll(".node, .cluster")) {
      const shape = part.querySelector("polygon, path");
      const isFrame = part.classList.contains("cluster");  // its title may be wider than a line of it
      outlines.set(nameOf(part), isFrame ? boxAround(pairs(numbersIn(shape.getAttribute("points")
        ?? shape.getAttribute("d")))) : outlineOf(part));
    }
    const lids = new Map();
    for (const [id, { label }] of modules) {
      const cluster = named(id);
      const { lid, ...others } = lidOf(cluster, label);
      lids.set(id, { lid, ...others });
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
    const afterwards = { collapse: camera.open, expand: camera.open };
    for (const button of figure.querySelectorAll("[data-do]")) {
      const what = button.dataset.do;
      button.hidden = !modules.size && (what === "collapse" || what === "expand");
      button.addEventListener("click", () => {
        actions[what]();
        redraw();
        afterwards[what]?.();
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

    new ResizeObserver(camera.open).observe(view);
    camera.open();
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
