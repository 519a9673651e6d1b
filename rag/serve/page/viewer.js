// The document behind a passage, with the passage marked: its text, or the page of a PDF.
import * as api from "./api.js";
import { $, announce, make } from "./dom.js";
import { t } from "./i18n.js";
import { marked_text } from "./text.js";

let latest = 0;
let shut = () => {};

export function wire() {
  $("viewer-close").addEventListener("click", () => $("viewer").close());
  $("viewer").addEventListener("close", () => { latest++; shut(); $("viewer-body").replaceChildren(); });
}

// `one`: a source of an answer, or {link, title, path}.
export async function open(one) {
  const mine = ++latest;
  const body = $("viewer-body");
  $("viewer-title").textContent = one.title || one.place;
  $("viewer-where").textContent = one.place || "";
  body.replaceChildren(make("p", { class: "empty" }, t("loading")));
  if (!$("viewer").open) $("viewer").showModal();
  try {
    const [path] = one.link.split("#");
    const is_pdf = /\.pdf$/i.test(one.path || "");
    const response = await api.call(is_pdf ? path : `${path}${path.includes("?") ? "&" : "?"}form=text`);
    if ((response.headers.get("Content-Type") || "").startsWith("application/pdf")) {
      const data = await response.arrayBuffer();
      const pdf = await import("./pdf.js"); // the one large part of the page
      if (mine !== latest) return;
      shut = await pdf.show(body, data, Number(one.page) || 1, [one.quote, one.text]);
    } else {
      const text = await response.text();
      if (mine !== latest) return;
      body.replaceChildren(text_of(text, one));
    }
    const mark = body.querySelector("mark, .shaded");
    mark?.scrollIntoView({ block: "center" });
    if (one.text && !mark) body.prepend(make("p", { class: "empty" }, t("no_passage")));
    announce(one.title || one.place || "");
  } catch (error) {
    if (mine !== latest) return;
    body.replaceChildren(make("div", { class: "failure", role: "alert" }, make("strong", {}, error.message), error.fix ? make("span", {}, error.fix) : null));
  }
}

function text_of(text, one) {
  const holder = marked_text(text, one.text, one.quote);
  holder.classList.add("document");
  return holder;
}
