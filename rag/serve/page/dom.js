// Making elements, and showing text that nobody vouches for.
import { marked } from "./vendor/marked.js";

export const $ = (id) => document.getElementById(id);

export function make(tag, fields = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

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

// The marks [n] of an answer as buttons.
export function cited(holder, numbers, open) {
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
        class: "cite", type: "button", "aria-label": `Source ${part}`, onclick: () => open(Number(part)),
      }, part);
    });
    text.replaceWith(...made);
  }
  return holder;
}

// A text with a passage marked, where it stands in it.
export function marked_passage(text, quote) {
  const holder = make("div", { class: "passage" });
  const at = quote ? text.indexOf(quote) : -1;
  if (at < 0) holder.append(text);
  else holder.append(text.slice(0, at), make("mark", {}, quote), text.slice(at + quote.length));
  return holder;
}

export const seconds = (value) =>
  value === null || value === undefined ? "–" : value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
