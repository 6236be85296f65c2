// What was asked of the network, who built it, and what it was measured to be before any call.
"use strict";

page.panel("measured", "What was asked of the network, and what was measured", (root, story) => {
  const probe = (story.report.probe ?? []).find((one) => one && typeof one === "object" && one.links);
  if (!probe) {
    root.append(h("p", { class: "faint" }, "The network was not measured in this run."));
    return;
  }
  const built = story.lines.find((line) => line.kind === "built");
  if (built) root.append(h("p", {}, built.text));
  const ms = (ns) => (typeof ns === "number" ? (ns / 1e6).toFixed(3) : "–");
  const words = (plain) => Object.entries(plain ?? {}).map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "object" && value !== null ? JSON.stringify(value) : value}`).join(", ") || "nothing";
  const table = (heads, rows) => h("table", { class: "measured" }, h("thead", {}, h("tr", {}, heads.map((text) => h("th", text.startsWith("#") ? { class: "figure" } : {}, text.replace("#", ""))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, n) => h("td", heads[n].startsWith("#") ? { class: "figure" } : {}, cell))))));

  const links = [];
  for (const [name, link] of Object.entries(probe.links)) {
    const wire = story.wires.find((one) => one.name === name);
    for (const direction of Object.keys(link.asked ?? {})) {
      const found = link.measured?.[direction] ?? {}, { executor, ...made } = link.built?.[direction] ?? {};
      const way = wire ? (direction === "a_to_b" ? `${wire.a} → ${wire.b}` : `${wire.b} → ${wire.a}`) : `${name} ${direction}`;
      const lost = typeof found.sent === "number" && typeof found.arrived === "number" ? `${found.sent - found.arrived} of ${found.sent}` : "–";
      links.push([way, words(link.asked[direction]), `${executor ?? "?"}: ${words(made)}`, `${ms(found.least_delay_ns)} / ${ms(found.median_delay_ns)} / ${ms(found.most_delay_ns)}`, lost,
        typeof found.rate_bps === "number" ? `${(found.rate_bps / 1e6).toFixed(2)} Mbit/s` : "–", found.passed_bytes ? `${found.passed_bytes} bytes pass` : "–"]);
    }
  }
  root.append(table(["direction", "asked", "built by", "#delay, ms: least / median / most", "#lost", "#rate", "#largest packet"], links));

  const nats = Object.entries(probe.nats ?? {}).map(([name, nat]) => {
    const { asked = {}, ...found } = nat, differs = Object.keys(asked).filter((field) => JSON.stringify(asked[field]) !== JSON.stringify(found[field]));
    return [name, words(asked), differs.length ? h("span", { class: "FAIL" }, differs.map((field) => `${field.replaceAll("_", " ")} ${found[field] ?? "not measured"}`).join(", ")) : "as asked", `${found.from ?? "?"} is seen at ${(found.addresses ?? []).join(", ") || "?"}`];
  });
  if (nats.length) root.append(table(["NAT", "asked", "measured", "outside"], nats));
  const reach = (probe.reach ?? []).map((one) => [`${one.from} → ${one.to}`, `${one.ip} port ${one.port}`, h("span", { class: one.reached ? "" : "FAIL" }, one.reached ? "reached" : "NOT reached")]);
  if (reach.length) root.append(table(["who to whom", "by", "probe"], reach));
  for (const text of probe.differs ?? []) root.append(h("p", { class: "notice" }, `differs: ${text}`));
});
