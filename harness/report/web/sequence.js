// Who said what to whom, in the order in which it happened: an arrow from when a message left one host to when it came to the other.
"use strict";

page.panel("sequence", "Signalling, as the captures saw it", (root, story, axis) => {
  const MOST = 500, GAP = 250e3, TOP = 30, RULINGS = 12; // a link that changes more often than that would drown the rest
  const PEER = { left: 60, right: 40 };
  const LAYERS = { quic: "QUIC", call: "signalling", path: "address changes", media: "first media" };
  for (const note of story.notes?.signals ?? []) root.append(h("p", { class: "notice" }, note));
  if (!story.signals.length) {
    root.append(h("p", { class: "faint" }, "No message is known of this run."));
    return;
  }
  const peers = [...new Set([...story.nodes.filter((one) => one.kind === "host").map((one) => one.name), ...story.peers, ...story.signals.flatMap((one) => [one.speaker, one.listener])])]
    .filter((name) => name && story.signals.some((one) => one.speaker === name || one.listener === name));
  const shown = new Set(Object.keys(LAYERS));
  const tools = h("div", { class: "scene-tools" });
  for (const [layer, name] of Object.entries(LAYERS)) {
    const box = h("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => { if (box.checked) shown.add(layer); else shown.delete(layer); draw(); });
    tools.append(h("label", {}, box, ` ${name}`));
  }
  const count = h("span", { class: "faint" });
  tools.append(count);
  const scroll = h("div", { class: "seq-scroll", tabindex: 0 }), detail = h("pre", { class: "seq-detail" }, "Click a message: what was in it, and by which way it went.");
  root.append(tools, h("div", { class: "seq-frame" }, scroll, detail));

  // What stands across the whole diagram: faults beginning and ending, links going down and up.
  const across = [];
  for (const lane of story.lanes.filter((one) => one.group === "fault")) {
    for (const span of lane.spans ?? []) across.push({ at: span.from, text: `fault: ${span.text}` }, { at: span.to, text: `fault over: ${span.text}` });
  }
  for (const wire of story.wires) { // both ends of a link as one line where they go together
    const told = new Map();
    for (const which of ["a", "b"]) {
      for (const [from, to] of wire.downs[which]) {
        if (from > 0) told.set(`${from} goes down`, { at: from, what: "goes down", ends: [...(told.get(`${from} goes down`)?.ends ?? []), wire[which]] });
        if (to < story.until) told.set(`${to} comes up`, { at: to, what: "comes up", ends: [...(told.get(`${to} comes up`)?.ends ?? []), wire[which]] });
      }
    }
    for (const { at, what, ends } of told.values()) across.push({ at, text: `${ends.join(" – ")} ${what}`, bad: what === "goes down" });
    const steps = { there: wire.ruled.a_to_b.slice(1), back: wire.ruled.b_to_a.slice(1) };
    const same = JSON.stringify(steps.there.map((one) => one[1])) === JSON.stringify(steps.back.map((one) => one[1]));
    for (const [its, way] of same ? [[steps.there, `${wire.a} ⇄ ${wire.b}`]] : [[steps.there, `${wire.a} → ${wire.b}`], [steps.back, `${wire.b} → ${wire.a}`]]) {
      if (its.length > RULINGS) across.push({ at: its[0][0], text: `${way}: ${its.length} changes from here on, in the drawing and the logs` });
      else for (const [at, words] of its) across.push({ at, text: `${way}: ${words}`, bad: /\bloss 100%/.test(words) });
    }
  }

  // Every moment gets a row of its own, in order of time: [{ at, y, kind, … }].  The figures of `place` are what the tests look at.
  function rows(range) {
    const [from, to] = range;
    const inside = story.signals.filter((one) => shown.has(one.layer) && one.at <= to && (one.came ?? one.at) >= from);
    const some = inside.slice(0, MOST), moments = [];
    some.forEach((signal, n) => {
      moments.push({ at: signal.at, order: 0, n, signal, kind: "left" });
      if (signal.came !== null) moments.push({ at: Math.max(signal.came, signal.at), order: 1, n, signal, kind: "came" });
    });
    for (const line of across) if (line.at >= from && line.at <= to) moments.push({ at: line.at, order: 2, n: 0, line, kind: "across" });
    moments.sort((a, b) => a.at - b.at || a.order - b.order || a.n - b.n);
    let y = 14, last = null;
    for (const one of moments) {
      if (last !== null && one.at - last > GAP) { one.gap = one.at - last; y += 22; }
      one.y = y;
      y += one.kind === "came" ? 13 : 21;
      last = one.at;
    }
    return { moments, inside: inside.length, drawn: some.length, height: y + 12 };
  }

  let placed = { moments: [] }, now = null, chosen = null;
  const width = () => Math.max(520, scroll.clientWidth || 900);

  function draw() {
    placed = rows(axis.range);
    const wide = width(), left = axis.gutter > 90 ? 90 : axis.gutter;
    const x = (name) => { const n = peers.indexOf(name); return n < 0 ? null : left + PEER.left + (peers.length === 1 ? 0 : (n * (wide - left - PEER.left - PEER.right - 60)) / (peers.length - 1)); };
    const svg = h("svg", { width: wide, height: placed.height, class: "seq" }), words = h("g", {});
    const head = h("svg", { width: wide, height: TOP - 2, class: "seq-head" });
    for (const name of peers) {
      const short = name.length > 24 ? `${name.slice(0, 23)}…` : name;
      svg.append(h("line", { x1: x(name), y1: 0, x2: x(name), y2: placed.height, class: "life" }));
      head.append(h("text", { x: x(name), y: 18, class: "peer", "text-anchor": "middle" }, short, h("title", {}, name)));
    }
    const came = new Map(placed.moments.filter((one) => one.kind === "came").map((one) => [one.signal, one]));
    for (const one of placed.moments) {
      if (one.gap) {
        svg.append(h("line", { x1: left + 8, y1: one.y - 19, x2: wide - 8, y2: one.y - 19, class: "gapline" }), h("text", { x: left + 4, y: one.y - 15, class: "gap", "text-anchor": "end" }, `⋮ ${length(one.gap)}`));
      }
      if (one.kind === "across") {
        svg.append(h("line", { x1: left + 8, y1: one.y, x2: wide - 8, y2: one.y, class: one.line.bad ? "faultline cut" : "faultline" }));
        words.append(h("text", { x: (left + wide) / 2, y: one.y - 4, class: one.line.bad ? "cut" : "fault", "text-anchor": "middle" }, one.line.text));
      }
      if (one.kind !== "came") svg.append(h("text", { x: left, y: one.y + 3, class: "time", "text-anchor": "end" }, seconds(one.at)));
      if (one.kind === "left") svg.append(message(one, came.get(one.signal), x, wide, left, words));
    }
    now = h("line", { x1: left + 8, x2: wide - 8, y1: -10, y2: -10, class: "now" });
    svg.append(words, now);
    scroll.replaceChildren(h("div", { class: "seq-head-frame" }, head), svg);
    count.replaceChildren(placed.inside > placed.drawn ? `${placed.drawn} of ${placed.inside} messages are drawn: look at a shorter time for the others` : `${placed.inside} messages in the time shown`);
    mark();
  }

  function message(one, came, x, wide, left, texts) {
    const { signal } = one, from = x(signal.speaker), known = x(signal.listener);
    const toward = known ?? (from > wide / 2 ? from - 160 : from + 160), rightwards = toward >= from;
    const to = came ? toward : from + (toward - from) * 0.62, end = came ? came.y : one.y + 11;
    const tip = rightwards ? -1 : 1;
    const group = h("g", { class: `seq-message ${signal.layer}${came ? "" : " lost"}${signal === chosen ? " chosen" : ""}` });
    group.append(h("path", { class: "hit", d: `M${from},${one.y} L${to},${end}` }), h("path", { class: "line", d: `M${from},${one.y} L${to},${end}` }));
    if (came) group.append(h("path", { class: "head", d: `M${to},${end} l${8 * tip},${-4 - (end - one.y) / 40} l0,8 z` }));
    else group.append(h("path", { class: "line cross", d: `M${to - 5},${end - 5} l10,10 m0,-10 l-10,10` }));
    const words = came ? signal.text : `${signal.text} — never came${known === null ? "; to whom is not known" : ""}`;
    const short = words.length > 110 ? `${words.slice(0, 109)}…` : words, needs = short.length * 6.6;
    const before = rightwards ? from + needs > wide : from - needs > left; // on the side where it has room, by choice above the arrow
    const label = h("text", { x: from + (before ? -8 : 8), y: one.y - 4, "text-anchor": before ? "end" : "start" }, short, h("title", {}, words));
    texts.append(h("g", { class: group.getAttribute("class") }, label));
    const choose = () => {
      chosen = signal;
      detail.replaceChildren(`${signal.speaker} → ${signal.listener || "?"}: ${signal.text}\nleft at ${seconds(signal.at)} s, ${signal.came === null ? "never came" : `came at ${seconds(signal.came)} s, ${length(signal.came - signal.at)} later`}\n\n${signal.detail ?? ""}`);
      for (const other of scroll.querySelectorAll(".chosen")) other.classList.remove("chosen");
      group.classList.add("chosen");
      axis.setCursor(signal.at);
    };
    group.addEventListener("click", choose);
    label.addEventListener("click", choose);
    return group;
  }

  function mark() {
    if (!now) return;
    let y = -10;
    if (axis.cursor !== null) {
      const next = placed.moments.find((one) => one.at >= axis.cursor), last = placed.moments.at(-1);
      y = next ? next.y - (next.at === axis.cursor ? 0 : 10) : last ? last.y + 12 : -10;
    }
    now.setAttribute("y1", y);
    now.setAttribute("y2", y);
  }
  axis.panel(root, { ranged: draw, pointed: mark });
  new ResizeObserver(() => { if (scroll.lastChild && Math.abs(scroll.lastChild.getAttribute("width") - width()) > 2) draw(); }).observe(scroll);
});
