// What the user says of an answer: a thumb, and why.
import * as api from "./api.js";
import { $, announce } from "./dom.js";
import { t } from "./i18n.js";

let asked = null; // resolves with what the dialog says

export function wire() {
  $("rate").addEventListener("close", () => {
    asked?.($("rate").returnValue === "ok"
      ? { comment: $("rate-comment").value.trim(), correction: $("rate-correction").value.trim() } : null);
    asked = null;
  });
}

function comment(rating, known) {
  $("rate-head").textContent = t(rating === "good" ? "rate_good_head" : "rate_head");
  $("rate-comment").value = known?.comment || "";
  $("rate-correction").value = known?.correction || "";
  $("rate-correction").parentElement.hidden = rating === "good";
  $("rate").returnValue = "";
  $("rate").showModal();
  return new Promise((resolve) => { asked = resolve; });
}

// The thumb counts at once, the comment when it is sent; the same thumb again takes it back.
export async function rate(conversation, number, rating, known, changed) {
  const path = `conversations/${conversation}/messages/${number}/feedback`;
  if (known?.rating === rating) {
    await api.call(path, { method: "DELETE" });
    return changed(null);
  }
  await api.send("PUT", path, { rating });
  changed({ rating });
  const said = await comment(rating, known);
  if (said) {
    const { comment, correction } = said;
    await api.send("PUT", path, { rating, comment, correction: rating === "good" ? "" : correction });
    changed({ rating, comment, correction });
  }
  announce(t("thanks"));
}
