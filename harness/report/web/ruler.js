// The head of the charts, always in sight: what stretch is shown, the moment under the cursor, buttons to go to where something happened,
// the time ruler with the faults on it, and the whole run in small.
"use strict";

page.panel("ruler", "", (root, story, axis) => {
  const shown = h("b", { class: "mono shown" }), now = h("span", { class: "mono now", role: "status" });
  const bar = h("div", { class: "bar" });
  const button = (words, title, act) => {
    const made = h("button", { type: "button", title }, words);
    made.addEventListener("click", act);
    bar.append(made);
    return made;
  };
  const faults = faultsOf(story), silences = worstSilences(story);
  button("all", "the whole run (0, or double click)", () => { page.focus(null); axis.reset(); });
  const calls = callsOf(story);
  if (calls) button("calls", "from the first call's beginning to the last one's end: where the page opens", () => { page.focus(null); axis.setRange(...calls); });
  if (faults.length > 5) {
    const choice = h("select", { title: "zoom to a fault" }, h("option", { value: "" }, `${faults.length} faults…`), ...faults.map((fault, n) => h("option", { value: n }, `${seconds(fault.began)} s ${fault.name}`)));
    choice.addEventListener("change", () => { if (choice.value !== "") toFault(faults[Number(choice.value)]); });
    bar.append(choice);
  } else for (const fault of faults) button(`⚡ ${fault.name}`, `zoom to this fault, at ${seconds(fault.began)} s`, () => toFault(fault));
  if (silences.length) {
    const worst = silences[0];
    button(`worst silence ${length(worst.excess)}`, `${worst.direction}, from ${seconds(worst.from)} s (w)`, () => page.focus(worst));
  }
  let next = -1;
  const byTime = [...silences].sort((one, other) => one.from - other.from);
  const step = (by) => { if (byTime.length) { next = (next + by + byTime.length) % byTime.length; page.focus(byTime[next]); } };
  if (byTime.length > 1) { button("‹ silence", "the silence before (p)", () => step(-1)); button("silence ›", "the next silence (n)", () => step(1)); }
  button("?", "keys", (event) => { tip.show(KEYS, event); event.stopPropagation(); });
  bar.append(shown, now);
  root.append(bar);

  function toFault({ began, ended }) {
    page.focus(null);
    const over = Math.max(ended ?? began, began + 500000), heard = silences.filter((one) => one.to >= began && one.from <= over + 500000).map((one) => one.to);
    const until = Math.max(over, ...heard), span = until - began;
    axis.setRange(began - Math.max(300000, span * 0.25), until + Math.max(500000, span * 0.25));
  }
  let fault = -1;
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      f: () => { if (faults.length) toFault(faults[fault = (fault + 1) % faults.length]); }, w: () => { if (silences.length) page.focus(silences[0]); },
      n: () => step(1), p: () => step(-1), Escape: () => page.focus(null), Home: () => axis.reset(), "=": () => axis.zoom(0.5, axis.cursor ?? (axis.range[0] + axis.range[1]) / 2),
    };
    if (does[event.key]) { does[event.key](); event.preventDefault(); }
  });
  document.addEventListener("scroll", () => tip.hide(), { passive: true });
  document.addEventListener("click", () => tip.hide());

  new Row(root, axis, { id: "time", name: "time", height: 44, paint: (pen, view) => paintTime(pen, view, faults), look: (px, py, view) => faults.filter((one) => Math.abs(view.x(one.began) - px) < 8).map((one) => `⚡ ${one.name}\nat ${seconds(one.began)} s${one.ended === null ? "" : `, done at ${seconds(one.ended)} s`}`) });
  overview(root, story, axis, faults, silences);

  axis.onRange(([from, to]) => { shown.textContent = `${seconds(from)} s – ${seconds(to)} s (${length(to - from)})`; });
  axis.onCursor((at) => { now.textContent = at === null ? "" : moment(at, faults); });
  verdictRows(root, story, axis);
});

const KEYS = ["drag: zoom to what was drawn", "Shift + drag, Shift + wheel, ← →: move", "Ctrl + wheel, + −: zoom around the cursor", "0, Home, double click: the whole run", "f: the next fault", "w: the worst silence", "n, p: the next silence, the one before", "Esc: no highlight", "click on a verdict's row: where its figure was taken"];

// "t = 3.217 s, 512 ms after «Alice walks out of the door»"
function moment(at, faults) {
  const before = faults.filter((one) => one.began <= at).at(-1), said = `t = ${seconds(at)} s`;
  if (before) return `${said}, ${length(at - before.began)} after «${before.name}»`;
  return faults.length ? `${said}, ${length(faults[0].began - at)} before «${faults[0].name}»` : said;
}

// The silences of 20 ms or more while the call was judged, the worst first; those of audio before those of video, as people hear a call.
function worstSilences(story) {
  const found = story.flows.flatMap((flow) => flow.silences.filter((one) => one.excess >= 20000).map((one) => ({ ...one, direction: flow.name, audio: flow.flow === "audio" })));
  return found.sort((one, other) => other.audio - one.audio || other.excess - one.excess);
}

// Zoom to a stretch and show it through all rows; null takes the highlight away.
page.focus = (stretch) => {
  for (const row of document.querySelectorAll("#verdicts tr.chosen, #account tr.chosen")) row.classList.remove("chosen");
  Object.assign(focus, stretch ? { from: stretch.from, to: stretch.to, direction: stretch.direction ?? "" } : { from: null, to: null, direction: "" });
  if (!stretch) { page.axis.tell("range"); return; }
  const around = Math.max(150000, (stretch.to - stretch.from) * 1.2);
  page.axis.setRange(stretch.from - around, stretch.to + around);
};

function verdictRows(root, story, axis) {
  for (const button of document.querySelectorAll(".unfold")) button.addEventListener("click", () => { button.parentElement.classList.remove("long"); button.remove(); });
  for (const row of document.querySelectorAll("#verdicts tr[data-from], #account tr[data-from]")) {
    if (row.dataset.from === "") continue;
    row.tabIndex = 0;
    row.title = "show this on the charts";
    const direction = row.dataset.flow ?? "", call = row.dataset.call ?? "";
    const go = () => {
      page.focus({ from: Number(row.dataset.from), to: Number(row.dataset.to), direction });
      row.classList.add("chosen");
      const number = story.flows.findIndex((flow) => isOf({ direction, call }, flow));
      const chart = document.querySelector(`[data-row="delay-${Math.max(0, number)}"]`);
      if (chart) chart.scrollIntoView({ block: "center" });
    };
    row.addEventListener("click", go);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  }
}

function paintTime(pen, { range, left, width, x, log }, faults) {
  const { step, found } = ticks(range, width);
  pen.fillStyle = charts.colour("faint");
  pen.strokeStyle = charts.colour("faint");
  log.ticks = found.map((at) => [at, x(at)]);
  for (const at of found) {
    const px = Math.round(x(at)) + 0.5;
    pen.beginPath(); pen.moveTo(px, 36); pen.lineTo(px, 44); pen.stroke();
    const words = tickText(at, step), room = pen.measureText(words).width;
    pen.fillText(words, Math.max(left, Math.min(left + width - room, px - room / 2)), 30);
  }
  // the faults' names, each in what room there is until the next one; the last one's may stand to its left
  const colour = charts.colour("fault"), inside = faults.filter((one) => one.began >= range[0] && one.began <= range[1]);
  log.faults = [];
  inside.forEach((fault, n) => {
    const px = x(fault.began), next = inside[n + 1], words = `⚡ ${fault.name}`, before = n ? x(inside[n - 1].began) : left;
    shape(pen, "down", px, 20, 4, colour);
    const after = fitted(pen, words, (next ? x(next.began) : left + width) - px - 10);
    const leftwards = !next && after !== words && px - before > (n ? 0.5 : 1) * (left + width - px);
    const text = leftwards ? fitted(pen, words, px - before - 8) : after;
    pen.textAlign = leftwards ? "right" : "left";
    pen.fillStyle = colour;
    pen.fillText(text, px + (leftwards ? -5 : 5), 8);
    pen.textAlign = "left";
    log.faults.push({ name: fault.name, x: px, shown: text });
  });
}

// The whole run in small: where something was lost or silent, the faults, and the stretch that is shown, which can be moved.
function overview(root, story, axis, faults, silences) {
  const height = 16;
  const box = h("div", { class: "row overview" }, h("div", { class: "row-name" }, h("span", {}, "the whole run")));
  const canvas = h("canvas", { class: "row-canvas" });
  box.style.height = `${height}px`;
  box.append(canvas);
  root.append(box);
  const place = (at, width) => axis.gutter + ((at - axis.full[0]) / (axis.full[1] - axis.full[0])) * (width - axis.gutter - axis.margin);
  let still = null, stillFor = "";
  // what does not change with the range is drawn once
  function ground(width, scale) {
    const key = `${width} ${scale} ${charts.colour("bad")} ${charts.colour("ground")}`;
    if (key === stillFor) return still;
    still = h("canvas", { width: width * scale, height: height * scale });
    stillFor = key;
    const pen = still.getContext("2d");
    pen.scale(scale, scale);
    pen.fillStyle = charts.colour("raised");
    pen.fillRect(axis.gutter, 0, width - axis.gutter - axis.margin, height);
    pen.fillStyle = charts.colour("bad");
    for (const one of silences) { pen.globalAlpha = 0.35; pen.fillRect(place(one.from, width), 0, Math.max(1, place(one.to, width) - place(one.from, width)), height); }
    pen.globalAlpha = 1;
    for (const flow of story.flows) for (let n = 0; n < flow.count; n++) if (flow.fate[n] !== HEARD && flow.fate[n] !== UNSENT) pen.fillRect(Math.floor(place(flow.offered[n], width)), height - 6, 1, 6);
    pen.fillStyle = charts.colour("fault");
    for (const one of faults) pen.fillRect(Math.round(place(one.began, width)) - 0.5, 0, 2, height);
    return still;
  }
  function draw() {
    const width = Math.max(axis.gutter + axis.margin + 50, box.clientWidth), scale = devicePixelRatio || 1;
    const before = ground(width, scale);
    canvas.width = before.width;
    canvas.height = before.height;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.drawImage(before, 0, 0);
    pen.scale(scale, scale);
    const from = place(axis.range[0], width), to = Math.max(from + 2, place(axis.range[1], width));
    pen.fillStyle = charts.colour("ground");
    pen.globalAlpha = 0.6;
    pen.fillRect(axis.gutter, 0, from - axis.gutter, height);
    pen.fillRect(to, 0, width - axis.margin - to, height);
    pen.globalAlpha = 1;
    pen.strokeStyle = charts.colour("accent");
    pen.lineWidth = 2;
    pen.strokeRect(from, 1, to - from, height - 2);
  }
  axis.onRange(draw);
  charts.legends.push(draw);
  let grip = null;
  const at = (event) => axis.full[0] + ((event.clientX - box.getBoundingClientRect().left - axis.gutter) / (box.clientWidth - axis.gutter - axis.margin)) * (axis.full[1] - axis.full[0]);
  box.addEventListener("pointerdown", (event) => {
    const moment = at(event), [from, to] = axis.range, half = (to - from) / 2;
    if (moment < from || moment > to) axis.setRange(moment - half, moment + half);
    grip = moment - axis.range[0];
    if (moment < from || moment > to) grip = half;
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => { if (grip !== null) { const [from, to] = axis.range, start = at(event) - grip; axis.setRange(start, start + (to - from)); } });
  for (const name of ["pointerup", "pointercancel"]) box.addEventListener(name, () => { grip = null; });
}
