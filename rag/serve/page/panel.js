// The panel beside the conversation: an answer's sources, and what its run did.
import * as api from "./api.js";
import { $, make } from "./dom.js";
import { t } from "./i18n.js";
import { drawing, marked_text } from "./text.js";
import * as trace from "./trace.js";
import * as viewer from "./viewer.js";

let shown = null; // the answer
let picture = null;
let drawings = {};

export function open(tab) {
  $("panel").hidden = false;
  $("details").setAttribute("aria-expanded", "true");
  if (tab) select(tab);
}

export function close() {
  $("panel").hidden = true;
  $("details").setAttribute("aria-expanded", "false");
}

export function select(name) {
  for (const one of ["sources", "run"]) {
    const chosen = one === name;
    $(one).hidden = !chosen;
    $(`tab-${one}`).setAttribute("aria-selected", String(chosen));
    $(`tab-${one}`).tabIndex = chosen ? 0 : -1;
  }
}

export const know = (found) => { drawings = found; };

// What an answer rests on, and its run; null: nothing yet, of this pipeline.
export function show(answer, pipeline = answer?.pipeline) {
  shown = answer;
  sources(answer?.about.sources || []);
  begin(pipeline);
  if (!answer) $("numbers").append(make("p", { class: "empty" }, t("no_answer_yet")));
  else if (answer.finished) run(answer);
  else for (const [node, state] of answer.lights || []) light(answer, node, state);
}

export const is_shown = (answer) => shown === answer;

export function source(answer, number) {
  if (shown !== answer) show(answer);
  open("sources");
  sources(answer.about.sources, number);
}

function sources(list, number = null) {
  const holder = $("sources");
  holder.replaceChildren(...list.map((one) => card(one, number === null ? one.cited : one.number === number)));
  if (!list.length) holder.append(make("p", { class: "empty" }, t("no_sources")));
  if (number !== null) {
    const element = $(`source-${number}`);
    element?.querySelector("summary").focus();
    element?.querySelector("mark")?.scrollIntoView({ block: "nearest" });
  }
}

function card(one, open) {
  const known = one.support !== null && one.support !== undefined;
  const head = make("summary", {},
    make("span", { class: one.cited ? "number used" : "number" }, String(one.number)),
    make("span", { class: "place" }, one.title || one.place),
    known ? make("span", { class: "support", title: t("support_more") }, t("support", { share: Math.round(one.support * 100) })) : null);
  return make("details", { id: `source-${one.number}`, class: "source", open }, head,
    make("p", { class: "where" }, one.place), marked_text(one.text, null, one.quote), opener(one));
}

function opener(one) {
  if (!one.link) return null;
  if (/^https?:/i.test(one.link))
    return make("a", { class: "quiet opener", href: one.link, target: "_blank", rel: "noopener noreferrer" }, t("open_web"));
  return make("button", { class: "quiet opener", type: "button", onclick: () => viewer.open(one) }, t("open_source"));
}

function begin(pipeline) {
  picture = drawing(drawings[pipeline]);
  $("run").replaceChildren(picture, make("div", { id: "numbers" }));
}

// A step's events name its node, as the drawing does.
export function light(answer, node, state) {
  if (shown !== answer) return;
  const box = [...picture.querySelectorAll("[data-node]")].find((one) => one.dataset.node === node);
  if (box) box.dataset.state = state;
}

async function run(answer) {
  const id = answer.about.run;
  const found = id && await api.json(`runs/${id}`).catch(() => null);
  if (shown !== answer) return;
  $("numbers").replaceChildren();
  if (!found) {
    $("numbers").append(make("p", { class: "empty" }, t("no_run")));
    return;
  }
  if (answer.pipeline !== found.pipeline) {
    begin(found.pipeline);
    answer.pipeline = found.pipeline;
  }
  for (const step of found.steps) light(answer, step.node, "done");
  for (const step of found.trace) if (step.error) light(answer, step.node, "failed");
  $("numbers").append(...trace.shown(found));
}
