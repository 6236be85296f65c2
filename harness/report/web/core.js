// What every panel of the page stands on: the story unpacked, the one time axis, and elements that only ever hold text.
"use strict";

const page = {
  panels: [],
  // A panel draws one part of the page: build(root, story, axis) fills `root` once and follows the axis from then on.
  panel(id, title, build) { this.panels.push({ id, title, build }); },
};

// -- elements: made by hand, never from markup, so that no name and no log line can become a tag -------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "rect", "line", "path", "circle", "text", "tspan", "title", "polyline", "polygon", "defs", "marker", "clipPath"]);

function h(tag, attributes = {}, ...children) {
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) throw new Error(`${name}: listeners are added by addEventListener`);
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child instanceof Node ? child : String(child));
  }
  return made;
}

// -- words ---------------------------------------------------------------------------------------------------------------------------------

const seconds = (us) => (us / 1e6).toFixed(3);
function length(us) {
  const size = Math.abs(us);
  if (size >= 1e6) return `${+(us / 1e6).toFixed(3)} s`;
  if (size >= 1e3) return `${+(us / 1e3).toFixed(size >= 1e5 ? 0 : 1)} ms`;
  return `${Math.round(us)} µs`;
}

// -- the story -----------------------------------------------------------------------------------------------------------------------------

function undelta(coded) {
  const values = new Float64Array(coded.length);
  for (let n = 0, sum = 0; n < coded.length; n++) values[n] = sum += coded[n];
  return values;
}

function unrun(coded, count) {
  const values = new Uint8Array(count);
  for (let n = 0, at = 0; n < coded.length; n += 2) { values.fill(coded[n], at, at + coded[n + 1]); at += coded[n + 1]; }
  return values;
}

const HEARD = 0, LATE = 1, LOST = 2, UNSENT = 3, UNTAKEN = 4;
const FATES = ["heard", "late", "lost", "never sent", "came and was not taken"];

// A flow's series as typed arrays: offered (when each packet was due, µs since zero), left, came, taken (µs from then, -1: never), waited (µs
// from came to taken), size, way, and the fate of each packet.
function unpackFlow(flow) {
  const offered = undelta(flow.offered), count = offered.length;
  const left = Int32Array.from(flow.left), came = Int32Array.from(flow.came), waited = Int32Array.from(flow.waited);
  const taken = came.map((value, n) => (waited[n] < 0 ? -1 : value + waited[n]));
  const name = `${flow.speaker} → ${flow.listener} ${flow.flow}`;
  return { ...flow, name, count, offered, left, came, waited, taken, size: Int32Array.from(flow.size), way: unrun(flow.way, count), fate: unrun(flow.fate, count) };
}

// What the page carries in the element `id`: JSON, deflated, in base64.
async function inflate(id) {
  const plainly = atob(document.getElementById(id).textContent), bytes = new Uint8Array(plainly.length);
  for (let n = 0; n < bytes.length; n++) bytes[n] = plainly.charCodeAt(n); // by far the fastest way, and long calls have megabytes
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(plain).text());
}

async function unpack(id) {
  const story = await inflate(id);
  story.flows = story.flows.map(unpackFlow);
  for (const one of story.connections) {
    for (const name of ["rtt_at", "cwnd_at", "in_flight_at", "lost_at"]) one[name] = undelta(one[name]);
  }
  story.since = (ns) => Math.floor((ns - story.zero) / 1000); // report.json's instants, rounded as all else in the story
  return story;
}

// -- the axis ------------------------------------------------------------------------------------------------------------------------------

// Followers of the axis that stand in `root`: told of a change at once where that is in sight, else as soon as it comes into sight.
class InSight {
  constructor(root) {
    Object.assign(this, { seen: true, late: new Set() });
    new IntersectionObserver((entries) => { this.seen = entries.at(-1).isIntersecting; if (this.seen) this.catchUp(); }, { rootMargin: "40px 0px" }).observe(root);
    InSight.all.push(this);
  }
  catchUp() {
    const late = [...this.late];
    this.late.clear();
    for (const tell of late) tell();
  }
}
InSight.all = [];

// The stretch of time that is looked at, and the moment under the cursor (null: none), both in µs since zero.  Panels follow both; changes
// are told once a frame, however many there were.  What costs more than a line that moves is followed by `panel`, in sight only.
class Axis {
  constructor(from, to) {
    this.full = [from, Math.max(to, from + 1000)];
    this.range = [...this.full];
    this.cursor = null;
    this.gutter = 132; // px left of where time begins, in every panel, so that they stand under each other
    this.margin = 14; // px right of where it ends
    this.rangeFollowers = [];
    this.cursorFollowers = [];
    this.pending = { range: false, cursor: false };
  }
  onRange(follow) { this.rangeFollowers.push(follow); }
  onCursor(follow) { this.cursorFollowers.push(follow); }
  // `ranged` and `pointed` follow this axis from inside of `root`.
  panel(root, { ranged, pointed }) {
    const sight = new InSight(root);
    const when = (follow) => () => { if (sight.seen) follow(); else sight.late.add(follow); };
    if (ranged) this.onRange(when(ranged));
    if (pointed) this.onCursor(when(pointed));
  }
  setRange(from, to) {
    const least = 1000, whole = this.full[1] - this.full[0];
    const span = Math.min(Math.max(to - from, least), whole);
    const start = Math.min(Math.max(from, this.full[0]), this.full[1] - span);
    this.range = [start, start + span];
    this.tell("range");
  }
  reset() { this.setRange(...this.full); }
  zoom(factor, around) {
    const [from, to] = this.range;
    this.setRange(around - (around - from) * factor, around + (to - around) * factor);
  }
  pan(share) {
    const [from, to] = this.range, by = (to - from) * share;
    this.setRange(from + by, to + by);
  }
  setCursor(at) { this.cursor = at; this.tell("cursor"); }
  tell(what) {
    if (!this.pending.range && !this.pending.cursor) requestAnimationFrame(() => this.flush());
    this.pending[what] = true;
  }
  flush() {
    const { range, cursor } = this.pending;
    this.pending = { range: false, cursor: false };
    if (range) for (const follow of this.rangeFollowers) follow(this.range);
    if (cursor || range) for (const follow of this.cursorFollowers) follow(this.cursor);
  }
  // Where on an element of `width` px a moment lies, and back.
  x(at, width) { return this.gutter + ((at - this.range[0]) / (this.range[1] - this.range[0])) * (width - this.gutter - this.margin); }
  at(x, width) { return this.range[0] + ((x - this.gutter) / (width - this.gutter - this.margin)) * (this.range[1] - this.range[0]); }
}

// The same hand everywhere: move = cursor, wheel = zoom (with shift: pan), drag = zoom to what was drawn (with shift: pan), double click = all.
function interact(element, axis) {
  let drag = null;
  const x = (event) => event.clientX - element.getBoundingClientRect().left;
  const at = (event) => axis.at(x(event), element.clientWidth);
  const band = h("div", { class: "band" });
  element.classList.add("interactive");
  element.append(band);
  element.addEventListener("pointermove", (event) => {
    if (drag && drag.pan) {
      const per = (drag.range[1] - drag.range[0]) / (element.clientWidth - axis.gutter - axis.margin);
      axis.setRange(drag.range[0] + (drag.x - x(event)) * per, drag.range[1] + (drag.x - x(event)) * per);
    } else if (drag) {
      band.style.display = "block";
      band.style.left = `${Math.min(drag.x, x(event))}px`;
      band.style.width = `${Math.abs(drag.x - x(event))}px`;
    }
    const moment = at(event);
    axis.setCursor(moment >= axis.range[0] && moment <= axis.range[1] ? moment : null);
  });
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || x(event) < axis.gutter) return;
    drag = { x: x(event), at: at(event), pan: event.shiftKey, range: axis.range };
    element.setPointerCapture(event.pointerId);
  });
  const end = (event) => {
    if (drag && !drag.pan && Math.abs(drag.x - x(event)) > 4) axis.setRange(Math.min(drag.at, at(event)), Math.max(drag.at, at(event)));
    drag = null;
    band.style.display = "none";
  };
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", () => { drag = null; band.style.display = "none"; });
  element.addEventListener("pointerleave", () => { if (!drag) axis.setCursor(null); });
  element.addEventListener("dblclick", () => axis.reset());
  element.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey && !event.altKey && Math.abs(event.deltaY) > Math.abs(event.deltaX)) return; // the page scrolls
    event.preventDefault();
    if (event.ctrlKey || event.altKey) axis.zoom(Math.exp(event.deltaY * 0.002), at(event));
    else axis.pan((event.deltaX || event.deltaY) / 1000);
  }, { passive: false });
}

// -- the page ------------------------------------------------------------------------------------------------------------------------------

// From the first call's beginning, or that of a fault before it, to the last one's end, with a little on both sides: what comes before is the
// building of the network.
// [from, to], or null without a call.
function callsOf(story) {
  const spans = story.lanes.filter((lane) => lane.group === "state").flatMap((lane) => lane.spans);
  if (!spans.length) return null;
  let from = Infinity, to = -Infinity;
  for (const span of spans) { from = Math.min(from, span.from); to = Math.max(to, span.to); }
  for (const { began } of faultsOf(story)) from = Math.min(from, began);
  const beside = (to - from) * 0.03;
  return [from - beside, to + beside];
}

async function open() {
  const story = await unpack("story");
  const axis = new Axis(0, story.until);
  Object.assign(page, { story, axis });
  const main = document.getElementById("panels");
  for (const { id, title, build } of page.panels) {
    const root = h("section", { id });
    if (title) root.append(h("h2", {}, title));
    main.append(root);
    build(root, story, axis);
    if (root.childElementCount === (title ? 1 : 0)) root.remove(); // nothing to show: no heading either
  }
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey) return;
    const middle = axis.cursor ?? (axis.range[0] + axis.range[1]) / 2;
    const does = { "+": () => axis.zoom(0.5, middle), "-": () => axis.zoom(2, middle), 0: () => axis.reset(), ArrowLeft: () => axis.pan(-0.2), ArrowRight: () => axis.pan(0.2) };
    if (does[event.key]) { does[event.key](); event.preventDefault(); }
  });
  axis.setRange(...(callsOf(story) ?? axis.full));
  document.documentElement.dataset.ready = "yes";
}

window.addEventListener("error", (event) => { document.documentElement.dataset.broken = String(event.message); });
window.addEventListener("unhandledrejection", (event) => { document.documentElement.dataset.broken = String(event.reason); });
document.addEventListener("DOMContentLoaded", () => { if (document.getElementById("story")) open(); }); // the index and a comparison open themselves
