// What was heard and seen: the sound moves the page's cursor while it plays, and a click on its picture plays from there.
"use strict";

page.panel("sounds", "", (root, story, axis) => {
  const notes = story.notes?.sounds ?? [];
  if (!story.sounds.length && !notes.length) return;
  root.append(h("h2", {}, "What was heard and seen"));
  for (const note of notes) root.append(h("p", { class: "notice" }, note));
  const safe = (address, kind) => (address.startsWith(`data:${kind}/`) ? address : null); // nothing but what is in this file
  for (const sound of story.sounds) {
    const name = `${sound.listener} ${sound.flow === "audio" ? "heard" : "saw"} ${sound.speaker}, ${sound.flow}`;
    const bad = (sound.concealed ?? []).reduce((sum, [from, to]) => sum + to - from, 0);
    const box = h("figure", { class: "sound" }, h("figcaption", {}, h("b", {}, name), ` from ${seconds(sound.since)} s, ${length(sound.length)}`,
      bad ? ` · ${length(bad)} ${sound.flow === "audio" ? "not heard as sent (concealed or silent)" : "stood still"}, in ${sound.concealed.length} stretches` : ""));
    const source = safe(sound.film ?? "", "video") ?? safe(sound.audio ?? "", "audio");
    const player = source === null ? null : h(source.startsWith("data:video") ? "video" : "audio", { controls: true, preload: "metadata", src: source });
    const picture = safe(sound.picture ?? "", "image");
    const share = (at) => ((at - sound.since) / Math.max(1, sound.length)) * 100;
    let head = null;
    if (picture !== null && sound.flow === "audio") {
      head = h("div", { class: "head" });
      const frame = h("div", { class: "sound-picture" }, h("img", { src: picture, alt: `spectrogram of what ${name}` }), head,
        (sound.concealed ?? []).map(([from, to]) => h("div", { class: "concealed", style: `left:${share(from)}%;width:${Math.max(0.15, share(to) - share(from))}%` })));
      frame.addEventListener("click", (event) => {
        const edge = frame.getBoundingClientRect(), at = ((event.clientX - edge.left) / edge.width) * sound.length;
        axis.setCursor(sound.since + at);
        if (player) { player.currentTime = at / 1e6; player.play().catch(() => {}); }
      });
      box.append(frame);
    } else if (picture !== null) box.append(h("img", { src: picture, alt: `pictures of what ${name}`, style: "max-width:100%" }));
    if (player) {
      player.addEventListener("timeupdate", () => { if (!player.paused) axis.setCursor(sound.since + player.currentTime * 1e6); });
      box.append(player);
    }
    axis.onCursor((cursor) => {
      if (!head) return;
      const inside = cursor !== null && cursor >= sound.since && cursor <= sound.since + sound.length;
      head.style.display = inside ? "block" : "none";
      if (inside) head.style.left = `${share(cursor)}%`;
    });
    root.append(box);
  }
});
