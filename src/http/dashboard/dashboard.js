// What scripts add to the pages: the balance as it changes, the playground's streamed answer, copying, asking before a key goes.
"use strict";

const token = document.querySelector('meta[name="csrf-token"]')?.content;

// The live balance. The socket is opened again, later and later, where it breaks.
function watchBalance(wait) {
  const shown = document.querySelectorAll("[data-live]");
  if (!token || shown.length === 0) return;
  const status = document.getElementById("live");
  // The session may be turned to another account in another tab, and this page shows one account alone.
  const account = token.split(".")[1];
  const only = account ? `?account=${account}` : "";
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/v1/live" + only);
  let opened = false;
  socket.onopen = () => {
    opened = true;
    if (status) status.hidden = true;
  };
  socket.onmessage = (message) => {
    const frame = JSON.parse(message.data);
    if (frame.type !== "balance") return;
    const values = { available: frame.available, held: frame.held, debt: frame.debt, units_used: frame.tier?.units_used };
    for (const element of shown) {
      const value = values[element.dataset.live];
      if (value !== undefined) element.textContent = value;
    }
  };
  socket.onclose = () => {
    if (status) {
      status.textContent = "The balance is not live just now; it is looked for again.";
      status.hidden = false;
    }
    const next = opened ? 1000 : Math.min(wait * 2, 60000);
    setTimeout(() => watchBalance(next), next);
  };
}

// One event of a stream: the text, and what it cost.
function take(data, answer, cost) {
  if (data === "[DONE]") return;
  const chunk = JSON.parse(data);
  if (chunk.error) {
    cost.textContent = chunk.error.message ?? String(chunk.error);
    return;
  }
  answer.textContent += chunk.choices?.[0]?.delta?.content ?? "";
  if (chunk.usage) {
    const dollars = chunk.usage.cost === undefined ? "" : ` It cost $${chunk.usage.cost}.`;
    cost.textContent = `${chunk.usage.prompt_tokens} tokens in, ${chunk.usage.completion_tokens} out.${dollars}`;
  }
}

async function run(form, answer, cost, signal) {
  const began = performance.now();
  const body = {
    model: form.model.value,
    stream: true,
    stream_options: { include_usage: true },
    messages: [{ role: "user", content: form.prompt.value }],
  };
  const max = form.max.value.trim();
  if (max !== "" && !/^[1-9][0-9]*$/.test(max)) throw new Error("The tokens of the answer must be a whole number.");
  if (max !== "") body.max_tokens = Number(max);
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": token },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw new Error(said.message ?? said.error?.message ?? `The server answered ${response.status}.`);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) take(line.slice(6).trim(), answer, cost);
  }
  cost.textContent += ` ${((performance.now() - began) / 1000).toFixed(1)} s.`;
}

function playground(form) {
  const [answer, cost, stop, start] = ["answer", "cost", "stop", "run"].map((id) => document.getElementById(id));
  form.hidden = false;
  let running;
  stop.onclick = () => running?.abort();
  form.onsubmit = async (event) => {
    event.preventDefault();
    running = new AbortController();
    answer.textContent = "";
    cost.textContent = "Running.";
    [start.disabled, stop.hidden] = [true, false];
    try {
      await run(form, answer, cost, running.signal);
    } catch (error) {
      cost.textContent = error.name === "AbortError" ? "Stopped. What was made until then is charged." : error.message;
    }
    [start.disabled, stop.hidden] = [false, true];
  };
}

for (const button of document.querySelectorAll("[data-confirm]")) {
  button.addEventListener("click", (event) => {
    if (!confirm(button.dataset.confirm)) event.preventDefault();
  });
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.onclick = async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  };
}
const form = document.getElementById("playground");
if (form && token) playground(form);
watchBalance(500);
