/*
 * Keeps the list and the page of a workflow up to date, without a reload.
 *
 * It asks the server for the same page again, and exchanges the parts that differ. It stops while
 * the page is hidden, while it is paused, and once the workflow has ended. Parts in which somebody
 * types, or has selected text, stay until that is over. Without this script, the pages are the same.
 */
"use strict";

const SLOWEST = 30_000;

class LivePage {
  constructor(bar) {
    this.bar = bar;
    this.period = Number(bar.dataset.dbosPeriod) * 1_000;
    this.kind = bar.dataset.dbosLive;
    this.failures = 0;
    this.quiet = 0;
    this.isPaused = sessionStorage.getItem("dbos.paused") === "1";
    this.state = this.element("span", "dbos-live-state");
    this.state.setAttribute("role", "status");
    this.button = this.element("button", "dbos-live-button");
    this.button.type = "button";
    this.button.addEventListener("click", () => this.toggle());
    this.more = this.element("a", "dbos-live-more");
    this.more.href = window.location.href;
    this.more.textContent = bar.dataset.dbosMore || "";
    this.more.hidden = true;
    bar.hidden = false;
    document.addEventListener("visibilitychange", () => this.schedule());
    this.show();
    this.schedule();
  }

  element(name, className) {
    const element = document.createElement(name);
    element.className = className;
    this.bar.append(element);
    return element;
  }

  toggle() {
    this.isPaused = !this.isPaused;
    sessionStorage.setItem("dbos.paused", this.isPaused ? "1" : "0");
    this.show();
    this.schedule(0);
  }

  show(isLost = false) {
    const { dbosOn, dbosOff, dbosPause, dbosResume, dbosLost } = this.bar.dataset;
    this.bar.dataset.dbosState = isLost ? "lost" : this.isPaused ? "off" : "on";
    const text = isLost ? dbosLost : this.isPaused ? dbosOff : dbosOn;
    if (this.state.textContent !== text) {
      this.state.textContent = text;
    }
    this.button.textContent = this.isPaused ? dbosResume : dbosPause;
  }

  schedule(delay = this.delay()) {
    clearTimeout(this.timer);
    if (!this.isPaused && !this.isOver && !document.hidden) {
      this.timer = setTimeout(() => this.refresh(), delay);
    }
  }

  // Longer while nothing changes, and after failures; never at the same time as other browsers.
  delay() {
    const factor = 2 ** Math.min(this.failures, 4) * (1 + Math.min(this.quiet / 10, 2));
    return Math.min(this.period * factor, SLOWEST) * (0.8 + 0.4 * Math.random());
  }

  async refresh() {
    try {
      const answer = await fetch(window.location.href, {
        credentials: "same-origin",
        headers: { "X-Requested-With": "XMLHttpRequest" },
        redirect: "error",
        signal: AbortSignal.timeout(SLOWEST),
      });
      if (!answer.ok) {
        throw new Error(`The server answered with ${answer.status}.`);
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const isChanged = this.kind === "list" ? this.exchangeRows(page) : this.exchangeParts(page);
      this.quiet = isChanged ? 0 : this.quiet + 1;
      this.failures = 0;
      this.show();
    } catch {
      this.failures += 1;
      this.show(true);
    }
    this.schedule();
  }

  // The rows of the list stay where they are: nobody clicks on a row that has just moved.
  exchangeRows(page) {
    const fresh = rowsOf(page);
    const shown = rowsOf(document);
    let isChanged = false;
    for (const [id, row] of shown) {
      const other = fresh.get(id);
      if (other === undefined || isUsed(row)) {
        continue;
      }
      const cells = [...row.cells].filter(isShown);
      const others = [...other.cells].filter(isShown);
      cells.forEach((cell, index) => {
        if (others[index] && cell.innerHTML !== others[index].innerHTML) {
          cell.replaceChildren(...others[index].childNodes);
          isChanged = true;
        }
      });
    }
    this.more.hidden = [...fresh.keys()].every((id) => shown.has(id));
    return isChanged;
  }

  exchangeParts(page) {
    let isChanged = false;
    let isLeftOut = false;
    for (const part of document.querySelectorAll("[data-dbos-part]")) {
      const fresh = page.getElementById(part.id);
      if (fresh === null || withoutTokens(part) === withoutTokens(fresh)) {
        continue;
      }
      if (isUsed(part)) {
        isLeftOut = true;
        continue;
      }
      keepOpen(part, fresh);
      part.replaceChildren(...fresh.childNodes);
      isChanged = true;
    }
    const bar = page.querySelector("[data-dbos-live]");
    // What is in use follows once it is left.
    if (bar === null && !isLeftOut) {
      this.isOver = true;
      this.bar.hidden = true;
    }
    return isChanged;
  }
}

function rowsOf(root) {
  const rows = [...root.querySelectorAll("#result_list [data-dbos-row]")];
  return new Map(rows.map((mark) => [mark.dataset.dbosRow, mark.closest("tr")]));
}

function isShown(cell) {
  return !cell.classList.contains("action-checkbox");
}

// Somebody has the focus in it, or has selected a part of its text.
function isUsed(element) {
  const active = document.activeElement;
  if (active !== null && active !== document.body && element.contains(active)) {
    return active.matches("input, select, textarea") || active.matches(":focus-visible");
  }
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

// A form's token differs each time; the old one stays valid. What is open is the reader's affair.
function withoutTokens(element) {
  const copy = element.cloneNode(true);
  copy.querySelectorAll("[name=csrfmiddlewaretoken]").forEach((input) => input.remove());
  copy.querySelectorAll("details[open]").forEach((details) => details.removeAttribute("open"));
  return copy.innerHTML;
}

function keepOpen(part, fresh) {
  for (const details of part.querySelectorAll("details[id]")) {
    const other = fresh.querySelector(`#${CSS.escape(details.id)}`);
    other?.toggleAttribute("open", details.open);
  }
}

for (const bar of document.querySelectorAll("[data-dbos-live]")) {
  new LivePage(bar);
}
