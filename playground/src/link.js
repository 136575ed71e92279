// A set-up as the part of an address behind the #, and back: a link holds all that makes the page what it is.
//
// Settings are readable and can be typed; a CSV and a backward pass are compressed.

const COMPRESSED = ["csv", "code"];

async function through(stream, transform) {
  return new Response(stream.pipeThrough(transform));
}

export async function compressed(text) {
  const response = await through(new Blob([text]).stream(), new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await response.arrayBuffer());
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export async function expanded(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
  return (await through(new Blob([bytes]).stream(), new DecompressionStream("deflate-raw"))).text();
}

const isPlain = (value) => typeof value === "string" && !/^[[\d-]|^(true|false|null)$/.test(value);

// `state` is {settings, epoch, csv: {name, text}, code}; of the settings, only what is not as by default is written.
export async function written({ settings, epoch, csv, code }, defaults) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(settings)) {
    if (JSON.stringify(value) === JSON.stringify(defaults[name])) continue;
    parameters.set(name, isPlain(value) ? value : JSON.stringify(value));
  }
  if (epoch) parameters.set("epoch", String(epoch));
  if (csv && settings.data === "csv") {
    parameters.set("file", csv.name);
    parameters.set("csv", await compressed(csv.text));
  }
  if (code) parameters.set("code", await compressed(code));
  return parameters.toString();
}

// What a link says; {error} if it is none.
export async function read(hash) {
  const parameters = new URLSearchParams(hash.replace(/^#/, ""));
  const found = { settings: {}, epoch: 0 };
  try {
    const texts = {};
    for (const name of COMPRESSED) if (parameters.has(name)) texts[name] = await expanded(parameters.get(name));
    for (const [name, value] of parameters) {
      if (["epoch", "file", ...COMPRESSED].includes(name)) continue;
      found.settings[name] = isPlain(value) ? value : JSON.parse(value);
    }
    const epoch = Number(parameters.get("epoch") ?? 0);
    if (!Number.isInteger(epoch) || epoch < 0) throw new Error(`epoch is a whole number, not ${epoch}.`);
    found.epoch = epoch;
    if ("csv" in texts) found.csv = { name: parameters.get("file") ?? "data.csv", text: texts.csv };
    if ("code" in texts) found.code = texts.code;
  } catch (error) {
    return { error: `This link is damaged: ${error.message}` };
  }
  return found;
}
