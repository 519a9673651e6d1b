// The list of conversations: searched, renamed, deleted. The one that is open is named in the address.
import * as api from "./api.js";
import { $, make } from "./dom.js";
import { day, t } from "./i18n.js";
import { deletion, is_deleted } from "./toast.js";

export const current = () => location.hash.match(/^#c=([0-9a-f]{32})$/)?.[1] || null;

export function choose(id) {
  history.replaceState(null, "", id ? `#c=${id}` : location.pathname);
}

export const begin = () => api.json("conversations", { method: "POST" });
export const read = (id) => api.json(`conversations/${id}`);

let acts; // open(id), left(id), renamed(id, title), running(id), failed(error)
let latest = 0;

export function wire(what) {
  acts = what;
  let timer = null;
  $("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => refresh().catch(acts.failed), 200);
  });
}

export async function refresh() {
  const words = $("search").value.trim();
  const mine = ++latest;
  const found = await api.json(`conversations?q=${encodeURIComponent(words)}`);
  if (mine !== latest) return; // a later search has begun
  const list = found.filter((one) => one.title && !is_deleted(`conversations/${one.id}`));
  $("conversations").replaceChildren(...list.map(row));
  $("nothing").hidden = !words || list.length > 0;
}

function row(one) {
  const link = make("button", { class: "link", type: "button", title: one.title, onclick: () => acts.open(one.id) },
    make("span", {}, one.title), make("small", {}, acts.running(one.id) ? t("answering") : day(one.updated)));
  if (one.id === current()) link.setAttribute("aria-current", "true");
  const item = make("li", {}, link,
    make("button", { class: "tool", type: "button", "aria-label": t("rename", one), onclick: () => rename(item, one) }, "✎"),
    make("button", { class: "tool remove", type: "button", "aria-label": t("delete", one), onclick: () => remove(one) }, "×"));
  return item;
}

function remove(one) {
  const again = () => refresh().catch(acts.failed);
  deletion(`conversations/${one.id}`, one.title, { back: again, failed: acts.failed });
  acts.left(one.id);
  again();
}

function rename(item, one) {
  const box = make("input", { class: "renaming", type: "text", "aria-label": t("new_title"), maxlength: "80" });
  box.value = one.title;
  let over = false;
  async function end(save) {
    if (over) return;
    over = true;
    const title = box.value.trim();
    try {
      if (save && title && title !== one.title) {
        await api.send("PATCH", `conversations/${one.id}`, { title });
        acts.renamed(one.id, title);
      }
    } catch (error) {
      acts.failed(error);
    }
    await refresh().catch(acts.failed);
    [...$("conversations").querySelectorAll(".link")].find((link) => link.title === (save && title ? title : one.title))?.focus();
  }
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") end(true);
    if (event.key === "Escape") { event.stopPropagation(); end(false); }
  });
  box.addEventListener("blur", () => end(true));
  item.replaceChildren(box);
  box.focus();
  box.select();
}

export async function save(id) {
  const response = await api.call(`conversations/${id}/export`);
  const link = make("a", { href: URL.createObjectURL(await response.blob()), download: "conversation.md" });
  link.click();
  URL.revokeObjectURL(link.href);
}
