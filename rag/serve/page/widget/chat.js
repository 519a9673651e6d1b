// The embedded chat. It lives in a shadow tree, keeps its conversation in memory, and knows nothing
// of the page around it.
import { make } from "../dom.js";
import { events } from "../events.js";
import { preferred, speaking } from "../i18n.js";
import { cited, markdown, marked_text } from "../text.js";
import { STYLE } from "./style.js";

const REMEMBERED = 8; // messages that a question may refer to

export function start({ base, title = "", key = "", pipeline = null, language = "", open = null }) {
  const spoken = preferred([language || document.documentElement.lang || "", ...navigator.languages]);
  const chat = new Chat(base, key, pipeline, speaking(spoken), title, spoken);
  document.body.append(chat.host);
  if (open !== null) chat.show(false);
}

class Chat {
  constructor(base, key, pipeline, t, title, language) {
    Object.assign(this, { base, key, pipeline, t, history: [], running: null });
    this.title = title || t("ask_us");
    this.host = make("div", { lang: language });
    const root = this.host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.log = make("div", { class: "log", role: "log", "aria-live": "off", tabIndex: 0, "aria-label": t("conversation") });
    this.say = make("div", { class: "hidden", role: "status" });
    this.box = make("textarea", { rows: "1", "aria-label": t("question"), placeholder: t("placeholder"), maxlength: "8000" });
    this.send = make("button", { class: "primary", type: "submit" }, t("ask"));
    this.halt = make("button", { class: "primary", type: "button", hidden: true, onclick: () => this.running?.abort() }, t("stop"));
    const form = make("form", { onsubmit: (event) => { event.preventDefault(); this.submit(); } }, this.box, this.send, this.halt);
    this.panel = make("section", { class: "chat", role: "dialog", "aria-label": this.title, hidden: true },
      make("header", {}, make("strong", {}, this.title),
        make("button", { type: "button", "aria-label": t("close_chat"), onclick: () => this.hide() }, "×")),
      this.log, this.say, form);
    this.button = make("button", { class: "opener", type: "button", "aria-expanded": "false", onclick: () => (this.panel.hidden ? this.show() : this.hide()) }, this.title);
    this.box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
    });
    this.panel.addEventListener("keydown", (event) => {
      event.stopPropagation(); // the site's shortcuts are not meant
      if (event.key === "Escape") { if (this.running) this.running.abort(); else this.hide(); }
    });
    root.append(this.panel, this.button);
  }

  show(focus = true) {
    this.panel.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    if (focus) this.box.focus();
  }

  hide() {
    this.panel.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    this.button.focus();
  }

  add(element) {
    this.log.append(element);
    this.log.scrollTop = this.log.scrollHeight;
    return element;
  }

  async submit() {
    const query = this.box.value.trim();
    if (!query || this.running) return;
    this.box.value = "";
    this.add(make("p", { class: "question" }, query));
    const answer = this.add(make("article", { class: "answer", "aria-label": this.t("answer"), "aria-busy": "true" }, this.t("looking")));
    const running = this.running = new AbortController();
    this.send.hidden = true;
    this.halt.hidden = false;
    let text = "";
    try {
      for await (const [name, data] of await this.ask(query, running.signal)) {
        if (name === "token" && data.answer) {
          text += data.text;
          answer.replaceChildren(markdown(text));
        } else if (name === "done") {
          text = data.answer || "";
          this.finish(answer, text, data.sources || []);
        } else if (name === "error") throw new Error(data.what);
        this.log.scrollTop = this.log.scrollHeight;
      }
      this.history = [...this.history, { role: "user", content: query }, { role: "assistant", content: text }].slice(-REMEMBERED);
    } catch (error) {
      const stopped = error.name === "AbortError";
      const said = stopped ? this.t("stopped") : error instanceof TypeError ? this.t("unreachable") : error.message;
      answer.replaceChildren(text ? markdown(text) : "", make("p", { class: stopped ? "note" : "failure", role: stopped ? null : "alert" }, said));
    } finally {
      answer.setAttribute("aria-busy", "false");
      this.running = null;
      this.send.hidden = false;
      this.halt.hidden = true;
    }
  }

  async ask(query, signal) {
    const response = await fetch(new URL("ask", this.base), {
      method: "POST", signal, credentials: "omit",
      headers: { "Content-Type": "application/json", ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}) },
      body: JSON.stringify({ query, pipeline: this.pipeline, history: this.history, stream: true }),
    });
    if (response.ok) return events(response);
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.what || response.statusText);
  }

  finish(answer, text, sources) {
    const used = sources.filter((one) => one.cited);
    const cards = new Map(used.map((one) => [one.number, this.card(one)]));
    const open = (number) => { cards.get(number).open = true; cards.get(number).querySelector("summary").focus(); };
    const named = (number) => this.t("source", { number });
    answer.replaceChildren(cited(markdown(text), new Set(cards.keys()), open, named), ...cards.values());
    this.say.textContent = this.t("answered", { text });
  }

  card(one) {
    const web = /^https?:/i.test(one.link || "");
    const link = one.link && (web || !this.key)
      ? make("a", { href: new URL(one.link, this.base).href, target: "_blank", rel: "noopener noreferrer" }, this.t(web ? "open_web" : "open_source")) : null;
    return make("details", { class: "source" }, make("summary", {}, `${one.number} · ${one.title || one.place}`), marked_text(one.text, null, one.quote), link);
  }
}
