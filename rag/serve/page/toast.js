// Deleting what can be had back for a moment: it happens when the moment is over.
import * as api from "./api.js";
import { $, make } from "./dom.js";
import { t } from "./i18n.js";

const MOMENT = 7000; // milliseconds
const waiting = new Map(); // path to what carries the deletion out

export const is_deleted = (path) => waiting.has(path);

// Deletes what is at a path; `back` shows it again, `gone` and `failed` hear how it ended.
export function deletion(path, title, { back, gone, failed }) {
  const row = make("div", { class: "toast" }, make("span", {}, t("deleted", { title })),
    make("button", { class: "quiet", type: "button", onclick: undo }, t("undo")));
  const timer = setTimeout(carry_out, MOMENT);
  waiting.set(path, carry_out);
  $("toasts").append(row);

  function undo() {
    forget();
    back();
  }
  function forget() {
    clearTimeout(timer);
    row.remove();
    waiting.delete(path);
  }
  async function carry_out() {
    forget();
    try {
      await api.call(path, { method: "DELETE", keepalive: true });
      gone?.();
    } catch (error) {
      failed(error);
      back();
    }
  }
}

// Whoever leaves the page meant it.
addEventListener("pagehide", () => { for (const carry_out of [...waiting.values()]) carry_out(); });

export function tell(text) {
  const row = make("div", { class: "toast" }, text);
  $("toasts").append(row);
  setTimeout(() => row.remove(), 2500);
}
