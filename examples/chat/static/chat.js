// The page: name entry, rooms, people, the state of the connection.

import { Connection } from "./connection.js";
import { avatar, element } from "./dom.js";
import { Log } from "./log.js";
import { Outbox, randomId } from "./outbox.js";

const ROOMS = ["lobby", "coffee", "music"];
const NAME = "telex-chat-name";
const VISITED = "telex-chat-rooms";

const $ = (id) => document.getElementById(id);
const log = new Log();
const outbox = new Outbox((message) => isConnected() && connection.send(message), showUnsent);

let me = null; // { name, key }, after the name was given
let room = "";
let members = [];
let counts = new Map();
let connection = null;
let unread = 0;

// ---- name entry

function showEntry() {
  connection?.stop();
  connection = null;
  me = null;
  $("chat").hidden = true;
  $("entry").hidden = false;
  $("entry-name").value = recall(localStorage, NAME) ?? "";
  $("entry-room").value = roomInHash();
  $("entry-name").select();
  document.title = "Telex chat";
}

$("entry-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("entry-name").value.trim();
  if (!name) return;
  remember(localStorage, NAME, name);
  const wanted = slug($("entry-room").value) || ROOMS[0];
  history.replaceState(null, "", `#${wanted}`);
  enterChat(name);
});

function enterChat(name) {
  // The key is new for every page: it lets this page, and no other, take its name back.
  me = { name, key: randomId() };
  remember(sessionStorage, NAME, name);
  $("entry").hidden = true;
  $("chat").hidden = false;
  openRoom(roomInHash());
}

$("change-name").addEventListener("click", () => {
  forget(sessionStorage, NAME);
  closeDrawer();
  showEntry();
});

// ---- rooms

function roomInHash() {
  try {
    return slug(decodeURIComponent(location.hash.slice(1))) || ROOMS[0];
  } catch {
    return ROOMS[0];
  }
}

function slug(text) {
  const letters = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const plain = letters.replace(/[^a-z0-9]+/g, "-");
  return plain.replace(/^-+/, "").slice(0, 24).replace(/-+$/, "");
}

function openRoom(name) {
  connection?.stop();
  room = name;
  members = [];
  unread = 0;
  visit(name);
  log.clear();
  outbox.enter(name);
  outbox.waiting.forEach((message) => log.addUnsent(message));
  $("room-title").textContent = name;
  $("text").placeholder = `Message #${name}`;
  hideNotice();
  showPeople();
  closeDrawer();
  const url = new URL(`ws/${name}`, location.href.split("#")[0]);
  url.protocol = url.protocol.replace("http", "ws");
  connection = new Connection(url, () => ({ type: "join", ...me }));
  connection.addEventListener("state", showState);
  connection.addEventListener("message", ({ detail }) => handle(detail));
  connection.retry();
  if (matchMedia("(hover: hover)").matches) $("text").focus();
}

window.addEventListener("hashchange", () => {
  if (me && roomInHash() !== room) openRoom(roomInHash());
  else if (!me) $("entry-room").value = roomInHash();
});

$("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = slug($("room-name").value);
  $("room-name").value = "";
  if (name) location.hash = name;
});

function visit(name) {
  const others = visited().filter((other) => other !== name && !ROOMS.includes(other));
  const kept = ROOMS.includes(name) ? others : [name, ...others];
  remember(localStorage, VISITED, JSON.stringify(kept.slice(0, 6)));
}

function visited() {
  try {
    const kept = JSON.parse(recall(localStorage, VISITED) ?? "[]");
    return kept.map((name) => slug(String(name))).filter(Boolean);
  } catch {
    return [];
  }
}

// ---- what the server says

function handle(message) {
  switch (message.type) {
    case "welcome":
      // "Ada" may have become "Ada 2"; that is the name to come back with.
      me.name = message.you;
      members = message.members;
      setCounts(message.rooms);
      for (const said of message.history) outbox.settle(said.id);
      log.addHistory(message.history, isMine);
      outbox.flush();
      break;
    case "message":
      if (log.add(message, isMine(message)) && !isMine(message)) noticeUnread();
      outbox.settle(message.id);
      break;
    case "joined":
      members.push(message.name);
      log.line(`${message.name} joined`, message.at);
      break;
    case "left":
      members = members.filter((name) => name !== message.name);
      log.line(`${message.name} left`, message.at);
      break;
    case "pong":
      setCounts(message.rooms);
      break;
    case "slow_down":
      showNotice(message.text);
      outbox.delay(message.id, message.retry_in * 1_000);
      break;
    case "error":
      showNotice(message.text);
      if (message.id) {
        log.markUnsent(message.id, "refused", "Not sent.", () => {});
        outbox.settle(message.id);
      }
      break;
  }
  if (message.type !== "message") showPeople();
}

function isMine(message) {
  return message.name === me.name;
}

function setCounts(rooms) {
  counts = new Map(rooms.map(({ name, people }) => [name, people]));
}

// ---- sending

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  fitText();
  log.addUnsent(outbox.put(text));
  outbox.flush();
  log.toEnd();
  $("text").focus();
});

$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});

$("text").addEventListener("input", fitText);

function fitText() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight}px`;
}

function showUnsent(messages) {
  for (const { id } of messages) {
    if (isConnected()) log.markUnsent(id, "sending", "Sending…");
    else log.markUnsent(id, "waiting", "Not sent yet: waiting for the connection");
  }
}

window.addEventListener("beforeunload", (event) => {
  if (!outbox.isEmpty) event.preventDefault();
});

// ---- the state of the connection

function isConnected() {
  return connection?.state === "connected";
}

function showState({ detail: { state, code, reason } }) {
  const shown = state === "reconnecting" && !navigator.onLine ? "offline" : state;
  $("status").dataset.state = shown;
  if (!isConnected()) outbox.pause();
  const sentence = {
    connecting: "",
    connected: "",
    reconnecting: "The connection is lost.",
    offline: "You seem to be offline.",
    stopped: `The server has ended the connection${reason ? `: ${reason}` : ""} (${code}).`,
  }[shown];
  $("trouble").hidden = !sentence;
  $("trouble-text").textContent = sentence;
  $("try-now").textContent = state === "stopped" ? "Connect again" : "Try now";
  const announced = sentence || (state === "connected" ? "Connected." : "");
  if ($("announcer").textContent !== announced) $("announcer").textContent = announced;
  showCountdown();
}

function showCountdown() {
  if (!connection) return;
  const { state, retryAt } = connection;
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1_000));
  const waiting = state === "reconnecting" && retryAt !== null;
  const words = { connecting: "Connecting", connected: "Connected", stopped: "Disconnected" };
  const offline = $("status").dataset.state === "offline";
  $("status-word").textContent = words[state] ?? (offline ? "Offline" : "Reconnecting");
  $("countdown").textContent =
    state !== "reconnecting" ? "" : waiting ? `Trying again in ${seconds} s.` : "Trying now…";
  $("try-now").disabled = state === "reconnecting" && !waiting;
}

setInterval(showCountdown, 250);
$("try-now").addEventListener("click", () => connection.retry());

// ---- people and rooms at the side

function showPeople() {
  const here = [...members].sort((a, b) => (b === me.name) - (a === me.name) || a.localeCompare(b));
  renderList($("members"), here.map(memberItem));
  $("member-count").textContent = here.length || "";
  $("room-people").textContent = here.length ? people(here.length) : "";
  $("my-name").textContent = me.name;
  $("my-avatar").replaceChildren(avatar(me.name));
  const names = new Set([...ROOMS, ...visited(), ...counts.keys()]);
  renderList($("rooms"), [...names].map(roomItem));
  showTitle();
}

// A list that did not change is left alone, and the focus stays where it is.
function renderList(list, items) {
  const focused = document.activeElement?.getAttribute("href");
  const fresh = element("ul", {}, ...items);
  if (fresh.innerHTML === list.innerHTML) return;
  list.replaceChildren(...fresh.children);
  if (focused) list.querySelector(`[href="${focused}"]`)?.focus();
}

function memberItem(name) {
  const label = element("span", { className: "name", dir: "auto" }, name);
  if (name === me.name) label.append(" ", element("span", { className: "tag" }, "you"));
  return element("li", {}, avatar(name), label);
}

function roomItem(name) {
  const count = name === room ? members.length : (counts.get(name) ?? 0);
  const link = element("a", { href: `#${name}` },
    element("span", { className: "hash", ariaHidden: "true" }, "#"),
    element("span", { className: "name" }, name));
  if (count) link.append(element("span", { className: "count", ariaLabel: people(count) }, count));
  if (name === room) link.ariaCurrent = "page";
  return element("li", {}, link);
}

function people(count) {
  return count === 1 ? "1 person" : `${count} people`;
}

function closeDrawer() {
  if ($("side").matches(":popover-open")) $("side").hidePopover();
}

matchMedia("(min-width: 48rem)").addEventListener("change", closeDrawer);

// ---- small things

let noticeTimer;
function showNotice(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(hideNotice, 6_000);
}

function hideNotice() {
  $("notice").hidden = true;
}

function noticeUnread() {
  if (!document.hidden) return;
  unread += 1;
  showTitle();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) unread = 0;
  if (me) showTitle();
});

function showTitle() {
  document.title = `${unread ? `(${unread}) ` : ""}#${room} · Telex chat`;
}

// Storage can be forbidden; the chat works without.
function remember(storage, key, value) {
  try { storage.setItem(key, value); } catch { /* private mode */ }
}

function recall(storage, key) {
  try { return storage.getItem(key); } catch { return null; }
}

function forget(storage, key) {
  try { storage.removeItem(key); } catch { /* private mode */ }
}

// A reload goes straight back in; a new tab asks for a name.
const before = recall(sessionStorage, NAME);
if (before) enterChat(before);
else showEntry();
