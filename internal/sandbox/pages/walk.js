// The walkthrough by clicking. Each step makes the call that the mobile app would make, shows it with its
// answer, and opens the next step.
"use strict";

const order = ["signup", "code", "verify", "password", "login", "logincode", "session", "status", "start", "page", "decide", "result"];
const mailWait = 20000; // milliseconds for a mail to arrive
const pollPause = 2000; // milliseconds between two questions for the status
const pollEnd = 10 * 60000; // milliseconds after which the page stops asking by itself

let walk; // what this customer has so far
let polling = 0; // the timer of the next question, 0 if there is none
let pollingUntil = 0;

const byId = (id) => document.getElementById(id);
const step = (name) => byId("step-" + name);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

function random(length) {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (b) => letters[b % letters.length]).join("");
}

function announce(text) {
  byId("announce").textContent = text;
}

// A problem that the customer of the walkthrough is told, as opposed to a mistake in this file.
class Refusal extends Error {}

// call makes one request and shows it in the step. Tokens are shown cut short: nobody reads them, and they
// would fill a phone's screen.
async function call(name, method, path, body, { replace = false } = {}) {
  const headers = { Accept: "application/json", "Accept-Language": walk.language };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const own = path.startsWith("/control/");
  if (walk.token && !own) headers.Authorization = "Bearer " + walk.token;
  let response;
  let answer;
  try {
    response = await fetch(own ? path : "/walk/api/v1" + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    answer = await response.text();
  } catch {
    throw new Refusal("The sandbox does not answer. Is it still running?");
  }
  let data = null;
  try {
    data = JSON.parse(answer);
  } catch {
    // Shown as it came.
  }
  show(name, method, own ? path : "/api/v1" + path, body, response.status, data ?? answer, replace);
  if (!response.ok) throw new Refusal(data?.message || data?.error || "The answer was HTTP " + response.status + ".");
  return data;
}

function show(name, method, path, body, status, answer, replace) {
  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value, shorten, 2));
  const summary = element("summary", {}, method + " " + path + " ", element("span", { class: status < 300 ? "code-status" : "code-status bad" }, String(status)));
  const details = element("details", { class: "call" }, summary);
  if (body !== undefined) details.append(element("h4", {}, "Request"), element("pre", { tabindex: "0" }, text(body)));
  details.append(element("h4", {}, "Answer"), element("pre", { tabindex: "0", dir: "auto" }, text(answer)));
  const calls = step(name).querySelector(".calls");
  const former = replace && calls.querySelector(".call[data-latest]");
  if (replace) details.dataset.latest = "";
  if (former) {
    details.open = former.open;
    former.replaceWith(details);
  } else {
    details.open = window.matchMedia("(min-width: 700px)").matches && !Array.isArray(answer);
    calls.append(details);
  }
}

function shorten(key, value) {
  if ((key === "access_token" || key === "refresh_token") && typeof value === "string" && value.length > 24) return value.slice(0, 20) + "…";
  if (key === "html") return "…";
  return value;
}

// enter marks a step as the one to do; earlier ones are done, later ones wait.
function enter(name) {
  walk.at = name;
  const position = order.indexOf(name);
  order.forEach((other, i) => {
    const li = step(other);
    li.classList.toggle("done", i < position);
    li.classList.toggle("current", i === position);
    li.classList.toggle("waiting", i > position);
    if (i === position) li.setAttribute("aria-current", "step");
    else li.removeAttribute("aria-current");
    for (const control of li.querySelectorAll("button, input, select")) control.disabled = i !== position;
  });
  const link = byId("link");
  if (position >= order.indexOf("page") && walk.link) {
    link.href = walk.link;
    link.removeAttribute("aria-disabled");
  } else {
    link.removeAttribute("href");
    link.setAttribute("aria-disabled", "true");
  }
  // The issuer may decide before the page is completed, and may change its mind.
  if (name === "page" || name === "result") for (const b of step("decide").querySelectorAll("button")) b.disabled = false;
  if (name === "page") step("decide").classList.remove("waiting");
}

// The step's first control gets the keyboard, so that Enter leads through the whole walk.
function follow(name) {
  const target = step(name);
  target.querySelector(".actions button:not([disabled]):not([hidden]), .actions a[href]")?.focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest" });
  announce("Next: " + target.querySelector("h3").textContent);
}

// newCode waits for a mail to this customer that has not been read yet.
async function newCode(name) {
  const until = Date.now() + mailWait;
  const path = "/control/inbox?to=" + encodeURIComponent(walk.email);
  while (Date.now() < until) {
    const mails = await fetch(path).then((r) => (r.ok ? r.json() : [])).catch(() => []);
    const mail = mails.find((m) => m.id > walk.lastMail && /(?<!\d)\d{5}(?!\d)/.test(m.text));
    if (mail) {
      walk.lastMail = mail.id;
      walk.code = mail.text.match(/(?<!\d)\d{5}(?!\d)/)[0];
      show(name, "GET", path, undefined, 200, mail, false);
      const found = element("p", { class: "found" }, "The code is ", element("strong", {}, walk.code), " ");
      found.append(element("a", { href: "/inbox/" + mail.id, target: "_blank", rel: "noopener" }, "see the mail"));
      step(name).querySelector(".calls").prepend(found);
      return;
    }
    await pause(500);
  }
  throw new Refusal("No mail has arrived yet. Try once more, or look into the inbox.");
}

const status = (name, options) => call(name, "GET", "/didit/status", undefined, options);

const run = {
  async signup() {
    walk.email = byId("email").value.trim();
    walk.language = byId("language").value;
    await call("signup", "POST", "/auth/signup", { email: walk.email });
    return "code";
  },
  async code() {
    await newCode("code");
    return "verify";
  },
  async verify() {
    await call("verify", "POST", "/auth/verify", { email: walk.email, otp_code: walk.code });
    return "password";
  },
  async password() {
    walk.password = byId("password").value;
    await call("password", "POST", "/auth/set-password", { email: walk.email, password: walk.password });
    return "login";
  },
  async login() {
    await call("login", "POST", "/auth/login", { email: walk.email, password: walk.password });
    return "logincode";
  },
  async logincode() {
    await newCode("logincode");
    return "session";
  },
  async session() {
    const answer = await call("session", "POST", "/auth/verify-login-otp", { email: walk.email, otp_code: walk.code });
    walk.token = answer.access_token;
    return "status";
  },
  async status() {
    await status("status");
    return "start";
  },
  async start() {
    const first = byId("first").value.trim().toUpperCase();
    const last = byId("last").value.trim().toUpperCase();
    const answer = await call("start", "POST", "/didit/initialize-token", {
      first_en_name: first, last_en_name: last, email: walk.email, area_code: "852", phone: "51234567", bill_country_code: "HK",
      state: "Hong Kong", city: "Hong Kong", address: "1 Queen's Road", post_code: "999077",
      agent_uid: first + "_" + last + "_" + Date.now(), return_url: "https://yourapp.com/kyc/didit/callback",
    });
    walk.link = answer?.didit_token?.data?.url;
    if (!walk.link || !/^https?:\/\//.test(walk.link)) throw new Refusal("The answer has no link to a verification page.");
    return "page";
  },
  async page() {
    return "decide";
  },
  accept: () => decide({ pokepay_status: 2 }),
  reject: () => decide({ pokepay_status: 3, reason: "The document is not readable" }),
  async result() {
    await ask();
    return null;
  },
  async again() {
    stopAsking();
    for (const name of ["start", "page", "decide", "result"]) clear(name);
    walk.link = "";
    return "start";
  },
  async over() {
    begin();
    return "signup";
  },
};

// decide lets the simulated issuer say its word about the customer's newest attempt.
async function decide(verdict) {
  const now = await status("decide", { replace: true });
  const agent = now?.latest_kyc?.agent_uid;
  if (!agent) throw new Refusal("There is no verification to decide about.");
  await call("decide", "POST", "/control/kyc", { agent_uid: agent, ...verdict });
  startAsking();
  return "result";
}

// ask reads the status and shows what it means.
async function ask() {
  const answer = await status("result", { replace: true });
  const word = answer.user_kyc_status;
  const final = word === "verified" || word === "rejected";
  if (final && walk.at === "decide") enter("result"); // the issuer decided by itself, or at its desk
  const verdict = byId("verdict");
  const reason = answer.latest_kyc?.fail_reason;
  // The reason is in the customer's language; the invisible signs keep one in Arabic from turning the sentence around.
  const text = word === "verified" ? "Verified. This customer may have a card."
    : word === "rejected" ? "Rejected" + (reason ? ": “\u2068" + reason + "\u2069”." : ".") + " The customer can try again."
    : "The status is “" + word + "”: not decided yet.";
  const news = verdict.hidden || verdict.textContent !== text;
  verdict.textContent = text;
  verdict.className = "verdict " + (final ? word : "pending");
  verdict.hidden = false;
  if (news) announce(text);
  if (news && final) verdict.scrollIntoView({ block: "center" });
  const li = step("result");
  const again = li.querySelector('[data-run="again"]');
  const over = li.querySelector('[data-run="over"]');
  // After a refusal the next attempt stands out, not the question that is answered.
  li.querySelector('[data-run="result"]').classList.toggle("quiet", word === "rejected");
  again.hidden = word !== "rejected";
  over.hidden = !final;
  again.disabled = over.disabled = false;
  li.classList.toggle("done", word === "verified");
  return word;
}

function startAsking() {
  stopAsking();
  pollingUntil = Date.now() + pollEnd;
  polling = setTimeout(askAgain, 300);
}

function stopAsking() {
  clearTimeout(polling);
  polling = 0;
}

async function askAgain() {
  const mine = polling;
  let word = "";
  try {
    if (!document.hidden) word = await ask();
  } catch {
    // Shown in the step; the next question may be answered.
  }
  if (mine !== polling || word === "verified" || word === "rejected" || Date.now() > pollingUntil) return;
  polling = setTimeout(askAgain, pollPause);
}

function clear(name) {
  step(name).querySelector(".calls").replaceChildren();
  if (name === "result") {
    byId("verdict").hidden = true;
    step("result").querySelector('[data-run="result"]').classList.remove("quiet");
    for (const b of step("result").querySelectorAll('[data-run="again"], [data-run="over"]')) b.hidden = true;
  }
}

function begin() {
  stopAsking();
  walk = { email: "", password: "", language: "en", code: "", token: "", link: "", lastMail: 0, at: "signup" };
  for (const name of order) clear(name);
  byId("email").value = "ada." + random(6) + "@example.com";
  byId("password").value = "Walk-" + random(6) + "-7!";
  enter("signup");
}

async function press(button) {
  const name = button.closest("li").id.slice("step-".length);
  const calls = step(name).querySelector(".calls");
  calls.querySelector(".problem")?.remove();
  button.disabled = true;
  try {
    const next = await run[button.dataset.run]();
    if (next) {
      enter(next);
      follow(next);
      // In a sandbox whose issuer decides by itself, the result comes without anybody's word.
      if (next === "decide") startAsking();
    } else {
      button.disabled = false;
    }
  } catch (problem) {
    if (!(problem instanceof Refusal)) console.error(problem);
    const text = problem instanceof Refusal ? problem.message : "Something in this page went wrong; the browser's console says what.";
    calls.append(element("p", { class: "problem", dir: "auto" }, text));
    announce(text);
    button.disabled = false;
    button.focus({ preventScroll: true });
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-run]");
  if (button && !button.disabled) press(button);
});

// Enter in a field does the step.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || !event.target.matches(".steps input")) return;
  const button = event.target.closest("li").querySelector("button[data-run]");
  if (button && !button.disabled) press(button);
});

for (const block of document.querySelectorAll(".command")) {
  const button = element("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.querySelector("pre").textContent);
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      getSelection().selectAllChildren(block.querySelector("pre"));
      button.textContent = "Selected";
      announce("The browser does not allow copying; the text is selected");
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  block.classList.add("copyable");
  block.append(button);
}

begin();
