// The conversation: questions out, answers in as they come.
import * as api from "./api.js";
import * as conversations from "./conversations.js";
import * as documents from "./documents.js";
import { $, cited, make, markdown } from "./dom.js";
import * as panel from "./panel.js";

let running = null; // the AbortController of the question at work
let drawings = {};

const narrow = matchMedia("(max-width: 900px)");

function announce(text) {
  $("say").textContent = text;
}

function show(message) {
  const empty = $("log").querySelector(".welcome");
  empty?.remove();
  $("log").append(message);
  $("log").scrollTop = $("log").scrollHeight;
  return message;
}

function welcome() {
  $("log").replaceChildren(make("div", { class: "welcome" },
    make("h2", {}, "What would you like to know?"),
    make("p", {}, "Answers come from your documents, with the passages they rest on.")));
  panel.sources([]);
  panel.begin(drawings[pipeline()]);
}

const pipeline = () => $("pipeline").value || null;

function question(text) {
  return show(make("article", { class: "message user", "aria-label": "Question" }, make("p", {}, text)));
}

function failure(error, retry = null) {
  const box = make("div", { class: "failure", role: "alert" }, make("strong", {}, error.message),
    error.fix ? make("span", {}, error.fix) : null,
    retry ? make("button", { class: "quiet", type: "button", onclick: () => { box.remove(); retry(); } }, "Ask again") : null);
  if (error.status === 401) wantKey();
  return show(box);
}

class Answer {
  constructor() {
    this.text = "";
    this.spoken = 0;
    this.state = make("p", { class: "state" }, "Looking");
    this.body = make("div", { class: "body" });
    this.foot = make("div", { class: "sources-row" });
    this.element = show(make("article", { class: "message answer", "aria-label": "Answer", "aria-busy": "true" }, this.state, this.body, this.foot));
    this.waiting = this.finished = false;
  }

  add(text) {
    this.text += text;
    this.state.hidden = true;
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => { this.waiting = false; this.draw(); });
    }
    // A screen reader gets whole sentences, not single tokens.
    const end = Math.max(this.text.lastIndexOf(". "), this.text.lastIndexOf("\n"));
    if (end > this.spoken) {
      announce(this.text.slice(this.spoken, end + 1));
      this.spoken = end + 1;
    }
  }

  draw() {
    if (this.finished) return;
    const log = $("log");
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    this.body.replaceChildren(markdown(this.text));
    if (below) log.scrollTop = log.scrollHeight;
  }

  finish(text, about) {
    this.text = text;
    this.finished = true;
    this.state.hidden = true;
    this.element.setAttribute("aria-busy", "false");
    const list = about.sources || [];
    const open = (number) => { panel.open("sources"); panel.sources(list, number); };
    this.body.replaceChildren(cited(markdown(text), new Set(list.map((one) => one.number)), open));
    this.foot.replaceChildren(...list.filter((one) => one.cited).map((one) => make("button", {
      class: "chip", type: "button", onclick: () => open(one.number),
    }, make("span", { class: "number used" }, String(one.number)), one.title || one.place)));
    this.element.addEventListener("click", () => panel.sources(list), { once: true });
    if (about.stopped) this.note("Stopped.");
    $("log").scrollTop = $("log").scrollHeight;
  }

  note(text) {
    this.state.textContent = text;
    this.state.hidden = false;
    this.element.setAttribute("aria-busy", "false");
  }
}

function busy(controller) {
  running = controller;
  $("send").hidden = Boolean(controller);
  $("stop").hidden = !controller;
}

async function ask(text) {
  question(text);
  const answer = new Answer();
  const controller = new AbortController();
  const steps = [];
  busy(controller);
  panel.begin(drawings[pipeline()]);
  announce("The question is asked.");
  try {
    if (!conversations.current()) conversations.choose((await conversations.begin()).id);
    $("export").hidden = false;
    const body = { query: text, pipeline: pipeline(), conversation: conversations.current() };
    for await (const [name, data] of api.ask(body, controller.signal)) {
      if (name === "queued") answer.note(`Waiting, ${data.before} before this one`);
      else if (name === "rewritten") answer.note(`Looking for: ${data.query}`);
      else if (name === "node_started") panel.light(data.node, "running");
      else if (name === "node_finished" || name === "reused") {
        panel.light(data.node, "done");
        steps.push({ node: data.node, seconds: data.seconds || 0 });
      } else if (name === "node_failed") panel.light(data.node, "failed");
      else if (name === "token" && data.answer) answer.add(data.text);
      else if (name === "warned") announce(data.message);
      else if (name === "done") {
        answer.finish(data.answer || "", data);
        panel.sources(data.sources);
        panel.numbers({ ...data, steps });
        announce(`Answered. ${data.answer || ""}`);
      } else if (name === "error") throw new api.Failure(data);
    }
  } catch (error) {
    if (error.name === "AbortError") {
      answer.finish(answer.text, { stopped: true });
      announce("Stopped.");
    } else {
      if (answer.text) answer.finish(answer.text, { stopped: true });
      else answer.element.remove();
      failure(error, () => ask(text));
    }
  } finally {
    busy(null);
    list();
  }
}

async function list() {
  await conversations.refresh(open, (id) => {
    if (id === conversations.current()) fresh();
    list();
  }).catch((error) => error.status === 401 && wantKey());
}

function fresh() {
  conversations.choose(null);
  $("title").textContent = "New conversation";
  $("export").hidden = true;
  welcome();
  $("question").focus();
  shut();
}

async function open(id) {
  conversations.choose(id);
  try {
    const found = await conversations.read(id);
    $("title").textContent = found.title;
    $("export").hidden = false;
    $("log").replaceChildren();
    for (const one of found.messages) {
      if (one.role === "user") question(one.content);
      else {
        if (one.content || !one.about.error) new Answer().finish(one.content, one.about);
        if (one.about.error) failure(new api.Failure(one.about.error));
        panel.sources(one.about.sources);
      }
    }
    if (!found.messages.length) welcome();
  } catch (error) {
    fresh();
    if (error.status !== 404) failure(error);
  }
  list();
  shut();
}

function shut() {
  $("sidebar").classList.remove("open");
  $("menu").setAttribute("aria-expanded", "false");
}

function wantKey() {
  $("key").hidden = false;
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

function grow() {
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
}

function wire() {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("question").value.trim();
    if (!text || running) return;
    $("question").value = "";
    grow();
    if (!conversations.current()) $("title").textContent = text.slice(0, 80);
    ask(text);
  });
  $("question").addEventListener("input", grow);
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("form").requestSubmit();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (running) running.abort();
    else if (narrow.matches) { panel.close(); shut(); }
  });
  $("stop").addEventListener("click", () => { running?.abort(); $("question").focus(); });
  $("new").addEventListener("click", fresh);
  $("export").addEventListener("click", () => conversations.save(conversations.current()).catch(failure));
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
  $("menu").addEventListener("click", () => {
    const open = $("sidebar").classList.toggle("open");
    $("menu").setAttribute("aria-expanded", String(open));
    if (open) $("new").focus();
  });
  const theme = document.documentElement.dataset;
  const named = () => { $("theme").textContent = theme.theme === "dark" ? "Light" : "Dark"; };
  $("theme").addEventListener("click", () => {
    theme.theme = theme.theme === "dark" ? "light" : "dark";
    localStorage.setItem("rag-theme", theme.theme);
    named();
  });
  named();
  $("key").addEventListener("click", wantKey);
  $("key-dialog").addEventListener("close", () => {
    if ($("key-dialog").returnValue !== "ok") return;
    api.key.set($("key-value").value.trim());
    $("key-value").value = "";
    start();
  });
  $("pipeline").addEventListener("change", () => panel.begin(drawings[pipeline()]));
}

async function start() {
  try {
    const found = await api.json("pipelines");
    drawings = Object.fromEntries(found.map((one) => [one.name, one.drawing]));
    $("pipeline").replaceChildren(...found.map((one) => make("option", { value: one.name, title: one.description || "" }, one.name)));
    $("pick").hidden = found.length < 2;
    documents.refresh();
    if (running) return; // a question was asked meanwhile
    if (conversations.current()) await open(conversations.current());
    else { welcome(); list(); }
  } catch (error) {
    welcome();
    failure(error);
  }
}

wire();
documents.start(pipeline, failure);
await start();
if (!narrow.matches && innerWidth > 1200) panel.open("sources");
document.documentElement.dataset.ready = "true";
