// Documents: the collections that are searched, and uploads, sent with progress and watched.
import * as api from "./api.js";
import { $, make } from "./dom.js";
import { t } from "./i18n.js";
import { deletion, is_deleted } from "./toast.js";

const LEFT_OUT = "rag-left-out"; // collections that are not searched
const PAGE = 50;
const COUNTED = 1000; // the server counts no further
const AT_ONCE = 1000; // uploads that the server gives at once
const MANY = 10; // documents that one sees without searching
const PAUSE = 250; // milliseconds without a key until what was typed is searched for

let timer = null;
let acts; // pipeline(), failed(error), open(document)
let names = [];
let shown = PAGE; // uploads
let asked = 0; // lists of them that were asked for

export function wire(what) {
  acts = what;
  $("files").addEventListener("change", async (event) => {
    await send([...event.target.files]);
    event.target.value = "";
  });
  let typing = null;
  $("find").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { shown = PAGE; refresh(); collections(); }, PAUSE);
  });
  const drop = $("drop");
  for (const name of ["dragover", "dragenter"])
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    send([...event.dataTransfer.files]);
  });
}

async function send(files) {
  if (!files.length) return;
  const bar = make("progress", { max: 1, value: 0, "aria-label": t("sending") });
  const text = files.length === 1 ? t("sending_one", { name: files[0].name }) : t("sending_some", { count: files.length });
  const row = make("li", {}, make("span", { class: "name" }, text), bar);
  $("documents").prepend(row);
  try {
    await api.upload(files, acts.pipeline(), (share) => { bar.value = share; });
  } catch (error) {
    acts.failed(error);
  } finally {
    row.remove();
    refresh();
  }
}

const words = () => $("find").value.trim();

const search = () => (words() ? `&search=${encodeURIComponent(words())}` : "");

const query = () => (acts.pipeline() ? `pipeline=${encodeURIComponent(acts.pipeline())}` : "");

const left_out = () => JSON.parse(sessionStorage.getItem(LEFT_OUT) || "[]").filter((one) => names.includes(one));

// The collections that a question is to search; null: all.
export function chosen() {
  const left = left_out();
  return left.length && left.length < names.length ? names.filter((one) => !left.includes(one)) : null;
}

export async function collections() {
  const list = await api.json(`collections?${query()}`).catch(() => []); // an index that is not there yet
  names = list.map((one) => one.name);
  if (list.reduce((sum, one) => sum + one.documents, 0) > MANY) $("find").hidden = false;
  $("collections").replaceChildren(...list.map((one) => collection(one, list.length > 1)));
}

function collection(one, choice) {
  const name = one.name === "shared" ? t("shared") : one.name;
  const label = one.documents >= COUNTED ? t("counted", { name, count: COUNTED }) : t("collection", { name, count: one.documents });
  const list = make("ul", {});
  const details = make("details", {}, make("summary", {}, label), list);
  details.addEventListener("toggle", () => { if (details.open && !list.children.length) more(one.name, list); });
  details.open = Boolean(words());
  const box = choice && make("input", { type: "checkbox", checked: !left_out().includes(one.name), "aria-label": t("search_in", { name }) });
  box?.addEventListener?.("change", () => {
    const others = left_out().filter((other) => other !== one.name);
    const now = box.checked ? others : [...others, one.name];
    if (now.length === names.length) box.checked = true; // something has to be searched
    else sessionStorage.setItem(LEFT_OUT, JSON.stringify(now));
  });
  return make("li", { class: "collection" }, box || null, details);
}

async function more(name, list) {
  list.querySelector(".more")?.remove();
  const shown = list.children.length;
  try {
    const found = await api.json(`collections/${encodeURIComponent(name)}/documents?offset=${shown}&limit=${PAGE}${search()}&${query()}`);
    list.append(...found.map((one) => make("li", {}, make("button", {
      class: "link", type: "button", title: one.name, "aria-label": t("open", one), onclick: () => acts.open(one),
    }, make("span", {}, one.name), make("small", {}, t("chunks", { count: one.chunks }))))));
    if (found.length === PAGE)
      list.append(make("li", { class: "more" }, make("button", { class: "link", type: "button", onclick: () => more(name, list) }, t("more"))));
  } catch (error) {
    acts.failed(error);
  }
}

// The latest uploads, so many if there are.
async function uploaded(count) {
  const list = [];
  while (list.length < count) {
    const limit = Math.min(count - list.length, AT_ONCE);
    const after = list.length ? `&after=${list.at(-1).id}` : "";
    const page = await api.json(`documents?limit=${limit}${after}${search()}`);
    list.push(...page);
    if (page.length < limit) break;
  }
  return list;
}

export async function refresh() {
  clearTimeout(timer);
  let list = [];
  const number = ++asked;
  try {
    list = await uploaded(shown + 1);
  } catch (error) {
    $("upload").hidden = error.status === 403; // who may only ask
    if (![401, 403].includes(error.status)) acts.failed(error);
    return;
  }
  if (number !== asked) return; // a later list was asked for meanwhile
  if (list.length > MANY) $("find").hidden = false;
  $("documents").replaceChildren(...list.slice(0, shown).filter((one) => !is_deleted(`documents/${one.id}`)).map(row));
  if (list.length > shown)
    $("documents").append(make("li", { class: "more" }, make("button", { class: "link", type: "button", onclick: () => { shown += PAGE; refresh(); } }, t("more"))));
  $("uploads-head").hidden = !list.length;
  const busy = list.some((one) => ["queued", "ingesting", "deleting"].includes(one.status));
  if (busy) timer = setTimeout(refresh, 600);
  else collections();
}

function row(one) {
  const states = { queued: t("queued"), ingesting: t("ingesting"), ready: t("chunks", { count: one.chunks }), failed: one.detail, deleting: t("deleting") };
  const bar = one.status === "ingesting"
    ? make("progress", { max: 1, value: one.progress, "aria-label": t("read_share", one) }) : null;
  return make("li", { class: one.status },
    make("span", { class: "name", title: one.name }, one.name),
    make("button", { class: "tool remove", type: "button", "aria-label": t("remove", one), onclick: () => {
      deletion(`documents/${one.id}`, one.name, { back: refresh, gone: refresh, failed: acts.failed });
      refresh();
    } }, "×"),
    make("small", {}, states[one.status]), bar);
}
