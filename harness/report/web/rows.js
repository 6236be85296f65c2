// A row: one strip of the page that hangs on the axis, with its name in the gutter, its values at the cursor on the right and a tooltip.
// Rows in sight are drawn at once when the range changes, the others as soon as there is time, and all of them before the page is printed.
"use strict";

// What each row shows, by its id, for whoever wants to hold the picture against the figures: x are px from the row's left edge.
page.drawn = {};

const charts = {
  rows: [],
  legends: [],
  // -- colours: from the style sheet, so that light and dark are decided in one place
  colours: null,
  colour(name) {
    if (this.colours === null) {
      const style = getComputedStyle(document.documentElement);
      this.colours = new Map();
      this.lookup = (wanted) => style.getPropertyValue(`--${wanted}`).trim();
    }
    if (!this.colours.has(name)) this.colours.set(name, this.lookup(name));
    return this.colours.get(name);
  },
  repaint() {
    this.colours = null;
    for (const paint of this.legends) paint();
    for (const row of this.rows) row.dirty = true;
    this.drawSoon();
  },

  // Rows that were drawn for another width than they have: everything on their axes is placed anew.
  fit() {
    for (const axis of new Set(this.rows.filter((row) => row.wide !== row.width).map((row) => row.axis))) axis.tell("range");
  },

  // -- drawing when there is time: what is in sight at once, the rest when nothing has moved for a while
  drawSoon() {
    for (const row of this.rows) if (row.dirty && row.seen) row.draw();
    clearTimeout(this.idle);
    if (this.rows.some((row) => row.dirty)) this.idle = setTimeout(() => this.drawRest(), 120);
  },
  drawRest() {
    const begun = performance.now();
    for (const row of this.rows) {
      if (row.dirty) row.draw();
      if (performance.now() - begun > 10) break;
    }
    if (this.rows.some((row) => row.dirty)) this.idle = setTimeout(() => this.drawRest(), 20);
  },
};
// Everything drawn, and everything's value at the cursor written, now, and for the range and the size that it has now: for print, and for
// pictures of the whole page.
page.settle = () => {
  charts.fit();
  for (const axis of new Set(charts.rows.map((row) => row.axis))) axis.flush();
  for (const sight of InSight.all) sight.catchUp();
  for (const row of charts.rows) {
    if (row.dirty) row.draw();
    row.follow(row.axis.cursor, true);
  }
};

// -- searching in sorted times ---------------------------------------------------------------------------------------------------------

// The first place whose value is not below `value`; and the first whose value is above it.
function lower(values, value, from = 0, to = values.length) {
  while (from < to) { const middle = (from + to) >> 1; if (values[middle] < value) from = middle + 1; else to = middle; }
  return from;
}
function upper(values, value, from = 0, to = values.length) {
  while (from < to) { const middle = (from + to) >> 1; if (values[middle] <= value) from = middle + 1; else to = middle; }
  return from;
}

// -- round numbers ---------------------------------------------------------------------------------------------------------------------

// Round steps (1, 2, 5 × 10^n), the finest of which `room` fit into `span`.
function roundStep(span, room) {
  const rough = span / Math.max(1, room), scale = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((one) => one * scale).find((step) => step >= rough * 0.999);
}
function ticks([from, to], width) {
  const step = roundStep(to - from, width / 90), found = [];
  for (let n = Math.ceil(from / step); n * step <= to; n++) found.push(n * step);
  return { step, found };
}
function tickText(at, step) {
  const digits = Math.max(0, Math.min(6, Math.ceil(6 - Math.log10(step) - 1e-9)));
  const whole = (at / 1e6).toFixed(digits);
  return `${whole} s`;
}

// -- the tooltip -----------------------------------------------------------------------------------------------------------------------

const tip = {
  box: null,
  show(lines, event) {
    if (this.box === null) document.body.append(this.box = h("div", { class: "tip", role: "tooltip" }));
    this.box.textContent = lines.join("\n");
    this.box.style.display = "block";
    const { offsetWidth: width, offsetHeight: height } = this.box;
    const left = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
    const top = event.clientY + 16 + height > innerHeight ? event.clientY - 12 - height : event.clientY + 16;
    this.box.style.left = `${Math.max(4, left)}px`;
    this.box.style.top = `${Math.max(4, top)}px`;
  },
  hide() { if (this.box !== null) this.box.style.display = "none"; },
};

// -- rows ------------------------------------------------------------------------------------------------------------------------------

// `paint(pen, view)` draws into the row: `view` has range, left, top, width, height (px of the plot), x(at), y(value) and log, the row's entry in
// page.drawn.  `read(at)`: the values at the cursor, in words.  `look(x, y, view)`: the tooltip's lines there, or null.
// `y(range)`: [least, most] of a row with a scale; `unit(value)` writes a figure on it.  A row without `y` has neither scale nor grid.
class Row {
  constructor(root, axis, { id, name, under = "", height, paint, read, look, y, unit, splits, head = 0, strip = 0 }) {
    Object.assign(this, { id, axis, height, paint, read, look, yRange: y, unit, splits, head, strip });
    this.dirty = true;
    this.seen = false;
    this.wide = 0;
    this.box = h("div", { class: "row", "data-row": id }, h("div", { class: "row-name" }, h("b", {}, name), under ? h("span", {}, under) : null));
    this.box.style.height = `${height}px`;
    this.line = h("div", { class: "cursor" });
    this.values = h("div", { class: "row-values mono" });
    root.append(this.box);
    this.plot = y ? this.scaled() : null;
    if (!y) { this.canvas = h("canvas", { class: "row-canvas" }); this.box.append(this.canvas); }
    this.box.append(this.line, this.values);
    interact(this.box, axis);
    if (look) {
      this.box.addEventListener("pointermove", (event) => this.hover(event));
      this.box.addEventListener("pointerleave", () => tip.hide());
    }
    axis.onCursor((at) => this.follow(at));
    charts.rows.push(this);
    watch(this);
  }
  get width() { return Math.max(this.axis.gutter + this.axis.margin + 50, this.box.clientWidth); }
  scaled() {
    const { axis } = this, faint = () => charts.colour("faint"), line = () => charts.colour("line");
    const shown = (plot, found) => found.map((value) => (value < 0 || value > this.top ? null : value));
    const grid = { stroke: line, width: 0.5, filter: shown };
    return new uPlot({
      width: this.width, height: this.height, padding: [4, axis.margin, 4, 0], cursor: { show: false }, legend: { show: false },
      scales: { x: { time: false, auto: false }, y: { auto: false } },
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      axes: [
        { size: 0, gap: 0, ticks: { show: false }, values: (plot, found) => found.map(() => ""), splits: () => ticks(axis.range, this.width).found, grid: { stroke: line, width: 0.5 } },
        { size: axis.gutter, gap: 4, space: 26, stroke: faint, font: "11px system-ui, sans-serif", ticks: { stroke: line, size: 4, width: 0.5, filter: shown }, grid, filter: shown,
          splits: this.splits ? () => this.splits : undefined, values: (plot, found) => found.map((value) => (value === null ? null : this.unit(value))) },
      ],
      hooks: { draw: [(plot) => { if (this.ready) this.painted(plot.ctx, plot.bbox); }] }, // it draws itself once before it has a scale
    }, [[0, 1], [null, null]], this.box);
  }
  draw() {
    this.dirty = false;
    this.ready = true;
    const width = this.wide = this.width;
    if (this.plot) {
      if (this.plot.width !== width) this.plot.setSize({ width, height: this.height });
      const [from, to] = this.axis.range;
      let [least, most] = this.yRange(this.axis.range);
      // room above the highest value for what is written there, and below 0 for the marks of what never came
      const inner = this.height - 8 - this.head - this.strip;
      this.top = most;
      const per = (most - least) / inner;
      this.done = false;
      this.plot.batch(() => {
        this.plot.setScale("x", { min: from, max: to });
        this.plot.setScale("y", { min: least - per * this.strip, max: most + per * this.head });
      });
      if (!this.done) this.plot.redraw(false);
    } else {
      const scale = devicePixelRatio || 1;
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(this.height * scale);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${this.height}px`;
      const { gutter, margin } = this.axis;
      this.painted(this.canvas.getContext("2d"), { left: gutter * scale, top: 0, width: (width - gutter - margin) * scale, height: this.height * scale });
    }
  }
  painted(pen, box) {
    this.done = true;
    const scale = devicePixelRatio || 1, { range } = this.axis;
    const left = box.left / scale, top = box.top / scale, width = box.width / scale, height = box.height / scale;
    const per = width / (range[1] - range[0]);
    this.view = { range, left, top, width, height, per, x: (at) => left + (at - range[0]) * per, log: page.drawn[`${this.axis.name ?? ""}${this.id}`] = { id: this.id, left, width } };
    if (this.plot) {
      const zero = this.plot.valToPos(0, "y", true) / scale, slope = this.plot.valToPos(1, "y", true) / scale - zero;
      Object.assign(this.view, { zero, slope, y: (value) => zero + slope * value });
    }
    pen.save();
    pen.scale(scale, scale);
    pen.beginPath();
    pen.rect(left, top, width, height);
    pen.clip();
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    moments(pen, this.view, this.axis);
    this.paint(pen, this.view);
    pen.restore();
  }
  follow(at, unseen = false) {
    const inside = at !== null && at >= this.axis.range[0] && at <= this.axis.range[1];
    this.line.style.display = inside ? "block" : "none";
    if (inside) this.line.style.transform = `translateX(${this.axis.x(at, this.wide)}px)`;
    this.values.textContent = inside && this.read && (this.seen || unseen) ? this.read(at) : "";
  }
  hover(event) {
    if (event.buttons || !this.view) { tip.hide(); return; }
    const box = this.box.getBoundingClientRect();
    const lines = this.look(event.clientX - box.left, event.clientY - box.top, this.view);
    if (lines && lines.length) tip.show(lines, event); else tip.hide();
  }
}

// Faults and the stretch that was asked for (a verdict's), through every row.
const focus = { from: null, to: null, direction: "" };
function moments(pen, { range, left, width, top, height, x }, axis) {
  const { from, to } = axis.focus ?? focus; // an axis of a comparison has its own, and its own story
  if (from !== null) {
    pen.fillStyle = charts.colour("accent");
    pen.globalAlpha = 0.1;
    pen.fillRect(x(from), top, Math.max(2, x(to) - x(from)), height);
    pen.globalAlpha = 1;
  }
  pen.strokeStyle = charts.colour("fault");
  pen.setLineDash([5, 3]);
  for (const { began } of faultsOf(axis.story ?? page.story)) {
    if (began < range[0] || began > range[1]) continue;
    pen.beginPath();
    pen.moveTo(Math.round(x(began)) + 0.5, top);
    pen.lineTo(Math.round(x(began)) + 0.5, top + height);
    pen.stroke();
  }
  pen.setLineDash([]);
}
function faultsOf(story) {
  if (!story.faultTimes) {
    story.faultTimes = (story.report.faults ?? []).map(({ name, began, ended }) => ({ name, began: story.since(began), ended: ended === null || ended === undefined ? null : story.since(ended) }))
      .sort((one, other) => one.began - other.began);
  }
  return story.faultTimes;
}

// -- which rows are in sight, how wide they are, and whether it is light ------------------------------------------------------------------

let sight = null;
function watch(row) {
  if (sight === null) {
    const of = new WeakMap();
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) of.get(entry.target).seen = entry.isIntersecting;
      charts.drawSoon();
      row.axis.tell("cursor");
    }, { rootMargin: "20px 0px" });
    sight = (one) => { of.set(one.box, one); seen.observe(one.box); };
    row.axis.onRange(() => { for (const one of charts.rows) one.dirty = true; charts.drawSoon(); });
    new ResizeObserver(() => charts.fit()).observe(document.getElementById("panels"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.repaint());
    addEventListener("beforeprint", () => { document.documentElement.classList.add("printing"); charts.repaint(); page.settle(); });
    addEventListener("afterprint", () => { document.documentElement.classList.remove("printing"); charts.repaint(); });
  }
  sight(row);
}

// -- pieces of drawing ---------------------------------------------------------------------------------------------------------------------

// `text` within `room` px, with an ellipsis where it does not fit; "" when not even three letters do.
function fitted(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let least = 0, most = text.length;
  while (least < most) { const middle = (least + most + 1) >> 1; if (pen.measureText(`${text.slice(0, middle)}…`).width <= room) least = middle; else most = middle - 1; }
  return least < 3 ? "" : `${text.slice(0, least)}…`;
}

const SHAPES = {
  cross(pen, x, y, r) { pen.lineWidth = 1.8; pen.beginPath(); pen.moveTo(x - r, y - r); pen.lineTo(x + r, y + r); pen.moveTo(x - r, y + r); pen.lineTo(x + r, y - r); pen.stroke(); pen.lineWidth = 1; },
  ring(pen, x, y, r) { pen.lineWidth = 1.5; pen.beginPath(); pen.arc(x, y, r, 0, 7); pen.stroke(); pen.lineWidth = 1; },
  dot(pen, x, y, r) { pen.beginPath(); pen.arc(x, y, r, 0, 7); pen.fill(); },
  square(pen, x, y, r) { pen.fillRect(x - r, y - r, 2 * r, 2 * r); },
  up(pen, x, y, r) { pen.beginPath(); pen.moveTo(x, y - r); pen.lineTo(x + r, y + r); pen.lineTo(x - r, y + r); pen.fill(); },
  right(pen, x, y, r) { pen.beginPath(); pen.moveTo(x + r, y); pen.lineTo(x - r, y + r); pen.lineTo(x - r, y - r); pen.fill(); },
  left(pen, x, y, r) { pen.beginPath(); pen.moveTo(x - r, y); pen.lineTo(x + r, y + r); pen.lineTo(x + r, y - r); pen.fill(); },
  down(pen, x, y, r) { pen.beginPath(); pen.moveTo(x, y + r); pen.lineTo(x + r, y - r); pen.lineTo(x - r, y - r); pen.fill(); },
  diamond(pen, x, y, r) { pen.beginPath(); pen.moveTo(x, y - r); pen.lineTo(x + r, y); pen.lineTo(x, y + r); pen.lineTo(x - r, y); pen.fill(); },
};
function shape(pen, kind, x, y, r, colour) {
  pen.fillStyle = colour;
  pen.strokeStyle = colour;
  SHAPES[kind](pen, x, y, r);
}

// A legend: [shape or "line" or "box", colour name, words].
function legend(entries) {
  const list = h("div", { class: "legend" });
  for (const [kind, colour, words] of entries) {
    const small = h("canvas", { width: 32, height: 28, "aria-hidden": "true" });
    const paint = () => {
      const pen = small.getContext("2d");
      pen.setTransform(2, 0, 0, 2, 0, 0);
      pen.clearRect(0, 0, 16, 14);
      if (kind === "line" || kind === "dashed") {
        pen.strokeStyle = charts.colour(colour);
        pen.lineWidth = 2;
        if (kind === "dashed") pen.setLineDash([4, 2]);
        pen.beginPath(); pen.moveTo(0, 7); pen.lineTo(16, 7); pen.stroke();
      } else if (kind === "box") {
        pen.fillStyle = charts.colour(colour); pen.globalAlpha = 0.3; pen.fillRect(1, 2, 14, 10); pen.globalAlpha = 1;
      } else shape(pen, kind, 8, 7, 4, charts.colour(colour));
    };
    paint();
    charts.legends.push(paint);
    list.append(h("span", {}, small, words));
  }
  return list;
}
