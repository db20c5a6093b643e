// Shows streams and events of workflows live. Without dependencies, inline scripts or styles.
//
// The elements <dbos-progress>, <dbos-stream> and <dbos-event> come from the template tags, with
// their state as of the page. `follow` is for scripts that show a workflow in their own way.
//
// A reader uses a websocket if it can, else server-sent events, else it polls. It goes on where it
// was: each connection asks for what comes after the last value.

// In milliseconds. The pause after a failure grows from the first to the longest, and is random, so
// that the tabs of many people don't return at once.
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
// A connection that was open for this long, or has brought a value, was a good one.
const GOOD = 10_000;
const POLL_PAUSE = 2_000;
// A page that is hidden for this long is paused.
const HIDDEN = 5_000;
// Server-sent events: the first one comes at once, and one or a comment at least every minute.
const FIRST_EVENT = 15_000;
const SILENCE = 90_000;
// HTTP/1.1 has six connections for all tabs of a site. The others poll.
const MAX_HELD = 2;

// What the page has is of an earlier workflow with the id, or from before a rewind.
const GONE = "gone";
const REFUSALS = new Map([
  [400, "wrong"], [401, "login"], [403, "refused"], [404, "refused"], [410, GONE],
  [4400, "wrong"], [4401, "login"], [4403, "refused"], [4410, GONE],
]);
const BUSY = new Set([429, 4429]);

// --- What a connection has come to ---------------------------------------------------------

const over = (state) => ({ state });
const busy = (pause) => ({ pause });

function refusal(reader, code, end) {
  if (BUSY.has(code)) return busy(LONGEST_PAUSE);
  const state = REFUSALS.get(code);
  return state ? over(state === "login" && reader.hasToken ? "expired" : state) : end;
}

// --- The three transports: each reads until its connection ends, and never throws a value away ---

function overWebsocket(reader, signal) {
  return new Promise((resolve) => {
    const socket = new WebSocket(reader.socketUrl());
    const opened = { at: Infinity };
    const close = () => socket.close();
    signal.addEventListener("abort", close);
    socket.onopen = () => { opened.at = performance.now(); reader.setState("live"); };
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      // A tag alone is no sign of a good connection: it comes also when there are no values.
      if (!("tag" in frame)) opened.at = -Infinity;
      reader.take(frame);
    };
    socket.onclose = ({ code }) => {
      signal.removeEventListener("abort", close);
      const wasOpen = opened.at !== Infinity;
      const isGood = performance.now() - opened.at > GOOD;
      if (code === 1000 && wasOpen) resolve(over("ended"));
      else resolve(refusal(reader, code, { isGood, wasOpen }));
    };
  });
}

async function overEvents(reader, signal) {
  const watch = new Watch(signal);
  const began = performance.now();
  let wasOpen = false;
  held += 1;
  try {
    watch.allow(FIRST_EVENT);
    const answer = await reader.fetch({ live: "sse" }, watch.signal);
    const isStream = answer.headers.get("Content-Type")?.startsWith("text/event-stream");
    if (!answer.ok || !isStream) return refusal(reader, answer.status, {});
    let values = [];
    const onBytes = () => watch.allow(wasOpen ? SILENCE : FIRST_EVENT);
    for await (const event of eventsOf(answer.body, onBytes)) {
      if (event.name === "data") values = JSON.parse(event.data);
      if (event.name !== "control") continue;
      const control = JSON.parse(event.data);
      if (!wasOpen) reader.setState("live");
      wasOpen = true;
      reader.takePage(values, control.streamNextOffset, control.streamCursor);
      values = [];
      if (control.streamClosed) return over("ended");
    }
    // The server ends each connection after a while, or at once if it has no thread to wait.
    const isShort = performance.now() - began < GOOD;
    return { isGood: wasOpen, wasOpen, pause: isShort ? POLL_PAUSE : 0 };
  } catch {
    return { isGood: performance.now() - began > GOOD, wasOpen };
  } finally {
    held -= 1;
    watch.end();
  }
}

async function overPolls(reader, signal) {
  let wasOpen = false;
  try {
    for (;;) {
      const answer = await reader.fetch({}, signal);
      if (BUSY.has(answer.status)) return busy(retryAfter(answer));
      if (!answer.ok) return refusal(reader, answer.status, { isGood: wasOpen, wasOpen });
      const values = await answer.json();
      if (!wasOpen) reader.setState("live");
      wasOpen = true;
      reader.takePage(values, answer.headers.get("Stream-Next-Offset"));
      if (answer.headers.get("Stream-Closed") === "true") return over("ended");
      const isAll = answer.headers.get("Stream-Up-To-Date") === "true";
      if (isAll) await sleep(random(POLL_PAUSE), signal);
      if (signal.aborted) return { wasOpen };
    }
  } catch {
    return { isGood: wasOpen, wasOpen };
  }
}

const retryAfter = (answer) => Number(answer.headers.get("Retry-After")) * 1000 || LONGEST_PAUSE;

let held = 0;

// Ends a connection that has been silent for too long, or whose reader has stopped.
class Watch {
  #controller = new AbortController();
  #stop = () => this.#controller.abort();
  #timer;
  #outer;

  constructor(outer) {
    this.#outer = outer;
    outer.addEventListener("abort", this.#stop);
  }

  get signal() { return this.#controller.signal; }

  allow(time) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#stop, time);
  }

  end() {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener("abort", this.#stop);
    this.#stop();
  }
}

async function* eventsOf(body, onBytes) {
  const bytes = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await bytes.read();
    if (done) return;
    onBytes();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    yield* blocks.map(readEvent);
  }
}

function readEvent(block) {
  const event = { name: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") event.name = value;
    if (field === "data") event.data += `${value}\n`;
  }
  return event;
}

const random = (time) => time * (0.5 + Math.random());

function sleep(time, signal) {
  return new Promise((resolve) => {
    const end = () => { clearTimeout(timer); signal.removeEventListener("abort", end); resolve(); };
    const timer = setTimeout(end, time);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}

// --- A reader of one stream or event -------------------------------------------------------

const readers = new Set();
// The transports that have worked on this page; those before them in the order aren't tried again.
const proven = new Set();

class Reader {
  #options;
  #next;
  #versions;
  #tag;
  #cursor;
  #httpOffset;
  #running;
  #state = "";

  constructor(options) {
    this.#options = options;
    this.#next = options.offset ?? 0;
    this.#versions = { ...options.versions };
    this.#tag = options.tag;
  }

  get hasToken() { return Boolean(this.#options.token); }

  get isStream() { return this.#options.kind === "stream"; }

  get isOver() { return this.#state in OVER; }

  get transports() {
    const { websocket, http } = this.#options;
    return [...(websocket ? [overWebsocket] : []), ...(http ? [overEvents, overPolls] : [])];
  }

  start() {
    if (this.#running || this.isOver) return;
    if (!this.transports.length) {
      console.warn("dbos: there is no address. Include django_dbos.urls, or install Channels.");
      return;
    }
    this.#running = new AbortController();
    this.#run(this.#running.signal);
  }

  stop() {
    this.#running?.abort();
    this.#running = undefined;
  }

  pause() {
    if (!this.#running) return;
    this.stop();
    this.setState("paused");
  }

  setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onState?.(state);
  }

  // A frame of a websocket.
  take(frame) {
    if ("tag" in frame) this.#tag = frame.tag;
    if ("error" in frame) console.error(`dbos: ${frame.error}`);
    if (this.isStream && "offset" in frame) this.#takeEntry(frame.offset, frame.value);
    if (!this.isStream && "version" in frame) this.#takeEvent(frame);
  }

  // The values of an answer over HTTP, and the offset after them.
  takePage(values, next, cursor) {
    const [tag, number] = next?.split("_") ?? [];
    const position = Number(number ?? 0);
    this.#tag = tag;
    values.forEach((value, index) => {
      if (this.isStream) this.#takeEntry(position - values.length + index, value);
      else this.#takeEvent(value);
    });
    this.#httpOffset = next;
    this.#cursor = cursor;
  }

  socketUrl() {
    const url = this.#url(this.#options.websocket);
    url.protocol = url.protocol.replace("http", "ws");
    if (this.isStream) url.searchParams.set("offset", this.#next);
    if (this.#tag) url.searchParams.set("tag", this.#tag);
    if (this.#options.token) url.searchParams.set("token", this.#options.token);
    return url;
  }

  fetch(parameters, signal) {
    const url = this.#url(this.#options.http);
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    url.searchParams.set("offset", this.#httpOffset ?? this.#position());
    if (this.#cursor && parameters.live) url.searchParams.set("cursor", this.#cursor);
    const { token } = this.#options;
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    return fetch(url, { headers, signal, cache: "no-cache" });
  }

  // A position in a stream, or a version of one event, after the tag of the workflow if it is known.
  #position() {
    const number = this.isStream ? this.#next : this.#versions[this.#options.key];
    if (!this.#tag) return number ? String(number) : "-1";
    return `${this.#tag}_${number ?? 0}`;
  }

  #url(path) {
    const { workflowId, key } = this.#options;
    const url = new URL(path, location.href);
    url.searchParams.set("workflow_id", workflowId);
    if (key !== undefined) url.searchParams.set("key", key);
    return url;
  }

  #takeEntry(offset, value) {
    if (offset < this.#next) return;
    this.#next = offset + 1;
    // Until an answer over HTTP brings an offset of its own again.
    this.#httpOffset = undefined;
    this.#options.onValue?.(value, { offset, tag: this.#tag });
  }

  #takeEvent({ key, value, version }) {
    if (version <= (this.#versions[key] ?? 0)) return;
    this.#versions[key] = version;
    this.#options.onValue?.(value, { key, version, tag: this.#tag });
  }

  async #run(signal) {
    let pause = FIRST_PAUSE;
    while (!signal.aborted) {
      const end = await this.#connect(signal);
      if (signal.aborted) return;
      if (end.state === GONE) this.#beginAnew();
      else if (end.state) return this.#end(end.state);
      if (end.isGood) pause = FIRST_PAUSE;
      else this.setState("reconnecting");
      await sleep(random(end.pause || pause), signal);
      if (!end.isGood) pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  }

  // Tries the transports in turn, from the first that is known to work here, until one opens.
  async #connect(signal) {
    const first = Math.max(0, this.transports.findIndex((transport) => proven.has(transport)));
    let end = {};
    for (const transport of this.transports.slice(first)) {
      if (transport === overEvents && held >= MAX_HELD) continue;
      end = await transport(this, signal);
      if (end.wasOpen) proven.add(transport);
      if (signal.aborted || end.state || end.wasOpen) break;
    }
    return end;
  }

  #beginAnew() {
    this.#next = 0;
    this.#versions = {};
    this.#tag = this.#httpOffset = this.#cursor = undefined;
    this.#options.onRestart?.();
  }

  #end(state) {
    this.#running = undefined;
    readers.delete(this);
    this.setState(state);
  }
}

const OVER = { ended: true, login: true, expired: true, refused: true, wrong: true };

/**
 * Follows a stream or event of a workflow until its end; returns a function that stops it.
 *
 * @param {object} options
 *   kind: "stream" or "event"
 *   workflowId, key: what is followed; of events, no key means all of them
 *   offset: the first entry that is wanted (default 0)
 *   versions: of events, the versions that the page has, by key
 *   tag: the workflow of which the page has these, as in an offset; it notices a rewind by it
 *   token: from stream_token() or event_token(), for readers without a session
 *   websocket, http: the addresses; at least one of them
 *   onValue(value, {offset, tag} or {key, version, tag}): called for each value, in order, once
 *   onRestart(): called when the workflow was rewound, or another one has the id: the page forgets
 *     what it has, and all values come again
 *   onState(state): "live", "reconnecting" or "paused"; at last "ended", "login", "expired",
 *     "refused" or "wrong"
 */
export function follow(options) {
  const reader = new Reader(options);
  readers.add(reader);
  if (!document.hidden) reader.start();
  return () => { readers.delete(reader); reader.stop(); };
}

// A page that nobody sees needs no connection; the browser may also keep it for the back button.
const pauseAll = () => readers.forEach((reader) => reader.pause());
const resumeAll = () => { if (!document.hidden) readers.forEach((reader) => reader.start()); };
let hiding;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(pauseAll, HIDDEN);
  else resumeAll();
});
addEventListener("pagehide", pauseAll);
addEventListener("pageshow", resumeAll);
// After sleep or a change of the network, a connection may be dead without knowing it.
addEventListener("online", () => { pauseAll(); resumeAll(); });

// --- Values as text: as the server renders them ---------------------------------------------

/** Returns the text that is shown of a value: of an object, its "text" if it has one. */
export function textOf(value) {
  if (isMissing(value)) return "";
  if (typeof value === "string") return value;
  if (typeof value.text === "string") return value.text;
  return JSON.stringify(value);
}

/** Returns {done, total, text} of a number, a text, or an object with these; done may be null. */
export function progressOf(value, max) {
  const { done = null, total = max, text = "" } = Object(value) === value ? value : { done: value };
  const size = isNumber(total) && total > 0 ? total : max;
  const known = isNumber(done) && size ? Math.min(Math.max(done, 0), size) : null;
  return { done: known, total: size, text: typeof value === "string" ? value : textOf(text) };
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Returns the percentage of a progress, rounded down: only all of it is 100. */
export function percentOf({ done, total }) {
  return done === null ? "" : `${Math.floor((done * 100) / total)}\u00a0%`;
}

// --- The elements --------------------------------------------------------------------------

// The texts that the page's language has for these, from {% dbos_live %}.
const says = {
  reconnecting: "Reconnecting …",
  login: "Log in to follow this.",
  expired: "This page has expired. Reload it.",
  refused: "You may not follow this.",
  wrong: "The address of this is wrong.",
  ...JSON.parse(document.querySelector("script[data-dbos-says]")?.dataset.dbosSays ?? "{}"),
};

class LiveElement extends HTMLElement {
  #offset;
  #versions;
  #tag;
  #stop;

  connectedCallback() {
    const { workflow, key, kind, offset, version, tag, token, websocket, http } = this.dataset;
    this.#offset ??= Number(offset ?? 0);
    this.#versions ??= version ? { [key]: Number(version) } : {};
    this.#tag ??= tag ?? "";
    if (!workflow) return;
    this.#stop = follow({
      kind, workflowId: workflow, key, token, websocket, http,
      offset: this.#offset,
      versions: this.#versions,
      tag: this.#tag,
      onRestart: () => this.#restart(),
      onValue: (value, place) => this.#take(value, place),
      onState: (state) => this.#setState(state),
    });
  }

  disconnectedCallback() { this.#stop?.(); }

  part(name) { return this.querySelector(`.dbos-${name}`); }

  write(name, text) {
    const part = this.part(name);
    if (part) part.textContent = text;
  }

  // A listener that calls preventDefault() shows the value itself.
  #take(value, place) {
    if ("offset" in place) this.#offset = place.offset + 1;
    else this.#versions = { [place.key]: place.version };
    this.#tag = place.tag;
    const detail = { value, ...place };
    if (this.#tell("value", detail)) this.show(value);
  }

  #restart() {
    this.#offset = 0;
    this.#versions = {};
    this.#tag = "";
    if (this.#tell("restart", {})) this.clear();
  }

  #setState(state) {
    this.dataset.state = state;
    this.write("notice", says[state] ?? "");
    this.stateChanged(state);
    this.#tell("state", { state });
    if (state === "ended") this.#tell("end", {});
  }

  #tell(name, detail) {
    const options = { bubbles: true, cancelable: true, detail };
    return this.dispatchEvent(new CustomEvent(`dbos:${name}`, options));
  }

  show(value) {}

  clear() { this.show(null); }

  stateChanged(state) {}
}

class ProgressElement extends LiveElement {
  show(value) {
    const bar = this.querySelector("progress");
    const progress = progressOf(value, Number(this.dataset.max));
    if (bar) {
      bar.max = progress.total;
      if (progress.done === null) bar.removeAttribute("value");
      else bar.value = progress.done;
    }
    this.write("percent", percentOf(progress));
    this.write("text", progress.text);
  }
}

class EventElement extends LiveElement {
  show(value) {
    const text = textOf(value);
    const labels = JSON.parse(this.dataset.labels ?? "{}");
    this.dataset.value = text;
    this.write("text", Object.hasOwn(labels, text) ? labels[text] : text);
  }

  clear() {
    delete this.dataset.value;
    this.write("text", this.dataset.default ?? "");
  }
}

class StreamElement extends LiveElement {
  #frame;

  show(value) {
    const place = this.part("entries");
    if (!place) return;
    this.#keepAtEnd(place);
    if (this.dataset.mode === "text") this.#addText(place, textOf(value));
    else this.#addItem(place, value);
  }

  clear() { this.part("entries")?.replaceChildren(); }

  // While text flows in, a screen reader waits; then it reads the whole.
  stateChanged(state) {
    if (this.dataset.mode !== "text") return;
    this.part("entries")?.setAttribute("aria-busy", String(!(state in OVER)));
  }

  #addText(place, text) {
    if (place.lastChild?.nodeType === Node.TEXT_NODE) place.lastChild.appendData(text);
    else place.append(text);
  }

  #addItem(place, value) {
    const template = this.querySelector("template");
    const item = template?.content.cloneNode(true) ?? document.createElement("li");
    if (template) fill(item, value);
    else item.textContent = textOf(value);
    place.append(item);
    const limit = Number(this.dataset.limit ?? Infinity);
    while (place.children.length > limit) place.firstElementChild.remove();
  }

  // A log that is scrolled to its end stays there.
  #keepAtEnd(place) {
    if (this.#frame || place.scrollHeight - place.scrollTop - place.clientHeight > 4) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = undefined;
      place.scrollTop = place.scrollHeight;
    });
  }
}

// --- Templates of entries ------------------------------------------------------------------

// data-field="worker" is the place of a field's text, data-field="" of the whole value's. An
// element whose field is missing is left out, as one with data-if="worker". data-set-NAME="field"
// sets an attribute.
const SET = "data-set-";

function fill(fragment, value) {
  for (const element of fragment.querySelectorAll("*")) {
    const { field } = element.dataset;
    const needed = element.dataset.if ?? field;
    if (needed !== undefined && isMissing(fieldOf(value, needed))) {
      element.remove();
      continue;
    }
    if (field !== undefined) element.textContent = textOf(fieldOf(value, field));
    for (const { name, value: path } of [...element.attributes]) {
      if (name.startsWith(SET)) set(element, name.slice(SET.length), fieldOf(value, path));
    }
  }
}

const isMissing = (value) => value === undefined || value === null;

function fieldOf(value, path) {
  if (path === "") return value;
  const step = (found, name) => (Object.hasOwn(Object(found), name) ? found[name] : undefined);
  return path.split(".").reduce(step, value);
}

const PLAIN = ["class", "title", "datetime", "value"];

// Values are other people's text: no handler, style or script address may come from one.
function set(element, name, value) {
  if (isMissing(value)) return;
  const text = textOf(value);
  const isPlain = name.startsWith("data-") || PLAIN.includes(name);
  if (isPlain || (name === "href" && isLink(text))) element.setAttribute(name, text);
}

function isLink(text) {
  try {
    return ["http:", "https:", "mailto:"].includes(new URL(text, location.href).protocol);
  } catch {
    return false;
  }
}

customElements.define("dbos-progress", ProgressElement);
customElements.define("dbos-event", EventElement);
customElements.define("dbos-stream", StreamElement);
