// What was under way and how much came: packets in flight by way, bitrates, and what the QUIC stacks knew of it.
"use strict";

const WINDOW = 500000; // µs over which a bitrate is taken, at least
const EVEN = 100000; // µs: over whole ones of these a steady source has a steady rate, since they hold 5 packets of audio and 3 pictures

page.panel("flight", "Packets in flight, by way", (root, story, axis) => {
  const ways = nameWays(story), sides = directions(story);
  if (!sides.length) return;
  root.append(h("p", { class: "faint lead" }, "Sent and not yet come; a lost one counts until it would be late."), legend(ways.map((way) => ["line", way.colour, way.name])));
  sides.forEach((side, number) => flightRow(root, axis, story, side, `flight-${number}`, ways));
});

page.panel("bitrate", "Bitrate", (root, story, axis) => {
  if (!story.flows.length) return;
  root.append(h("p", { class: "faint lead" }, "RTP bytes over the last 500 ms; over a pixel where that is longer, rounded up to tenths of a second."), legend([["dashed", "ink", "due (what was never made counts 0)"], ["line", "late", "sent"], ["line", "accent", "received"]]));
  story.flows.forEach((flow, number) => bitrateRow(root, axis, story, flow, `bitrate-${number}`));
});

page.panel("quic", "QUIC, from qlog", (root, story, axis) => {
  if (!story.connections.length) return;
  root.append(legend([["dot", "accent", "latest RTT"], ["line", "ink", "smoothed RTT"], ["line", "way2", "congestion window"], ["line", "way3", "bytes in flight"], ["cross", "bad", "declared lost"]]));
  const several = new Set(story.connections.map((one) => one.odcid)).size > 1;
  story.connections.forEach((one, number) => {
    const name = `${one.peer} (${one.role})`, id = several ? one.odcid.slice(0, 8) : "";
    rttRow(root, axis, one, `rtt-${number}`, name, id);
    windowRow(root, axis, one, `cwnd-${number}`, name, id);
  });
});

const once = (make) => { let made; return () => made ??= make(); };
const sorted = (values) => Float64Array.from(values).sort();

// A step function: values[n] holds from times[n] on.  Of every block of them the least and the most are known beforehand.
class Steps {
  constructor(times, values) {
    this.times = times;
    this.values = values;
    this.least = [];
    this.most = [];
    for (let n = 0; n < values.length; n += Steps.BLOCK) {
      let low = NaN, high = NaN;
      for (let each = n; each < Math.min(n + Steps.BLOCK, values.length); each++) {
        if (!(low <= values[each])) low = values[each];
        if (!(high >= values[each])) high = values[each];
      }
      this.least.push(low);
      this.most.push(high);
    }
  }
  at(moment) { const n = upper(this.times, moment); return n > 0 ? this.values[n - 1] : NaN; }
  // The least and the most of values[from] to values[to], that one left out, and of what held before.
  extremes(from, to, before) {
    let low = before, high = before;
    for (let n = from; n < to;) {
      const whole = n % Steps.BLOCK === 0 && n + Steps.BLOCK <= to, block = n / Steps.BLOCK;
      const least = whole ? this.least[block] : this.values[n], most = whole ? this.most[block] : this.values[n];
      if (!(low <= least)) low = least;
      if (!(high >= most)) high = most;
      n += whole ? Steps.BLOCK : 1;
    }
    return [low, high];
  }
  highest(from, to) { return this.extremes(Math.max(0, upper(this.times, from) - 1), upper(this.times, to), 0)[1]; }
  // What it was at every px: the least and the most that it took there, and the last.
  columns({ range: [from, to], width }) {
    const wide = Math.ceil(width), least = new Float64Array(wide), most = new Float64Array(wide), last = new Float64Array(wide);
    let n = upper(this.times, from), value = n > 0 ? this.values[n - 1] : NaN;
    for (let column = 0; column < wide; column++) {
      const end = onwards(this.times, from + ((column + 1) / width) * (to - from), n);
      [least[column], most[column]] = this.extremes(n, end, value);
      if (end > n) value = this.values[end - 1];
      last[column] = value;
      n = end;
    }
    return { least, most, last };
  }
}
Steps.BLOCK = 32;

// As upper, from where the last search ended: the next moment is seldom far.
function onwards(values, value, from) {
  let step = 1, to = from;
  while (to < values.length && values[to] <= value) { to += step; step *= 2; }
  return upper(values, value, from, Math.min(to, values.length));
}

// That as a line of `wide` px: up and down within a px, and on to the next one; broken where there is no value.  It is made of rectangles: a
// path that goes up and down a thousand times takes the browser ten times as long.  `dash`: px on, px off.
function drawSteps(pen, { left, zero, slope }, { least, most, last }, wide = 1, dash = null) {
  let before = NaN;
  for (let column = 0; column < last.length;) {
    if (Number.isNaN(most[column])) { before = NaN; column++; continue; }
    const value = last[column], start = column;
    const high = Number.isNaN(before) ? most[column] : Math.max(most[column], before), low = Number.isNaN(before) ? least[column] : Math.min(least[column], before);
    column++;
    if (high === low) while (column < last.length && most[column] === value && least[column] === value) column++; // as long as it stays
    before = value;
    const top = zero + slope * high - wide / 2, tall = slope * (low - high) + wide;
    if (dash === null) pen.fillRect(left + start, top, column - start, tall);
    else for (let each = start; each < column; each++) if (each % (dash[0] + dash[1]) < dash[0]) pen.fillRect(left + each, top, 1, tall);
  }
}
const steady = (values) => ({ least: values, most: values, last: values });

// The ground under a line, filled.
function fillUnder(pen, { left, zero, slope }, values) {
  pen.globalAlpha = 0.16;
  for (let column = 0; column < values.length;) {
    const start = column, value = values[column];
    while (column < values.length && values[column] === value) column++;
    if (value > 0) pen.fillRect(left + start, zero + slope * value, column - start, -slope * value);
  }
  pen.globalAlpha = 1;
}

const roundTop = (high, least) => { const step = roundStep(Math.max(high, least), 3); return Math.ceil(Math.max(high, least) / step - 1e-9) * step; };

// -- in flight -----------------------------------------------------------------------------------------------------------------------------

// How many packets of these flows were under way on way `kind` from each moment on.
function flying(flows, kind) {
  const starts = [], ends = [];
  for (const flow of flows) {
    const { offered, left, came, way } = flow, patience = flow.limits.length ? flow.limits[0][1] : 200000;
    for (let n = 0; n < flow.count; n++) {
      if (left[n] < 0 || flow.kind[way[n]] !== kind) continue;
      starts.push(offered[n] + left[n]);
      ends.push(Math.max(offered[n] + left[n], offered[n] + (came[n] < 0 ? patience : came[n])));
    }
  }
  const up = sorted(starts), down = sorted(ends), times = new Float64Array(up.length * 2), values = new Float64Array(up.length * 2);
  for (let n = 0, i = 0, j = 0; n < times.length; n++) {
    if (i < up.length && up[i] <= down[j]) times[n] = up[i++]; else times[n] = down[j++];
    values[n] = i - j;
  }
  return new Steps(times, values);
}

function flightRow(root, axis, story, side, id, ways) {
  const kinds = ways.filter((way) => side.flows.some((flow) => flow.kind.includes(way.number)));
  const counts = once(() => kinds.map((way) => ({ way, steps: flying(side.flows, way.number) })));
  new Row(root, axis, {
    id, name: side.name, under: ["packets", callName(story, side.flows[0])].filter(Boolean).join(", "), height: 70, head: 6,
    y: ([from, to]) => [0, roundTop(Math.max(...counts().map((one) => one.steps.highest(from, to)), 0), 3)],
    unit: (value) => (Number.isInteger(value) ? String(value) : ""),
    paint(pen, view) {
      view.log.ways = [];
      for (const { way, steps } of counts()) {
        const columns = steps.columns(view);
        for (const values of Object.values(columns)) values.forEach((value, column) => { if (Number.isNaN(value)) values[column] = 0; });
        pen.fillStyle = charts.colour(way.colour);
        fillUnder(pen, view, columns.most);
        drawSteps(pen, view, columns);
        view.log.ways.push({ name: way.name, most: steps.highest(...view.range) });
      }
    },
    read: (moment) => counts().map(({ way, steps }) => [way.name, steps.at(moment)]).filter(([, count]) => count > 0).map(([name, count]) => `${name}: ${count}`).join(" · ") || "none",
  });
}

// -- bitrates ------------------------------------------------------------------------------------------------------------------------------

// Bytes by their moments: sorted times and the sum of all bytes before each.
function summed(times, sizes) {
  const order = Array.from(times.keys()).sort((one, other) => times[one] - times[other]);
  const at = new Float64Array(order.length), sum = new Float64Array(order.length + 1);
  order.forEach((from, n) => { at[n] = times[from]; sum[n + 1] = sum[n] + sizes[from]; });
  return { at, sum };
}
function picked(flow, wanted, moment) {
  const times = [], sizes = [];
  for (let n = 0; n < flow.count; n++) if (wanted(n)) { times.push(moment(n)); sizes.push(flow.size[n]); }
  return summed(times, sizes);
}
const rate = ({ at, sum }, until, span) => ((sum[upper(at, until)] - sum[upper(at, until - span)]) * 8000) / span; // kbit/s

function bitrateRow(root, axis, story, flow, id) {
  const { offered, left, came } = flow;
  const all = once(() => [
    picked(flow, () => true, (n) => offered[n]), picked(flow, (n) => left[n] >= 0, (n) => offered[n] + left[n]), picked(flow, (n) => came[n] >= 0, (n) => offered[n] + came[n]),
  ]);
  const curve = (series, { range: [from, to], width }) => {
    const values = new Float64Array(Math.ceil(width)), span = Math.max(WINDOW, Math.ceil((to - from) / width / EVEN) * EVEN);
    const { at, sum } = series;
    let last = upper(at, from), first = upper(at, from - span);
    for (let column = 0; column < values.length; column++) {
      const until = from + ((column + 1) / width) * (to - from);
      last = onwards(at, until, last);
      first = onwards(at, until - span, first);
      values[column] = ((sum[last] - sum[first]) * 8000) / span;
    }
    return values;
  };
  let curves = null;
  new Row(root, axis, {
    id, name: `${flow.speaker} → ${flow.listener}`, under: [flow.flow, callName(story, flow), "kbit/s"].filter(Boolean).join(", "), height: 70, head: 6,
    y(range) {
      curves = all().map((series) => curve(series, { range, width: rowWidth(axis, root) }));
      return [0, roundTop(curves.reduce((most, values) => values.reduce((one, other) => Math.max(one, other), most), 0), 10)];
    },
    unit: (value) => String(Math.round(value)),
    paint(pen, view) {
      const [given, sent, received] = curves;
      view.log.offered = given;
      pen.fillStyle = charts.colour("accent");
      fillUnder(pen, view, received);
      for (const [values, colour, wide, dash] of [[received, "accent", 1.5, null], [sent, "late", 1, null], [given, "ink", 1, [4, 3]]]) {
        pen.fillStyle = charts.colour(colour);
        drawSteps(pen, view, steady(values), wide, dash);
      }
    },
    read: (moment) => { const [given, sent, received] = all().map((series) => Math.round(rate(series, moment, WINDOW))); return `due ${given}, sent ${sent}, received ${received} kbit/s`; },
  });
}
const rowWidth = (axis, root) => Math.max(50, root.clientWidth - axis.gutter - axis.margin);

// -- QUIC ----------------------------------------------------------------------------------------------------------------------------------

function rttRow(root, axis, one, id, name, under) {
  const latest = new Steps(one.rtt_at, one.rtt), smoothed = new Steps(one.rtt_at, one.smoothed.map((value) => (value < 0 ? NaN : value)));
  new Row(root, axis, {
    id, name, under: ["RTT, ms", under].filter(Boolean).join(" "), height: 68, head: 6, unit: (value) => String(+(value / 1000).toFixed(1)),
    y: ([from, to]) => [0, roundTop(Math.max(latest.highest(from, to), smoothed.highest(from, to)), 10000)],
    paint(pen, view) {
      const { range: [from, to], left, x, y } = view;
      const first = lower(one.rtt_at, from), end = upper(one.rtt_at, to);
      if (end - first > 2 * view.width) {
        const columns = new Columns(1, Math.ceil(view.width) + 1);
        for (let n = first; n < end; n++) if (one.rtt[n] >= 0) columns.add(0, Math.floor(x(one.rtt_at[n]) - left), y(one.rtt[n]));
        columns.paint(pen, left, [charts.colour("accent")], 2);
      } else for (let n = first; n < end; n++) if (one.rtt[n] >= 0) shape(pen, "square", x(one.rtt_at[n]), y(one.rtt[n]), 1.3, charts.colour("accent"));
      pen.fillStyle = charts.colour("ink");
      drawSteps(pen, view, smoothed.columns(view));
    },
    read: (moment) => (latest.at(moment) >= 0 ? `latest ${length(latest.at(moment))}, smoothed ${length(smoothed.at(moment))}` : "no sample yet"),
  });
}

function windowRow(root, axis, one, id, name, under) {
  const granted = new Steps(one.cwnd_at, one.cwnd), flight = new Steps(one.in_flight_at, one.in_flight);
  const kilobytes = (value) => (Number.isNaN(value) ? "?" : `${+(value / 1000).toFixed(1)} kB`);
  new Row(root, axis, {
    id, name, under: ["cwnd, kB", under].filter(Boolean).join(" "), height: 68, head: 12, unit: (value) => String(+(value / 1000).toFixed(1)),
    y: ([from, to]) => [0, roundTop(Math.max(granted.highest(from, to), flight.highest(from, to)), 3000)],
    paint(pen, view) {
      const { range: [from, to], x, top, log } = view;
      pen.fillStyle = charts.colour("way3");
      drawSteps(pen, view, flight.columns(view));
      pen.fillStyle = charts.colour("way2");
      drawSteps(pen, view, granted.columns(view), 1.6);
      const lost = [...one.lost_at.slice(lower(one.lost_at, from), upper(one.lost_at, to))];
      log.lost = lost.length;
      log.lostAt = scatter(pen, "cross", lost.map((moment) => [x(moment), 0]), top + 6, charts.colour("bad"));
    },
    look: (px, py, view) => {
      const near = [...one.lost_at].filter((moment) => Math.abs(view.x(moment) - px) < 5);
      return near.length ? [`${near.length} packet${near.length > 1 ? "s" : ""} declared lost by ${one.peer}, at ${seconds(near[0])} s`] : null;
    },
    read: (moment) => `window ${kilobytes(granted.at(moment))}, in flight ${kilobytes(flight.at(moment))}`,
  });
}
