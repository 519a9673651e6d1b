// The page's language: the one that was chosen, else the browser's, else English.
import de from "./words/de.js";
import en from "./words/en.js";

const WORDS = { de, en };
const KEPT = "rag-language";

export const names = { de: "Deutsch", en: "English" };

export function preferred(wanted = navigator.languages) {
  return [...wanted].map((one) => one.slice(0, 2).toLowerCase()).find((one) => one in WORDS) || "en";
}

export function chosen() {
  const kept = localStorage.getItem(KEPT);
  return kept in WORDS ? kept : preferred();
}

export const choose = (name) => localStorage.setItem(KEPT, name);

// Gives the words of a language as `t(name, values)`.
export function speaking(language) {
  return (name, values = {}) => {
    const found = WORDS[language][name];
    const text = Array.isArray(found) ? found[values.count === 1 ? 0 : 1] : found;
    return text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  };
}

export const language = document.documentElement.dataset.language || preferred();
export const t = speaking(language);

export const day = (seconds) => new Date(seconds * 1000).toLocaleString(language, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});

// Elements say in `data-t` (and `data-t-NAME` for attributes) which words they want.
export function translate(root) {
  for (const one of root.querySelectorAll("[data-t]")) one.textContent = t(one.dataset.t);
  for (const name of ["aria-label", "placeholder", "title"])
    for (const one of root.querySelectorAll(`[data-t-${name}]`)) one.setAttribute(name, t(one.getAttribute(`data-t-${name}`)));
}
