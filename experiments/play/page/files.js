// Moments as files: saved by the page, and opened by a button or by dropping them on it.

import { element } from "./panels.js";

/** Save what the page shows; returns a sentence about the result. */
export async function save() {
  const response = await fetch("moment");
  if (!response.ok) return await response.text();
  const [, name] = response.headers.get("content-disposition").match(/filename="(.*)"/);
  const address = URL.createObjectURL(await response.blob());
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  return `Saved as ${name}: reverie play opens it without the run`;
}

/** Open a file; returns a sentence if it is refused. */
export async function open(file) {
  const response = await fetch("moment", { method: "POST", body: file });
  return response.ok ? "" : response.text();
}

/** Call `opened` with a file that is dropped on the page. */
export function acceptDrops(overlay, opened) {
  const holdsFile = (event) => event.dataTransfer?.types.includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    overlay.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) overlay.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    overlay.hidden = true;
    if (event.dataTransfer.files[0]) opened(event.dataTransfer.files[0]);
  });
}
