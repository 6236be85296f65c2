// One-way delay of every packet, a row per flow.  A packet stands where it was taken (when, and how long after it was due), so that the empty
// stretch between two of them is the silence that the listener had; one that was never taken stands under the line, at the moment it was due.
"use strict";

const SILENT = 20000; // µs from which a silence is shaded; a verdict's stretch always is
const KINDS = ["heard", "late", "lost", "unsent", "untaken"];
const STRIP = 20; // px under the line for what was never taken

page.panel("delay", "One-way delay of every packet", (root, story, axis) => {
  const ways = nameWays(story);
  if (!story.flows.length) { root.append(h("p", { class: "faint" }, "No packet was due in this run.")); return; }
  const untaken = story.flows.some((flow) => flow.fate.includes(UNTAKEN));
  const present = new Set(story.flows.flatMap((flow) => flow.flow === "audio" ? ["audio"] : ["video"]));
  root.append(
    h("p", { class: "faint lead" }, "From the moment a packet was due until the listener took it; it stands where it was taken. A packet is late when that took longer than its path's own delay and the playout delay. Where the listener heard nothing although something was due, the stretch is red, as long as the figure over it, and grey where nothing was due."),
    legend([
      ...ways.map((way) => ["dot", way.colour, way.name]),
      ...(present.size > 1 ? [["dot", "ink", "audio"], ["diamond", "ink", "video"]] : []),
      ["up", "late", "late"], ["cross", "bad", "lost"], ...(untaken ? [["square", "late", "came and was not taken"]] : []), ["ring", "unsent", "never sent"], ["box", "bad", "silence of 20 ms or more"], ["dashed", "fault", "fault begins"],
    ]),
  );
  story.flows.forEach((flow, number) => delayRow(root, axis, story, flow, `delay-${number}`, ways));
});

const BLOCK = 256; // packets of which the highest delay is known beforehand

// What of a flow never changes: its longest delay, those of it that were not heard, its usual step, what its verdicts point at.
function prepareFlow(flow, story) {
  let longest = 0;
  const unheard = [];
  flow.highest = new Float64Array(Math.ceil(flow.count / BLOCK));
  for (let n = 0; n < flow.count; n++) {
    if (flow.taken[n] > longest) longest = flow.taken[n];
    if (flow.fate[n] !== HEARD) unheard.push(n); else if (flow.taken[n] > flow.highest[Math.floor(n / BLOCK)]) flow.highest[Math.floor(n / BLOCK)] = flow.taken[n];
  }
  flow.unheard = Uint32Array.from(unheard);
  const steps = [];
  for (let n = 1; n < Math.min(flow.count, 2000); n++) { const step = flow.offered[n] - flow.offered[n - 1]; if (step > 1000) steps.push(step); }
  steps.sort((one, other) => one - other);
  flow.longest = longest;
  flow.step = steps.length ? steps[steps.length >> 1] : 20000;
  flow.verdicts = verdictsOf(story, flow);
}

// Verdicts that name a stretch: {from, to, excess, text, result}; of a direction: those of one flow, or of all that go its way.
function stretches(verdicts, story) {
  const sign = { at_least: "≥", equal: "=", at_most: "≤" };
  return verdicts.filter((one) => one.where).map((one) => ({
    from: story.since(one.where.start), to: story.since(one.where.end), excess: one.where.excess.count / 1000, result: one.result, name: one.name,
    text: `${one.name}: ${one.value ? tidy(one.value) : "not measured"} (${sign[one.relation]} ${tidy(one.bound)}) ${one.result}`,
  }));
}
const isOf = (one, flow) => one.direction && (!one.call || one.call === flow.call) && (one.direction === flow.name || flow.name.startsWith(`${one.direction} `));
const verdictsOf = (story, flow) => stretches((story.report.verdicts ?? []).filter((one) => isOf(one, flow)), story);
const tidy = (quantity) => (quantity.kind === "duration" ? length(quantity.count / 1000) : quantity.text);

function delayRow(root, axis, story, flow, id, ways) {
  prepareFlow(flow, story);
  const { offered, taken, left, fate, way, kind, longest, unheard } = flow;
  const audio = flow.flow === "audio", head = 17 + 15 * Math.min(4, flow.verdicts.length);
  let most = 1;
  const call = callName(story, flow);

  // The scale holds every packet heard in sight; those that are late stand at its upper edge.  Round, so that it seldom jumps.
  function y([from, to]) {
    let high = 1000;
    const first = lower(offered, from - longest), end = upper(offered, to);
    for (let n = first; n < end; n++) {
      if (n % BLOCK === 0 && n + BLOCK <= end && offered[n] >= from) { high = Math.max(high, flow.highest[n / BLOCK]); n += BLOCK - 1; continue; }
      if (fate[n] === HEARD && taken[n] > high && offered[n] + taken[n] >= from) high = taken[n];
    }
    const late = [...unheard.subarray(lower(unheard, first), lower(unheard, end))].some((n) => fate[n] === LATE);
    const limit = Math.max(0, ...limitsIn(flow, from, to).map((one) => one[1]));
    if (late || high > limit / 3) high = Math.max(high, limit * 1.25);
    const step = roundStep(high, 4);
    return [0, most = Math.ceil(high / step - 1e-9) * step];
  }

  function paint(pen, view) {
    const { range: [from, to], left: edge, width, per, zero, slope, x, log } = view;
    Object.assign(log, { flow: flow.name, silences: [], verdicts: [], heard: 0, late: 0, lost: 0, unsent: 0, untaken: 0, lostAt: [], unsentAt: [], lateAt: [], untakenAt: [], dots: [] });
    const base = view.y(0), ceiling = view.y(most);
    shadeSilences(pen, view, flow, base, ceiling);
    if (flow.limits.length) drawLimits(pen, view, limitsIn(flow, from, to), most, ceiling);
    // the packets, those heard first
    const first = lower(offered, from - longest), end = upper(offered, to);
    const spacing = flow.step * per, dense = spacing < 3;
    const columns = dense ? new Columns(ways.length, Math.ceil(width) + 1) : null;
    const r = Math.max(1, Math.min(3, spacing * 0.3));
    const colours = ways.map((one) => charts.colour(one.colour));
    for (let n = first; n < end; n++) {
      if (fate[n] !== HEARD) continue;
      const at = offered[n] + taken[n];
      if (at < from || at > to) continue;
      log.heard++;
      const px = edge + (at - from) * per, py = zero + slope * taken[n];
      if (dense) { columns.add(kind[way[n]], Math.floor(px - edge), py); continue; }
      if (log.dots.length < 4000) log.dots.push(px);
      shape(pen, audio ? "dot" : "diamond", px, py, audio ? r : r * 1.15, colours[kind[way[n]]] ?? charts.colour("ink"));
    }
    if (dense) { columns.paint(pen, edge, colours, audio ? 2.5 : 2); log.columns = columns.filled(edge); }
    // never hidden, however many there are: each that was not heard
    const marks = { late: [], lost: [], unsent: [], untaken: [] };
    for (let each = lower(unheard, first), last = lower(unheard, end); each < last; each++) {
      const n = unheard[each];
      const never = fate[n] !== LATE, at = never ? offered[n] : offered[n] + taken[n];
      if (at < from || at > to) continue;
      const which = KINDS[fate[n]];
      log[which]++;
      marks[which].push([x(at), never ? 0 : Math.max(view.y(taken[n]), ceiling - 4)]);
    }
    log.lateAt = scatter(pen, "up", marks.late, null, charts.colour("late"));
    log.lostAt = scatter(pen, "cross", marks.lost, base + 6, charts.colour("bad"));
    log.untakenAt = scatter(pen, "square", marks.untaken, base + 6, charts.colour("late"));
    log.unsentAt = scatter(pen, "ring", marks.unsent, base + 15, charts.colour("unsent"));
    pen.strokeStyle = charts.colour("faint");
    pen.beginPath(); pen.moveTo(edge, base + 0.5); pen.lineTo(edge + width, base + 0.5); pen.stroke();
    drawVerdicts(pen, view, flow.verdicts, log);
  }

  function nearest(px, py, view) {
    const at = (px - view.left) / view.per + view.range[0], slack = 9 / view.per;
    const base = view.y(0);
    let best = -1, least = 90;
    const end = upper(offered, at + slack);
    for (let n = lower(offered, at - slack - longest); n < end; n++) {
      const never = taken[n] < 0, dx = view.x(never ? offered[n] : offered[n] + taken[n]) - px;
      if (Math.abs(dx) > 9) continue;
      const dy = (never ? base + (fate[n] === UNSENT ? 15 : 6) : Math.max(view.y(taken[n]), view.y(most) - 4)) - py;
      const far = dx * dx + dy * dy;
      if (far < least) { least = far; best = n; }
    }
    return best;
  }
  function look(px, py, view) {
    const n = nearest(px, py, view);
    if (n >= 0) return packetWords(flow, n);
    const at = (px - view.left) / view.per + view.range[0];
    if (px < view.left) return [flow.name, ...unsentWords(flow)];
    const within = flow.silences.filter((one) => one.from <= at && at <= one.to && (one.excess >= SILENT || flow.verdicts.some((v) => v.from === one.from)));
    const judged = flow.verdicts.filter((one) => one.from <= at && at <= one.to);
    return [...judged.map((one) => one.text), ...within.map((one) => `${flow.listener} heard nothing for ${length(one.to - one.from)}, of which ${length(one.excess)} count${one.recovered ? "" : "; to the end"}\nfrom ${seconds(one.from)} s to ${seconds(one.to)} s`)];
  }
  function read(at) {
    // the newest that had been taken by then
    let best = -1;
    for (let n = upper(offered, at) - 1; n >= 0 && offered[n] >= at - longest - 1e6; n--) {
      if (taken[n] >= 0 && offered[n] + taken[n] <= at && (best < 0 || offered[n] + taken[n] > offered[best] + taken[best])) best = n;
    }
    const silent = flow.silences.find((one) => one.excess >= SILENT && one.from < at && at < one.to);
    const said = best < 0 ? "nothing heard" : `${length(taken[best])}${left[best] > 1000 ? ` (left ${length(left[best])} late)` : ""} ${wayText(flow.ways[way[best]])}`;
    return silent ? `SILENT ${length(silent.excess)} · last ${said}` : said;
  }
  new Row(root, axis, { id, name: `${flow.speaker} → ${flow.listener}`, under: [flow.flow, call, "ms"].filter(Boolean).join(", "), height: (audio ? 104 : 96) + head, head, strip: STRIP, paint, read, look, y, unit: (value) => String(+(value / 1000).toFixed(1)) });
}

function packetWords(flow, n) {
  const { offered, left, came, waited, taken, size, way, fate } = flow;
  const words = [`${flow.name}, packet ${n + 1} of ${flow.count}: ${FATES[fate[n]]}`, `due at ${seconds(offered[n])} s, ${size[n]} bytes`];
  if (left[n] >= 0) words.push(`left ${length(left[n])} after it was due`);
  if (came[n] >= 0 && left[n] >= 0) words.push(`on the way ${length(came[n] - left[n])}`);
  if (left[n] >= 0 || came[n] >= 0) words.push(`by ${wayText(flow.ways[way[n]])}`);
  if (waited[n] > 1000) words.push(`waited ${length(waited[n])} at the listener's host`);
  if (taken[n] >= 0) words.push(`taken ${length(taken[n])} after it was due${flow.limits.length ? `; in time until ${length(limitAt(flow, offered[n]))}` : ""}`);
  return words;
}
const unsentWords = (flow) => Object.entries(flow.unsent).map(([why, count]) => `${count} never sent: ${why}`);

// -- stretches ---------------------------------------------------------------------------------------------------------------------------

function shadeSilences(pen, view, flow, base, ceiling) {
  const { range: [from, to], x, left, width, log } = view;
  const judged = new Set(flow.verdicts.map((one) => one.from));
  const shown = flow.silences.filter((one) => one.to >= from && one.from <= to && (one.excess >= SILENT || judged.has(one.from)));
  const red = charts.colour("bad"), grey = charts.colour("faint"), top = ceiling - 15;
  for (const one of shown) {
    const start = x(one.from), beyond = x(one.to - one.excess), stop = x(one.to);
    pen.fillStyle = grey;
    pen.globalAlpha = 0.13;
    pen.fillRect(start, top, beyond - start, base - top);
    pen.fillStyle = red;
    pen.globalAlpha = 0.24;
    pen.fillRect(Math.min(beyond, stop - 1), top, Math.max(1, stop - beyond), base - top);
    log.silences.push({ from: one.from, to: one.to, excess: one.excess, x0: start, x1: stop, excess0: beyond });
  }
  pen.globalAlpha = 1;
  // their lengths, the longest first, where there is room
  const taken = [[left + width - 110, left + width]]; // where the limit's words stand
  for (const one of shown.filter((each) => each.excess >= SILENT).sort((a, b) => b.excess - a.excess).slice(0, 40)) { // a shorter one is a verdict's, whose words stand above
    const words = one.recovered ? `silent ${length(one.excess)}` : `silent ${length(one.excess)}, to the end`;
    const half = pen.measureText(words).width / 2 + 3;
    const middle = Math.max(left + half, Math.min(left + width - half, (Math.max(left, x(one.to - one.excess)) + Math.min(left + width, x(one.to))) / 2));
    if (taken.some(([a, b]) => middle + half > a && middle - half < b)) continue;
    taken.push([middle - half, middle + half]);
    plate(pen, words, middle, top + 7, red);
  }
  pen.textAlign = "left";
}

// Words on a ground of their own, so that they can be read over anything; around `x`.
function plate(pen, words, x, y, colour) {
  const width = pen.measureText(words).width;
  pen.textAlign = "center";
  pen.fillStyle = charts.colour("ground");
  pen.globalAlpha = 0.85;
  pen.fillRect(x - width / 2 - 2, y - 7, width + 4, 14);
  pen.globalAlpha = 1;
  pen.fillStyle = colour;
  pen.fillText(words, x, y);
  pen.textAlign = "left";
}

// From when on a packet was late, by its path's own delay: a line with a step wherever that changed.
function drawLimits(pen, { range: [from, to], left, width, x, y }, limits, most, ceiling) {
  const last = limits[limits.length - 1][1], over = last > most, colour = charts.colour("late");
  const words = `${over ? "↑ " : ""}late from ${length(last)}`, half = pen.measureText(words).width / 2;
  plate(pen, words, left + width - half - 4, over ? ceiling - 8 : y(last) - 7, colour);
  pen.strokeStyle = colour;
  pen.setLineDash([8, 4]);
  pen.beginPath();
  limits.forEach(([at, limit], n) => {
    if (limit > most) return;
    pen.moveTo(Math.max(left, x(at)), y(limit)); pen.lineTo(x(n + 1 < limits.length ? limits[n + 1][0] : to), y(limit));
  });
  pen.stroke();
  pen.setLineDash([]);
}
const limitAt = (flow, at) => (flow.limits.findLast(([since]) => since <= at) ?? flow.limits[0])[1];
// Those of a flow's limits that hold between two moments, the first of them from the first on.
function limitsIn(flow, from, to) {
  if (!flow.limits.length) return [];
  return [[from, limitAt(flow, from)], ...flow.limits.filter(([since]) => since > from && since < to)];
}

// Each verdict's stretch as a bracket over the row, with its words; those that would lie on each other get a line of their own.
function drawVerdicts(pen, view, verdicts, log) {
  const { range: [from, to], left, width, top, x } = view;
  const lines = [];
  for (const one of verdicts) {
    if (one.to < from || one.from > to) continue;
    const words = fitted(pen, one.text, width - 20), room = pen.measureText(words).width;
    const start = x(one.from), stop = Math.max(start + 2, x(one.to));
    const at = Math.max(left + room / 2 + 4, Math.min(left + width - room / 2 - 4, (Math.max(start, left) + Math.min(stop, left + width)) / 2));
    const least = Math.min(start, at - room / 2) - 6, most = Math.max(stop, at + room / 2) + 6;
    let line = 0;
    while (line < 3 && (lines[line] ?? []).some(([a, b]) => most > a && least < b)) line++;
    (lines[line] ??= []).push([least, most]);
    const y = top + 7 + 15 * line, colour = charts.colour(one.result === "PASS" ? "good" : one.result === "FAIL" ? "bad" : "unsure");
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(start, y + 11); pen.lineTo(start, y + 7); pen.lineTo(stop, y + 7); pen.lineTo(stop, y + 11);
    pen.stroke();
    pen.lineWidth = 1;
    plate(pen, words, at, y, colour);
    log.verdicts.push({ name: one.name, from: one.from, to: one.to, excess: one.excess, x0: start, x1: x(one.to) });
  }
}

// -- many packets --------------------------------------------------------------------------------------------------------------------------

// The highest and lowest of each px, by way: what lies between is full of packets or as good as that, and an empty px stays empty.
class Columns {
  constructor(kinds, width) {
    this.width = width;
    this.low = Array.from({ length: kinds + 1 }, () => new Float32Array(width).fill(-1));
    this.high = Array.from({ length: kinds + 1 }, () => new Float32Array(width));
  }
  add(kind, column, y) {
    if (column < 0 || column >= this.width) return;
    const low = this.low[kind + 1], high = this.high[kind + 1];
    if (low[column] < 0) { low[column] = high[column] = y; return; }
    if (y > low[column]) low[column] = y;
    if (y < high[column]) high[column] = y;
  }
  paint(pen, edge, colours, least) {
    for (let kind = 0; kind < this.low.length; kind++) {
      const low = this.low[kind], high = this.high[kind];
      pen.fillStyle = kind ? colours[kind - 1] : charts.colour("ink");
      for (let column = 0; column < this.width; column++) {
        if (low[column] >= 0) pen.fillRect(Math.floor(edge) + column, high[column] - least / 2, 1, Math.max(least, low[column] - high[column] + least));
      }
    }
  }
  filled(edge) {
    const found = [];
    for (let column = 0; column < this.width; column++) if (this.low.some((low) => low[column] >= 0)) found.push(Math.floor(edge) + column);
    return found;
  }
}

// Marks at [x, y] (or all at `line`): each as its shape where there is room; where they stand closer, each px that has one as a bar.
// Returns the px that hold one.
function scatter(pen, kind, places, line, colour) {
  let last = -100;
  const columns = new Set();
  for (const [x, y] of places.sort((one, other) => one[0] - other[0])) {
    const at = line ?? y, column = Math.floor(x);
    if (columns.has(column) && line !== null) continue;
    columns.add(column);
    if (x - last >= 5 || line === null) { shape(pen, kind, x, at, 3.2, colour); last = x; } else { pen.fillStyle = colour; pen.fillRect(column, at - 4, 1, 8); }
  }
  return [...columns];
}
