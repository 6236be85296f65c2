// What all sources said, on one clock: only the lines in sight are elements, so that ten thousand scroll as easily as ten.
"use strict";

page.panel("logs", "Logs of all sources on one clock", (root, story, axis) => {
  const ROW = 18, SPARE = 20;
  for (const note of story.notes?.lines ?? []) root.append(h("p", { class: "notice" }, note));
  const lines = story.lines.map((line, n) => ({ ...line, n, low: `${line.source} ${line.kind} ${line.text}`.toLowerCase() }));
  if (!lines.length) {
    root.append(h("p", { class: "faint" }, "Nothing was logged."));
    return;
  }
  const timed = lines.filter((line) => line.at !== null).sort((a, b) => a.at - b.at || a.n - b.n), untimed = lines.filter((line) => line.at === null);
  const sources = [...new Set(lines.map((line) => line.source))], hidden = new Set();
  const tools = h("div", { class: "scene-tools" }), search = h("input", { type: "search", placeholder: "words in it", "aria-label": "show only lines with these words" });
  tools.append(search);
  for (const source of sources) {
    const box = h("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => { if (box.checked) hidden.delete(source); else hidden.add(source); filter(); });
    tools.append(h("label", {}, box, ` ${source.length > 30 ? `${source.slice(0, 29)}…` : source}`));
  }
  const count = h("span", { class: "faint" });
  tools.append(count);
  const rows = h("div", { class: "log-rows" }), scroll = h("div", { class: "log-scroll", tabindex: 0 }, rows);
  const whole = h("pre", { class: "log-whole" }, "Click a line: all of it, and the cursor goes to its time.");
  root.append(tools, scroll, whole);

  let shown = [], near = -1, drawn = [-1, -1];
  const elements = new Map(); // of the lines that are drawn, by their place

  function filter() {
    const [from, to] = axis.range, words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = (line) => !hidden.has(line.source) && words.every((word) => line.low.includes(word));
    const all = axis.range[0] <= axis.full[0] && axis.range[1] >= axis.full[1]; // then also what lies outside, such as the end of it
    shown = [...timed.filter((line) => (all || (line.at >= from && line.at <= to)) && wanted(line)), ...untimed.filter(wanted)];
    rows.style.height = `${shown.length * ROW}px`;
    count.replaceChildren(`${shown.length} of ${lines.length} lines`);
    drawn = [-1, -1];
    near = -1;
    draw();
    mark();
  }

  function draw() {
    const first = Math.max(0, Math.floor(scroll.scrollTop / ROW) - SPARE), last = Math.min(shown.length, Math.ceil((scroll.scrollTop + (scroll.clientHeight || 380)) / ROW) + SPARE);
    if (drawn[0] === first && drawn[1] === last) return;
    drawn = [first, last];
    elements.clear();
    shown.slice(first, last).forEach((line, n) => elements.set(first + n, row(line, first + n)));
    rows.replaceChildren(...elements.values());
  }

  function row(line, place) {
    const bad = /\b(error|failed|refused|NOT SEEN|FAIL|Traceback)\b/.test(line.text) ? " bad" : "";
    const made = h("div", { class: `log-row${["fault", "receipt", "verdict"].includes(line.kind) ? ` ${line.kind}` : ""}${bad}${place === near ? " now" : ""}`, style: `top:${place * ROW}px` },
      h("span", { class: "time" }, line.at === null ? "time unknown" : seconds(line.at)), h("span", { class: "source" }, line.source),
      h("span", { class: "kind" }, line.kind), h("span", { class: "text" }, line.text.length > 400 ? `${line.text.slice(0, 399)}…` : line.text.replaceAll("\n", " ⏎ ")));
    made.addEventListener("click", () => {
      whole.replaceChildren(`${line.at === null ? "time unknown" : `${seconds(line.at)} s`}  ${line.source}  ${line.kind}\n${line.text}`);
      if (line.at !== null) axis.setCursor(Math.max(0, line.at));
    });
    return made;
  }

  // The last line that is not after the cursor.
  function mark() {
    const { cursor } = axis;
    let low = 0, high = shown.length - untimed.length;
    while (high > 0 && shown[high - 1].at === null) high--;
    while (low < high) { const mid = (low + high) >> 1; if (shown[mid].at <= cursor) low = mid + 1; else high = mid; }
    const next = cursor === null ? -1 : low - 1;
    if (next === near) return;
    elements.get(near)?.classList.remove("now");
    near = next;
    if (near >= 0 && !scroll.matches(":hover")) { // it follows the cursor, unless one is reading in it
      const y = near * ROW;
      if (y < scroll.scrollTop || y > scroll.scrollTop + scroll.clientHeight - ROW) scroll.scrollTop = y - scroll.clientHeight / 2;
    }
    draw();
    elements.get(near)?.classList.add("now");
  }

  search.addEventListener("input", filter);
  scroll.addEventListener("scroll", draw, { passive: true });
  axis.panel(root, { ranged: filter, pointed: mark });
});
