// What it was worth to the listener: voice by the second, and pictures that stood still.
"use strict";

page.panel("quality", "Voice and picture", (root, story, axis) => {
  const voices = story.flows.filter((flow) => flow.seconds.length), films = story.flows.filter((flow) => flow.flow !== "audio");
  if (!voices.length && !films.length) return;
  const codecs = [...new Set(voices.map((flow) => flow.codec))].filter(Boolean).join(", ");
  if (voices.length) root.append(h("p", { class: "faint lead" }, `Mean opinion score of each second of audio, by the E-model for ${codecs || "an unnamed codec"}: from 1 (bad) to 4.5 (excellent); not a verdict.`));
  root.append(legend([
    ...(voices.length ? [["box", "good", "4 and above"], ["box", "unsure", "3 to 4"], ["box", "bad", "below 3"], ["down", "bad", "worst second"]] : []),
    ...(films.length ? [["square", "frozen", "picture frozen"], ["box", "frozen", "no new picture for 100 ms or more"]] : []),
  ]));
  story.flows.forEach((flow, number) => { if (flow.seconds.length) scoreRow(root, axis, story, flow, `mos-${number}`); if (flow.flow !== "audio") pictureRow(root, axis, story, flow, `picture-${number}`); });
});

const band = (mos) => (mos >= 4 ? "good" : mos >= 3 ? "unsure" : "bad");

function scoreRow(root, axis, story, flow, id) {
  const worst = flow.seconds.reduce((one, other) => (other.mos < one.mos ? other : one));
  const starts = Float64Array.from(flow.seconds, (one) => one.from);
  const find = (at) => { const one = flow.seconds[upper(starts, at) - 1]; return one && at < one.to ? one : null; };
  const words = (one) => [`MOS ${one.mos.toFixed(2)} (R ${one.r.toFixed(1)})${one === worst ? ", the worst second" : ""}`, `${seconds(one.from)} s to ${seconds(one.to)} s`, `${one.unheard} of ${one.offered} packets not heard`];
  new Row(root, axis, {
    id, name: `${flow.speaker} → ${flow.listener}`, under: [flow.flow, callName(story, flow), "MOS"].filter(Boolean).join(", "), height: 66, head: 15, y: () => [1, 4.5], unit: (value) => String(value), splits: [1, 2, 3, 4],
    paint(pen, view) {
      const { range: [from, to], x, y, left, width, log } = view, base = y(1);
      log.seconds = 0;
      for (let n = Math.max(0, upper(starts, from) - 1); n < flow.seconds.length && starts[n] <= to; n++) {
        const one = flow.seconds[n], start = x(one.from), wide = Math.max(1, x(one.to) - start - (x(one.to) - start > 4 ? 1 : 0));
        pen.fillStyle = charts.colour(band(one.mos));
        pen.globalAlpha = 0.12; // a second of MOS 1 has no height, and is the last that may be overlooked
        if (band(one.mos) === "bad") pen.fillRect(start, y(4.5), wide, base - y(4.5));
        pen.globalAlpha = 0.3;
        pen.fillRect(start, y(one.mos), wide, base - y(one.mos));
        pen.globalAlpha = 1;
        pen.fillRect(start, y(one.mos) - 1, wide, 2);
        log.seconds++;
      }
      if (worst.to >= from && worst.from <= to) {
        const middle = Math.max(left + 5, Math.min(left + width - 5, x((worst.from + worst.to) / 2)));
        shape(pen, "down", middle, y(worst.mos) - 7, 4, charts.colour("bad"));
        const text = `worst ${worst.mos.toFixed(2)}`, room = pen.measureText(text).width;
        plate(pen, text, middle + 8 + room > left + width ? middle - 8 - room / 2 : middle + 8 + room / 2, y(worst.mos) - 8, charts.colour(band(worst.mos)));
        log.worst = { mos: worst.mos, x: middle };
      }
    },
    read: (at) => { const one = find(at); return one ? `MOS ${one.mos.toFixed(2)}, ${one.unheard} of ${one.offered} not heard` : ""; },
    look: (px, py, view) => { const one = find((px - view.left) / view.per + view.range[0]); return one && px >= view.left ? words(one) : null; },
  });
}

function pictureRow(root, axis, story, flow, id) {
  const inside = (one, at) => one[0] <= at && at <= one[1];
  new Row(root, axis, {
    id, name: `${flow.speaker} → ${flow.listener}`, under: [flow.flow, callName(story, flow), "picture"].filter(Boolean).join(", "), height: 34,
    paint(pen, view) {
      const { range: [from, to], x, left, width, log } = view;
      Object.assign(log, { frozen: [], standstills: [] });
      const span = (one, top, height, alpha, list) => {
        if (one[1] < from || one[0] > to) return;
        const start = x(one[0]), wide = Math.max(1.5, x(one[1]) - start);
        pen.globalAlpha = alpha;
        pen.fillRect(start, top, wide, height);
        pen.globalAlpha = 1;
        list.push({ from: one[0], to: one[1], x0: start, x1: x(one[1]) });
      };
      pen.fillStyle = charts.colour("good");
      span([flow.opened, flow.closed], 8, 2, 0.5, []);
      pen.fillStyle = charts.colour("frozen");
      for (const one of flow.standstills) span(one, 4, 12, 0.3, log.standstills);
      for (const one of flow.frozen) span(one, 4, 12, 1, log.frozen);
      let until = -1e9;
      for (const one of log.frozen.length ? log.frozen : log.standstills) {
        const text = `${log.frozen.length ? "frozen" : "still"} ${length(one.to - one.from)}`, room = pen.measureText(text).width;
        const at = Math.max(left + room / 2, Math.min(left + width - room / 2, (Math.max(left, one.x0) + Math.min(left + width, one.x1)) / 2));
        if (at - room / 2 < until + 8) continue;
        until = at + room / 2;
        plate(pen, text, at, 25, charts.colour("frozen"));
      }
    },
    read: (at) => {
      const one = flow.frozen.find((each) => inside(each, at)) ?? flow.standstills.find((each) => inside(each, at));
      return one ? `no new picture for ${length(one[1] - one[0])}${flow.frozen.some((each) => inside(each, at)) ? ", frozen" : ""}` : "";
    },
    look(px, py, view) {
      const at = (px - view.left) / view.per + view.range[0], slack = 2 / view.per;
      const near = (one) => one[0] - slack <= at && at <= one[1] + slack;
      return [...flow.frozen.filter(near).map((one) => `frozen for ${length(one[1] - one[0])}: ${seconds(one[0])} s to ${seconds(one[1])} s`), ...flow.standstills.filter(near).map((one) => `no new picture for ${length(one[1] - one[0])}: ${seconds(one[0])} s to ${seconds(one[1])} s`)];
    },
  });
}
