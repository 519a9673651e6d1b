// What a run did: times, steps with their prompts and rankings, stored states.
import { make, seconds, table } from "./dom.js";
import { t } from "./i18n.js";

export function shown(run) {
  const first = [[t("first_token"), seconds(run.first_token)], [t("in_all"), seconds(run.seconds)]];
  if (run.waited > 0.01) first.push([t("waited"), seconds(run.waited)]);
  first.push([t("calls"), String(run.llm_calls)], [t("tokens"), String(run.tokens)]);
  const parts = [table(t("times"), first)];
  if (run.trace.length) parts.push(make("h3", {}, t("steps")), ...run.trace.map(step));
  else if (run.steps.length) parts.push(table(t("steps"), run.steps.map((one) => [one.node, seconds(one.seconds)])));
  const last = run.trace.flatMap((one) => one.calls).map((one) => one.reuse).filter(Boolean).pop();
  const reuse = run.reuse || last;
  parts.push(reuse ? states(reuse) : make("p", { class: "empty" }, t("no_states")));
  return parts;
}

function step(one) {
  const notes = [one.error && t("failed"), one.source && t("from_cache")].filter(Boolean);
  const head = make("summary", {}, make("span", { class: "place" }, one.place), ...notes.map((note) => make("span", { class: "support" }, note)),
    make("span", { class: "support" }, seconds(one.seconds)));
  const inside = [
    one.error && make("p", { class: "problem" }, one.error),
    ...one.warnings.map((text) => make("p", { class: "where" }, text)),
    ...rankings(one),
    ...one.calls.flatMap(call),
  ].filter(Boolean);
  if (!inside.length) return make("div", { class: "step plain" }, ...head.childNodes);
  return make("details", { class: "step" }, head, ...inside);
}

// The order of documents behind a step, with their places before it, and what it left out.
function rankings(one) {
  return Object.entries(one.wrote).map(([channel, now]) => {
    const before = one.read[channel] || Object.values(one.read)[0] || null;
    const place = new Map((before || []).map((document, at) => [document.id || document.place, at + 1]));
    const there = new Set(now.map((document) => document.id || document.place));
    const rows = now.map((document, at) => [at + 1, before && (place.get(document.id || document.place) || t("new_entry")), document]);
    for (const [at, document] of (before || []).entries())
      if (!there.has(document.id || document.place)) rows.push([t("left_out"), at + 1, document]);
    const cells = ([at, was, document]) => make("tr", { class: at === t("left_out") ? "left-out" : null },
      make("td", {}, String(at)), before ? make("td", {}, String(was)) : null,
      make("th", { scope: "row" }, document.title || document.place, document.title ? make("small", {}, document.place) : null),
      make("td", {}, document.score === null ? t("none") : document.score.toPrecision(3)));
    const heads = [t("place_now"), before && t("place_before"), t("document"), t("score")].filter(Boolean);
    return make("table", { class: "ranking" }, make("caption", {}, `${t(before ? "ranking" : "ranked")} (${channel})`),
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, ...rows.map(cells)));
  });
}

function call(one) {
  const counts = t("model_tokens", { prompt: one.prompt_tokens, completion: one.completion_tokens });
  return [
    make("p", { class: "where" }, `${one.model} · ${counts} · ${seconds(one.seconds)}`),
    make("details", { class: "prompt" }, make("summary", {}, t("prompt")),
      ...one.prompt.map((message) => make("div", {}, make("strong", {}, message.role), make("pre", { tabIndex: 0 }, message.content)))),
    make("details", { class: "prompt", open: true }, make("summary", {}, t("output")), make("pre", { tabIndex: 0 }, one.output)),
  ];
}

function states(reuse) {
  const chunks = reuse.chunks || [];
  const hits = chunks.filter((one) => one.hit).length;
  const numbers = table(t("states"), [
    [t("mode"), `${reuse.mode} (${reuse.kind})`],
    [t("chunks_found"), t("of", { part: hits, all: chunks.length })],
    [t("reused"), String(reuse.reused)],
    [t("recomputed"), String(reuse.recomputed)],
    [t("lookup"), `${(reuse.milliseconds?.lookup || 0).toFixed(1)} ms`],
    [t("first_token"), `${(reuse.milliseconds?.first_token || 0).toFixed(0)} ms`],
  ]);
  const each = make("ol", { class: "states" }, ...chunks.map((one, at) => make("li", { class: one.hit ? "hit" : "miss" },
    make("span", {}, t("unnamed_chunk", { number: at + 1 })), make("span", {}, t(one.hit ? "hit" : "miss")),
    make("span", {}, Object.entries(one).filter(([name, value]) => typeof value === "number" && name !== "number")
      .map(([name, value]) => `${name} ${Number.isInteger(value) ? value : value.toPrecision(2)}`).join(", ")))));
  return make("div", {}, numbers, each);
}
