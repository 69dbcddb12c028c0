// Files to take away. The server makes flac, mp3 and blends when they are first asked for; what is offered to the browser
// is complete.

import { announce, el } from "./dom.js";

const FORMATS = ["wav", "flac", "mp3"];

/** Links to a file in three formats. `address(format)` is asked when one is pressed; `name`: what it is. */
export function downloads(name, address, say) {
  const links = FORMATS.map((format) => {
    const button = el("button", { type: "button", class: "file", text: format, "aria-label": `Download ${name} as ${format}` });
    button.addEventListener("click", () => fetchFile(button, format, address(format), say));
    return button;
  });
  return el("div", { class: "line files" }, ...links);
}

async function fetchFile(button, format, path, say) {
  button.disabled = true;
  button.textContent = "…";
  announce(`Making the ${format} file`);
  say("");
  try {
    // The headers come when the file is made; its bytes then go from the server to the disk, not through the page.
    const reply = await fetch(path, { method: "HEAD" });
    if (!reply.ok) throw new Error();
    const link = el("a", { href: path, download: "" });
    document.body.append(link);
    link.click();
    link.remove();
    announce("The download has begun");
  } catch {
    const reply = await fetch(path, { headers: { range: "bytes=0-0" } }).catch(() => null);
    const table = await reply?.json().catch(() => null);
    say(table?.error ?? "The file could not be made; the server may be gone. Try again.");
  } finally {
    button.disabled = false;
    button.textContent = format;
  }
}
