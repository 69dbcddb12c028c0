// Another try: for a part of the result with another seed, or for the whole song.

import { el } from "./dom.js";
import { sending } from "./requests.js";
import { presetChoice, seedField } from "./songs.js";
import { exact, isActive } from "./words.js";

const WHOLE = "Mark a part first: pull over the pictures, or loop a bar.";

export function renewForm(player, act) {
  const where = el("p", {});
  const seed = seedField(1);
  const go = el("button", { type: "button", class: "primary", on: { click: renew } }, el("span", { text: "Renew this part" }), el("kbd", { text: "N", ariaHidden: "true" }));
  const past = el("ul", { class: "past" });
  let job = null;

  function renew() {
    const { start, end } = player.loop;
    act("/order", sending({ start, end, seed: Number(seed.value) }));
    // The next press is another try.
    seed.value = String(Number(seed.value) + 1);
  }

  function back(stretch) {
    act("/order", sending({ start: stretch.start, end: stretch.end, seed: job.settings.seed }));
  }

  return {
    node: el("div", {}, el("p", { class: "hint", text: "The model draws again with another seed, there only; everything else stays as it is, bit by bit." }),
      where, el("div", { class: "line fields" }, el("label", {}, "Seed", seed), go), past),
    press: () => { if (!go.disabled) go.click(); },
    update(now) {
      const { start, end } = player.loop;
      const part = end - start < player.duration - 0.01;
      where.textContent = part ? `${exact(start)} to ${exact(end)}` : WHOLE;
      go.disabled = !part || isActive(now);
      if (job?.take === now.take && past.childElementCount === now.stretches.length) return void (job = now);
      job = now;
      past.replaceChildren(...now.stretches.map((stretch) => el("li", {},
        el("span", { text: `${exact(stretch.start)} to ${exact(stretch.end)}: seed ${stretch.seed} ` }),
        el("button", { type: "button", text: "Undo", "aria-label": `Take back ${exact(stretch.start)} to ${exact(stretch.end)}`, on: { click: () => back(stretch) } }))));
    },
  };
}

export function againForm(model, job, act) {
  const preset = presetChoice(model, job.settings.preset ?? "balanced");
  const seed = seedField(job.settings.seed);
  const go = el("button", { type: "button", text: "Separate again", on: { click: () =>
    act("/order", sending({ preset: preset.value, seed: Number(seed.value) })) } });
  const now = el("p", { class: "hint" });
  return {
    node: el("div", {}, now, el("div", { class: "line fields" }, el("label", {}, "Preset", preset), el("label", {}, "Seed", seed), go)),
    update(current) {
      go.disabled = isActive(current);
      now.textContent = `This result: preset ${current.settings.preset ?? "balanced"}, seed ${current.settings.seed}.`;
    },
  };
}
