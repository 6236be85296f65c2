// The list of all runs: each test with its figures from run to run.  Everything shown is text that h() made; no name becomes markup.
"use strict";

const index = { sections: [], sort: "newest", words: [], notPassed: false };

const RESULTS = ["PASS", "FAIL", "ERROR", "NOT RUN", "INCONCLUSIVE"];
const stateClass = (state) => (RESULTS.includes(state) ? `result ${state.replace(" ", "-")}` : "result");
const when = (at) => at.replace("T", " ").replace("+00:00", "").replace("Z", "");
const share = (margin) => `${+margin.toFixed(Math.abs(margin) < 10 ? 1 : 0)} %`;
const marginClass = (margin) => (margin < 0 ? "missed" : margin < 10 ? "thin" : "");
const last = (list) => list[list.length - 1];

// The latest run that has the figure: -1 when none has.
const latestOf = (trail) => trail.bounds.findLastIndex((bound) => bound !== null);

const nearer = (a, b) => (a === b ? 0 : a - b); // both may be infinite
const lastMargin = (trail) => trail.margins[latestOf(trail)] ?? Infinity;

// -- what is sorted by ---------------------------------------------------------------------------------------------------------------------

function worstLatest(test) {
  const margins = test.trails.map((trail) => trail.margins[trail.margins.length - 1]).filter((margin) => margin !== null);
  return margins.length ? Math.min(...margins) : Infinity;
}
const ORDERS = {
  newest: { says: "newest first", flat: false, by: () => 0 }, // as they come
  margin: { says: "smallest margin first", flat: true, by: (a, b) => nearer(worstLatest(a), worstLatest(b)) },
  drift: { says: "drifting first", flat: true, by: (a, b) => drifts(b) - drifts(a) || nearer(worstLatest(a), worstLatest(b)) },
  name: { says: "by name", flat: false, by: (a, b) => (a.scenario + a.test < b.scenario + b.test ? -1 : 1) },
};
const drifts = (test) => test.trails.filter((trail) => trail.drift).length;

function wanted(test) {
  if (index.notPassed && last(test.runs).state === "PASS" && !drifts(test)) return false;
  const said = [test.scenario, test.test, ...test.trails.map((trail) => `${trail.name} ${trail.direction}`), ...test.runs.map((run) => `seed ${run.seed} ${run.under} ${run.state}`)];
  const text = said.join("\n").toLowerCase();
  return index.words.every((word) => text.includes(word));
}

// -- a figure from run to run --------------------------------------------------------------------------------------------------------------

const WIDE = 240, HIGH = 34, EDGE = 4;

function spark(test, trail) {
  const had = trail.bounds.map((bound, n) => n).filter((n) => trail.bounds[n] !== null);
  const values = had.map((n) => trail.values[n]).filter((value) => value !== null), bounds = had.map((n) => trail.bounds[n]);
  const most = Math.max(...bounds), top = trail.sign === "≤" && most > 0 ? 2 * most : Infinity; // what is above is drawn at the edge, as a triangle
  const high = Math.max(...bounds, ...values.map((value) => Math.min(value, top)));
  const low = trail.sign === "≤" ? Math.min(0, ...values) : Math.min(...bounds, ...values);
  const x = (n) => EDGE + (had.length < 2 ? (WIDE - 2 * EDGE) : (had.indexOf(n) / (had.length - 1)) * (WIDE - 2 * EDGE));
  const y = (value) => high === low ? HIGH / 2 : HIGH - EDGE - ((Math.min(value, high) - low) / (high - low)) * (HIGH - 2 * EDGE);
  const made = h("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${trail.name} ${trail.direction} over ${had.length} runs` });
  made.append(h("polyline", { class: "bound", points: had.length < 2 ? `0,${y(bounds[0])} ${WIDE},${y(bounds[0])}` : had.map((n) => `${x(n)},${y(trail.bounds[n])}`).join(" ") }));
  let piece = [];
  const draw = () => { if (piece.length > 1) made.append(h("polyline", { class: "values", points: piece.join(" ") })); piece = []; };
  for (const n of had) {
    if (trail.values[n] === null) draw(); // not measured: the line is broken there
    else piece.push(`${x(n)},${y(trail.values[n])}`);
  }
  draw();
  const newest = last(had);
  for (const n of had) {
    const value = trail.values[n], result = trail.results[n];
    if (result === "PASS" && n !== newest && had.length > 12) continue;
    const kind = `dot ${result}${n === newest ? " latest" : ""}`;
    if (value === null) made.append(h("text", { class: kind, x: x(n) - 3, y: HIGH / 2 + 4, "font-size": 11 }, "?"));
    else if (value > high) made.append(h("polygon", { class: kind, points: `${x(n) - 4},7 ${x(n) + 4},7 ${x(n)},0` }));
    else made.append(h("circle", { class: kind, cx: x(n), cy: y(value), r: n === newest ? 3.2 : result === "PASS" ? 1.4 : 2.4 }));
  }
  const here = h("circle", { class: "here", r: 4.5, visibility: "hidden" });
  made.append(here);
  const nearest = (event) => {
    const box = made.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * WIDE;
    return had.reduce((best, n) => (Math.abs(x(n) - at) < Math.abs(x(best) - at) ? n : best), had[0]);
  };
  made.addEventListener("pointermove", (event) => {
    const n = nearest(event), run = test.runs[n], value = trail.values[n];
    for (const [name, at] of [["cx", x(n)], ["cy", value === null ? HIGH / 2 : Math.max(EDGE, y(value))], ["visibility", "visible"]]) here.setAttribute(name, at);
    pointOut(event, [`${trail.texts[n]}${value === null ? " (not measured)" : ""}, bound ${trail.sign} ${trail.bound_texts[n]}: ${trail.results[n]}`, trail.margins[n] === null ? null : `margin ${share(trail.margins[n])} of the bound`, `seed ${run.seed}, ${when(run.at)}`, run.under]);
  });
  made.addEventListener("pointerleave", () => { here.setAttribute("visibility", "hidden"); pointOut(null); });
  made.addEventListener("click", (event) => { location.href = test.runs[nearest(event)].href; });
  return made;
}

function pointOut(event, lines) {
  const box = document.getElementById("tip");
  box.style.display = event ? "block" : "none";
  if (!event) return;
  box.textContent = lines.filter((line) => line !== null).join("\n");
  box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)}px`;
  box.style.top = `${Math.min(event.clientY + 14, innerHeight - box.offsetHeight - 8)}px`;
}

const FEW = 8;

// All figures of a small test; of a large one those that drift, did not pass or are nearest to their bounds, and the rest on demand.
function figures(test) {
  const near = new Set([...test.trails].sort((a, b) => nearer(lastMargin(a), lastMargin(b))).slice(0, FEW));
  const shown = test.trails.length <= FEW + 2 ? test.trails : test.trails.filter((trail) => near.has(trail) || trail.drift || trail.results[latestOf(trail)] !== "PASS");
  const rest = test.trails.filter((trail) => !shown.includes(trail));
  if (!rest.length) return figureTable(test, shown);
  const box = h("details", { class: "runs" }, h("summary", {}, `${rest.length} more figures, all passed and farther from their bounds`));
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(figureTable(test, rest)); });
  return h("div", {}, figureTable(test, shown), box);
}

function figureTable(test, trails) {
  const rows = trails.map((trail) => {
    const n = latestOf(trail), margin = trail.margins[n], old = n !== test.runs.length - 1;
    return h("tr", {},
      h("td", {}, trail.name, " ", h("span", { class: "faint" }, trail.direction), trail.drift ? h("div", { class: "drift" }, trail.drift) : null),
      h("td", { class: trail.drift ? "spark shrinking" : "spark" }, spark(test, trail)),
      h("td", { class: "figure" }, trail.texts[n], old ? h("span", { class: "faint", title: "the latest run does not have this figure" }, ` (${when(test.runs[n].at)})`) : null),
      h("td", { class: "figure" }, `${trail.sign} ${trail.bound_texts[n]}`),
      h("td", { class: `figure ${margin === null ? "" : marginClass(margin)}` }, margin === null ? "–" : share(margin)),
      h("td", { class: stateClass(trail.results[n]) }, trail.results[n]));
  });
  const head = h("tr", {}, h("th", {}, "figure"), h("th", {}, "oldest → newest"), h("th", { class: "figure" }, "latest"), h("th", { class: "figure" }, "bound"), h("th", { class: "figure" }, "margin"), h("th", {}, "result"));
  return h("table", { class: "figures" }, h("thead", {}, head), h("tbody", {}, rows));
}

function list(test) {
  const box = h("details", { class: "runs" }, h("summary", {}, `${test.runs.length} run${test.runs.length > 1 ? "s" : ""}`));
  const fill = () => {
    const rows = [...test.runs].reverse().map((run) => h("tr", {},
      h("td", { class: "mono" }, h("a", { href: run.href }, when(run.at))),
      h("td", { class: stateClass(run.state) }, run.state),
      h("td", {}, run.blame),
      h("td", { class: "figure" }, run.seed),
      h("td", { class: `figure ${run.worst === null ? "" : marginClass(run.worst)}`, title: run.worst_of }, run.worst === null ? "–" : share(run.worst)),
      h("td", {}, run.worst_of),
      h("td", {}, run.under),
      h("td", {}, run.reason)));
    const head = h("tr", {}, ["began (UTC)", "result", "blame", "seed", "worst margin", "of", "under", "reason"].map((word) => h("th", {}, word)));
    box.append(h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
  };
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) fill(); });
  return box;
}

function card(test, withScenario) {
  const latest = last(test.runs);
  const strip = h("span", { class: "strip" }, test.runs.slice(-60).map((run) => h("a", { class: stateClass(run.state), href: run.href, title: `${when(run.at)}, seed ${run.seed}: ${run.state}${run.reason ? `\n${run.reason}` : ""}` })));
  return h("section", { class: "test" },
    h("header", {},
      h("span", { class: stateClass(latest.state) }, latest.state),
      latest.blame ? h("span", {}, `(${latest.blame})`) : null,
      h("a", { class: "name", href: latest.href }, withScenario ? `${test.scenario}: ${test.test}` : test.test),
      strip,
      latest.worst === null ? null : h("span", { class: marginClass(latest.worst) }, `worst margin ${share(latest.worst)} of the bound, ${latest.worst_of}`),
      h("span", { class: "when faint" }, when(latest.at), ` seed ${latest.seed}`)),
    latest.reason ? h("div", {}, `– ${latest.reason}`) : null,
    test.trails.length ? figures(test) : null,
    list(test));
}

// -- the page ------------------------------------------------------------------------------------------------------------------------------

function fill(box, tests) {
  const order = ORDERS[index.sort];
  const shown = tests.filter(wanted).sort(order.by);
  const groups = order.flat ? [["", shown]] : [...Map.groupBy(shown, (test) => test.scenario)];
  box.replaceChildren(...groups.flatMap(([scenario, group]) => [scenario ? h("h3", {}, scenario) : null, ...group.map((test) => card(test, order.flat))]).filter(Boolean));
  if (!shown.length) box.append(h("p", { class: "faint" }, "nothing here is as you want it"));
}

function show() {
  for (const section of index.sections) if (section.box.open ?? true) fill(section.body, section.tests);
}

async function openIndex() {
  index.sections = await inflate("index");
  const main = document.getElementById("runs");
  const search = h("input", { type: "search", placeholder: "filter: scenario, figure, seed 7, FAIL …", "aria-label": "filter" });
  const sort = h("select", { "aria-label": "order" }, Object.entries(ORDERS).map(([name, order]) => h("option", { value: name }, order.says)));
  const notPassed = h("input", { type: "checkbox" });
  main.append(h("div", { id: "controls" }, search, sort, h("label", {}, notPassed, " only what did not pass last, or drifts")), h("div", { id: "tip" }));
  search.addEventListener("input", () => { index.words = search.value.toLowerCase().split(/\s+/).filter(Boolean); show(); });
  sort.addEventListener("change", () => { index.sort = sort.value; show(); });
  notPassed.addEventListener("change", () => { index.notPassed = notPassed.checked; show(); });
  for (const section of index.sections) {
    section.body = h("div", {});
    section.box = section.name === "" ? h("section", {}, section.body) : h("details", { class: "section" }, h("summary", {}, `${section.name} (${section.tests.reduce((sum, test) => sum + test.runs.length, 0)} runs)`), section.body);
    section.box.addEventListener("toggle", () => { if (section.box.open) fill(section.body, section.tests); });
    main.append(section.box);
  }
  if (!index.sections.length) main.append(h("p", {}, "there is no run here yet"));
  show();
  document.documentElement.dataset.ready = "yes";
}

document.addEventListener("DOMContentLoaded", openIndex);
