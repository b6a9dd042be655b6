// Draws the API reference from /openapi.json. Nothing is fetched from anywhere else, and every text of the description
// becomes a text node: it is never read as HTML.
"use strict";

const methods = ["get", "post", "put", "patch", "delete"];
const wide = matchMedia("(min-width: 55.01rem)");
let description;

// make builds an element: attributes first, then children (elements or texts); null and "" are left out.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== ""));
  return element;
}

// ---- schemas

// resolve follows references; a reference that leads nowhere gives an empty schema.
function resolve(node) {
  for (let depth = 0; node && node.$ref && depth < 20; depth++) {
    let target = description;
    for (const part of node.$ref.replace(/^#\//, "").split("/")) {
      target = target?.[part.replaceAll("~1", "/").replaceAll("~0", "~")];
    }
    const { $ref, ...beside } = node;
    node = target ? { ...target, ...beside, referred: $ref } : {};
  }
  return node || {};
}

const typesOf = (schema) => [].concat(schema.type ?? (schema.properties ? "object" : []));

function typeName(node) {
  const schema = resolve(node);
  const names = typesOf(schema).map((type) => {
    if (type === "array") return "array of " + typeName(schema.items ?? {});
    if (type === "object" && schema.additionalProperties?.type && !schema.properties) return "map of " + typeName(schema.additionalProperties);
    if (schema.format && type !== "null" && schema.format !== "double") return type + " (" + schema.format + ")";
    return type;
  });
  for (const key of ["oneOf", "anyOf", "allOf"]) {
    if (schema[key]) names.push(schema[key].map(typeName).join(key === "allOf" ? " and " : " or "));
  }
  return names.join(" or ") || "anything";
}

// limits puts what a value must keep to into words.
function limits(schema) {
  const lines = [];
  const list = (values) => values.map((value) => make("code", {}, JSON.stringify(value)));
  const join = (nodes) => nodes.flatMap((node, i) => (i ? [", ", node] : [node]));
  const range = (least, most, unit) => {
    if (least != null && most != null) return `${least} to ${most}${unit}`;
    if (least != null) return `at least ${least}${unit}`;
    if (most != null) return `at most ${most}${unit}`;
    return "";
  };
  if (schema.enum) lines.push(["one of ", ...join(list(schema.enum))]);
  if (schema.const !== undefined) lines.push(["always ", ...list([schema.const])]);
  for (const words of [
    range(schema.minLength, schema.maxLength, " characters"),
    range(schema.minItems, schema.maxItems, " items"),
    range(schema.minimum, schema.maximum, ""),
  ]) if (words) lines.push([words]);
  if (schema.pattern) lines.push(["matches ", make("code", {}, schema.pattern)]);
  if (schema.default !== undefined) lines.push(["default ", ...list([schema.default])]);
  const examples = schema.examples ?? (schema.example !== undefined ? [schema.example] : []);
  if (examples.length && !schema.enum) lines.push(["for example ", ...join(list(examples))]);
  return lines.map((line) => make("p", { class: "limits" }, line));
}

// inner is the schema whose fields are worth showing: of an array its items, of a map its values.
function inner(node) {
  let schema = resolve(node);
  for (let depth = 0; depth < 5; depth++) {
    if (schema.properties || schema.oneOf || schema.anyOf || schema.allOf) return schema;
    if (schema.items) schema = resolve(schema.items);
    else if (schema.additionalProperties?.type || schema.additionalProperties?.$ref) schema = resolve(schema.additionalProperties);
    else return null;
  }
  return null;
}

// field is one line of a list of fields; what it contains unfolds below, drawn when it is opened.
function field(name, node, required, above, place) {
  const schema = resolve(node);
  const item = make("li", {},
    make("span", { class: "name" }, name), make("span", { class: "type" }, typeName(node) + (place ? " in " + place : "")),
    required ? make("span", { class: "need" }, "required") : null,
    schema.deprecated ? make("span", { class: "need" }, "deprecated") : null,
    schema.description ? make("p", {}, schema.description) : null,
    limits(schema));
  const below = inner(node);
  if (below && below.referred && above.includes(below.referred)) {
    item.append(make("p", { class: "limits" }, "the same fields as above"));
  } else if (below) {
    const deeper = make("details", { class: "deeper", open: above.length < 2 }, make("summary", {}, "Fields of ", make("code", {}, name)));
    deeper.append(fields(below, above));
    item.append(deeper);
  }
  return item;
}

function fields(node, above = []) {
  const schema = resolve(node);
  const path = schema.referred ? [...above, schema.referred] : [...above, ""];
  const parts = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (parts && !schema.properties) return make("div", {}, parts.map((part) => fields(part, path)));
  const entries = Object.entries(schema.properties ?? {});
  if (!entries.length) {
    const below = inner(node);
    return make("div", {}, make("p", { class: "whole type" }, typeName(node)), limits(schema), below && below !== schema ? fields(below, path) : null);
  }
  return make("ul", { class: "fields" }, entries.map(([name, child]) => field(name, child, schema.required?.includes(name), path)));
}

// example invents a value that fits a schema, from its examples as far as there are any.
function example(node, above = []) {
  const schema = resolve(node);
  if (schema.referred && above.includes(schema.referred)) return null;
  const path = schema.referred ? [...above, schema.referred] : above;
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum.find((value) => value !== "") ?? schema.enum[0];
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => example(part, path)));
  const choice = schema.oneOf ?? schema.anyOf;
  if (choice) return example(choice[0], path);
  switch (typesOf(schema).find((type) => type !== "null")) {
    case "object": {
      const object = {};
      for (const [name, child] of Object.entries(schema.properties ?? {})) object[name] = example(child, path);
      return object;
    }
    case "array": {
      const item = schema.items ? example(schema.items, path) : null;
      return item === null ? [] : [item];
    }
    case "integer": case "number": return schema.minimum ?? 0;
    case "boolean": return false;
    case "string": return {
      "date-time": "2026-01-31T08:30:00Z", date: "2026-01-31", email: "name@example.com", uri: "https://example.com/",
      uuid: "11111111-2222-4333-8444-555555555555", ipv4: "192.0.2.1",
    }[schema.format] ?? "";
  }
  return null;
}

// ---- one operation

// jsonOf picks the JSON content of a body; other kinds are named only.
function jsonOf(content = {}) {
  const kind = Object.keys(content).find((name) => /json/.test(name));
  return kind ? content[kind] : null;
}

function bodyExample(media) {
  if (media.example !== undefined) return media.example;
  const named = Object.values(media.examples ?? {});
  return named.length ? named[0].value : example(media.schema);
}

const quoted = (text) => "'" + text.replaceAll("'", `'\\''`) + "'";

function curl(operation) {
  const base = (description.servers?.[0]?.url ?? "").replace(/\/$/, "");
  let path = operation.path;
  const query = new URLSearchParams();
  const lines = [];
  for (const raw of operation.parameters) {
    const parameter = resolve(raw);
    const value = String(parameter.example ?? example(parameter.schema) ?? "");
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value || parameter.name.toUpperCase()));
    else if (parameter.in === "query" && parameter.required) query.set(parameter.name, value || parameter.name.toUpperCase());
    else if (parameter.in === "header" && parameter.required) lines.push("-H " + quoted(parameter.name + ": " + value));
  }
  const origin = /^https?:/.test(base) ? "" : location.origin;
  const address = origin + base + path + (query.size ? "?" + query : "");
  if (operation.secured) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  const media = jsonOf(resolve(operation.requestBody).content);
  if (media) {
    const body = bodyExample(media);
    const short = JSON.stringify(body);
    lines.push("-H " + quoted("Content-Type: application/json"), "-d " + quoted(short.length > 60 ? JSON.stringify(body, null, 2) : short));
  }
  const verb = operation.method === "get" ? "" : "-X " + operation.method.toUpperCase() + " ";
  return ["curl " + verb + quoted(address), ...lines].join(" \\\n  ");
}

function sample(text, what) {
  const code = make("code", {}, text);
  const button = make("button", { type: "button", "aria-label": "Copy " + what }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text, code)) ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return make("div", { class: "sample" }, make("pre", { tabindex: "0", role: "region", "aria-label": what }, code), button);
}

// copy reaches the clipboard where the browser lets it, which over plain HTTP it may not; else the text stays selected.
async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return false;
  }
}

function bodyParts(media) {
  const schema = resolve(media.schema);
  const parts = [fields(media.schema)];
  if (schema.description) parts.unshift(make("p", {}, schema.description));
  return parts;
}

function answer(status, raw) {
  const response = resolve(raw);
  const media = jsonOf(response.content);
  const good = /^[23]/.test(status);
  const inside = make("div");
  const details = make("details", { open: false },
    make("summary", {}, make("span", { class: "status " + (good ? "good" : "bad") }, status), response.description ?? ""), inside);
  details.addEventListener("toggle", () => {
    if (inside.childElementCount) return;
    const headers = Object.entries(response.headers ?? {});
    if (headers.length) {
      inside.append(make("ul", { class: "fields" }, headers.map(([name, header]) => {
        const resolved = resolve(header);
        return field(name, { ...resolve(resolved.schema), description: resolved.description }, false, [], "header");
      })));
    }
    if (media) {
      inside.append(...bodyParts(media), sample(JSON.stringify(bodyExample(media), null, 2), "the answer"));
    } else {
      const kinds = Object.keys(response.content ?? {});
      inside.append(make("p", {}, kinds.length ? kinds.join(", ") : "No body."));
    }
  });
  return details;
}

function draw(operation, into) {
  const paragraphs = (operation.description ?? "").split(/\n{2,}/).filter(Boolean);
  into.append(...paragraphs.map((text) => make("p", {}, text)));
  into.append(make("p", { class: "access" }, operation.secured
    ? "Needs an access token: Authorization: Bearer …"
    : "Needs no token; one that comes along is not looked at."));
  if (operation.parameters.length) {
    into.append(make("section", {}, make("h3", {}, "Parameters"), make("ul", { class: "fields" }, operation.parameters.map((raw) => {
      const parameter = resolve(raw);
      const schema = resolve(parameter.schema);
      return field(parameter.name, { ...schema, description: parameter.description ?? schema.description, example: parameter.example ?? schema.example },
        parameter.required, [], parameter.in);
    }))));
  }
  if (operation.requestBody) {
    const body = resolve(operation.requestBody);
    const media = jsonOf(body.content);
    into.append(make("section", {}, make("h3", {}, "Request body", make("small", {}, Object.keys(body.content ?? {}).join(", "))),
      body.description ? make("p", {}, body.description) : null, media ? bodyParts(media) : null));
  }
  into.append(make("section", {}, make("h3", {}, "Try it"), sample(curl(operation), "the command")));
  into.append(make("section", {}, make("h3", {}, "Answers"),
    make("div", { class: "answers" }, Object.entries(operation.responses ?? {}).map(([status, response]) => answer(status, response)))));
}

// ---- the page

// collect lists the operations in the order of their tags.
function collect() {
  const operations = [];
  for (const [path, item] of Object.entries(description.paths ?? {})) {
    for (const method of methods) {
      const operation = item[method];
      if (!operation) continue;
      const security = operation.security ?? description.security ?? [];
      operations.push({
        ...operation, path, method, tag: operation.tags?.[0] ?? "Other",
        id: "op-" + (operation.operationId ?? method + path.replace(/[^A-Za-z0-9]+/g, "-")),
        secured: security.length > 0 && !security.some((one) => Object.keys(one).length === 0),
        parameters: [...(item.parameters ?? []), ...(operation.parameters ?? [])],
      });
    }
  }
  return operations;
}

// words is what a search looks through: also the names of fields, two levels deep.
function words(operation) {
  const names = new Set([operation.method, operation.path, operation.tag, operation.summary, operation.operationId, operation.description]);
  const dig = (node, depth) => {
    const schema = node && inner(node);
    if (!schema || depth > 2) return;
    for (const [name, child] of Object.entries(schema.properties ?? {})) {
      names.add(name);
      dig(child, depth + 1);
    }
  };
  for (const parameter of operation.parameters) names.add(resolve(parameter).name);
  dig(jsonOf(resolve(operation.requestBody).content)?.schema, 0);
  for (const [status, response] of Object.entries(operation.responses ?? {})) {
    if (/^2/.test(status)) dig(jsonOf(resolve(response).content)?.schema, 0);
  }
  return [...names].filter(Boolean).join("\n").toLowerCase();
}

const badge = (operation) => make("span", { class: "method " + operation.method }, operation.method.toUpperCase());

function build(operations) {
  const main = document.getElementById("operations");
  const toc = document.getElementById("toc");
  const title = description.info?.title ?? "API";
  document.title = title + " API reference";
  document.getElementById("title").replaceChildren(title + " API", make("small", {}, description.info?.version ?? ""));

  const facts = make("div", { class: "facts" });
  if (description.servers?.length) {
    facts.append(make("p", {}, "Base addresses: ", description.servers.flatMap((server, i) => [i ? ", " : "", make("code", {}, server.url)])));
  }
  if (description.info?.license) facts.append(make("p", {}, "Licence: " + description.info.license.name));
  const unfold = make("button", { type: "button", "aria-expanded": "false" }, "Open all");
  main.replaceChildren(make("p", { class: "lead" }, description.info?.description ?? ""), facts, make("div", { class: "bar" }, unfold));

  const tags = new Map();
  for (const operation of operations) {
    if (!tags.has(operation.tag)) tags.set(operation.tag, []);
    tags.get(operation.tag).push(operation);
  }
  for (const [tag, members] of tags) {
    const section = make("section", {}, make("h2", {}, tag));
    const about = description.tags?.find((one) => one.name === tag)?.description;
    if (about) section.append(make("p", { class: "lead" }, about));
    const list = make("ul");
    const heading = make("h2", {}, tag);
    for (const operation of members) {
      const inside = make("div", { class: "inside" });
      const details = make("details", { class: "operation" + (operation.deprecated ? " deprecated" : ""), id: operation.id },
        make("summary", {}, badge(operation), make("span", { class: "path" }, operation.path),
          operation.summary ? make("span", { class: "summary" }, operation.summary + (operation.deprecated ? " (deprecated)" : "")) : null),
        inside);
      details.addEventListener("toggle", () => {
        if (details.open && !inside.childElementCount) draw(operation, inside);
      });
      const link = make("a", { href: "#" + operation.id, title: operation.path }, badge(operation), make("span", {}, operation.summary ?? operation.path));
      const entry = make("li", {}, link);
      Object.assign(operation, { details, link, entry, section, heading, list, words: words(operation) });
      section.append(details);
      list.append(entry);
    }
    toc.append(heading, list);
    main.append(section);
  }

  unfold.addEventListener("click", () => {
    const open = unfold.getAttribute("aria-expanded") === "false";
    for (const operation of operations) if (!operation.details.hidden) operation.details.open = open;
    unfold.setAttribute("aria-expanded", String(open));
    unfold.textContent = open ? "Close all" : "Open all";
  });
}

// search leaves the operations that contain every word.
function search(operations, text) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  const left = new Set();
  let count = 0;
  for (const operation of operations) {
    const fits = wanted.every((word) => operation.words.includes(word));
    operation.details.hidden = operation.entry.hidden = !fits;
    if (fits) {
      count++;
      left.add(operation.tag);
    }
  }
  for (const operation of operations) {
    operation.section.hidden = operation.heading.hidden = operation.list.hidden = !left.has(operation.tag);
  }
  document.getElementById("found").textContent = !wanted.length ? "" : count === 1 ? "1 operation" : count ? `${count} operations` : "Nothing fits; try fewer words.";
}

// follow opens the operation that the address names.
function follow(operations) {
  const id = decodeURIComponent(location.hash.slice(1));
  for (const operation of operations) {
    if (operation.id !== id) {
      operation.link.removeAttribute("aria-current");
      continue;
    }
    operation.link.setAttribute("aria-current", "true");
    operation.details.hidden = operation.section.hidden = false;
    operation.details.open = true;
    if (!operation.details.querySelector(".inside").childElementCount) draw(operation, operation.details.querySelector(".inside"));
    if (!wide.matches) document.getElementById("contents").open = false;
    operation.details.scrollIntoView();
    operation.details.querySelector("summary").focus({ preventScroll: true });
  }
}

async function start() {
  const contents = document.getElementById("contents");
  const fold = () => { contents.open = wide.matches; };
  fold();
  wide.addEventListener("change", fold);

  let operations;
  try {
    const response = await fetch("/openapi.json", { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error("HTTP " + response.status);
    description = await response.json();
    operations = collect();
    build(operations);
  } catch (problem) {
    const retry = make("button", { type: "button" }, "Try again");
    retry.addEventListener("click", () => location.reload());
    document.getElementById("operations").replaceChildren(
      make("p", { class: "alert", role: "alert" }, "The description could not be read (" + problem.message + "). ", retry));
    return;
  }

  const query = document.getElementById("query");
  query.addEventListener("input", () => search(operations, query.value));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      query.focus();
    } else if (event.key === "Escape" && event.target === query && query.value) {
      query.value = "";
      search(operations, "");
    }
  });
  addEventListener("hashchange", () => follow(operations));
  // The same entry again changes no address, but should lead there all the same.
  document.getElementById("toc").addEventListener("click", (event) => {
    if (event.target.closest("a")?.hash === location.hash) follow(operations);
  });
  if (location.hash) follow(operations);
}

start();
