// Python, in a worker: it loads Pyodide, answers calls, and trains in slices that leave it free to hear "pause".
//
// All files come from the page, as bytes; nothing here asks a network. Pyodide believes to fetch them.

const BASE = "https://within.invalid/"; // a name that no network knows: these "requests" are answered here
const SLICE = 30; // milliseconds of training before the worker listens again
const LOOK = 120; // milliseconds between two pictures of the decision
const FRAMES = 20; // a second, when the training is slowed down

const files = new Map();
let python;
let bridge;
let playing = 0; // which training is on; 0 for none
let trainings = 0;

self.fetch = async (request) => {
  const url = String(request.url ?? request);
  if (!url.startsWith(BASE)) throw new TypeError(`The playground loads nothing from ${url}.`);
  const name = url.slice(BASE.length);
  const type = name.endsWith(".wasm") ? "application/wasm" : "application/octet-stream";
  return new Response(bytes(name), { headers: { "content-type": type } });
};

function bytes(name) {
  const found = files.get(name);
  if (!found) throw new TypeError(`The playground has no file ${name}.`);
  files.delete(name); // once is enough
  return found;
}

async function moduleOf(name) {
  const url = URL.createObjectURL(new Blob([bytes(name)], { type: "text/javascript" }));
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
  }
}

function say(text, done) {
  self.postMessage({ type: "progress", text, done });
}

async function load({ lock, names }) {
  say("Compiling Python", 0.1);
  const { instantiateStreaming } = WebAssembly;
  WebAssembly.instantiateStreaming = async (...given) => {
    const made = await instantiateStreaming.apply(WebAssembly, given);
    say("Starting Python", 0.35);
    return made;
  };
  const { loadPyodide } = await moduleOf("pyodide.mjs");
  const { default: createPyodideModule } = await moduleOf("pyodide.asm.mjs");
  python = await loadPyodide({
    indexURL: BASE,
    packageBaseUrl: BASE,
    lockFileContents: JSON.stringify(lock),
    createPyodideModule,
    stdin: () => null,
  });
  WebAssembly.instantiateStreaming = instantiateStreaming;
  say("Loading NumPy", 0.7);
  await python.loadPackage("numpy", { messageCallback: () => {} });
  say("Loading tinygrad_dls", 0.85);
  for (const name of names.wheels) python.unpackArchive(bytes(name), "whl");
  python.unpackArchive(bytes("engine.zip"), "zip", { extractDir: "/home/pyodide" });
  for (const name of names.data) python.FS.writeFile(`/home/pyodide/${name}`, bytes(name));
  bridge = python.runPython("from playground.engine.bridge import call\ncall");
  say("Ready", 1);
}

function ask(name, options = {}) {
  return JSON.parse(bridge(name, JSON.stringify(options)));
}

const look = () => self.postMessage({ type: "look", decision: ask("decision"), figures: ask("figures") });

// A turn of the event loop: messages that have come are heard before it is over.
const channel = new MessageChannel();
let resume = () => {};
channel.port1.onmessage = () => resume();
const turn = () =>
  new Promise((resolve) => {
    resume = resolve;
    channel.port2.postMessage(0);
  });
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function train({ speed, until }) {
  trainings += 1;
  const own = trainings;
  playing = own;
  let seen = 0;
  let { epoch } = ask("state", { since: 1e9 }); // without the costs so far
  let state;
  while (playing === own) {
    const began = performance.now();
    const most = speed ? Math.min(until, epoch + Math.max(1, Math.round(speed / FRAMES))) : until;
    state = ask("advance", { milliseconds: SLICE, most });
    if (state.error) break;
    epoch = state.epoch;
    self.postMessage({ type: "state", state });
    if (began - seen > LOOK) {
      seen = began;
      look();
    }
    if (state.stopped || epoch >= until) break;
    if (speed) await wait(Math.max(0, 1000 / Math.min(speed, FRAMES) - (performance.now() - began)));
    else await turn();
  }
  if (playing === own) {
    playing = 0;
    look();
    self.postMessage({ type: "ended", error: state?.error });
  }
}

const messages = {
  async load(data) {
    await load(data);
    return { ...ask("choices"), pyodide: python.version };
  },
  async sympy() {
    await python.loadPackage("sympy", { messageCallback: () => {} });
    return {};
  },
  call: ({ name, options }) => ask(name, options),
  look: () => look(),
  play(options) {
    train(options);
    return {};
  },
  pause() {
    playing = 0;
    setTimeout(look); // behind the answer
    return {};
  },
};

self.onmessage = async ({ data }) => {
  for (const [name, buffer] of Object.entries(data.files ?? {})) files.set(name, new Uint8Array(buffer));
  try {
    self.postMessage({ type: "answer", id: data.id, answer: await messages[data.type](data) });
  } catch (error) {
    console.error(error);
    self.postMessage({ type: "answer", id: data.id, answer: { error: String(error.message ?? error), kind: "page" } });
  }
};
