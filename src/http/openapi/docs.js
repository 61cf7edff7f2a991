// Shows /openapi.json. It writes text alone, never markup, and asks nothing but this server.
"use strict";

const METHODS = ["get", "post", "put", "delete"];

// An element with texts or elements in it.
const make = (name, attributes, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

const table = (heads, rows) => make("div", { class: "scroll" }, make("table", {},
  make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
  make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))))));

const resolve = (api, schema) => {
  const name = schema?.$ref?.split("/").pop();
  return name ? api.components.schemas[name] ?? {} : schema ?? {};
};

const all = (api, schema) => {
  const found = resolve(api, schema);
  const parts = (found.allOf ?? []).map((part) => all(api, part));
  const merged = { ...found, properties: { ...found.properties }, required: [...(found.required ?? [])] };
  for (const part of parts) {
    Object.assign(merged.properties, part.properties);
    merged.required.push(...(part.required ?? []));
  }
  return merged;
};

// A type in few words.
const kind = (api, schema) => {
  if (!schema || Object.keys(schema).length === 0) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const either = schema.oneOf ?? schema.anyOf;
  if (either) return either.map((one) => kind(api, one)).join(" | ");
  if (schema.type === "array" || schema.type?.includes?.("array")) return `list of ${kind(api, schema.items)}`;
  const type = [schema.type ?? "anything"].flat().join(" | ");
  return schema.format ? `${type} (${schema.format})` : type;
};

// The fields of a schema, those of its parts under their own names, each type once.
const fields = (api, schema, seen = new Set()) => {
  const whole = all(api, schema);
  const rows = Object.entries(whole.properties);
  const parts = [];
  if (rows.length) {
    parts.push(table(["Field", "Type", "What"], rows.map(([name, field]) => [
      make("code", {}, whole.required.includes(name) ? name : `${name}?`),
      kind(api, field),
      field.description ?? resolve(api, field).description ?? "",
    ])));
  } else {
    parts.push(make("p", {}, `${kind(api, whole)}. ${whole.description ?? ""}`));
  }
  for (const [, field] of rows) {
    for (const one of [field, field.items, ...(field.oneOf ?? [])]) {
      const name = one?.$ref?.split("/").pop();
      if (!name || seen.has(name) || !Object.keys(all(api, one).properties).length) continue;
      seen.add(name);
      parts.push(make("h4", {}, name), ...fields(api, one, seen));
    }
  }
  return parts;
};

// A value that fits a schema.
const example = (api, schema, depth = 0) => {
  const whole = all(api, schema);
  if (whole.examples?.length) return whole.examples[0];
  if (whole.enum) return whole.enum[0];
  const either = whole.oneOf ?? whole.anyOf;
  if (either && !Object.keys(whole.properties).length) return example(api, either[0], depth);
  const type = [whole.type ?? "object"].flat()[0];
  if (type === "string") return "text";
  if (type === "integer" || type === "number") return 1;
  if (type === "boolean") return true;
  if (type === "array") return [];
  if (depth > 3) return {};
  return Object.fromEntries(Object.entries(whole.properties)
    .filter(([name]) => whole.required.includes(name))
    .map(([name, field]) => [name, name === "messages" ? [{ role: "user", content: "Hello" }] : example(api, field, depth + 1)]));
};

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const curl = (api, method, path, operation) => {
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${quoted(location.origin + path)}`];
  const scheme = operation.security?.[0];
  if (scheme) lines.push(`-H ${quoted(`Authorization: Bearer ${scheme.operator ? "$TOKEN" : "fb_..."}`)}`);
  const body = operation.requestBody?.content["application/json"];
  if (body) {
    lines.push("-H 'content-type: application/json'");
    lines.push(`-d ${quoted(JSON.stringify(example(api, body.schema)))}`);
  }
  return lines.join(" \\\n  ");
};

const show = (api, method, path, operation) => {
  const head = make("summary", {}, make("span", { class: "method" }, method.toUpperCase()), make("code", {}, path), ` ${operation.summary}`);
  const details = make("details", { id: operation.operationId, "data-text": `${method} ${path} ${operation.summary}`.toLowerCase() }, head);
  // What is closed is not made.
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const needed = ([name, scopes]) => scopes.length ? `${name} with the scope ${scopes.join(", ")}` : name;
    const by = operation.security?.map((one) => Object.entries(one).map(needed).join(" and ")).join(" or ") ?? "nothing";
    details.append(make("p", { class: "soft" }, `Takes: ${by}`), make("h3", {}, "Example"), make("pre", { tabindex: "0" }, curl(api, method, path, operation)));
    const parameters = operation.parameters ?? [];
    if (parameters.length) {
      details.append(make("h3", {}, "Parameters"), table(["Name", "In", "Type", "What"], parameters.map((one) => [
        make("code", {}, one.required ? one.name : `${one.name}?`), one.in, kind(api, one.schema), one.description ?? "",
      ])));
    }
    const body = operation.requestBody?.content["application/json"];
    if (body) details.append(make("h3", {}, "Body"), ...fields(api, body.schema));
    const answers = Object.entries(operation.responses);
    for (const [status, answer] of answers.filter(([status]) => Number(status) < 400)) {
      for (const [type, content] of Object.entries(answer.content ?? { "": {} })) {
        details.append(make("h3", {}, `${status} ${type}`), ...fields(api, content.schema));
      }
    }
    const [, answer] = answers.find(([status]) => Number(status) < 400) ?? [];
    details.append(make("h3", {}, "Headers"), table(["Name", "What"], Object.entries(answer?.headers ?? {}).map(([name, one]) => [make("code", {}, name), one.description ?? ""])));
    details.append(make("h3", {}, "Errors"), table(["Status", "Codes"], answers.filter(([status]) => Number(status) >= 400).map(([status, one]) => [status, one.description])));
  });
  return details;
};

const open = () => {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (found instanceof HTMLDetailsElement) found.open = true;
  found?.scrollIntoView();
};

const start = async () => {
  const main = document.getElementById("operations");
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`/openapi.json: ${answer.status}`);
  const api = await answer.json();
  document.getElementById("title").textContent = `${api.info.title} API ${api.info.version}`;
  document.getElementById("about").textContent = api.info.description;
  main.replaceChildren();
  for (const tag of api.tags) {
    const section = make("section", { id: tag.name, "aria-label": tag.name }, make("h2", {}, tag.name), make("p", { class: "soft" }, tag.description));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS.filter((method) => item[method]?.tags.includes(tag.name))) {
        section.append(show(api, method, path, item[method]));
      }
    }
    main.append(section);
    document.getElementById("groups").append(make("a", { href: `#${tag.name}` }, tag.name));
  }
  document.getElementById("search").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const details of main.querySelectorAll("details[data-text]")) {
      details.hidden = !words.every((word) => details.dataset.text.includes(word));
    }
    for (const section of main.querySelectorAll("section")) section.hidden = !section.querySelector("details:not([hidden])");
  });
  window.addEventListener("hashchange", open);
  open();
};

start().catch((error) => document.getElementById("operations").replaceChildren(make("p", { role: "alert" }, `The document can't be read: ${error.message}`)));
