// The conversation: questions out, answers in as they come. Each conversation may have a run of its
// own that goes on while another one is shown, and when the page is loaded anew.
import { Answer } from "./answer.js";
import * as api from "./api.js";
import * as conversations from "./conversations.js";
import * as documents from "./documents.js";
import { $, announce, make } from "./dom.js";
import { rate } from "./feedback.js";
import { t } from "./i18n.js";
import * as panel from "./panel.js";

const TRIES = 5; // to follow a run whose connection breaks

const running = new Map(); // conversation to its run
let settings = {};
let want_key = () => {};

export const is_running = (conversation) => running.has(conversation);
export const pipeline = () => $("pipeline").value || null;

export function wire(with_settings, wants_key) {
  settings = with_settings;
  want_key = wants_key;
}

const acts = {
  select: (answer) => { if (!panel.is_shown(answer)) panel.show(answer); },
  source: panel.source,
  ask: (text) => submit(text),
  again: (answer) => submit(answer.question.text, answer.question.number),
  rate: (answer, rating) => rate(conversations.current(), answer.number, rating, answer.feedback,
    (feedback) => answer.known(answer.number, feedback)).catch(failure),
};

function show(message) {
  $("log").querySelector(".welcome")?.remove();
  $("log").append(message);
  $("log").scrollTop = $("log").scrollHeight;
  return message;
}

export function welcome() {
  $("log").replaceChildren(make("div", { class: "welcome" },
    make("h2", {}, t("welcome")), make("p", {}, t("welcome_more"))));
  panel.show(null, pipeline());
}

// A question; once the server has numbered it, it can be changed.
function question(text, number = null) {
  const holder = make("p", {}, text);
  const edit = make("button", { class: "act", type: "button", "aria-label": t("edit"), hidden: number === null, onclick: () => change(one) }, t("edit_short"));
  const element = make("article", { class: "message user", "aria-label": t("question") }, holder, edit);
  const one = { text, number, element, holder, edit };
  return one;
}

function change(one) {
  if (is_running(conversations.current())) return announce(t("busy"));
  const box = make("textarea", { rows: "2", "aria-label": t("edit"), maxlength: String(settings.max_question || 8000) });
  box.value = one.text;
  const cancel = () => { form.replaceWith(one.holder); one.edit.hidden = false; one.edit.focus(); };
  const form = make("form", { class: "changing", onsubmit: (event) => {
    event.preventDefault();
    if (box.value.trim()) submit(box.value.trim(), one.number);
  } }, box, make("div", { class: "row" }, make("button", { class: "primary", type: "submit" }, t("save")),
    make("button", { class: "quiet", type: "button", onclick: cancel }, t("cancel"))));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
    if (event.key === "Escape") { event.stopPropagation(); cancel(); }
  });
  one.holder.replaceWith(form);
  one.edit.hidden = true;
  box.focus();
}

export function failure(error, retry = null) {
  const box = make("div", { class: "failure", role: "alert" }, make("strong", {}, error.message),
    error.fix ? make("span", {}, error.fix) : null,
    typeof retry === "function" ? make("button", { class: "quiet", type: "button", onclick: () => { box.remove(); retry(); } }, t("again")) : null);
  if (error.status === 401) want_key();
  return show(box);
}

export function busy() {
  const here = is_running(conversations.current());
  $("send").hidden = here;
  $("stop").hidden = !here;
}

// Asks, in the place of an earlier question or behind the others; false: this is not the moment.
export async function submit(text, instead = null) {
  if (is_running(conversations.current())) {
    $("busy").hidden = false;
    announce(t("busy"));
    return false;
  }
  $("busy").hidden = true;
  if (!conversations.current()) $("title").textContent = text.slice(0, 80);
  if (instead !== null) cut(instead);
  const asked = question(text);
  const run = begin(asked, conversations.current(), pipeline());
  show(asked.element);
  show(run.answer.element);
  panel.show(run.answer);
  announce(t("asked"));
  let events = null;
  try {
    if (!run.conversation) {
      const { id } = await conversations.begin();
      running.delete(run.conversation);
      run.conversation = id;
      if (here(run)) conversations.choose(id);
      running.set(id, run);
      $("export").hidden = false;
    }
    const body = { query: text, pipeline: run.pipeline, conversation: run.conversation, collections: documents.chosen() };
    if (instead !== null) body.instead_of = instead;
    [run.id, events] = await api.start(body);
    if (run.stopping) await api.stop(run.id);
    busy();
    list();
  } catch (error) {
    ended(run);
    run.answer.element.remove();
    if (here(run)) failure(error, () => { asked.element.remove(); submit(text, instead); });
    return true;
  }
  await listen(run, events);
  return true;
}

function begin(asked, conversation, of_pipeline) {
  const answer = new Answer(acts);
  const run = { conversation, question: asked, answer, pipeline: of_pipeline, id: null, last: 0, stopping: false };
  answer.question = asked;
  answer.pipeline = of_pipeline || $("pipeline").options[0]?.value;
  answer.lights = new Map();
  answer.heard = () => here(run);
  running.set(conversation, run);
  busy();
  return run;
}

const here = (run) => running.get(conversations.current()) === run || run.answer.element.isConnected;

// What came after a question, and itself, are taken off the page.
function cut(number) {
  const all = [...$("log").children];
  const at = all.findIndex((one) => one.dataset.number === String(number));
  if (at >= 0) for (const one of all.slice(at)) one.remove();
}

// Reads the events of a run to its end, also over connections that break.
async function listen(run, events) {
  let error = null;
  for (let tried = 0; ; tried++) {
    error = null;
    try {
      for await (const [name, data, number] of events) {
        tried = 0;
        run.last = number || run.last;
        if (heard(run, name, data)) {
          await settle(run);
          return;
        }
      }
    } catch (broken) {
      error = broken;
      if (broken.status || broken.done) break; // the server has answered, or the run has failed
    }
    if (tried >= TRIES) break;
    if (tried) {
      run.answer.note(t("reconnecting"));
      await new Promise((again) => { setTimeout(again, 500 * tried); });
    }
    events = api.follow(run.id, run.last);
  }
  ended(run);
  if (run.answer.text) run.answer.finish(run.answer.text, { stopped: true, run: run.id });
  else run.answer.element.remove();
  if (here(run) || run.question.element.isConnected) failure(error || new api.Failure({}), () => open(run.conversation));
  await list();
}

// Takes an event; whether it was the last one.
function heard(run, name, data) {
  const { answer } = run;
  const light = (state) => { answer.lights.set(data.node, state); panel.light(answer, data.node, state); };
  if (name === "queued") answer.note(t("waiting", { count: data.before }));
  else if (name === "rewritten") answer.note(t("looking_for", data));
  else if (name === "node_started") light("running");
  else if (name === "node_finished" || name === "reused") light("done");
  else if (name === "node_failed") light("failed");
  else if (name === "token" && data.answer) answer.add(data.text);
  else if (name === "warned" && here(run)) announce(data.message);
  else if (name === "done") {
    if (here(run)) announce(t("answered", { text: data.answer || "" }));
    answer.finish(data.answer || "", data);
    return true;
  } else if (name === "error") {
    if (data.code === "cancelled") {
      if (here(run)) announce(t("stopped"));
      answer.finish(answer.text, { stopped: true, run: run.id });
      return true;
    }
    throw Object.assign(new api.Failure(data), { done: true });
  }
  return false;
}

// What is known of question and answer once the run is over: their numbers.
async function settle(run) {
  ended(run);
  if (here(run)) panel.show(run.answer);
  const found = await conversations.read(run.conversation).catch(() => null);
  const messages = found?.messages || [];
  const at = messages.findLastIndex((one) => one.role === "user" && one.about.run === run.id);
  if (at >= 0) {
    numbered(run.question, messages[at].number);
    if (messages[at + 1]) run.answer.known(messages[at + 1].number, messages[at + 1].feedback);
  }
  list();
  if (settings.suggestions && run.answer.text && !run.answer.about.stopped) await suggest(run);
}

function numbered(asked, number) {
  asked.number = number;
  asked.element.dataset.number = String(number);
  asked.edit.hidden = false;
}

async function suggest(run) {
  const query = run.pipeline ? `?pipeline=${encodeURIComponent(run.pipeline)}` : "";
  const path = `conversations/${run.conversation}/suggestions${query}`;
  run.answer.suggest(await api.json(path, { method: "POST" }).catch(() => []));
}

function ended(run) {
  if (running.get(run.conversation) === run) running.delete(run.conversation);
  $("busy").hidden = true;
  busy();
}

export async function stop() {
  const run = running.get(conversations.current());
  if (!run) return;
  run.stopping = true;
  if (run.id) await api.stop(run.id).catch(failure);
}

export async function list() {
  await conversations.refresh().catch((error) => error.status === 401 && want_key());
}

export function fresh() {
  conversations.choose(null);
  $("title").textContent = t("new");
  $("export").hidden = true;
  $("busy").hidden = true;
  welcome();
  busy();
  list();
  $("question").focus();
}

export async function open(id) {
  conversations.choose(id);
  $("busy").hidden = true;
  busy();
  try {
    const found = await conversations.read(id);
    if (conversations.current() !== id) return;
    $("title").textContent = found.title || t("new");
    $("export").hidden = false;
    $("log").replaceChildren();
    render(id, found.messages);
  } catch (error) {
    fresh();
    if (error.status !== 404) failure(error);
  }
  list();
}

function render(id, messages) {
  let asked = null;
  let latest = null;
  for (const one of messages) {
    if (one.role === "user") {
      asked = question(one.content, one.number);
      asked.element.dataset.number = String(one.number);
      show(asked.element);
      asked.run = one.about.run;
      latest = null;
    } else {
      latest = new Answer(acts);
      latest.question = asked;
      if (one.content || !one.about.error) {
        show(latest.element);
        latest.finish(one.content, one.about);
        latest.known(one.number, one.feedback);
      }
      if (one.about.error) {
        const { text, number } = asked || {};
        failure(new api.Failure(one.about.error), number ? () => submit(text, number) : null);
      }
    }
  }
  const going = running.get(id);
  if (going) {
    if (latest) messages.length && going.answer.element.remove();
    else show(going.answer.element);
    panel.show(going.answer);
  } else if (asked && !latest && asked.run) {
    resume(id, asked);
  } else if (messages.length) panel.show(latest);
  else welcome();
}

// A run that goes on since before the page was loaded: all its events, from the first.
async function resume(id, asked) {
  const found = await api.json(`runs/${asked.run}`).catch(() => null);
  if (!found || running.has(id)) return;
  const run = begin(asked, id, found.pipeline);
  run.id = asked.run;
  if (conversations.current() === id) show(run.answer.element);
  panel.show(run.answer);
  await listen(run, api.follow(run.id));
}
