// Showing text that nobody vouches for: answers and documents.
import { make } from "./dom.js";
import { marked } from "./vendor/marked.js";
import DOMPurify from "./vendor/purify.js";

// Pictures and styles could tell others what was asked; forms could be taken for the page's own.
const SAFE = {
  ALLOWED_TAGS: ["p", "br", "em", "strong", "del", "code", "pre", "blockquote", "ul", "ol", "li",
    "h1", "h2", "h3", "h4", "h5", "h6", "hr", "table", "thead", "tbody", "tr", "th", "td", "a"],
  ALLOWED_ATTR: ["href", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
};

export function markdown(text) {
  const holder = make("div", { class: "prose" });
  holder.append(DOMPurify.sanitize(marked.parse(text, { gfm: true, breaks: true }), {
    ...SAFE, RETURN_DOM_FRAGMENT: true,
  }));
  for (const link of holder.querySelectorAll("a")) {
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
  }
  return holder;
}

// A drawing of a flow. Its colours are the page's; a style of its own would be refused anyway.
export function drawing(svg) {
  const holder = make("div", { class: "drawing" });
  if (!svg) return holder;
  holder.append(DOMPurify.sanitize(svg.replace(/<style>.*?<\/style>/s, ""), {
    USE_PROFILES: { svg: true }, ADD_ATTR: ["data-node"], RETURN_DOM_FRAGMENT: true,
  }));
  holder.querySelector("svg rect[fill=white]")?.remove();
  for (const arrow of holder.querySelectorAll(".arrow")) arrow.setAttribute("marker-end", "url(#head)");
  return holder;
}

// The marks [n] of an answer as buttons; `named` gives their names.
export function cited(holder, numbers, open, named) {
  const walker = document.createTreeWalker(holder, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (const text of texts) {
    const parts = text.data.split(/\[(\d{1,3})\]/);
    if (parts.length === 1) continue;
    const made = parts.map((part, at) => {
      if (at % 2 === 0) return part;
      if (!numbers.has(Number(part))) return `[${part}]`;
      return make("button", {
        class: "cite", type: "button", "aria-label": named(part), onclick: () => open(Number(part)),
      }, part);
    });
    text.replaceWith(...made);
  }
  return holder;
}

// Where a passage stands in a text, whatever space is between its words: [start, end], or null.
export function find(text, passage) {
  const words = (passage || "").split(/\s+/).filter(Boolean).map((one) => one.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!words.length) return null;
  const found = new RegExp(words.join("\\s+")).exec(text);
  return found ? [found.index, found.index + found[0].length] : null;
}

// A text with a passage shaded, and in it the sentence that counts marked.
export function marked_text(text, passage, quote) {
  const holder = make("div", { class: "passage" });
  const whole = passage ? find(text, passage) : null;
  const [start, end] = whole || [0, 0];
  const inside = whole ? find(text.slice(start, end), quote)?.map((at) => at + start) : find(text, quote);
  const marks = inside ? [make("mark", {}, text.slice(...inside))] : [];
  if (!whole) {
    if (inside) holder.append(text.slice(0, inside[0]), ...marks, text.slice(inside[1]));
    else holder.append(text);
    return holder;
  }
  const [from, to] = inside || [end, end];
  holder.append(text.slice(0, start), make("span", { class: "shaded" }, text.slice(start, from), ...marks, text.slice(to, end)), text.slice(end));
  return holder;
}
