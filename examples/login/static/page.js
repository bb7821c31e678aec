// The one button with a script: ask a URL as any script would, and show what came.
const ask = document.getElementById("ask");
ask?.addEventListener("click", async () => {
  const answer = document.getElementById("answer");
  const response = await fetch(ask.dataset.url ?? "/auth/session", { headers: { Accept: "application/json" } });
  const text = await response.text();
  let shown = text;
  try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
  answer.textContent = `${response.status} ${response.statusText}\n\n${shown}`;
  answer.hidden = false;
});
