// A browser starts no worker for a page that was opened from disk, and the theme searches in one. There, a hidden frame
// takes its place: it runs the same script, and what would be posted between the two is handed over as an event.

if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "Search";
      document.body.append(frame);
      this.inside = frame.contentWindow;
      this.loaded = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
      this.inside.document.open();
      this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.inside.document.write(`<!doctype html><title>Search</title><script src="${address}"><\/script>`);
      this.inside.document.close();
    }

    async postMessage(data) {
      await this.loaded;
      this.inside.dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}
