// Updates the parts of a page that have the attribute data-live, by loading the page again. The pages work without it.
"use strict";
(() => {
  const main = document.getElementById("main"), fresh = document.getElementById("fresh");
  // A reload must not show the note of a change again.
  const here = new URL(location.href);
  if (here.searchParams.has("note")) {
    here.searchParams.delete("note");
    history.replaceState(null, "", here);
  }

  let wait = Number(main.dataset.refresh);
  if (!wait || !window.fetch || !document.querySelector("[data-live]")) return;

  let paused = false, timer = 0;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "minor";
  const label = () => { button.textContent = paused ? "Resume" : "Pause"; };
  button.addEventListener("click", () => {
    paused = !paused;
    label();
    if (paused) clearTimeout(timer); else refresh();
  });
  label();
  const text = document.createElement("span");
  text.append(...fresh.childNodes);
  fresh.append(text, button);

  // key identifies an element in the old and in the new page.
  const key = (e) => e.id ? "#" + e.id : [e.tagName, e.getAttribute("href"), e.getAttribute("aria-label"), e.name].join(" ");

  // replace updates a part. It keeps the scroll position and the focus. It does nothing if text in the part is selected, or if
  // the focused element does not exist any more.
  const replace = (old, now) => {
    const chosen = getSelection();
    if (chosen && !chosen.isCollapsed && chosen.containsNode(old, true)) return;
    const active = document.activeElement;
    let again = null;
    if (old !== active && old.contains(active)) {
      again = [...now.querySelectorAll("a, button, input, select, summary, [tabindex]")].find((e) => key(e) === key(active));
      if (!again) return;
    }
    const scrolled = [...old.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
    old.replaceChildren(...now.childNodes);
    old.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    if (again) again.focus({ preventScroll: true });
  };

  const refresh = async () => {
    try {
      if (!document.hidden) {
        const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(15000) });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const next = page.getElementById("main");
        if (!next || !next.dataset.refresh) throw new Error("no page");
        if (!paused) {
          for (const old of document.querySelectorAll("[data-live]")) {
            const now = page.getElementById(old.id);
            if (now) replace(old, now);
          }
          text.textContent = page.getElementById("fresh").textContent;
          fresh.classList.remove("lost");
          fresh.removeAttribute("role");
        }
        wait = Number(next.dataset.refresh);
      }
    } catch {
      if (!fresh.classList.contains("lost")) {
        fresh.classList.add("lost");
        fresh.setAttribute("role", "alert");
        text.textContent = "No answer from milterd. " + text.textContent;
      }
    }
    if (!paused) timer = setTimeout(refresh, wait);
  };
  timer = setTimeout(refresh, wait);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || paused) return;
    clearTimeout(timer);
    refresh();
  });
})();
