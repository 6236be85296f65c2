// What happened: faults and their receipts, paths, calls, NATs, links and processes that stood still, a lane each, under the same axis.
"use strict";

const GROUPS = [
  ["verdict", "Verdicts", "where figures were taken, and what they count, that no row of delays shows"],
  ["fault", "Faults and their receipts", "what the run did to the network, and whether it was seen from outside the agents"],
  ["path", "Paths", "what each stack did about its paths, and the validation frames that its qlog tells of"],
  ["state", "Call states", "as each agent said"],
  ["act", "What the agents did", "what the scenario asked of them, and what they said of themselves"],
  ["nat", "NAT mappings", "inside, and what it was outside"],
  ["link", "Links", "the impairment in force in each direction, and when an end was down"],
  ["stall", "Stood still", "the harness's own processes and the agents, when they should have run and did not"],
];
const MARKS = { __proto__: null, // kinds come from agents: nothing is inherited
  receipt: ["square", "good", "receipt: seen"], refuted: ["cross", "bad", "receipt: NOT SEEN"],
  challenge: ["right", "accent", "PATH_CHALLENGE"], response: ["left", "way2", "PATH_RESPONSE"], probing: ["ring", "accent", "probing"], validated: ["dot", "good", "validated"],
  migrated: ["diamond", "way1", "migrated"], peer_moved: ["diamond", "way3", "peer moved"],
  reclaimed: ["diamond", "late", "path taken back"],
  ask: ["right", "ink", "asked to"], hold: ["square", "unsure", "hold and resume"], adapt: ["diamond", "frozen", "chose to send"], trouble: ["cross", "late", "trouble"], end: ["ring", "faint", "call ended"],
  validating: ["ring", "good", "validating"], suspected: ["up", "late", "suspected"], redialling: ["up", "bad", "redialling"], redialled: ["dot", "way5", "redialled"], failed: ["cross", "bad", "failed"],
  FAIL: ["cross", "bad", "counted by a verdict that failed"], INCONCLUSIVE: ["cross", "unsure", "counted by a verdict that decides nothing"],
  Idle: ["ring", "faint", "over"], Ended: ["ring", "faint", "ended"], Rejected: ["cross", "bad", "rejected"], Failed: ["cross", "bad", "failed"],
};
const STATES = { __proto__: null, Idle: "faint", Calling: "accent", Connecting: "accent", Connected: "good", OnHold: "unsure", Held: "unsure", Reconnecting: "bad", Ending: "faint", fault: "fault", stall: "unsure", PASS: "good", FAIL: "bad", INCONCLUSIVE: "unsure", down: "bad", clear: "faint" };

page.panel("lanes", "What happened", (root, story, axis) => {
  const lanes = [...verdictLanes(story), ...story.lanes, ...linkLanes(story)];
  const used = new Set(lanes.flatMap((lane) => (lane.marks ?? []).map((mark) => mark.kind)));
  root.append(legend([...Object.entries(MARKS).filter(([kind]) => used.has(kind)).map(([, entry]) => entry), ...[...used].filter((kind) => !MARKS[kind]).map((kind) => ["dot", "ink", kind])]));
  const known = new Set(GROUPS.map(([group]) => group));
  const others = [...new Set(lanes.map((lane) => lane.group))].filter((group) => !known.has(group)).map((group) => [group, group, ""]);
  let number = 0;
  for (const [group, title, what] of [...GROUPS, ...others]) {
    const own = lanes.filter((lane) => lane.group === group);
    if (!own.length) continue;
    root.append(h("h3", { title: what }, title, h("span", { class: "faint" }, what)));
    for (const lane of own) laneRow(root, axis, lane, `lane-${number++}`);
  }
  const clear = story.wires.filter((wire) => !linkLanes({ wires: [wire], until: story.until }).length);
  if (clear.length) root.append(h("p", { class: "faint" }, `Clear and up throughout: ${clear.map((wire) => wire.name).join(", ")}.`));
});

// A lane for each verdict with a stretch that no row of delays shows, and for each that missed its bound with what it counts.
function verdictLanes(story) {
  const shown = new Set(story.flows.flatMap((flow) => flow.verdicts ?? []).map((one) => one.text + one.from));
  const verdicts = story.report.verdicts ?? [];
  return [
    ...stretches(verdicts, story).filter((one) => !shown.has(one.text + one.from)).map((one) => ({ group: "verdict", name: one.name, spans: [{ from: one.from, to: one.to, kind: one.result, text: one.text }] })),
    ...verdicts.filter((one) => !one.where && one.moments?.length).map((one) => ({
      group: "verdict", name: one.name, marks: one.moments.map((moment) => ({ at: story.since(moment.at), kind: one.result, text: moment.text || one.note, detail: one.direction })),
    })),
  ];
}

// A lane for each link that was ever impaired or down: one for both directions where they are ruled alike.
function linkLanes(story) {
  return story.wires.flatMap((wire) => {
    const downs = ["a", "b"].flatMap((end) => (wire.downs[end] ?? []).map(([from, to]) => ({ from, to, kind: "down", text: `${wire[end]} down`, detail: `${wire[end]} was down for ${length(to - from)}` })));
    // one end switched off takes the other's carrier with it: where they overlap, the words tell of both
    for (const one of downs) { const both = downs.find((other) => other !== one && other.from < one.to && one.from < other.to); if (both && !both.words) one.words = `${wire.a} and ${wire.b} down`; }
    const sides = [["a_to_b", `${wire.a} → ${wire.b}`], ["b_to_a", `${wire.b} → ${wire.a}`]];
    const alike = JSON.stringify(wire.ruled.a_to_b ?? []) === JSON.stringify(wire.ruled.b_to_a ?? []);
    return (alike ? [["a_to_b", `${wire.a} ↔ ${wire.b}`]] : sides).map(([direction, name], number) => {
      const ruled = wire.ruled[direction] ?? [];
      const spans = ruled.map(([from, words], n) => ({ from, to: ruled[n + 1]?.[0] ?? story.until, kind: words === "clear" ? "clear" : `link${number}${n % 2}`, text: words, detail: `${name}\n${words}` }));
      return { group: "link", name, spans, over: downs, marks: [], plain: !downs.length && ruled.every(([, words]) => words === "clear") };
    }).filter((lane) => !lane.plain);
  });
}

const LINE = 16; // px of a line of a lane
const LINES = 6; // lines of marks with words that a lane has at most; what finds no room on them stands on one more, without words

function laneRow(root, axis, lane, id) {
  const spans = [...(lane.spans ?? [])].sort((one, other) => one.from - other.from), marks = [...(lane.marks ?? [])].sort((one, other) => one.at - other.at), over = lane.over ?? [];
  const lines = Math.min(LINES, marks.length), more = marks.length > LINES ? 12 : 0;
  const height = Math.max(lane.name.length > 20 ? 34 : 0, (spans.length || over.length ? 22 : 4) + lines * LINE + more);
  const kinds = [...new Set(spans.map((one) => one.kind))];
  const colour = (kind) => STATES[kind] ?? `way${kinds.indexOf(kind) % WAY_COLOURS}`;
  const longest = spans.reduce((most, one) => Math.max(most, one.to - one.from), 0), begins = Float64Array.from(spans, (one) => one.from), moments_ = Float64Array.from(marks, (one) => one.at);
  const inSight = ([from, to]) => { const found = []; for (let n = lower(begins, from - longest), end = upper(begins, to); n < end; n++) if (spans[n].to >= from) found.push(spans[n]); return found; };
  const words = (one) => [one.to === undefined ? `${seconds(one.at)} s: ${one.text || one.kind}` : `${one.text || one.kind}: ${seconds(one.from)} s to ${seconds(one.to)} s (${length(one.to - one.from)})`, ...(one.detail ? [one.detail] : [])];

  function paint(pen, view) {
    const { range: [from, to], left, width, x, log } = view;
    Object.assign(log, { lane: lane.name, group: lane.group, spans: [], marks: [], downs: [] });
    let bar = -1; // of spans too short for a px each, one px is painted once
    for (const one of inSight(view.range)) {
      const start = Math.max(left - 2, x(one.from)), stop = Math.min(left + width + 2, x(one.to)), wide = Math.max(1.5, stop - start);
      log.spans.push({ text: one.text, x0: x(one.from), x1: x(one.to) });
      if (wide === 1.5 && Math.floor(start) === bar) continue;
      bar = Math.floor(start);
      const paintColour = charts.colour(colour(one.kind));
      pen.fillStyle = paintColour;
      pen.globalAlpha = one.kind === "clear" ? 0.12 : 0.28;
      pen.fillRect(start, 3, wide, LINE);
      pen.globalAlpha = 1;
      pen.fillRect(start, 3, Math.min(2, wide), LINE);
      const beside = (lane.group === "fault" || lane.group === "verdict") && wide < pen.measureText(one.text).width + 8; // such a name stands beside it where it has no room
      const next = spans.find((other) => other.from > one.from), room = (next ? Math.min(x(next.from), left + width) : left + width) - stop - 10;
      const text = fitted(pen, one.text || one.kind, beside ? room : stop - Math.max(left, start) - 8);
      if (beside && text) { pen.fillStyle = paintColour; pen.fillText(text, stop + 5, 3 + LINE / 2); } else if (text) { pen.fillStyle = charts.colour("ink"); pen.fillText(text, Math.max(left, start) + 5, 3 + LINE / 2); }
    }
    for (const one of over) hatch(pen, view, one);
    for (const one of over) wordsOver(pen, view, one);
    // marks, each on the first line where its words have room; one that finds none keeps its shape, and its words are in the tooltip
    const top = spans.length || over.length ? 22 : 2, taken = Array(lines).fill(-1e9), first = lower(moments_, from), end = upper(moments_, to);
    if (first === end && marks.length) {
      const words = [first ? `◂ ${first} before this` : "", first < marks.length ? `${marks.length - first} after this ▸` : ""];
      pen.fillStyle = charts.colour("faint");
      pen.fillText(words[0], left + 5, top + LINE / 2);
      pen.textAlign = "right";
      pen.fillText(words[1], left + width - 5, top + LINE / 2);
      pen.textAlign = "left";
    }
    for (let n = first; n < end; n++) {
      const one = marks[n], px = x(one.at), [kind, name] = MARKS[one.kind] ?? ["dot", "ink"];
      const seen = one.kind === "receipt" || one.kind === "refuted" ? (one.detail ?? "").split("\n").slice(1).join(", ") : "";
      const full = seen ? `${one.text} · ${seen}` : one.text || one.kind;
      const room = pen.measureText(full).width + 16;
      let line = taken.findIndex((until) => px - 6 >= until), text = full;
      const leftwards = px + room > left + width && px - left > left + width - px;
      if (leftwards) { text = fitted(pen, full, px - left - 10); line = taken.findIndex((until) => px - pen.measureText(text).width - 16 >= until); }
      if (line < 0) text = ""; else if (!leftwards) text = fitted(pen, full, left + width - px - 10);
      if (line >= 0) taken[line] = px + (leftwards || !text ? 8 : pen.measureText(text).width + 16);
      const y = line < 0 ? top + lines * LINE + 5 : top + line * LINE + LINE / 2;
      shape(pen, kind, px, y, 4, charts.colour(name));
      if (text) { pen.fillStyle = charts.colour(one.kind === "refuted" ? "bad" : "ink"); pen.textAlign = leftwards ? "right" : "left"; pen.fillText(text, px + (leftwards ? -8 : 8), y); pen.textAlign = "left"; }
      log.marks.push({ text: one.text, kind: one.kind, x: px, y, shown: text });
    }
  }
  function hatch(pen, { left, width, x, log }, one) {
    const start = Math.max(left, x(one.from)), stop = Math.min(left + width, x(one.to));
    log.downs.push({ text: one.text, x0: x(one.from), x1: x(one.to) });
    if (stop < left || start > left + width) return;
    const wide = Math.max(2, stop - start), red = charts.colour("bad");
    pen.save();
    pen.beginPath(); pen.rect(start, 3, wide, LINE); pen.clip();
    pen.fillStyle = charts.colour("ground"); pen.fillRect(start, 3, wide, LINE);
    pen.fillStyle = red; pen.globalAlpha = 0.3; pen.fillRect(start, 3, wide, LINE); pen.globalAlpha = 0.7;
    pen.strokeStyle = red; pen.beginPath();
    for (let at = Math.floor(start / 8) * 8 - LINE; at < stop; at += 8) { pen.moveTo(at, 3 + LINE); pen.lineTo(at + LINE, 3); }
    pen.stroke();
    pen.restore();
  }
  function wordsOver(pen, { left, width, x }, one) {
    const start = Math.max(left, x(one.from)), wide = Math.min(left + width, x(one.to)) - start;
    const text = fitted(pen, one.words ?? one.text, wide - 8), covered = !one.words && over.some((other) => other.words && other.from < one.to && one.from < other.to);
    if (text && !covered) plate(pen, text, start + wide / 2, 3 + LINE / 2, charts.colour("bad"));
  }
  function look(px, py, view) {
    if (px < view.left) return [lane.name];
    const at = (px - view.left) / view.per + view.range[0], slack = 5 / view.per;
    const near = marks.slice(lower(moments_, at - slack), upper(moments_, at + slack));
    const found = near.length ? near : [...over, ...inSight([at - 2 / view.per, at + 2 / view.per])];
    const told = found.slice(0, 12).flatMap(words);
    return found.length > 12 ? [...told, `and ${found.length - 12} more here: zoom in`] : told;
  }
  function read(at) {
    const now = [...over.filter((one) => one.from <= at && at < one.to), ...inSight([at, at]).filter((one) => one.from <= at && at < one.to)].map((one) => one.text || one.kind);
    const last = marks[upper(moments_, at) - 1];
    if (lane.group === "path" && last) now.push(`${length(at - last.at)} after ${last.text || last.kind}`);
    return now.join(" · ");
  }
  const row = new Row(root, axis, { id, name: lane.name, height, paint, look, read: lane.group === "state" || lane.group === "stall" ? undefined : read });
  row.box.classList.add("lane");
}
