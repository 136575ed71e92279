// The page: what is chosen becomes settings, settings a network, and what the engine says is shown.

import { Costs } from "./costs.js";
import { COLORS, Decision } from "./decision.js";
import { Engine, Graphs } from "./engine.js";
import * as link from "./link.js";

const $ = (id) => document.getElementById(id);
const NUMBERS = ["m", "noise", "held_out", "lr", "l2", "dropout", "batch_size", "seed"];
const WORDS = ["data", "activation", "init", "optimizer", "task", "missing", "sep", "decimal"];
const PLANAR = ["flower", "circles", "moons", "xor", "spirals"];
const FEATURES = { "x1^2": "x1²", "x2^2": "x2²", "x1 x2": "x1·x2" }; // as they are shown
const LIVE = { network: 350, histograms: 200 }; // milliseconds between two pictures of a panel while it trains
const FOR_TABLES = { optimizer: "adam", lr: 0.03, init: "xavier" };
const LARGEST = 20e6; // bytes of a CSV
const HINT =
  "Here, that is the list of columns: choose “category” for one_hot, “leave out” for ignore; and “Missing cells” for missing.";
const LONG_LINK = 8000; // characters, from which on some programs cut a link

const engine = new Engine();
const decision = new Decision($("decision"));
const costs = new Costs($("costs"));
const graphs = new Graphs(({ svg, error }) => {
  if (error) return show("problem", error);
  const old = $("network");
  const [left, top] = [old.scrollLeft, old.scrollTop];
  old.innerHTML = svg.slice(svg.indexOf("<svg"));
  for (const title of old.querySelectorAll("title")) title.remove(); // a browser would show ids as tooltips
  old.scrollTo(left, top);
});

let all; // what can be chosen, and the defaults
let settings;
let about; // what stays while this network trains
let state = { epoch: 0 };
let csv; // {name, text, found}
let playing = false;
let broken = false; // whether the settings make no network
let panel = "network";
let seenLast = 0;
const stale = new Set(); // panels that are to be made anew when they are looked at
let untouched = true; // whether the text field holds what the page put there

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

const say = (text) => show("status", text);

// -- settings ---------------------------------------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Whether the columns of the table that is chosen are known.
const isKnown = () => !broken && about?.settings.data === settings.data;

// Show the settings in the form.
function fill() {
  for (const name of WORDS) $(name).value = settings[name];
  for (const name of NUMBERS) {
    const field = $(name);
    const value = String(settings[name]);
    if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) {
      field.append(element("option", { value, textContent: `${Math.round(100 * settings[name])} %` }));
    }
    field.value = value;
  }
  const planar = PLANAR.includes(settings.data);
  for (const [kind, on] of [
    ["planar", planar],
    ["table", !planar && isKnown()],
    ["csv", settings.data === "csv"],
    ["noise", settings.data !== "flower"],
  ]) {
    for (const box of document.querySelectorAll(`.for-${kind}`)) box.hidden = !on;
  }
  fillLayers();
  fillFeatures(planar);
  fillColumns();
}

function fillLayers() {
  const fields = settings.hidden.map((units, i) =>
    element("input", {
      type: "number",
      min: 1,
      max: all.units,
      step: 1,
      value: units,
      ariaLabel: `Units of hidden layer ${i + 1}`,
      onchange: (event) => change({ hidden: settings.hidden.with(i, event.target.valueAsNumber) }),
    }),
  );
  const none = element("p", { className: "note", textContent: "None: logistic regression." });
  $("layers").replaceChildren(...(fields.length ? fields : [none]));
  $("fewer").disabled = !fields.length;
  $("more").disabled = fields.length >= all.layers;
}

function fillFeatures(planar) {
  const names = planar ? all.features : isKnown() ? about.names : [];
  const chosen = settings.features.length ? settings.features : planar ? ["x1", "x2"] : names;
  $("features-box").hidden = !names.length;
  $("features").replaceChildren(
    ...names.map((name) => {
      const box = element("input", { type: "checkbox", checked: chosen.includes(name) });
      box.onchange = () => {
        const wanted = names.filter((other) => (other === name ? box.checked : chosen.includes(other)));
        if (!wanted.length) {
          box.checked = true;
          return say("A network needs a feature.");
        }
        const same = !planar && wanted.length === names.length;
        change({
          features: same ? [] : wanted,
          axes: settings.axes.every((x) => wanted.includes(x)) ? settings.axes : [],
        });
      };
      return element("label", {}, box, FEATURES[name] ?? name);
    }),
  );
  if (planar || !isKnown()) return;
  const shown = about.points.axes;
  for (const [i, id] of ["axis-x", "axis-y"].entries()) {
    $(id).replaceChildren(...about.features.map((name) => element("option", { value: name, textContent: name })));
    $(id).value = shown[i];
    $(id).onchange = () => change({ axes: [$("axis-x").value, $("axis-y").value] });
  }
}

// The columns of a CSV, each with what it is for.
function fillColumns() {
  const out = settings.ignore.length ? ` Left out: ${settings.ignore.join(", ")}.` : "";
  show("file-name", csv ? `${csv.name}: ${csv.found.rows.toLocaleString("en")} rows.${out}` : "");
  const columns = csv && settings.data === "csv" ? csv.found.columns : [];
  $("columns").replaceChildren(
    ...columns.map(({ name }) => {
      const role = element("select");
      for (const [value, text] of Object.entries({
        feature: "number",
        kind: "category",
        target: "predict",
        out: "leave out",
      }))
        role.append(element("option", { value, textContent: text }));
      role.value = roleOf(name);
      role.onchange = () => change(withRole(name, role.value));
      return element("label", {}, element("span", { textContent: name }), role);
    }),
  );
}

function roleOf(name) {
  if (name === settings.target) return "target";
  if (settings.ignore.includes(name)) return "out";
  return settings.one_hot.includes(name) ? "kind" : "feature";
}

function withRole(name, role) {
  const without = (list) => list.filter((other) => other !== name);
  const ignore = without(settings.ignore);
  const one_hot = without(settings.one_hot);
  let target = settings.target;
  if (role === "target") {
    const found = csv.found.columns.find((column) => column.name === target);
    if (found && target !== name && !found.numbers) one_hot.push(target); // what was predicted is a feature now
    target = name;
  }
  if (role === "out") ignore.push(name);
  if (role === "kind") one_hot.push(name);
  return { ignore, one_hot, target, features: [], axes: [] };
}

// Take other settings: a new network, from its start.
async function change(some) {
  settings = { ...settings, ...some };
  await begin();
}

let beginnings = 0;

async function begin() {
  beginnings += 1;
  const own = beginnings;
  const was = playing;
  await pause();
  if (own !== beginnings) return;
  fill();
  if (settings.data === "csv" && !csv) {
    show("problem", "");
    broken = true;
    buttons();
    return say("Choose a CSV file, or drop one on the page.");
  }
  const options = settings.data === "csv" ? { text: csv.text, file: csv.name } : {};
  const files = settings.data === "cancer" ? { text: await cancer(), file: "cancer.csv" } : options;
  const answer = await engine.call("start", { settings, ...files });
  if (own !== beginnings) return;
  broken = Boolean(answer.error);
  $("pictures").inert = broken;
  buttons();
  if (broken) {
    fill();
    show("problem", answer.error);
    if (/\b(one_hot|ignore|missing)=/.test(answer.error)) $("problem").append(element("p", { textContent: HINT }));
    return;
  }
  show("problem", "");
  about = answer;
  settings = about.settings;
  fill();
  shownAnew();
  if (was) play();
}

const cancer = async () => (await engine.call("stored", { name: "cancer.csv" })).text;

function shownAnew() {
  decision.examples(about.points, about.classes.length);
  const { axes, others } = about.points;
  const names = axes.map((name) => FEATURES[name] ?? name);
  const rest = others ? `, the other ${others} at their means` : "";
  show("axes-said", `${names[0]} across, ${names[1]} up${rest}`);
  const parts = about.classes.length
    ? about.classes.map((name, i) => [name, `rgb(${COLORS[i % COLORS.length].join(" ")})`])
    : [
        [`${about.target}, low`, `rgb(${COLORS[0].join(" ")})`],
        [`${about.target}, high`, `rgb(${COLORS[1].join(" ")})`],
      ];
  const keys = parts.map(([name, color]) => {
    const dot = element("i");
    dot.style.background = color;
    return element("span", {}, dot, name);
  });
  if (about.held) {
    const hollow = element("i");
    hollow.style.borderColor = "var(--soft)";
    keys.push(element("span", {}, hollow, "hollow: held out"));
  }
  $("key").replaceChildren(...keys);
  $("good-name").textContent = about.classes.length ? "accuracy" : "R²";
  costs.clear(about.held > 0);
  state = { epoch: 0 };
  tell({ epoch: 0, since: 0, costs: [], held: [], stopped: "" });
  for (const name of ["network", "histograms", "code", "derivation", "check"]) stale.add(name);
  engine.look();
  freshen();
  remember();
}

// -- training ---------------------------------------------------------------------------------------------------------

const number = (x) =>
  x == null ? "–" : Math.abs(x) >= 0.001 && Math.abs(x) < 1e5 ? x.toPrecision(4) : x.toExponential(2);
const percent = (x) => (x == null ? "–" : about?.classes.length ? `${(100 * x).toFixed(1)} %` : x.toFixed(3));

function tell(next) {
  state = { ...state, epoch: next.epoch, stopped: next.stopped };
  if (next.costs.length) {
    state.cost = next.costs.at(-1);
    state.held = next.held.at(-1);
    costs.add(next);
  }
  if (!next.epoch) state.cost = undefined;
  const more = playing || !next.within ? "" : ` +${next.within}`; // steps
  $("epoch").textContent = next.epoch.toLocaleString("en") + more;
  $("cost").textContent = number(state.cost);
  if (next.stopped) show("problem", next.stopped);
}

function look({ decision: said, figures }) {
  if (said.error) return;
  decision.show(said);
  $("good").textContent = percent(figures.train);
  $("good-held").textContent = percent(figures.held);
  const sentence = `${$("good-name").textContent} ${percent(figures.train)}, in validation ${percent(figures.held)}`;
  $("decision").setAttribute("aria-label", `The decision at epoch ${state.epoch}: ${sentence}.`);
  $("costs").setAttribute(
    "aria-label",
    `The cost by epoch: ${number(state.cost)} at epoch ${state.epoch}` +
      (state.held == null ? "." : `, ${number(state.held)} in validation.`),
  );
  freshen();
}

function buttons() {
  const ready = Boolean(about) && !broken;
  for (const id of ["rewind", "step", "link"]) $(id).disabled = !ready;
  $("play").disabled = !ready;
  document.querySelector("#play use").setAttribute("href", playing ? "#icon-pause" : "#icon-play");
  document.querySelector("#play span").textContent = playing ? "Pause" : "Play";
}

function play(until = Math.max(1, $("until").valueAsNumber || 5000)) {
  if (state.stopped) return say("The cost is no number any more: rewind, with a smaller learning rate.");
  if (state.epoch >= until) return say(`It is at epoch ${state.epoch} already: raise "Pause at epoch".`);
  playing = true;
  buttons();
  say("Training");
  engine.play(Number($("speed").value), until);
}

async function pause() {
  if (!playing) return;
  playing = false;
  buttons();
  await engine.pause();
  say(`Paused at epoch ${state.epoch}, cost ${number(state.cost)}`);
}

function ended(error) {
  playing = false;
  buttons();
  if (error) show("problem", error);
  say(`Ended at epoch ${state.epoch}, cost ${number(state.cost)}`);
  freshen(true);
  remember();
}

async function step() {
  await pause();
  const before = state.epoch;
  const next = await engine.call("step");
  tell(next);
  stale.add("network").add("histograms");
  engine.look();
  say(
    next.epoch > before
      ? `Epoch ${next.epoch}, cost ${number(state.cost)}`
      : `Step ${next.within} of epoch ${next.epoch + 1}`,
  );
}

async function rewind() {
  await pause();
  await engine.call("rewind");
  show("problem", "");
  shownAnew();
  say("Back at the start");
}

// -- panels -----------------------------------------------------------------------------------------------------------

const panels = {
  async network() {
    const answer = await engine.call("network", { rankdir: $("rankdir").value });
    if (answer.error) $("network").textContent = answer.error;
    else graphs.draw(answer.dot);
  },
  async histograms() {
    const found = await engine.call("histograms");
    if (found.error) return show("problem", found.error);
    $("histograms").replaceChildren(...found.map(histogram));
  },
  async code() {
    const answer = await engine.call("code", { update: $("update").checked });
    $("code").replaceChildren(...commented(answer.code ?? `# ${answer.error}`));
  },
  async derivation() {
    const box = $("derivation");
    box.textContent = "Loading SymPy, which does the algebra …";
    await engine.sympy(); // at once, but for the first time
    box.textContent = "Deriving …";
    const answer = await engine.call("derivation");
    if (answer.error) box.textContent = answer.error;
    else box.innerHTML = answer.html;
  },
  async check() {
    if (!untouched) return;
    const answer = await engine.call("template");
    if (untouched) $("student").value = answer.code ?? "";
  },
};

// Make the panel that is looked at anew, if it is not of now.
async function freshen(once = false) {
  const now = performance.now();
  const live = panel in LIVE && (once || !playing || now - seenLast > LIVE[panel]);
  if (!about || (!stale.has(panel) && !live) || document.getElementById(`panel-${panel}`).hidden) return;
  if (panel in LIVE) seenLast = now;
  stale.delete(panel);
  await panels[panel]();
}

function histogram({ name, counts, low, high, mean, std }) {
  const most = Math.max(...counts);
  const bars = counts.map((n, i) => `<rect x="${i}" y="${1 - n / most}" width="0.9" height="${n / most}"/>`).join("");
  const box = element("div", { className: name.startsWith("d") ? "gradient" : "" });
  box.innerHTML = `<svg viewBox="0 0 ${counts.length} 1" preserveAspectRatio="none" aria-hidden="true">${bars}</svg>`;
  box.prepend(
    element("b", { textContent: name }),
    element("small", { textContent: `mean ${number(mean)}, deviation ${number(std)}` }),
  );
  box.append(
    element("small", {}, element("span", { textContent: number(low) }), element("span", { textContent: number(high) })),
  );
  return box;
}

function commented(text) {
  return text
    .split(/(#.*)/)
    .map((part, i) => (i % 2 ? element("span", { className: "comment", textContent: part }) : part));
}

async function check() {
  await pause();
  $("run").disabled = true;
  $("stop").hidden = false;
  $("report").textContent = "Running …";
  const answer = await engine.call("check", { text: $("student").value });
  $("run").disabled = false;
  $("stop").hidden = true;
  const printed = answer.printed ? `${answer.printed.trimEnd()}\n\n` : "";
  $("report").textContent = printed + (answer.report ?? answer.error);
}

// End a check that does not end by itself: Python starts anew, with the same settings.
async function restart() {
  engine.stop();
  about = undefined;
  buttons();
  $("loading").hidden = false;
  $("report").textContent = "It was stopped.";
  await engine.start();
  $("loading").hidden = true;
  await begin();
  buttons();
}

function choose(name, focus = false) {
  panel = name;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !on;
    if (on && focus) tab.focus();
  }
  freshen(true);
}

// -- files and links --------------------------------------------------------------------------------------------------

async function take(file) {
  if (!file) return;
  if (file.size > LARGEST)
    return show("problem", `${file.name} is too large for this page: it takes ${LARGEST / 1e6} MB.`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    return show("problem", `${file.name} is not UTF-8. Save it as "CSV UTF-8", and drop it again.`);
  }
  const found = await engine.call("columns", { text });
  if (found.error) return show("problem", found.error);
  csv = { name: file.name, text, found };
  await change({ ...found.proposed, ...forTables() });
  document.getElementById("columns").scrollTop = 1e6; // what is to be predicted is mostly the last one
}

// Of a table little is known beforehand: what learns most of them, unless somebody has chosen otherwise already.
function forTables() {
  const untouched = Object.keys(FOR_TABLES).every((name) => settings[name] === all.defaults[name]);
  return untouched ? FOR_TABLES : {};
}

async function address(withAll) {
  const code = withAll && !untouched ? $("student").value : undefined;
  const hash = await link.written(
    { settings, epoch: withAll ? state.epoch : 0, csv: withAll ? csv : undefined, code },
    all.defaults,
  );
  return location.href.replace(/#.*/, "") + (hash ? `#${hash}` : "");
}

let own; // the address that the page itself wrote

// The settings are in the address bar, but for a file: that is only in a link that is asked for.
async function remember() {
  own = await address(false);
  if (own !== location.href) history.replaceState(null, "", own);
}

async function share() {
  await pause();
  const text = await address(true);
  $("link-text").value = text;
  const holds = ["the settings", state.epoch ? `the training up to epoch ${state.epoch}` : ""];
  if (settings.data === "csv") holds.push(`the file ${csv.name}, whole`);
  if (!untouched) holds.push("the backward pass that is typed in");
  const size =
    text.length > LONG_LINK
      ? ` It is ${text.length.toLocaleString("en")} characters long, and some programs cut such links.`
      : "";
  $("link-said").textContent =
    `It holds ${holds.filter(Boolean).join(", ")}. Whoever opens it has the same page.${size}`;
  $("link-dialog").showModal();
  $("link-text").select();
}

// What the address says; the page is then as it was when the link was made.
async function restore() {
  const found = await link.read(location.hash);
  if (found.error) {
    settings = { ...all.defaults };
    await begin();
    return show("problem", found.error);
  }
  if (found.csv) csv = { ...found.csv, found: await engine.call("columns", { text: found.csv.text }) };
  settings = { ...all.defaults, ...found.settings };
  untouched = found.code === undefined;
  if (!untouched) $("student").value = found.code;
  await begin();
  if (found.epoch && !broken) play(found.epoch);
}

async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Press Ctrl-C";
  }
  setTimeout(() => {
    button.textContent = "Copy";
  }, 1500);
}

function saved(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/x-python" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// -- the page ---------------------------------------------------------------------------------------------------------

function isDark() {
  return getComputedStyle($("decision")).getPropertyValue("--dark").trim() === "1";
}

function themed() {
  $("theme").textContent = isDark() ? "Light" : "Dark";
  decision.draw();
  if (about) costs.redraw();
}

// Other examples have other features.
const ofData = (data) => ({ features: [], axes: [], ...(PLANAR.includes(data) ? {} : forTables()) });

function listen() {
  $("play").onclick = () => (playing ? pause() : play());
  $("step").onclick = step;
  $("rewind").onclick = rewind;
  $("speed").onchange = () => playing && play();
  $("until").onchange = () => playing && play();
  for (const name of WORDS) {
    $(name).onchange = ({ target }) =>
      change({ [name]: target.value, ...(name === "data" ? ofData(target.value) : {}) });
  }
  for (const name of NUMBERS) {
    $(name).onchange = ({ target }) =>
      change({ [name]: target.value === "" ? all.defaults[name] : Number(target.value) });
  }
  $("fewer").onclick = () => change({ hidden: settings.hidden.slice(0, -1) });
  $("more").onclick = () => change({ hidden: [...settings.hidden, settings.hidden.at(-1) ?? 4] });
  $("form").onsubmit = (event) => event.preventDefault();
  $("log").onchange = ({ target }) => {
    costs.log = target.checked;
  };
  $("rankdir").onchange = ({ target }) => {
    $("network").style.setProperty("--widest", target.value === "LR" ? "none" : "100%");
    panels.network();
  };
  $("update").onchange = () => panels.code();
  $("copy").onclick = ({ target }) => copied($("code").textContent, target);
  $("download").onclick = () => saved("step.py", $("code").textContent);
  $("run").onclick = check;
  $("stop").onclick = restart;
  $("student").oninput = () => {
    untouched = false;
  };
  $("template").onclick = async () => {
    untouched = true;
    await panels.check();
  };
  $("answer").onclick = async () => {
    const answer = await engine.call("answer");
    untouched = false;
    $("student").value = answer.code ?? `# ${answer.error}`;
  };
  $("link").onclick = share;
  $("link-copy").onclick = ({ target }) => {
    $("link-text").select();
    copied($("link-text").value, target);
  };
  $("about").onclick = () => $("about-dialog").showModal();
  $("theme").onclick = () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    themed();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
  $("file").onchange = ({ target }) => take(target.files[0]);
  listenToTabs();
  listenToDrops();
  addEventListener("hashchange", () => location.href !== own && restore());
}

function listenToTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const [i, tab] of tabs.entries()) {
    const name = tab.id.replace("tab-", "");
    tab.onclick = () => choose(name);
    tab.onkeydown = ({ key }) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[key];
      if (to !== undefined) choose(tabs.at(to % tabs.length).id.replace("tab-", ""), true);
    };
  }
}

function listenToDrops() {
  const hide = () => {
    $("drop").hidden = true;
  };
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").hidden = !about;
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? hide());
  addEventListener("drop", (event) => {
    event.preventDefault();
    hide();
    if (about) take(event.dataTransfer.files[0]);
  });
}

async function main() {
  engine.addEventListener("progress", ({ detail }) => {
    $("progress-text").textContent = detail.text;
    $("progress").value = detail.done;
  });
  engine.addEventListener("state", ({ detail }) => tell(detail.state));
  engine.addEventListener("look", ({ detail }) => look(detail));
  engine.addEventListener("ended", ({ detail }) => ended(detail.error));
  engine.addEventListener("failed", ({ detail }) => show("problem", detail.text));
  themed();
  const answer = await engine.start().catch((error) => ({ error: error.message }));
  if (answer.error) return show("problem", `The page could not start: ${answer.error}`);
  all = answer;
  $("loading").hidden = true;
  $("main").inert = false;
  $("versions").textContent =
    `tinygrad_dls ${all.version}, NumPy ${all.numpy}, Python ${all.python}, Pyodide ${all.pyodide}.`;
  if (!engine.has("cancer.csv")) document.querySelector('option[value="cancer"]').remove();
  listen();
  choose("network");
  await restore();
  buttons();
  document.documentElement.dataset.ready = "true";
}

// For the browser's console: playground.call("state", { since: 0 }).
globalThis.playground = { call: (name, options) => engine.call(name, options) };

main();
