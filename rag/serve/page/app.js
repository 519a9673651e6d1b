// The page: what its controls do, and how it starts.
import * as api from "./api.js";
import * as chat from "./chat.js";
import * as conversations from "./conversations.js";
import * as documents from "./documents.js";
import { $, make } from "./dom.js";
import * as feedback from "./feedback.js";
import * as i18n from "./i18n.js";
import * as panel from "./panel.js";
import * as viewer from "./viewer.js";

const narrow = matchMedia("(max-width: 900px)");
const { t } = i18n;

function shut() {
  $("sidebar").classList.remove("open");
  $("menu").setAttribute("aria-expanded", "false");
}

function want_key() {
  $("key").hidden = false;
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

function grow() {
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
}

async function fresh() {
  chat.fresh();
  shut();
}

function wire_question() {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("question").value.trim();
    if (!text) return;
    if (!chat.is_running(conversations.current())) { $("question").value = ""; grow(); }
    chat.submit(text);
  });
  $("question").addEventListener("input", grow);
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("form").requestSubmit();
    }
  });
  $("stop").addEventListener("click", () => { chat.stop(); $("question").focus(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    if (chat.is_running(conversations.current())) chat.stop();
    else if (narrow.matches) { panel.close(); shut(); }
  });
}

function wire_panel() {
  $("details").addEventListener("click", () => ($("panel").hidden ? panel.open() : panel.close()));
  $("close").addEventListener("click", () => { panel.close(); $("details").focus(); });
  for (const name of ["sources", "run"]) {
    $(`tab-${name}`).addEventListener("click", () => panel.select(name));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = name === "sources" ? "run" : "sources";
      panel.select(other);
      $(`tab-${other}`).focus();
    });
  }
}

function wire_sidebar() {
  $("new").addEventListener("click", fresh);
  $("menu").addEventListener("click", () => {
    const open = $("sidebar").classList.toggle("open");
    $("menu").setAttribute("aria-expanded", String(open));
    if (open) $("new").focus();
  });
  const theme = document.documentElement.dataset;
  const named = () => { $("theme").textContent = t(theme.theme === "dark" ? "light" : "dark"); };
  $("theme").addEventListener("click", () => {
    theme.theme = theme.theme === "dark" ? "light" : "dark";
    localStorage.setItem("rag-theme", theme.theme);
    named();
  });
  named();
  $("language").replaceChildren(...Object.entries(i18n.names).map(([name, label]) =>
    make("option", { value: name, lang: name, selected: name === i18n.language }, label)));
  // Runs outlive the page, so it may simply be loaded anew.
  $("language").addEventListener("change", () => { i18n.choose($("language").value); location.reload(); });
  $("key").addEventListener("click", want_key);
  $("key-dialog").addEventListener("close", () => {
    if ($("key-dialog").returnValue !== "ok") return;
    api.key.set($("key-value").value.trim());
    $("key-value").value = "";
    start();
  });
  $("export").addEventListener("click", () => conversations.save(conversations.current()).catch(chat.failure));
}

function open_document(one) {
  const pipeline = chat.pipeline();
  const query = pipeline ? `?pipeline=${encodeURIComponent(pipeline)}` : "";
  viewer.open({ title: one.name, path: one.name, link: `documents/${one.id}/content${query}` });
}

function wire() {
  wire_question();
  wire_panel();
  wire_sidebar();
  feedback.wire();
  viewer.wire();
  conversations.wire({
    open: (id) => { chat.open(id); shut(); },
    left: (id) => { if (id === conversations.current()) fresh(); },
    renamed: (id, title) => { if (id === conversations.current()) $("title").textContent = title; },
    running: chat.is_running,
    failed: chat.failure,
  });
  documents.wire({ pipeline: chat.pipeline, failed: chat.failure, open: open_document });
  $("pipeline").addEventListener("change", () => { panel.show(null, chat.pipeline()); documents.collections(); });
}

function name(settings) {
  const title = settings.title || t("title");
  document.title = title;
  $("name").textContent = title;
  if (settings.logo) {
    $("logo").src = "logo";
    $("logo").classList.add("own");
    document.querySelector("link[rel=icon]").href = "logo";
  }
  $("key").hidden = !settings.keys;
  $("question").maxLength = settings.max_question;
}

async function start(asked = api.json("pipelines")) {
  try {
    const found = await asked;
    panel.know(Object.fromEntries(found.map((one) => [one.name, one.drawing])));
    $("pipeline").replaceChildren(...found.map((one) => make("option", { value: one.name, title: one.description || "" }, one.name)));
    $("pick").hidden = found.length < 2;
    documents.refresh();
    documents.collections();
    if (conversations.current()) await chat.open(conversations.current());
    else { chat.welcome(); chat.list(); }
  } catch (error) {
    chat.welcome();
    chat.failure(error);
  }
}

i18n.translate(document);
const asked = api.json("pipelines"); // while the settings come
asked.catch(() => {}); // `start` says what is wrong
const settings = await api.json("chat/settings");
chat.wire(settings, want_key);
name(settings);
wire();
await start(asked);
if (!narrow.matches && innerWidth > 1200) panel.open("sources");
document.documentElement.dataset.ready = "true";
