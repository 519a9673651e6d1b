// The list of conversations; the one that is open is named in the address.
import * as api from "./api.js";
import { $, make } from "./dom.js";

export const current = () => location.hash.match(/^#c=([0-9a-f]{32})$/)?.[1] || null;

export function choose(id) {
  history.replaceState(null, "", id ? `#c=${id}` : location.pathname);
}

export const begin = () => api.json("conversations", { method: "POST" });
export const read = (id) => api.json(`conversations/${id}`);

export async function refresh(open, removed) {
  const list = (await api.json("conversations")).filter((one) => one.title);
  $("conversations").replaceChildren(...list.map((one) => {
    const here = one.id === current();
    const link = make("button", { class: "link", type: "button", title: one.title, onclick: () => open(one.id) }, one.title);
    if (here) link.setAttribute("aria-current", "true");
    return make("li", {}, link, make("button", {
      class: "remove", type: "button", "aria-label": `Delete ${one.title}`,
      onclick: async () => {
        await api.call(`conversations/${one.id}`, { method: "DELETE" });
        removed(one.id);
      },
    }, "×"));
  }));
}

export async function save(id) {
  const response = await api.call(`conversations/${id}/export`);
  const link = make("a", { href: URL.createObjectURL(await response.blob()), download: "conversation.md" });
  link.click();
  URL.revokeObjectURL(link.href);
}
