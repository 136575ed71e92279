// The decision: what the network says of each point of the plane, and the examples.

// Okabe and Ito's colours, which a colour-blind eye tells apart.
export const COLORS = [
  [213, 94, 0],
  [0, 114, 178],
  [0, 158, 115],
  [204, 121, 167],
  [230, 159, 0],
  [86, 180, 233],
  [140, 140, 20],
  [120, 80, 200],
  [90, 90, 90],
  [160, 60, 60],
];

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const mixed = (a, b, part) => a.map((x, i) => x + (b[i] - x) * part);
const css = (color) => `rgb(${color.map(Math.round).join(" ")})`;

export class Decision {
  #canvas;
  #points;
  #said;
  #classes = 2;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // New examples: `points` as the engine has them, and how many classes there are (0 for a number).
  examples(points, classes) {
    this.#points = points;
    this.#classes = classes;
    this.#said = undefined;
    this.draw();
  }

  show(said) {
    this.#said = said;
    this.draw();
  }

  // Of a point, which has to stand out from what is decided around it.
  #color(label) {
    const color = this.#classes
      ? COLORS[Math.round(label) % COLORS.length]
      : this.#between(Math.min(1, Math.max(0, (label + 2) / 4)));
    return this.#dark ? mixed(color, [255, 255, 255], 0.35) : color;
  }

  get #dark() {
    return getComputedStyle(this.#canvas).getPropertyValue("--dark").trim() === "1";
  }

  // From orange over the paper to blue.
  #between(part) {
    const paper = this.#paper();
    return part < 0.5 ? mixed(COLORS[0], paper, part * 2) : mixed(paper, COLORS[1], part * 2 - 1);
  }

  #paper() {
    return this.#dark ? [34, 34, 38] : [250, 250, 252];
  }

  draw() {
    const canvas = this.#canvas;
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
    if (!width || !height) return;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    context.fillStyle = css(this.#paper());
    context.fillRect(0, 0, width, height);
    if (this.#said?.sure) context.drawImage(this.#image(), 0, 0, width, height);
    if (this.#points) {
      this.#dots(context, this.#points.held, width, height, scale, true);
      this.#dots(context, this.#points.train, width, height, scale, false);
    }
  }

  #image() {
    const { n, classes, sure } = this.#said;
    const [labels, parts] = [bytes(classes), bytes(sure)];
    const image = new ImageData(n, n);
    const paper = this.#paper();
    for (let i = 0; i < n * n; i++) {
      let color;
      if (this.#classes > 2) {
        const part = (parts[i] / 255 - 1 / this.#classes) / (1 - 1 / this.#classes);
        color = mixed(paper, COLORS[labels[i] % COLORS.length], 0.15 + 0.45 * part);
      } else {
        const part = parts[i] / 255;
        color = mixed(paper, this.#between(part), 0.6);
      }
      image.data.set([...color.map(Math.round), 255], 4 * i);
    }
    const small = new OffscreenCanvas(n, n);
    small.getContext("2d").putImageData(image, 0, 0);
    return small;
  }

  #dots(context, { x, y, label }, width, height, scale, hollow) {
    const [[left, right], [bottom, top]] = this.#points.ranges;
    const radius = (x.length > 500 ? 2.6 : 3.4) * scale;
    context.lineWidth = (hollow ? 1.6 : 0.8) * scale;
    const paper = this.#paper();
    const edge = css(this.#classes ? paper : this.#dark ? [10, 10, 12] : [90, 90, 100]);
    x.forEach((value, i) => {
      context.beginPath();
      const place = [((value - left) / (right - left)) * width, ((top - y[i]) / (top - bottom)) * height];
      context.arc(...place, radius, 0, 2 * Math.PI);
      const color = css(this.#color(label[i]));
      context.fillStyle = hollow ? css(paper) : color;
      context.strokeStyle = hollow ? color : edge;
      context.fill();
      context.stroke();
    });
  }
}
