// What was typed and is not confirmed yet. It goes out one message at a time, in order, and a
// message leaves the queue only when the server has sent it back: none is lost on the way, and
// the server drops the one that it gets twice.

const CONFIRM_WITHIN = 10_000;

export class Outbox {
  #queues = new Map();
  #room = "";
  #underWay = null;
  #timer;
  #transmit;
  #onChange;

  /** `transmit(message)` returns false when the line is down; `onChange(room's messages)`. */
  constructor(transmit, onChange) {
    this.#transmit = transmit;
    this.#onChange = onChange;
  }

  /** The messages that wait in the present room. */
  get waiting() {
    return this.#queues.get(this.#room) ?? [];
  }

  get isEmpty() {
    return [...this.#queues.values()].every((queue) => queue.length === 0);
  }

  /** Each room has its own queue; only the queue of the present one moves. */
  enter(room) {
    this.pause();
    this.#room = room;
  }

  put(text) {
    const message = { id: randomId(), text };
    this.#queues.set(this.#room, [...this.waiting, message]);
    return message;
  }

  /** Send the first one, unless one is under way. */
  flush() {
    const [first] = this.waiting;
    if (first && !this.#underWay && this.#transmit({ type: "say", ...first })) {
      this.#underWay = first.id;
      this.#resendIn(CONFIRM_WITHIN);
    }
    this.#onChange(this.waiting);
  }

  /** The line is down: what was under way may not have arrived. */
  pause() {
    clearTimeout(this.#timer);
    this.#underWay = null;
    this.#onChange(this.waiting);
  }

  /** The server has it, or will never take it. */
  settle(id) {
    if (!this.waiting.some((message) => message.id === id)) return;
    this.#queues.set(this.#room, this.waiting.filter((message) => message.id !== id));
    if (this.#underWay === id) {
      clearTimeout(this.#timer);
      this.#underWay = null;
    }
    this.flush();
  }

  /** The server asks to wait. */
  delay(id, milliseconds) {
    if (this.#underWay === id) this.#resendIn(milliseconds);
  }

  #resendIn(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#underWay = null;
      this.flush();
    }, milliseconds);
  }
}

// crypto.randomUUID exists on https and localhost only; a demo may be opened over the LAN.
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
