// The costs by epoch. Of very many epochs, every second one is kept, then every fourth, and so on.

import uPlot from "uplot";

const MOST = 8000;

export class Costs {
  #plot;
  #element;
  #stride = 1;
  #data = [[], [], []];
  #log = false;
  #pending = false;

  constructor(element) {
    this.#element = element;
    new ResizeObserver(() => this.#resize()).observe(element);
  }

  clear(withHeld) {
    this.#stride = 1;
    this.#data = [[], [], []];
    this.withHeld = withHeld;
    this.redraw();
  }

  set log(on) {
    this.#log = on;
    this.redraw();
  }

  add({ since, costs, held }) {
    costs.forEach((cost, i) => {
      const epoch = since + i + 1;
      if (epoch % this.#stride && epoch !== 1) return;
      this.#data[0].push(epoch);
      this.#data[1].push(cost);
      this.#data[2].push(held[i] ?? null);
    });
    if (this.#data[0].length > MOST) {
      this.#stride *= 2;
      const kept = this.#data[0].map((epoch) => epoch === 1 || epoch % this.#stride === 0);
      this.#data = this.#data.map((column) => column.filter((_, i) => kept[i]));
    }
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#plot?.setData(this.#shown());
    });
  }

  // Anew: the colours and the scale are those of when it is made.
  redraw() {
    this.#plot?.destroy();
    this.#element.textContent = "";
    const color = (name) => {
      this.#element.style.color = `var(${name})`; // a canvas knows no variables
      return getComputedStyle(this.#element).color;
    };
    const [ink, line] = [color("--soft"), color("--line")];
    const axis = {
      stroke: ink,
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1 },
      font: "12px system-ui",
    };
    const series = (label, name, dash) => ({
      label,
      stroke: color(name),
      width: 2,
      dash,
      points: { show: false },
      value: (_, y) => (y == null ? "–" : y.toPrecision(4)),
    });
    const shown = [
      { label: "epoch" },
      series("cost", "--train"),
      ...(this.withHeld ? [series("validation", "--held", [6, 4])] : []),
    ];
    this.#element.style.color = "";
    this.#plot = new uPlot(
      {
        ...this.#size(),
        scales: { x: { time: false }, y: { distr: this.#log ? 3 : 1 } },
        axes: [
          { ...axis, label: "epoch", labelSize: 18, labelFont: "12px system-ui", size: 34 },
          { ...axis, size: 58, values: (_, ticks) => ticks.map((y) => (y == null ? "" : +y.toPrecision(3))) },
        ],
        series: shown,
        legend: { live: true },
      },
      this.#shown(),
      this.#element,
    );
  }

  #shown() {
    return this.withHeld ? this.#data : this.#data.slice(0, 2);
  }

  #size() {
    const width = Math.max(200, this.#element.clientWidth);
    const legend = width < 400 ? 58 : 30; // in two lines, or in one
    return { width, height: Math.max(180, this.#element.clientHeight - legend) };
  }

  #resize() {
    this.#plot?.setSize(this.#size());
  }
}
