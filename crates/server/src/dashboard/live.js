// Keeps a page current: each decision arrives as an event, and the page's live parts are fetched again.
// Reports are no decisions, so the page is looked at every few seconds as well.
(() => {
  "use strict";
  document.addEventListener("submit", (event) => {
    event.submitter?.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => {
    document.querySelectorAll("[aria-busy]").forEach((e) => e.removeAttribute("aria-busy"));
  });
  const main = document.getElementById("main");
  const every = Number(main?.dataset.look);
  if (!every) return;
  const live = document.getElementById("live");
  const away = document.getElementById("away");
  const shown = new Map();
  const FOCUSABLE = "a[href],button,summary,[tabindex]";
  const QUIET_MS = 250;
  let planned = 0;
  let busy = false;
  let again = false;

  const say = (text, on) => {
    const words = live.lastElementChild;
    if (words.textContent !== text) words.textContent = text;
    live.classList.toggle("off", !on);
    away.hidden = on;
  };

  const parts = () => [...document.querySelectorAll("[data-live]")];
  parts().forEach((part) => shown.set(part.id, part.innerHTML));

  // A part is replaced only when it changed, and never while somebody types or marks text in it.
  const put = (part, html) => {
    if (html === undefined || shown.get(part.id) === html) return;
    const active = document.activeElement;
    const marked = getSelection();
    if (part.contains(active) && active.matches("input,select,textarea")) return;
    if (!marked.isCollapsed && part.contains(marked.anchorNode)) return;
    const all = (what) => [...part.querySelectorAll(what)];
    const open = all("details").map((d) => d.open);
    const scrolled = all("[tabindex]").map((e) => [e.scrollLeft, e.scrollTop]);
    const focused = all(FOCUSABLE).indexOf(active);
    part.innerHTML = html;
    shown.set(part.id, html);
    all("details").forEach((d, i) => { d.open = open[i] || false; });
    all("[tabindex]").forEach((e, i) => {
      if (scrolled[i]) [e.scrollLeft, e.scrollTop] = scrolled[i];
    });
    all(FOCUSABLE)[focused]?.focus({ preventScroll: true });
  };

  const look = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.status === 401) { location.reload(); return; }
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const id of ["away", "live"]) page.getElementById(id)?.remove();
        parts().forEach((part) => put(part, page.getElementById(part.id)?.innerHTML));
      }
      say("Live", true);
    } catch {
      say("Away", false);
    } finally {
      busy = false;
      if (again) { again = false; soon(); }
    }
  };

  const soon = () => {
    clearTimeout(planned);
    planned = setTimeout(look, QUIET_MS);
  };

  const events = new EventSource("/v1/events/stream");
  events.addEventListener("entry", soon);
  events.onopen = soon;
  events.onerror = () => say("Away", false);
  setInterval(() => { if (!document.hidden) look(); }, every);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
  addEventListener("pagehide", () => events.close());
})();
