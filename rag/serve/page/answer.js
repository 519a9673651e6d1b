// An answer: its text as it comes, its sources, and what can be done with it.
import { announce, copy, make, thumb } from "./dom.js";
import { t } from "./i18n.js";
import { cited, markdown } from "./text.js";
import { tell } from "./toast.js";

export class Answer {
  // `acts`: what happens on select(answer), source(answer, number), again(), rate(answer, rating), ask(text)
  constructor(acts) {
    this.acts = acts;
    this.text = "";
    this.spoken = 0;
    this.heard = () => false;
    this.number = null; // of the message
    this.feedback = null;
    this.about = {};
    this.state = make("p", { class: "state" }, t("looking"));
    this.body = make("div", { class: "body" });
    this.foot = make("div", { class: "sources-row" });
    this.actions = make("div", { class: "actions", hidden: true });
    this.next = make("div", { class: "next", hidden: true });
    this.element = make("article", { class: "message answer", "aria-label": t("answer"), "aria-busy": "true",
      onclick: () => this.finished && acts.select(this) }, this.state, this.body, this.foot, this.actions, this.next);
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
      if (this.heard()) announce(this.text.slice(this.spoken, end + 1));
      this.spoken = end + 1;
    }
  }

  draw() {
    if (this.finished) return;
    const log = this.element.parentElement;
    const below = log && log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    this.body.replaceChildren(markdown(this.text));
    if (below) log.scrollTop = log.scrollHeight;
  }

  finish(text, about) {
    this.text = text;
    this.about = about;
    this.finished = true;
    this.state.hidden = true;
    this.element.setAttribute("aria-busy", "false");
    const list = about.sources || [];
    const open = (number) => this.acts.source(this, number);
    const named = (number) => t("source", { number });
    this.body.replaceChildren(cited(markdown(text), new Set(list.map((one) => one.number)), open, named));
    this.foot.replaceChildren(...list.filter((one) => one.cited).map((one) => make("button", {
      class: "chip", type: "button", onclick: () => open(one.number),
    }, make("span", { class: "number used" }, String(one.number)), one.title || one.place)));
    if (about.stopped) this.note(t(text ? "stopped" : "no_answer"));
    this.offer();
    const log = this.element.parentElement;
    if (log) log.scrollTop = log.scrollHeight;
  }

  note(text) {
    this.state.textContent = text;
    this.state.hidden = false;
  }

  // The buttons below: those that need the message's number come with it.
  offer() {
    const button = (label, text, onclick, more = {}) =>
      make("button", { class: "act", type: "button", "aria-label": label, title: label, onclick, ...more }, text);
    const opinion = (rating) => button(t(rating), thumb(rating === "bad"), () => this.acts.rate(this, rating),
      { "aria-pressed": String(this.feedback?.rating === rating) });
    this.actions.hidden = false;
    this.actions.replaceChildren(...[
      this.text && button(t("copy"), t("copy"), () => copy(this.text).then(() => { tell(t("copied")); announce(t("copied")); })),
      this.number !== null && button(t("again"), t("again"), () => this.acts.again(this)),
      this.number !== null && this.text && opinion("good"),
      this.number !== null && this.text && opinion("bad"),
    ].filter(Boolean));
  }

  known(number, feedback) {
    this.number = number;
    this.feedback = feedback;
    this.offer();
  }

  suggest(questions) {
    this.next.hidden = !questions.length;
    this.next.replaceChildren(make("span", {}, t("next")), ...questions.map((text) =>
      make("button", { class: "chip", type: "button", onclick: () => this.acts.ask(text) }, text)));
  }
}
