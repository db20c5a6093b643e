// Shows a workflow live: its stream from the first offset that isn't on the page yet, and its status.

// Of codes from 4000 on, the server has said what is wrong: asking again won't help.
const isForGood = (code) => code === 1000 || code >= 4000;

// Calls onFrame for every frame. `address` is asked before each attempt, so that a new connection
// begins where the last one broke off.
function follow(address, onFrame, onState) {
  let pause = 500;

  function connect() {
    const socket = new WebSocket(address());
    socket.onopen = () => { pause = 500; onState("live"); };
    socket.onmessage = (message) => onFrame(JSON.parse(message.data));
    socket.onclose = (close) => {
      if (isForGood(close.code)) return onState(close.code === 1000 ? "done" : "refused");
      onState("reconnecting");
      // Not all tabs at once after a restart, and less and less often while the server is away.
      setTimeout(connect, pause * (0.5 + Math.random()));
      pause = Math.min(pause * 2, 30_000);
    };
  }

  connect();
}

function socketUrl(path, parameters) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.search = new URLSearchParams(parameters);
  return url;
}

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...properties });
}

function addStage(timeline, entry) {
  const item = element("li", "");
  item.dataset.stage = entry.stage;
  item.append(element("span", entry.text));
  if (entry.worker) item.append(element("small", `worker ${entry.worker}`));
  if (entry.url) item.append(element("a", "Pay", { href: entry.url, className: "button" }));
  timeline.append(item);
}

function moveBar(box, entry) {
  box.querySelector("progress").value = entry.done;
  box.querySelector("[data-done]").textContent = entry.done.toLocaleString("en");
  box.querySelector("[data-worker]").textContent = `worker ${entry.worker}`;
}

async function showResult(place) {
  const answer = await fetch(location.href, { headers: { Accept: "application/json" } });
  const { result } = await answer.json();
  if (result) place.textContent = `${result.created.toLocaleString("en")} new, ${result.updated.toLocaleString("en")} updated.`;
}

const STATES = {
  live: "Live",
  reconnecting: "The connection broke; trying again …",
  refused: "You may not follow this live.",
};

function showWorkflow(page) {
  const workflow_id = page.dataset.workflow;
  const box = page.querySelector("[data-stream]");
  const badge = page.querySelector("[data-event]");
  const connection = page.querySelector("[data-connection]");
  const resultPlace = page.querySelector("[data-result]");
  const show = box.matches(".timeline") ? addStage : moveBar;
  let offset = Number(box.dataset.offset);

  function onEntry(frame) {
    if (frame.closed) return resultPlace && showResult(resultPlace);
    if (frame.offset < offset) return;
    offset = frame.offset + 1;
    show(box, frame.value);
  }

  function onState(state) {
    connection.textContent = STATES[state] ?? "";
    if (STATES[state]) connection.dataset.state = state;
    else delete connection.dataset.state;
  }

  function onEvent(frame) {
    badge.dataset.value = frame.value;
    badge.textContent = frame.value.replaceAll("_", " ");
  }

  follow(() => socketUrl("/ws/dbos/streams/", { workflow_id, key: box.dataset.stream, offset }), onEntry, onState);
  follow(() => socketUrl("/ws/dbos/events/", { workflow_id, key: badge.dataset.event }), onEvent, () => {});
}

document.querySelectorAll("[data-workflow]").forEach(showWorkflow);
