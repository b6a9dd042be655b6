// Renews the list of mails while somebody looks at it. What the reader is typing and where the keyboard stands
// stay as they are.
"use strict";

const pause = 2000; // milliseconds

async function renew() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("mails");
  const shown = document.getElementById("mails");
  if (!fresh || fresh.innerHTML === shown.innerHTML) return;
  const focused = shown.contains(document.activeElement) ? document.activeElement.id : "";
  shown.replaceChildren(...fresh.childNodes);
  if (focused) document.getElementById(focused)?.focus();
}

async function loop() {
  try {
    await renew();
  } catch {
    // The sandbox is being restarted; the next round may find it.
  }
  setTimeout(loop, pause);
}

setTimeout(loop, pause);
