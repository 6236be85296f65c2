// The network as a drawing: hosts at the edges, what lies between them in layers, and the state of all of it at the cursor's time.
"use strict";

const NetLayout = (() => {
  const MONO = 6.05, SANS = 5.6, LINE = 13, HEAD = 24, PAD = 8, ROOM = 24;
  const node = (end) => end.slice(0, end.lastIndexOf("/"));
  const port = (end) => end.slice(end.lastIndexOf("/") + 1);
  const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

  // The router that lies between the hosts: the one nearest to the farthest of them among those that part some host from another.
  function middle(nodes, wires) {
    const next = neighbours(nodes, wires);
    const hosts = nodes.filter((one) => one.kind === "host").map((one) => one.name);
    const score = (name) => {
      const depth = distances(next, name);
      const sides = new Set(hosts.map((host) => [...distances(next, host, name).keys()].sort()[0]));
      return [sides.size > 1 ? 0 : 1, Math.max(...hosts.map((host) => depth.get(host) ?? 99)), -next.get(name).size];
    };
    const routers = nodes.filter((one) => one.kind !== "host").map((one) => ({ name: one.name, score: score(one.name) }));
    routers.sort((a, b) => a.score[0] - b.score[0] || a.score[1] - b.score[1] || a.score[2] - b.score[2]);
    return routers.length ? routers[0].name : null;
  }

  function neighbours(nodes, wires) {
    const next = new Map(nodes.map((one) => [one.name, new Set()]));
    for (const wire of wires) { next.get(node(wire.a)).add(node(wire.b)); next.get(node(wire.b)).add(node(wire.a)); }
    return next;
  }

  function distances(next, from, without = null) {
    const found = new Map([[from, 0]]), queue = [from];
    while (queue.length) {
      const at = queue.shift();
      for (const other of next.get(at)) {
        if (other !== without && !found.has(other)) { found.set(other, found.get(at) + 1); queue.push(other); }
      }
    }
    return found;
  }

  // Each node's layer: 0 in the middle, the first host and what is on its side below it, the others above; hosts at the very edges.
  function layers(nodes, wires) {
    const hosts = nodes.filter((one) => one.kind === "host").map((one) => one.name);
    const next = neighbours(nodes, wires), core = middle(nodes, wires), layer = new Map();
    if (core === null) {
      nodes.forEach((one, n) => layer.set(one.name, n === 0 ? 0 : 1));
      return layer;
    }
    const depth = distances(next, core), left = distances(next, hosts[0] ?? core, core);
    for (const one of nodes) layer.set(one.name, one.name === core ? 0 : (left.has(one.name) ? -1 : 1) * (depth.get(one.name) ?? 1));
    const edge = { "-1": Math.min(0, ...layer.values()), 1: Math.max(0, ...layer.values()) };
    for (const host of hosts) layer.set(host, layer.get(host) < 0 ? edge[-1] : edge[1]);
    return layer;
  }

  // extra(name): how many lines a box needs at its foot for what changes.  labels: the longest words of each wire, as lines of text.
  function layout(nodes, wires, { extra = () => 0, labels = () => [] } = {}) {
    const layer = layers(nodes, wires), order = [...new Set(layer.values())].sort((a, b) => a - b);
    const boxes = new Map(), compact = order.length > 5;
    for (const one of nodes) {
      const column = order.indexOf(layer.get(one.name)), lines = [], ports = new Map();
      const side = (name) => {
        const wire = wires.find((it) => it.a === `${one.name}/${name}` || it.b === `${one.name}/${name}`);
        if (!wire) return "left";
        const other = node(wire.a) === one.name ? node(wire.b) : node(wire.a);
        return layer.get(other) < layer.get(one.name) ? "left" : "right";
      };
      const rank = (name) => {
        const at = wires.findIndex((it) => it.a === `${one.name}/${name}` || it.b === `${one.name}/${name}`);
        return at < 0 ? 99 : at;
      };
      const names = Object.keys(one.ports).map((name) => ({ name, side: side(name), rank: rank(name) }));
      names.sort((a, b) => (a.side === b.side ? a.rank - b.rank : a.side === "left" ? -1 : 1));
      for (const { name, side: at } of names) {
        ports.set(name, { side: at, line: lines.length });
        lines.push({ kind: "port", side: at, text: cut(name, 22), full: name, size: name.length * SANS + 8 });
        for (const address of one.ports[name]) lines.push({ kind: "address", side: at, text: cut(address, 44), full: address, size: Math.min(address.length, 44) * MONO });
      }
      for (const [name, value] of Object.entries(one.nat ?? {})) {
        const full = `${name} ${value}`, split = compact && full.length > 28; // many in a row: narrow boxes
        for (const text of split ? [name, `  ${cut(value, 40)}`] : [cut(full, 44)]) lines.push({ kind: "nat", side: "left", text, full, size: text.length * 5.4 });
      }
      const spare = extra(one.name), wide = Math.max(112, one.name.length * 7 + 60, spare.width ?? 0, ...lines.map((it) => it.size)) + 2 * PAD;
      boxes.set(one.name, { node: one, column, ports, lines, w: Math.min(wide, 300), h: HEAD + lines.length * LINE + (spare.lines ?? 0) * LINE + PAD, foot: HEAD + lines.length * LINE });
    }
    place(nodes, wires, boxes, order, labels);
    return draw(wires, boxes, labels);
  }

  function place(nodes, wires, boxes, order, labels) {
    const columns = order.map((_, n) => [...boxes.values()].filter((box) => box.column === n));
    const core = order.indexOf(0) < 0 ? 0 : order.indexOf(0);
    const by = (from, to) => { // sort a column by the ports that its boxes are wired to in the one nearer to the middle
      const heights = new Map();
      for (const box of from) {
        const ends = wires.flatMap((wire) => [[wire.a, wire.b], [wire.b, wire.a]]).filter(([mine, other]) => node(mine) === box.node.name && to.some((it) => it.node.name === node(other)));
        const places = ends.map(([, other]) => boxes.get(node(other)).rank * 100 + boxes.get(node(other)).ports.get(port(other)).line);
        heights.set(box, places.length ? places.reduce((a, b) => a + b, 0) / places.length : 1e6);
      }
      from.sort((a, b) => heights.get(a) - heights.get(b));
      from.forEach((box, n) => { box.rank = n; });
    };
    columns[core].forEach((box, n) => { box.rank = n; });
    for (let n = core - 1; n >= 0; n--) by(columns[n], columns[n + 1]);
    for (let n = core + 1; n < columns.length; n++) by(columns[n], columns[n - 1]);
    const tall = columns.map((column) => column.reduce((sum, box) => sum + box.h + ROOM, -ROOM));
    const height = Math.max(...tall);
    let x = 4;
    columns.forEach((column, n) => {
      const width = Math.max(...column.map((box) => box.w));
      let y = 4 + (height - tall[n]) / 2;
      if (column.length > 1 && tall[n] < height * 0.75) { // spread a sparse column a little
        const more = (height * 0.75 - tall[n]) / (column.length - 1);
        y -= (more * (column.length - 1)) / 2;
        for (const box of column) { Object.assign(box, { x, y }); y += box.h + ROOM + more; }
      } else for (const box of column) { Object.assign(box, { x, y }); y += box.h + ROOM; }
      for (const box of column) { box.x = x + (n < core ? width - box.w : n > core ? 0 : (width - box.w) / 2); }
      const crossing = wires.filter((wire) => Math.min(boxes.get(node(wire.a)).column, boxes.get(node(wire.b)).column) === n);
      const words = Math.max(0, ...crossing.flatMap((wire) => labels(wire).map((line) => line.length * 5.4)));
      x += width + Math.max(columns.length > 5 ? 64 : 96, words && (words + 16) / 0.7);
    });
    // Boxes that have one neighbour nearer to the middle move level with it where there is room.
    for (const n of [...columns.keys()]) if (columns[n].length === 1 && n !== core) columns[n][0].y = 4 + (height - columns[n][0].h) / 2;
  }

  function draw(wires, boxes, labels) {
    const links = wires.map((wire) => {
      const a = boxes.get(node(wire.a)), b = boxes.get(node(wire.b));
      const level = a.column === b.column;
      const flip = a.column > b.column || (level && a.y > b.y);
      const [left, right, leftEnd, rightEnd] = flip ? [b, a, wire.b, wire.a] : [a, b, wire.a, wire.b];
      const y = (box, end) => box.y + HEAD + box.ports.get(port(end)).line * LINE + 5;
      const from = { x: left.x + left.w, y: y(left, leftEnd) }, to = { x: level ? right.x + right.w : right.x, y: y(right, rightEnd) };
      const crowd = (box) => wires.filter((it) => node(it.a) === box.node.name || node(it.b) === box.node.name).length;
      const outward = crowd(left) > crowd(right); // words stand beside the box with fewer links, where the lines are apart
      const span = to.x - from.x, bend = 0.3 * span;
      const words = labels(wire), wide = Math.max(20, ...words.map((line) => line.length * 5.4)) + 8;
      const path = (dy) => {
        if (level) return `M${from.x},${from.y + dy} C${from.x + 60},${from.y + dy} ${to.x + 60},${to.y + dy} ${to.x},${to.y + dy}`;
        const knee = outward ? from.x + bend : to.x - bend, [k, l] = outward ? [from.x, knee] : [knee, to.x], c = (k + l) / 2;
        const curve = `C${c},${from.y + dy} ${c},${to.y + dy}`;
        return outward ? `M${k},${from.y + dy} ${curve} ${l},${to.y + dy} L${to.x},${to.y + dy}` : `M${from.x},${from.y + dy} L${k},${from.y + dy} ${curve} ${l},${to.y + dy}`;
      };
      const edge = outward ? rightEnd : leftEnd, outer = boxes.get(node(edge)), mine = outer.ports.get(port(edge));
      const below = [...outer.ports].some(([name, it]) => it.side === mine.side && it.line < mine.line && wires.some((one) => one.a === `${outer.node.name}/${name}` || one.b === `${outer.node.name}/${name}`));
      const label = level ? { x: from.x + 52, y: (from.y + to.y) / 2 } : outward ? { x: to.x - (span - bend) / 2, y: to.y } : { x: from.x + (span - bend) / 2, y: from.y };
      return { wire, flip, left: leftEnd, right: rightEnd, path, label, wide, below };
    });
    const width = Math.max(...[...boxes.values()].map((box) => box.x + box.w), ...links.map((link) => link.label.x + link.wide / 2)) + 4;
    const height = Math.max(...[...boxes.values()].map((box) => box.y + box.h)) + 4;
    const top = Math.min(0, ...links.map((link) => link.label.y - (link.below ? 0 : labels(link.wire).length * 12 + 12)));
    return { boxes, links, width, height, top };
  }

  return { layout, node, port, LINE, HEAD, PAD };
})();

// -- what was the case at a moment ---------------------------------------------------------------------------------------------------------

const NetState = (() => {
  const SILENT = 200e3; // µs without anything heard from which on the drawing says so: the playout delay

  const lastBefore = (values, at) => { // the index of the last of sorted `values` that is not after `at`; -1: none
    let low = 0, high = values.length;
    while (low < high) { const mid = (low + high) >> 1; if (values[mid] <= at) low = mid + 1; else high = mid; }
    return low - 1;
  };

  function ruled(wire, direction, at) {
    let found = wire.ruled[direction][0], first = found;
    for (const one of wire.ruled[direction]) if (one[0] <= at) found = one;
    return { since: found[0], words: found[1], changed: found[1] !== first[1] };
  }

  function down(wire, which, at) { return wire.downs[which].find(([from, to]) => from <= at && at < to) ?? null; }

  // What became of a flow's packets around a moment.
  function media(flow, at) {
    const sent = lastBefore(flow.offered, at);
    if (sent < 0 || at > flow.closed + SILENT) return { word: sent < 0 ? "not begun" : "over", idle: true };
    let left = sent;
    while (left >= 0 && flow.left[left] < 0 && flow.came[left] < 0) left--;
    let heard = sent, heardAt = -1;
    for (let n = sent; n >= 0 && n > sent - 4000; n--) {
      if (flow.taken[n] >= 0 && flow.offered[n] + flow.taken[n] <= at && flow.offered[n] + flow.taken[n] > heardAt) { heard = n; heardAt = flow.offered[n] + flow.taken[n]; }
      if (heardAt >= 0 && n < heard - 50) break;
    }
    const quiet = at - flow.offered[sent], way = flow.ways[flow.way[heardAt >= 0 ? heard : Math.max(left, 0)]] ?? [null, null];
    const sending = flow.ways[flow.way[Math.max(left, 0)]] ?? [null, null];
    if (quiet > SILENT) return { word: `nothing due for ${length(quiet)}`, idle: true, way };
    if (heardAt < 0) return { word: `nothing heard yet, ${length(at - flow.offered[0])} since the first packet was due`, silent: at - flow.offered[0] > SILENT, way: [sending[0], null], sending, number: flow.way[Math.max(left, 0)] };
    const since = at - heardAt, silent = since > SILENT;
    return { word: silent ? `nothing heard for ${length(since)}, though due` : `heard ${length(since)} before`, silent, way, sending, number: flow.way[heard] };
  }

  // The links from one host's interface to another's, each with its direction: the shortest way, through no other host.
  function route(nodes, wires, speaker, out, listener, into) {
    const hosts = new Set(nodes.filter((one) => one.kind === "host").map((one) => one.name));
    const first = out === null ? null : `${speaker}/${out}`, last = into === null ? null : `${listener}/${into}`;
    const queue = [[speaker, []]], seen = new Set([speaker]);
    while (queue.length) {
      const [at, path] = queue.shift();
      for (const wire of wires) {
        for (const [from, to] of [[wire.a, wire.b], [wire.b, wire.a]]) {
          const other = NetLayout.node(to);
          if (NetLayout.node(from) !== at || (path.length === 0 && first !== null && from !== first)) continue;
          const step = [...path, { wire, from, to }];
          if (other === listener) { if (last === null || to === last) return step; continue; }
          if (seen.has(other) || hosts.has(other)) continue;
          seen.add(other);
          queue.push([other, step]);
        }
      }
    }
    return [];
  }

  const during = (lane, at) => (lane.spans ?? []).filter((span) => span.from <= at && at < span.to);
  const lanes = (story, group, name, mark) => story.lanes.filter((lane) => lane.group === group && (lane.name === name || lane.name.startsWith(name + mark)));

  // The state of a peer in each of its calls.
  function calls(story, name, at) {
    return lanes(story, "state", name, ", call ").map((lane) => {
      const now = during(lane, at)[0], ended = (lane.marks ?? []).filter((mark) => mark.at <= at).at(-1);
      const call = lane.name === name ? "" : lane.name.slice(name.length + 2);
      return now ? { call, word: now.kind, since: now.from } : { call, word: ended ? ended.kind : "Idle", since: ended ? ended.at : null, idle: true };
    });
  }

  // The mappings that a NAT had: inside ↔ outside, and with whom.
  function mappings(story, name, at) {
    const found = new Map();
    for (const lane of lanes(story, "nat", name, ": ")) {
      const inside = lane.name.slice(name.length + 2);
      for (const span of during(lane, at)) found.set(`${inside} ${span.kind}`, { inside, outside: span.kind, since: span.from, detail: span.detail ?? "" });
    }
    return [...found.values()];
  }

  return { ruled, down, media, route, calls, mappings, during };
})();

// -- the panel -----------------------------------------------------------------------------------------------------------------------------

page.panel("network", "The network", (root, story, axis) => {
  if (!story.nodes.length) {
    root.append(h("p", { class: "faint" }, "No network was built in this run, or its topology.json cannot be read."));
    return;
  }
  const { LINE, HEAD, PAD, node } = NetLayout;
  const MAPPINGS = 4, CALLS = 4;
  const most = (spans, cap) => { // how many of the spans ever overlap
    const edges = spans.flatMap((span) => [[span.from, 1], [span.to, -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let now = 0, top = 0;
    for (const [, step] of edges) top = Math.max(top, now += step);
    return Math.min(top, cap);
  };
  const extra = (name) => {
    const kind = story.nodes.find((one) => one.name === name).kind;
    const calls = story.lanes.filter((lane) => lane.group === "state" && (lane.name === name || lane.name.startsWith(`${name}, call `)));
    if (kind === "host") return { lines: Math.min(calls.length, CALLS) + (calls.length > CALLS ? 1 : 0), width: calls.some((lane) => lane.name !== name) ? 165 : 112 };
    const own = story.lanes.filter((lane) => lane.group === "nat" && lane.name.startsWith(`${name}: `)), spans = own.flatMap((lane) => lane.spans ?? []);
    const lines = most(spans, MAPPINGS), longest = Math.max(0, ...own.map((lane) => lane.name.length - name.length - 2), ...spans.map((span) => span.kind.length + 2));
    return { lines: lines ? 2 * lines + 1 : 0, width: Math.min(longest, 46) * 6.1 };
  };
  const wrap = (words) => { // "delay 20ms jitter 5ms loss 1%" → lines of whole fields, as many to a line as have room
    const fields = [], lines = [];
    for (const word of words.split(" ")) {
      if (fields.length && !/^[a-z_]+$/.test(word)) fields[fields.length - 1] += ` ${word}`;
      else fields.push(word);
    }
    for (const field of fields) {
      if (lines.length && lines.at(-1).length + field.length < 20) lines[lines.length - 1] += ` ${field}`;
      else lines.push(field);
    }
    return lines.map((line) => (line.length > 30 ? `${line.slice(0, 29)}…` : line));
  };
  const wordsOf = (there, back) => (there === back ? (there === "clear" ? [] : wrap(there).map((line, n) => (n ? `   ${line}` : `⇄ ${line}`)))
    : [...wrap(there).map((line, n) => (n ? `   ${line}` : `→ ${line}`)), ...wrap(back).map((line, n) => (n ? `   ${line}` : `← ${line}`))]);
  const longest = (wire) => { // the longest words that it ever has
    const all = [];
    const moments = new Set([...wire.ruled.a_to_b, ...wire.ruled.b_to_a].map((one) => one[0]));
    for (const at of [...moments].slice(0, 200)) all.push(wordsOf(NetState.ruled(wire, "a_to_b", at).words, NetState.ruled(wire, "b_to_a", at).words));
    if (wire.downs.a.length || wire.downs.b.length) all.push(["down since 00.000 s"]);
    return all.reduce((best, one) => (Math.max(0, ...one.map((l) => l.length)) > Math.max(0, ...best.map((l) => l.length)) ? one : best), []);
  };

  const net = NetLayout.layout(story.nodes, story.wires, { extra, labels: longest });
  const svg = h("svg", { viewBox: `0 ${net.top} ${net.width} ${net.height - net.top}`, class: "net", role: "img", style: `max-width:${Math.round(net.width * 1.15)}px;min-width:${Math.round(net.width * 0.68)}px` });
  svg.append(h("title", {}, "The network at the cursor's time"));
  const scroll = h("div", { class: "net-scroll" }, svg);
  const when = h("p", { class: "net-when" }), facts = h("div", { class: "net-facts" });
  root.append(when, scroll, facts);

  const links = net.links.map((link) => {
    const base = h("path", { d: link.path(0), class: "wire" });
    const lanes = { there: h("path", { d: link.path(-3.5), class: "way" }), back: h("path", { d: link.path(3.5), class: "way" }) };
    const words = h("g", { class: "wire-words" });
    const group = h("g", { class: "net-link", "data-link": link.wire.name }, base, lanes.there, lanes.back, words);
    svg.append(group);
    return { ...link, base, lanes, words, group };
  });
  const boxes = new Map();
  for (const box of net.boxes.values()) {
    const group = h("g", { class: `net-node ${box.node.kind}`, transform: `translate(${box.x},${box.y})`, "data-node": box.node.name });
    group.append(h("rect", { width: box.w, height: box.h, rx: 5 }));
    const name = box.node.name.length > 26 ? `${box.node.name.slice(0, 25)}…` : box.node.name;
    group.append(h("text", { x: PAD, y: 16, class: "name" }, name, h("title", {}, box.node.name)));
    group.append(h("text", { x: box.w - PAD, y: 16, class: "kind", "text-anchor": "end" }, { host: "host", nat: "NAT", router: "router" }[box.node.kind]));
    box.lines.forEach((line, n) => {
      const x = line.side === "left" ? PAD : box.w - PAD;
      group.append(h("text", { x, y: HEAD + n * LINE + 9, class: line.kind, "text-anchor": line.side === "left" ? "start" : "end" }, line.text, h("title", {}, line.full)));
      if (line.kind === "port") group.append(h("circle", { cx: line.side === "left" ? 0 : box.w, cy: HEAD + n * LINE + 5, r: 3 }));
    });
    const foot = h("g", { transform: `translate(0,${box.foot})` });
    group.append(foot);
    svg.append(group);
    boxes.set(box.node.name, { ...box, group, foot });
  }

  function drawLinks(at) {
    const carrying = new Map(), told = [], ways = nameWays(story);
    for (const flow of story.flows) {
      const now = NetState.media(flow, at);
      told.push({ flow, now });
      if (now.idle || !now.way) continue;
      const steps = NetState.route(story.nodes, story.wires, flow.speaker, now.way[0], flow.listener, now.way[1]);
      for (const step of steps) carrying.set(`${step.wire.name} ${step.from}`, { silent: now.silent, colour: ways[flow.kind[now.number]]?.colour ?? "faint" });
    }
    for (const link of links) {
      const ends = { a: NetState.down(link.wire, "a", at), b: NetState.down(link.wire, "b", at) };
      const broken = ends.a ?? ends.b;
      for (const [name, from] of [["there", link.left], ["back", link.right]]) {
        const use = carrying.get(`${link.wire.name} ${from}`);
        link.lanes[name].setAttribute("class", use ? `way on ${use.colour}${use.silent ? " silent" : ""} ${name}` : "way");
      }
      const [there, back] = link.flip ? ["b_to_a", "a_to_b"] : ["a_to_b", "b_to_a"];
      const rules = [NetState.ruled(link.wire, there, at), NetState.ruled(link.wire, back, at)];
      const dark = rules.every((rule) => /\bloss 100%/.test(rule.words));
      link.base.setAttribute("class", broken ? "wire down" : dark ? "wire dark" : "wire");
      let lines = wordsOf(rules[0].words, rules[1].words);
      if (!lines.length && rules.some((rule) => rule.changed)) lines = ["⇄ clear"];
      if (broken) lines = [`✕ down since ${seconds(broken[0])} s`];
      const changed = rules.some((rule) => rule.changed);
      const { x, y } = link.label, tall = lines.length * 12;
      const top = link.below ? y + 5 : y - tall - 7;
      link.words.replaceChildren(...(lines.length ? [h("rect", { x: x - link.wide / 2, y: top, width: link.wide, height: tall + 2, class: "back" })] : []),
        ...lines.map((line, n) => h("text", { x: x - link.wide / 2 + 4, y: top + 10 + n * 12, class: broken || dark ? "down" : changed ? "changed" : "" }, line,
          h("title", {}, `${link.left} → ${link.right}: ${rules[0].words}, since ${seconds(rules[0].since)} s\n${link.right} → ${link.left}: ${rules[1].words}, since ${seconds(rules[1].since)} s`))));
    }
    return told;
  }

  function drawBoxes(at) {
    for (const [name, box] of boxes) {
      if (box.node.kind === "host") {
        const calls = NetState.calls(story, name, at), lines = calls.slice(0, CALLS);
        box.foot.replaceChildren(...lines.map((one, n) => h("text", { x: PAD, y: n * LINE + 10, class: one.idle ? "state idle" : "state" }, one.call ? `${one.call}: ${one.word}` : one.word)),
          ...(calls.length > CALLS ? [h("text", { x: PAD, y: CALLS * LINE + 10, class: "state idle" }, `and ${calls.length - CALLS} more calls`)] : []));
        continue;
      }
      const all = NetState.mappings(story, name, at), shown = all.slice(0, MAPPINGS);
      const kept = (all.length ? [`mappings now: ${all.length}${all.length > shown.length ? `, ${shown.length} shown` : ""}`] : box.h > box.foot + PAD ? ["no mapping now"] : []);
      box.foot.replaceChildren(...kept.map((text) => h("text", { x: PAD, y: 10, class: "nat" }, text)),
        ...shown.flatMap((one, n) => [
          h("text", { x: PAD, y: (2 * n + 1) * LINE + 10, class: "mapping" }, one.inside, h("title", {}, `since ${seconds(one.since)} s\n${one.detail}`)),
          h("text", { x: box.w - PAD, y: (2 * n + 2) * LINE + 10, class: "mapping outside", "text-anchor": "end" }, `⇄ ${one.outside}`, h("title", {}, `since ${seconds(one.since)} s\n${one.detail}`)),
        ]));
    }
  }

  function tell(at, media) {
    const rows = [];
    const faults = story.lanes.filter((lane) => lane.group === "fault").flatMap((lane) => NetState.during(lane, at));
    for (const fault of faults) rows.push(["fault", `${fault.text}, for ${length(at - fault.from)} so far`, "unsure"]);
    for (const wire of story.wires) {
      const downs = ["a", "b"].map((which) => [wire[which], NetState.down(wire, which, at)]).filter(([, down]) => down);
      if (downs.length) rows.push(["link down", `${downs.map(([end]) => end).join(" – ")}, since ${seconds(downs[0][1][0])} s (${length(at - downs[0][1][0])})`, "bad"]);
      for (const [direction, from, to] of [["a_to_b", wire.a, wire.b], ["b_to_a", wire.b, wire.a]]) {
        const rule = NetState.ruled(wire, direction, at);
        if (rule.changed) rows.push(["impairment", `${from} → ${to}: ${rule.words}, since ${seconds(rule.since)} s (built: ${wire.ruled[direction][0][1]})`, /\bloss 100%/.test(rule.words) ? "bad" : "unsure"]);
      }
    }
    for (const { flow, now } of media) {
      const way = now.way && now.way.some((one) => one !== null) ? ` ${now.way[0] ?? "?"} → ${now.way[1] ?? "?"}` : "";
      rows.push([flow.name, `${now.word}${now.silent ? `; sent by ${now.sending?.[0] ?? "?"}, the last heard by${way}` : way && `, by${way}`}`, now.silent ? "bad" : now.idle ? "faint" : ""]);
    }
    for (const one of story.nodes) if (one.kind === "host") for (const call of NetState.calls(story, one.name, at)) rows.push([call.call ? `${one.name}, ${call.call}` : one.name, call.since === null ? call.word : `${call.word} since ${seconds(call.since)} s`, call.idle ? "faint" : ""]);
    facts.replaceChildren(...rows.map(([what, text, kind]) => h("div", { class: `net-fact ${kind}` }, h("b", {}, what), h("span", {}, text))));
  }

  function show() {
    const at = Math.min(axis.cursor ?? axis.range[1], story.until - 1); // what goes on to the end of the run is the case at its end
    when.replaceChildren(axis.cursor === null ? `The state at ${seconds(at)} s, the end of what is shown; move over a chart for another moment.` : `The state at ${seconds(at)} s, under the cursor.`);
    const media = drawLinks(at);
    drawBoxes(at);
    tell(at, media);
  }
  axis.panel(root, { pointed: show });
});
