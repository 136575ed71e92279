// Pictures of graphs, in a worker: DOT in, SVG out, by Graphviz.

import { instance } from "@viz-js/viz";

const viz = instance();

self.onmessage = async ({ data: { id, dot } }) => {
  try {
    self.postMessage({ id, svg: (await viz).renderString(dot, { format: "svg", engine: "dot" }) });
  } catch (error) {
    self.postMessage({ id, error: String(error.message ?? error) });
  }
};
