// The list of messages: grouped by author, days divided, the unsent ones last.

import { avatar, element, hue } from "./dom.js";

const GROUP_FOR = 5 * 60_000;
const NEAR_THE_END = 80;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const fullTime = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const fullDay = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export class Log {
  #scroller = document.getElementById("log");
  #said = document.getElementById("said");
  #unsent = document.getElementById("unsent");
  #empty = document.getElementById("empty");
  #latest = document.getElementById("latest");
  #known = new Set();
  #waiting = new Map();
  #group = null;
  #day = "";

  constructor() {
    this.#latest.addEventListener("click", () => this.toEnd());
    this.#scroller.addEventListener("scroll", () => this.#atEnd() && (this.#latest.hidden = true));
    // A keyboard on a phone, or a banner, takes height: what was in view stays in view.
    let wasAtEnd = true;
    this.#scroller.addEventListener("scroll", () => (wasAtEnd = this.#atEnd()));
    new ResizeObserver(() => wasAtEnd && this.toEnd()).observe(this.#scroller);
  }

  clear() {
    this.#said.replaceChildren();
    this.#unsent.replaceChildren();
    this.#known.clear();
    this.#waiting.clear();
    this.#group = null;
    this.#day = "";
    this.#latest.hidden = true;
    this.#refreshEmpty();
  }

  /** Add what was said. Returns false when it is here already. */
  add({ id, name, text, at }, mine) {
    if (this.#known.has(id)) return false;
    this.#known.add(id);
    const stick = this.#atEnd() || mine;
    this.#waiting.get(id)?.remove();
    this.#waiting.delete(id);
    const time = new Date(at);
    this.#divideDays(time);
    if (!this.#continues(name, time)) this.#openGroup(name, time, mine);
    this.#group.last = time;
    this.#group.bubbles.append(bubble(text, { title: fullTime.format(time) }));
    this.#follow(stick);
    return true;
  }

  /** Add many at once, silently: a screen reader does not read the past aloud. */
  addHistory(messages, isMine) {
    this.#scroller.setAttribute("aria-live", "off");
    for (const message of messages) this.add(message, isMine(message));
    setTimeout(() => this.#scroller.removeAttribute("aria-live"), 1_000);
  }

  /** A line about somebody who came or went. */
  line(text, at) {
    const stick = this.#atEnd();
    const time = new Date(at);
    this.#divideDays(time);
    this.#group = null;
    this.#said.append(element("p", { className: "line" }, text, " ", timeOf(time)));
    this.#follow(stick);
  }

  /** Show a message of one's own that the server has not confirmed. */
  addUnsent({ id, text }) {
    const state = element("span", { className: "delivery" });
    const node = element("div", { className: "group mine unsent" },
      element("div", { className: "bubbles" }, bubble(text)), state);
    this.#waiting.set(id, node);
    this.#unsent.append(node);
    this.#follow(true);
  }

  /** `kind`: "sending", "waiting" or "refused". */
  markUnsent(id, kind, text, onRemove) {
    const node = this.#waiting.get(id);
    if (!node || node.dataset.kind === kind) return;
    node.dataset.kind = kind;
    const state = node.querySelector(".delivery");
    state.replaceChildren(text);
    if (onRemove) {
      const remove = element("button", { type: "button", className: "quiet" }, "Remove");
      remove.addEventListener("click", () => {
        node.remove();
        this.#waiting.delete(id);
        this.#refreshEmpty();
        onRemove();
      });
      state.append(" ", remove);
    }
  }

  toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#latest.hidden = true;
  }

  #continues(name, time) {
    return this.#group?.name === name && time - this.#group.last < GROUP_FOR;
  }

  #openGroup(name, time, mine) {
    // Sight tells one's own messages by their side; a screen reader needs the word.
    const className = mine ? "visually-hidden" : "who";
    const who = element("span", { className, dir: "auto" }, mine ? "You" : name);
    const head = element("p", { className: "head" }, who, " ", timeOf(time));
    const bubbles = element("div", { className: "bubbles" });
    const node = element("div", { className: mine ? "group mine" : "group" }, head, bubbles);
    if (!mine) node.prepend(avatar(name));
    node.style.setProperty("--hue", hue(name));
    this.#said.append(node);
    this.#group = { name, last: time, bubbles };
  }

  #divideDays(time) {
    const day = time.toDateString();
    if (day === this.#day) return;
    this.#day = day;
    this.#group = null;
    this.#said.append(element("p", { className: "day" }, element("span", {}, nameOfDay(time))));
  }

  #atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    return scrollTop + clientHeight > scrollHeight - NEAR_THE_END;
  }

  #follow(stick) {
    this.#refreshEmpty();
    if (stick) this.toEnd();
    else this.#latest.hidden = false;
  }

  #refreshEmpty() {
    this.#empty.hidden = this.#said.hasChildNodes() || this.#unsent.hasChildNodes();
  }
}

function bubble(text, properties) {
  return element("p", { className: "bubble", dir: "auto", ...properties }, text);
}

function timeOf(time) {
  return element("time", { dateTime: time.toISOString() }, clock.format(time));
}

function nameOfDay(time) {
  const daysAgo = (days) => new Date(Date.now() - days * 86_400_000).toDateString();
  if (time.toDateString() === daysAgo(0)) return "Today";
  if (time.toDateString() === daysAgo(1)) return "Yesterday";
  return fullDay.format(time);
}
