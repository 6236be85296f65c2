// The ways that packets took, with one colour each: "wifi → eth" from Alice and "eth → wifi" from Bob are the same way.
"use strict";

const WAY_COLOURS = 6;

// Sets flow.kind: for each of flow.ways its number among story.wayNames.  A lost packet's listener's interface is not known; where its speaker's
// interface leads one way only, that is the way it was lost on.
function nameWays(story) {
  if (story.wayNames) return story.wayNames;
  const order = new Map(story.peers.map((peer, n) => [peer, n]));
  const pairs = new Set(story.flows.map((flow) => [flow.speaker, flow.listener].sort().join("\n")));
  const found = new Map();
  for (const flow of story.flows) {
    const used = new Set();
    for (let n = 0; n < flow.count; n++) if (flow.left[n] >= 0 || flow.came[n] >= 0) used.add(flow.way[n]);
    flow.kind = flow.ways.map((way, number) => {
      if (!used.has(number)) return -1;
      const [mine, theirs] = whole(way, flow.ways);
      const forth = (order.get(flow.speaker) ?? 99) <= (order.get(flow.listener) ?? 99);
      const [first, other] = forth ? [mine, theirs] : [theirs, mine];
      const key = JSON.stringify([first, other]);
      if (!found.has(key)) {
        const [here, there] = forth ? [flow.speaker, flow.listener] : [flow.listener, flow.speaker];
        const name = pairs.size === 1 ? `${here} ${first ?? "?"} ↔ ${there} ${other ?? "?"}` : `${first ?? "?"} ↔ ${other ?? "?"}`;
        const known = first !== null && other !== null, colours = [...found.values()].filter((one) => one.known).length;
        found.set(key, { number: found.size, name: known ? name : `${name} (lost, and not known where)`, known, colour: known ? `way${colours % WAY_COLOURS}` : "faint" });
      }
      return found.get(key).number;
    });
  }
  return story.wayNames = [...found.values()];
}
function whole(way, ways) {
  for (const known of [0, 1]) {
    if (way[known] === null || way[1 - known] !== null) continue;
    const like = ways.filter((one) => one[known] === way[known] && one[1 - known] !== null);
    if (like.length === 1) return like[0];
  }
  return way;
}
const wayText = ([mine, theirs]) => `${mine ?? "?"} → ${theirs ?? "?"}`;

// Every direction that was spoken in, with its flows: [{name, flows}].
function directions(story) {
  const found = new Map();
  for (const flow of story.flows) {
    const name = `${flow.speaker} → ${flow.listener}`, key = `${flow.call}\n${name}`;
    if (!found.has(key)) found.set(key, { name, key, flows: [] });
    found.get(key).flows.push(flow);
  }
  return [...found.values()];
}
// "call 2" where the same two peers called each other more than once; the words above the charts (account.which_call) say the same.
function callName(story, flow) {
  const calls = [...new Set(story.flows.filter((one) => [one.speaker, one.listener].sort().join() === [flow.speaker, flow.listener].sort().join()).map((one) => one.call))];
  return calls.length > 1 ? `call ${calls.indexOf(flow.call) + 1}` : "";
}
