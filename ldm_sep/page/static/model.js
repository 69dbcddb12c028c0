// What separates, who may use it, and what it was trained on.

import { el, paragraphs } from "./dom.js";

export function modelPage(model) {
  const list = (lines) => el("ul", {}, ...lines.map((text) => el("li", { text })));
  return {
    title: `Model ${model.name}`,
    nodes: [
      el("h1", { text: `The model: ${model.name}` }), ...paragraphs(model.description),
      el("h2", { text: "Licence" }), ...paragraphs(model.licence),
      el("h2", { text: "What it was trained on" }), list(model.training_data),
      el("h2", { text: "Where it fails" }), list(model.limitations),
      el("h2", { text: "Your songs" }),
      el("p", { text: `They stay on this server and are deleted after ${model.keep_days} days, or when you delete them. `
        + "A separated stem belongs to whom the song belongs to: separating gives you no rights in it." }),
    ],
    begin() {},
    leave() {},
  };
}
