// A WebSocket that comes back by itself.
//
// Events: "state" (detail: { state, retryAt, code, reason }) and "message" (detail: the JSON).
//   connecting     the first attempt is under way
//   connected      the server has answered: open alone is not enough
//   reconnecting   it broke; the next attempt is at `retryAt`, or under way when that is null
//   stopped        it will not try again by itself: `code` and `reason` say why

const FIRST_DELAY = 1_000;
const MAX_DELAY = 30_000;
const OPEN_DEADLINE = 10_000;
const STABLE_AFTER = 5_000;
const PING_EVERY = 20_000;
const PONG_DEADLINE = 8_000;
const ABNORMAL = 1006;
const SLOW_CONSUMER = 4008;

// After these codes another attempt would only repeat the mistake.
const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003]);

export function mayReconnect(code) {
  return code === SLOW_CONSUMER || !(FINAL.has(code) || (code >= 4000 && code <= 4999));
}

// Full jitter: when a server restarts, its clients come back spread over the whole interval.
export function backoff(attempt) {
  return Math.random() * Math.min(MAX_DELAY, FIRST_DELAY * 2 ** attempt);
}

export class Connection extends EventTarget {
  state = "connecting";
  retryAt = null;
  #url;
  #greet;
  #socket = null;
  #lastClose = {};
  #failures = 0;
  #retryTimer;
  #deadline;
  #stableTimer;
  #pingTimer;
  #listening = new AbortController();

  /** `greet` returns the first message of every connection. */
  constructor(url, greet) {
    super();
    this.#url = url;
    this.#greet = greet;
    const { signal } = this.#listening;
    window.addEventListener("online", () => this.hurry(), { signal });
    window.addEventListener("offline", () => this.#emitState(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry(), { signal });
    // A page in the back/forward cache keeps no socket.
    window.addEventListener("pagehide", () => this.#drop(), { signal });
    window.addEventListener("pageshow", (event) => event.persisted && this.retry(), { signal });
  }

  /** Connect now, whatever the waiting time. */
  retry() {
    this.#drop();
    clearTimeout(this.#retryTimer);
    this.#set(this.state === "connecting" ? "connecting" : "reconnecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    // Old sockets have late events: only those of the present one count.
    const on = (type, listener) =>
      socket.addEventListener(type, (event) => socket === this.#socket && listener(event));
    on("open", () => this.send(this.#greet()));
    on("message", (event) => this.#received(event.data));
    on("close", (event) => this.#lost(event.code, event.reason));
    this.#expectAnswer(OPEN_DEADLINE);
  }

  /** Something changed for the better: try at once, or see whether the line still works. */
  hurry() {
    if (this.state === "reconnecting" && this.retryAt !== null) this.retry();
    else if (this.state === "connected") this.check();
  }

  /** Ask the server for a sign of life; without one the connection counts as lost. */
  check() {
    if (this.send({ type: "ping" })) this.#expectAnswer(PONG_DEADLINE);
  }

  /** Returns false when there is no open connection; nothing is kept. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** End it for good. No further event follows. */
  stop() {
    this.#listening.abort();
    this.#drop();
    clearTimeout(this.#retryTimer);
  }

  #received(data) {
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    this.#schedulePing();
    if (this.state !== "connected") {
      this.#set("connected");
      this.#stableTimer = setTimeout(() => (this.#failures = 0), STABLE_AFTER);
    }
    this.dispatchEvent(new CustomEvent("message", { detail: JSON.parse(data) }));
  }

  #schedulePing() {
    clearTimeout(this.#pingTimer);
    this.#pingTimer = setTimeout(() => this.check(), PING_EVERY);
  }

  #expectAnswer(milliseconds) {
    // A dead network answers nothing, not even the closing handshake: do not wait for it.
    this.#deadline ??= setTimeout(() => this.#lost(ABNORMAL, "no answer"), milliseconds);
  }

  #lost(code, reason) {
    this.#drop();
    this.#lastClose = { code, reason };
    if (!mayReconnect(code)) {
      this.#set("stopped");
      return;
    }
    const delay = backoff(this.#failures++);
    this.#retryTimer = setTimeout(() => this.retry(), delay);
    this.#set("reconnecting", Date.now() + delay);
  }

  #drop() {
    clearTimeout(this.#deadline);
    clearTimeout(this.#stableTimer);
    clearTimeout(this.#pingTimer);
    this.#deadline = undefined;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #set(state, retryAt = null) {
    this.state = state;
    this.retryAt = retryAt;
    this.#emitState();
  }

  #emitState() {
    const detail = { state: this.state, retryAt: this.retryAt, ...this.#lastClose };
    this.dispatchEvent(new CustomEvent("state", { detail }));
  }
}
