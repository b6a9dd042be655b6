// The walkthrough by clicking. Each step makes the call that the mobile app would make, shows it with its
// answer, and opens the next step.
"use strict";

const order = ["signup", "code", "verify", "password", "login", "logincode", "session", "status", "start", "page", "decide", "result", "wallet", "deposit", "pin", "pincode", "pinset", "friend", "transfer", "sides", "withdraw", "gateway", "outcome", "vain", "large", "operator", "payout", "audit"];
const coin = "USDT-TRC20";
const patience = 20000; // milliseconds for what comes by itself: a mail, an address, a deposit
const pollPause = 2000; // milliseconds between two questions for the status
const pollEnd = 10 * 60000; // milliseconds after which the page stops asking by itself

let walk; // what this customer has so far
let watching; // what is asked again and again; it returns whether that is over
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

// A problem that the customer of the walkthrough is told, as opposed to a mistake in this file. status is that of the answer.
class Refusal extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

const whose = (person) => (person === walk ? "" : ", second customer");

// call makes one request and shows it in the step. Tokens are shown cut short: nobody reads them, and they
// would fill a phone's screen.
async function call(name, method, path, body, { replace = false, as = walk } = {}) {
  const headers = { Accept: "application/json", "Accept-Language": walk.language };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const own = path.startsWith("/control/");
  if (as.token && !own) headers.Authorization = "Bearer " + as.token;
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
  show(name, method, own ? path : "/api/v1" + path, body, response.status, data ?? answer, replace ? path + as.email : "", whose(as));
  if (!response.ok) throw new Refusal(data?.message || data?.error || "The answer was HTTP " + response.status + ".", response.status);
  return data;
}

// show puts a call into the step. A call with a key takes the place of the one before with the same key.
function show(name, method, path, body, status, answer, key = "", who = "") {
  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value, shorten, 2));
  const summary = element("summary", {}, method + " " + path + who + " ", element("span", { class: status < 300 ? "code-status" : "code-status bad" }, String(status)));
  const details = element("details", { class: "call" }, summary);
  if (body !== undefined) details.append(element("h4", {}, "Request"), element("pre", { tabindex: "0" }, text(body)));
  details.append(element("h4", {}, "Answer"), element("pre", { tabindex: "0", dir: "auto" }, text(answer)));
  const calls = step(name).querySelector(".calls");
  const former = key && [...calls.querySelectorAll(".call")].find((other) => other.dataset.key === key);
  details.dataset.key = key;
  if (former) {
    details.open = former.open;
    former.replaceWith(details);
  } else {
    // What is long would bury the steps.
    details.open = window.matchMedia("(min-width: 700px)").matches && text(answer).split("\n").length <= 24 && !who;
    calls.append(details);
  }
}

function shorten(key, value) {
  if ((key === "access_token" || key === "refresh_token" || key === "temp_hash") && typeof value === "string" && value.length > 24) return value.slice(0, 20) + "…";
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
    // Answers that nobody has opened by hand make room, but for the last ones.
    if (i < position - 1) for (const answer of li.querySelectorAll(".call:not([data-kept])")) answer.open = false;
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

// until asks for something again and again, and gives it once it is there.
async function until(ask, otherwise) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Refusal(otherwise);
    await pause(500);
  }
}

// A code stands on a line of its own; amounts do not.
const alone = /^ *(\d{5})$/m;

// newCode waits for a mail to a customer that has not been read yet.
async function newCode(name, person = walk) {
  const path = "/control/inbox?to=" + encodeURIComponent(person.email);
  const mail = await until(async () => {
    const mails = await fetch(path).then((r) => (r.ok ? r.json() : [])).catch(() => []);
    return mails.find((m) => m.id > person.lastMail && alone.test(m.text));
  }, "No mail has arrived yet. Try once more, or look into the inbox.");
  person.lastMail = mail.id;
  person.code = mail.text.match(alone)[1];
  show(name, "GET", path, undefined, 200, mail, "", whose(person));
  tell(name, "The code is ", element("strong", { class: "code" }, person.code), " ",
    element("a", { href: "/inbox/" + mail.id, target: "_blank", rel: "noopener" }, "see the mail"));
}

// tell says in the step what its answers mean.
function tell(name, ...words) {
  const calls = step(name).querySelector(".calls");
  calls.querySelector(":scope > .found")?.remove();
  calls.prepend(element("div", { class: "found" }, ...words));
}

// said is a text of the product's, in the customer's language.
const said = (text) => element("bdi", {}, text);
const strong = (text) => element("strong", {}, String(text));
const number = (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text)); // what is no number is refused by the API

// holding is what a customer has of the walk's coin.
async function holding(name, person = walk) {
  const answer = await call(name, "GET", "/wallet/", undefined, { replace: true, as: person });
  return answer.wallet.balances.find((b) => b.currency === coin);
}

const history = (name, query, person = walk) =>
  call(name, "GET", "/wallet/unified-transactions?page=1&page_size=20" + query, undefined, { as: person }).then((answer) => answer.data.items);

// lines is a history in short.
function lines(items) {
  const list = element("ul", { class: "lines" });
  for (const item of items) {
    list.append(element("li", {}, element("span", { class: item.amount < 0 ? "out" : "in" }, (item.amount > 0 ? "+" : "") + item.amount + " " + item.currency),
      " ", said(item.type_label + ", " + item.status_label)));
  }
  return list;
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
  async onward() {
    return "wallet";
  },
  async wallet() {
    const has = await until(async () => {
      const found = await holding("wallet");
      return found?.address ? found : null;
    }, "The gateway has not made an address yet. Try once more.");
    walk.address = has.address;
    tell("wallet", "The balance is ", strong(has.balance), " " + coin + ". Deposits go to ", strong(has.address), ".");
    return "deposit";
  },
  async deposit() {
    const before = await holding("deposit");
    await call("deposit", "POST", "/control/deposit", { address: walk.address, coin, amount: byId("arriving").value.trim() });
    const has = await until(async () => {
      const now = await holding("deposit");
      return now.balance > before.balance ? now : null;
    }, "The deposit is not credited yet. The gateway's desk shows what has become of it.");
    tell("deposit", "It has arrived. The balance is ", strong(has.balance), " " + coin + ".");
    return "pin";
  },
  async pin() {
    const pin = byId("pin").value.trim();
    const answer = await call("pin", "POST", "/user/transaction-password/request", { transaction_password: pin, confirm_transaction_password: pin });
    walk.request = answer.temp_hash;
    byId("typed").value = pin;
    return "pincode";
  },
  async pincode() {
    await newCode("pincode");
    return "pinset";
  },
  async pinset() {
    await call("pinset", "POST", "/user/transaction-password/complete", { otp_code: walk.code, temp_hash: walk.request });
    return "friend";
  },
  async friend() {
    const friend = { email: "grace." + random(6) + "@example.com", lastMail: 0, token: "" };
    const send = (path, body) => call("friend", "POST", path, { email: friend.email, ...body }, { as: friend });
    await send("/auth/signup", {});
    await newCode("friend", friend);
    await send("/auth/verify", { otp_code: friend.code });
    const answer = await send("/auth/set-password", { password: "Walk-" + random(6) + "-7!" });
    friend.token = answer.access_token;
    friend.uid = answer.user.id;
    walk.friend = friend;
    tell("friend", "The second customer has the UID ", strong(friend.uid), ".");
    return "transfer";
  },
  async transfer() {
    const answer = await call("transfer", "POST", "/wallet/transfer-by-uid", {
      amount: number(byId("sending").value), currency: coin, description: "Internal transfer", recipient_uid: walk.friend.uid, transaction_password: byId("typed").value.trim(),
    });
    tell("transfer", said(answer.message), " ", strong(answer.new_balance), " " + coin + " are left.");
    return "sides";
  },
  async sides() {
    const mine = await holding("sides");
    const ours = lines(await history("sides", ""));
    const theirs = await holding("sides", walk.friend);
    const others = lines(await history("sides", "", walk.friend));
    tell("sides", "The first customer has ", strong(mine.balance), " " + coin + ":", ours, "The second one has ", strong(theirs.balance), " " + coin + ":", others);
    return "withdraw";
  },
  async withdraw() {
    walk.withdrawal = await withdraws("withdraw", "leaving");
    return "gateway";
  },
  pay: () => settle("gateway", walk.withdrawal, "succeeded", "outcome"),
  refuse: () => settle("gateway", walk.withdrawal, "refused", "outcome"),
  async outcome() {
    await askWithdrawal();
    return null;
  },
  async further() {
    return "vain";
  },
  async vain() {
    const withdrawal = await withdraws("vain", "vainly");
    await settle("vain", withdrawal, "refused");
    await ended("vain", withdrawal);
    return "large";
  },
  async large() {
    walk.large = await withdraws("large", "lot");
    return "operator";
  },
  async approve() {
    await decides("approve");
    return "payout";
  },
  async decline() {
    await decides("refuse");
    await ended("operator", walk.large);
    tell("payout", "There is nothing to pay: the operator has refused it.");
    return "audit";
  },
  async payout() {
    await settle("payout", walk.large, "succeeded");
    await ended("payout", walk.large);
    return "audit";
  },
  async audit() {
    const books = await call("audit", "POST", "/control/audit", {}, { replace: true });
    const held = element("ul", { class: "lines" });
    for (const c of books.coins.filter((c) => Number(c.gateway) !== 0 || Number(c.ledger) !== 0)) {
      held.append(element("li", {}, c.coin + ": " + c.ledger + " in the ledger, " + c.gateway + " at the gateway"));
    }
    tell("audit", books.accounts + " accounts, " + books.transactions + " transactions and " + books.postings + " postings were looked at.", held);
    const off = books.coins.filter((c) => Number(c.difference) !== 0).map((c) => c.coin + " is off by " + c.difference);
    judge("books", books.sound ? "All adds up: nothing is wrong with the ledger, and the gateway holds what it says." : "Something is wrong: " + [...books.findings, ...off].join("; ") + ".",
      books.sound ? "verified" : "rejected");
    asking("audit").classList.toggle("quiet", books.sound);
    step("audit").classList.toggle("done", books.sound);
    step("audit").querySelector('[data-run="over"]').hidden = false;
    return null;
  },
  async more() {
    // The same amount to the same address within three minutes would be the same withdrawal.
    byId("leaving").value = String(Number(byId("leaving").value) + 1);
    for (const name of ["withdraw", "gateway", "outcome"]) clear(name);
    return "withdraw";
  },
  async again() {
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
  return "result";
}

// withdraws asks for a withdrawal of the amount in a field, and finds in the history what the gateway calls it.
async function withdraws(name, field) {
  const answer = await call(name, "POST", "/wallet/withdrawal", {
    amount: number(byId(field).value), currency: coin, address: byId("target").value.trim(), network: "TRC20",
  });
  const id = answer.withdrawal.id;
  const items = await history(name, "&type=withdraw");
  tell(name, said(answer.message));
  return { id, order: items.find((item) => item.source_id === id)?.reference };
}

// settle lets the simulated gateway decide about a withdrawal, once it has been asked for it. A gateway that decides by itself may have
// been quicker.
async function settle(name, withdrawal, outcome, next) {
  await until(async () => {
    const state = await fetch("/control/state").then((r) => (r.ok ? r.json() : null)).catch(() => null);
    return state?.custody.trades.some((t) => t.business_id === withdrawal.order);
  }, "The gateway has not been asked yet. An operator approves large withdrawals first: CCP_ENV=development comecomepay withdrawal approve " + withdrawal.id + " --reason \"checked\"");
  try {
    await call(name, "POST", "/control/withdrawal", { business_id: withdrawal.order, outcome });
  } catch (no) {
    if (no.status !== 409) throw no;
  }
  return next;
}

// decides lets an operator of the product decide about the large withdrawal.
const decides = (decision) => call("operator", "POST", "/control/operator", { withdrawal: walk.large.id, decision });

// What a withdrawal is called at its end.
const ends = ["completed", "rejected", "failed"];

// ended waits until a withdrawal has ended, and says how.
async function ended(name, withdrawal) {
  const item = await until(async () => {
    const answer = await call(name, "GET", "/wallet/withdrawals?page=1&limit=20", undefined, { replace: true });
    return answer.items.find((w) => w.id === withdrawal.id && ends.includes(w.status));
  }, "It has not ended yet. Try once more, or look at the gateway's desk.");
  const has = await holding(name);
  tell(name, item.status === "completed" ? "Paid: " : "Not paid: ", strong(item.amount), " " + coin + (item.status === "completed" ? " have left, and " : " are back, and the balance is "),
    strong(has.balance), item.status === "completed" ? " remain." : ".");
}

// askWithdrawal reads how the withdrawal stands and shows what it means.
async function askWithdrawal() {
  const answer = await call("outcome", "GET", "/wallet/withdrawals?page=1&limit=20", undefined, { replace: true });
  const item = answer.items.find((w) => w.id === walk.withdrawal.id);
  const word = item?.status ?? "unknown";
  const final = ends.includes(word);
  if (final && walk.at === "gateway") enter("outcome"); // somebody decided at the desk
  const has = await holding("outcome");
  const news = judge("fate", word === "completed" ? "Paid: " + item.amount + " " + coin + " have left, and " + has.balance + " remain."
    : final ? "Not paid: " + item.amount + " " + coin + " are back, and the balance is " + has.balance + "."
    : "The withdrawal is “" + word + "”: not decided yet.", word === "completed" ? "verified" : final ? "rejected" : "pending");
  const li = step("outcome");
  for (const b of li.querySelectorAll('[data-run="further"], [data-run="more"]')) {
    b.hidden = !final;
    b.disabled = false;
  }
  asking("outcome").classList.toggle("quiet", final);
  li.classList.toggle("done", final);
  if (news && final && li.contains(document.activeElement)) li.querySelector('[data-run="further"]').focus({ preventScroll: true });
  return final;
}

// asking is the button of a step that asks how things stand. Once that is answered, what comes next stands out.
const asking = (name) => step(name).querySelector('[data-run="' + name + '"]');

// judge shows a verdict, and announces one that is new. It tells whether it is.
function judge(id, text, look) {
  const verdict = byId(id);
  const news = verdict.hidden || verdict.textContent !== text;
  verdict.textContent = text;
  verdict.className = "verdict " + look;
  verdict.hidden = false;
  if (news) announce(text);
  if (news && look !== "pending") verdict.scrollIntoView({ block: "center" });
  return news;
}

// ask reads the status and shows what it means.
async function ask() {
  const answer = await status("result", { replace: true });
  const word = answer.user_kyc_status;
  const final = word === "verified" || word === "rejected";
  if (final && walk.at === "decide") enter("result"); // the issuer decided by itself, or at its desk
  const reason = answer.latest_kyc?.fail_reason;
  // The reason is in the customer's language; the invisible signs keep one in Arabic from turning the sentence around.
  const news = judge("verdict", word === "verified" ? "Verified. This customer may have a card."
    : word === "rejected" ? "Rejected" + (reason ? ": “\u2068" + reason + "\u2069”." : ".") + " The customer can try again."
    : "The status is “" + word + "”: not decided yet.", final ? word : "pending");
  const li = step("result");
  const again = li.querySelector('[data-run="again"]');
  const onward = li.querySelector('[data-run="onward"]');
  asking("result").classList.toggle("quiet", final);
  again.hidden = word !== "rejected";
  onward.hidden = word !== "verified";
  again.disabled = onward.disabled = false;
  li.classList.toggle("done", word === "verified");
  if (news && final && li.contains(document.activeElement)) (onward.hidden ? again : onward).focus({ preventScroll: true });
  return final;
}

// What is watched in these steps.
const watched = { decide: () => ask(), result: () => ask(), gateway: () => askWithdrawal(), outcome: () => askWithdrawal() };

function startAsking(what) {
  stopAsking();
  watching = what;
  pollingUntil = Date.now() + pollEnd;
  polling = setTimeout(askAgain, 300);
}

function stopAsking() {
  clearTimeout(polling);
  polling = 0;
}

async function askAgain() {
  const mine = polling;
  let over = false;
  try {
    if (!document.hidden) over = await watching();
  } catch {
    // Shown in the step; the next question may be answered.
  }
  if (mine !== polling || over || Date.now() > pollingUntil) return;
  polling = setTimeout(askAgain, pollPause);
}

function clear(name) {
  step(name).querySelector(".calls").replaceChildren();
  for (const verdict of step(name).querySelectorAll(".verdict")) {
    verdict.hidden = true;
    asking(name).classList.remove("quiet");
  }
  for (const b of step(name).querySelectorAll("[data-later]")) b.hidden = true;
}

function begin() {
  stopAsking();
  walk = { email: "", password: "", language: "en", code: "", token: "", link: "", lastMail: 0, at: "signup", friend: null };
  for (const name of order) clear(name);
  byId("email").value = "ada." + random(6) + "@example.com";
  byId("password").value = "Walk-" + random(6) + "-7!";
  byId("arriving").value = "1000";
  byId("pin").value = "739154";
  byId("typed").value = "";
  byId("sending").value = "40.25";
  byId("leaving").value = "25";
  byId("vainly").value = "30";
  byId("lot").value = "600";
  byId("target").value = "TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE"; // of nobody here
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
      // The issuer and the gateway may decide without anybody's click here: by themselves, or at their desks.
      if (watched[next]) startAsking(watched[next]);
      else stopAsking();
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

document.addEventListener("click", (event) => {
  const answer = event.target.closest("summary")?.parentElement;
  if (answer) answer.dataset.kept = "";
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
