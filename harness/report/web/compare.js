// Two runs on one axis: each has its own clock, and the two are tied together at an event that both have, which can be chosen.
"use strict";

// An axis that takes another one along, `shift` µs apart: a moment at on this one is the moment at + shift on the other.
class TiedAxis extends Axis {
  constructor(name, story) {
    super(0, story.until);
    Object.assign(this, { name, story, focus: { from: null, to: null }, other: null, shift: 0 });
  }
  setRange(from, to) {
    super.setRange(from, to);
    const [start, end] = this.range;
    if (this.other.range[0] !== start + this.shift || this.other.range[1] !== end + this.shift) {
      this.other.range = [start + this.shift, end + this.shift];
      this.other.tell("range");
    }
  }
  setCursor(at) {
    super.setCursor(at);
    this.other.cursor = at === null ? null : at + this.shift;
    this.other.tell("cursor");
  }
}

// Ties both at a moment of each: what is shown at most is what either of them has.
function tie(a, b, [atA, atB]) {
  a.other = b; b.other = a;
  a.shift = atB - atA; b.shift = -a.shift;
  const from = Math.min(-atA, -atB), to = Math.max(a.story.until - atA, b.story.until - atB);
  a.full = [from + atA, to + atA];
  b.full = [from + atB, to + atB];
  a.zero = atA; b.zero = atB;
  for (const axis of [a, b]) axis.focus = { from: null, to: null };
  a.reset();
}

// The events of a run by which it can be aligned: name → µs.  Those of the same name are numbered.
function eventsOf(story) {
  const found = new Map([["the run began", 0]]);
  const states = story.lanes.filter((lane) => lane.group === "state").flatMap((lane) => lane.spans ?? []);
  const connected = states.filter((span) => span.kind === "Connected").map((span) => span.from);
  if (connected.length) found.set("call connected", Math.min(...connected));
  const faults = faultsOf(story), seen = new Map();
  if (faults.length) found.set("first fault", faults[0].began);
  for (const { name, began } of faults) {
    const number = (seen.get(name) ?? 0) + 1;
    seen.set(name, number);
    found.set(number > 1 ? `fault «${name}», number ${number}` : `fault «${name}»`, began);
  }
  const silences = worstSilences(story);
  if (silences.length) found.set("worst silence", silences[0].from);
  return found;
}
function alignments(a, b) {
  const left = eventsOf(a), right = eventsOf(b);
  return new Map([...left].filter(([name]) => right.has(name)).map(([name, at]) => [name, [at, right.get(name)]]));
}
const DEFAULTS = ["first fault", "call connected", "the run began"];

const signed = (us) => `${us < 0 ? "−" : "+"}${length(Math.abs(us))}`;

function compareRuler(main, a, b) {
  const root = h("section", { id: "ruler" }), bar = h("div", { class: "bar" });
  const ways = alignments(a.story, b.story), chosen = DEFAULTS.find((name) => ways.has(name));
  const choice = h("select", { id: "align", title: "the moment that both runs are aligned at" }, [...ways.keys()].map((name) => h("option", { value: name, selected: name === chosen }, name)));
  const all = h("button", { type: "button", title: "both runs, whole (0, or double click)" }, "all");
  const shown = h("b", { class: "mono shown" }), now = h("span", { class: "mono now", role: "status" });
  choice.addEventListener("change", () => tie(a, b, ways.get(choice.value)));
  all.addEventListener("click", () => a.reset());
  bar.append(all, h("label", {}, "aligned at ", choice), shown, now);
  root.append(bar);
  main.append(root);
  tie(a, b, ways.get(chosen));
  for (const axis of [a, b]) {
    const faults = faultsOf(axis.story);
    const row = new Row(root, axis, { id: "time", name: "time", height: 44, paint: (pen, view) => paintTime(pen, view, faults), look: (px, py, view) => faults.filter((one) => Math.abs(view.x(one.began) - px) < 8).map((one) => `⚡ ${one.name}\nat ${seconds(one.began)} s of ${axis.name}`) });
    row.box.dataset.side = axis.name;
  }
  a.onRange(([from, to]) => { shown.textContent = `${signed(from - a.zero)} … ${signed(to - a.zero)} (${length(to - from)})`; });
  a.onCursor((at) => { now.textContent = at === null ? "" : `${signed(at - a.zero)} from «${choice.value}»: A ${seconds(at)} s, B ${seconds(at + a.shift)} s`; });
  document.addEventListener("scroll", () => tip.hide(), { passive: true });
}

// The rows of the second run go under those of the first that are called the same and stand under the same heading; those that the first does
// not have go to the end of its heading's.  What then says the same twice is shown once.  The second's box keeps its width, which rows ask for.
function interleave(boxA, boxB) {
  const rows = (box, side) => {
    let heading = "";
    return [...box.children].flatMap((child) => {
      if (child.matches("h3")) heading = child.textContent;
      if (!child.matches(".row")) return [];
      child.dataset.side = side;
      return [{ row: child, heading, name: child.querySelector(".row-name")?.textContent ?? "" }];
    });
  };
  const left = rows(boxA, "A"), right = rows(boxB, "B"), ends = new Map();
  for (const one of left) {
    const at = right.findIndex((other) => other.name === one.name && other.heading === one.heading);
    let end = one.row;
    if (at >= 0) { [{ row: end }] = right.splice(at, 1); one.row.after(end); }
    ends.set(one.heading, end);
  }
  for (const { row, heading } of right) {
    if (!ends.has(heading)) continue;
    ends.get(heading).after(row);
    ends.set(heading, row);
  }
  const words = (child) => `${child.className}\n${child.textContent}`;
  const said = new Set([...boxA.children].filter((child) => !child.matches(".row")).map(words));
  for (const child of boxB.children) {
    if (child.matches("h3") ? ends.has(child.textContent) : said.has(words(child)) && !child.matches(".row")) child.hidden = true;
  }
}

const LEAVE = new Set(["ruler"]); // has its own here
const ON_DEMAND = new Set(["network", "sequence", "logs", "measured"]); // not on the axis, or large: built when they are opened
const ABREAST = new Set(["measured"]);

function comparePanel(main, { id, title, build }, axes) {
  const boxes = axes.map((axis) => h("div", { class: `side ${axis.name}` }));
  const fill = () => {
    axes.forEach((axis, n) => {
      if (ON_DEMAND.has(id)) boxes[n].append(h("div", {}, h("span", { class: axis.name === "B" ? "chip B" : "chip" }, axis.name)));
      build(boxes[n], axis.story, axis);
    });
    if (!ON_DEMAND.has(id)) interleave(...boxes);
    axes[0].tell("range"); axes[1].tell("range");
  };
  const body = h("div", { class: ABREAST.has(id) ? "pair" : "" }, boxes);
  if (ON_DEMAND.has(id)) {
    const more = h("details", { id, class: "more" }, h("summary", {}, title || id), body);
    more.addEventListener("toggle", () => { if (more.open && !boxes[0].children.length) fill(); });
    main.append(more);
  } else {
    const section = h("section", { id }, title ? h("h2", {}, title) : null, body);
    main.append(section);
    fill();
    if (boxes.every((box) => !box.children.length)) section.remove();
  }
}

function verdictCells(axes) {
  for (const cell of document.querySelectorAll("#verdicts td[data-from]")) {
    if (cell.dataset.from === "") continue;
    const axis = axes.find((one) => one.name === cell.dataset.side), from = Number(cell.dataset.from), to = Number(cell.dataset.to);
    cell.tabIndex = 0;
    cell.title = "show where this figure was taken";
    const go = () => {
      for (const other of document.querySelectorAll("#verdicts td.chosen")) other.classList.remove("chosen");
      cell.classList.add("chosen");
      for (const one of axes) one.focus = one === axis ? { from, to } : { from: null, to: null };
      const around = Math.max(150000, (to - from) * 1.2);
      axis.setRange(from - around, to + around);
      document.getElementById("delay")?.scrollIntoView({ block: "nearest" });
    };
    cell.addEventListener("click", go);
    cell.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  }
}

async function openComparison() {
  const axes = [];
  for (const name of ["A", "B"]) axes.push(new TiedAxis(name, await unpack(`story-${name.toLowerCase()}`)));
  const [a, b] = axes, main = document.getElementById("panels");
  Object.assign(page, { story: a.story, axis: a, axes });
  compareRuler(main, a, b);
  for (const panel of page.panels) if (!LEAVE.has(panel.id)) comparePanel(main, panel, axes);
  verdictCells(axes);
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey) return;
    const middle = a.cursor ?? (a.range[0] + a.range[1]) / 2;
    const does = { "+": () => a.zoom(0.5, middle), "-": () => a.zoom(2, middle), 0: () => a.reset(), ArrowLeft: () => a.pan(-0.2), ArrowRight: () => a.pan(0.2) };
    if (does[event.key]) { does[event.key](); event.preventDefault(); }
  });
  a.reset();
  document.documentElement.dataset.ready = "yes";
}

document.addEventListener("DOMContentLoaded", openComparison);
