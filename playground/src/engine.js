// The page's side of the two workers, and where their files come from: the page itself, or files beside it.

const manifest = JSON.parse(document.getElementById("manifest").textContent);
const script = (id) =>
  URL.createObjectURL(new Blob([document.getElementById(id).textContent], { type: "text/javascript" }));

async function unpacked(bytes, entry) {
  if (!entry.gzip) return bytes.buffer;
  return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

function embedded(name) {
  const text = atob(document.querySelector(`script[data-file="${CSS.escape(name)}"]`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function fetched(name, entry, heard) {
  const response = await fetch(new URL(manifest.base + name, location.href), { integrity: entry.integrity });
  if (!response.ok) throw new Error(`${name} could not be loaded: ${response.status} ${response.statusText}.`);
  const parts = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    heard(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

// The bytes of files by name; `heard(part)` is told which part of all of them has come.
async function read(names, heard = () => {}) {
  const total = names.reduce((sum, name) => sum + manifest.files[name].size, 0);
  let come = 0;
  const count = (bytes) => {
    come += bytes;
    heard(come / total);
  };
  const entries = names.map(async (name) => {
    const entry = manifest.files[name];
    if (manifest.base) return [name, await unpacked(await fetched(name, entry, count), entry)];
    const buffer = await unpacked(embedded(name), entry);
    count(entry.size);
    return [name, buffer];
  });
  return Object.fromEntries(await Promise.all(entries));
}

export class Engine extends EventTarget {
  #worker;
  #waiting = new Map();
  #ids = 0;
  #sympy;

  get #now() {
    return Object.keys(manifest.files).filter((name) => !manifest.files[name].later);
  }

  has(name) {
    return name in manifest.files;
  }

  // Load Python; the same again after `stop`.
  async start() {
    this.#sympy = undefined;
    this.#tell("progress", { text: "Loading", done: 0 });
    const files = await read(this.#now, (part) => this.#tell("progress", { text: "Loading files", done: part * 0.1 }));
    this.#worker = new Worker(script("worker"));
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => this.#tell("failed", { text: event.message ?? "The worker did not start." });
    const names = {
      wheels: this.#now.filter((name) => name.endsWith("any.whl")),
      data: this.#now.filter((name) => name.endsWith(".csv")),
    };
    return this.#send({ type: "load", lock: manifest.lock, names, files });
  }

  // End whatever Python is at. The session is lost with it.
  stop() {
    this.#worker?.terminate();
    for (const { resolve } of this.#waiting.values()) resolve({ error: "It was stopped.", kind: "stopped" });
    this.#waiting.clear();
  }

  call(name, options = {}) {
    return this.#send({ type: "call", name, options });
  }

  play(speed, until) {
    return this.#send({ type: "play", speed, until });
  }

  pause() {
    return this.#send({ type: "pause" });
  }

  look() {
    return this.#send({ type: "look" });
  }

  // SymPy is large, and only derivations need it.
  sympy() {
    this.#sympy ??= read(Object.keys(manifest.files).filter((name) => manifest.files[name].later)).then((files) =>
      this.#send({ type: "sympy", files }),
    );
    return this.#sympy;
  }

  #send(message) {
    this.#ids += 1;
    const id = this.#ids;
    const answer = new Promise((resolve) => this.#waiting.set(id, { resolve }));
    this.#worker.postMessage({ ...message, id }, Object.values(message.files ?? {}));
    return answer;
  }

  #hear(data) {
    if (data.type !== "answer") return this.#tell(data.type, data);
    this.#waiting.get(data.id)?.resolve(data.answer);
    this.#waiting.delete(data.id);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// Graphviz; the last graph that was asked for is drawn, and those in between are passed over.
export class Graphs {
  #worker;
  #busy = false;
  #next;

  constructor(drawn) {
    this.drawn = drawn;
  }

  draw(dot) {
    if (!this.#worker) {
      this.#worker = new Worker(script("graph"));
      this.#worker.onmessage = ({ data }) => {
        this.#busy = false;
        this.drawn(data);
        if (this.#next) {
          const next = this.#next;
          this.#next = undefined;
          this.draw(next);
        }
      };
    }
    if (this.#busy) {
      this.#next = dot;
      return;
    }
    this.#busy = true;
    this.#worker.postMessage({ id: 0, dot });
  }
}
