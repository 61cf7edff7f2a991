// Keeps an operator's page as it is now: asks for the page again each second, and puts what has changed in its place. What a
// person just uses (a field, a link that has the focus) is left alone.
"use strict";

const stale = document.getElementById("stale");

function put(fresh) {
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const now = fresh.getElementById(part.id);
    if (!now || part.contains(document.activeElement) || part.innerHTML === now.innerHTML) continue;
    part.replaceChildren(...document.importNode(now, true).childNodes);
    part.className = now.className;
  }
}

async function refresh() {
  const response = await fetch(document.body.dataset.page || location.href, { headers: { accept: "text/html" }, redirect: "manual" });
  if (response.type === "opaqueredirect") {
    location.reload();
    return;
  }
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  put(new DOMParser().parseFromString(await response.text(), "text/html"));
}

async function run() {
  for (;;) {
    await new Promise((done) => setTimeout(done, 1000));
    if (document.visibilityState !== "visible") continue;
    try {
      await refresh();
      stale.hidden = true;
    } catch (error) {
      stale.textContent = `This is how it was: ${error.message}. It is asked again.`;
      stale.hidden = false;
    }
  }
}

for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });
}
if (stale && document.querySelector("[data-refresh]")) run();
