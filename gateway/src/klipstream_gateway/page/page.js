// Shows /api/v1/openapi.json and sends requests. Everything is put in as text: nothing of it is ever read as HTML.

const description = await (await fetch("/api/v1/openapi.json")).json();
const schemas = description.components.schemas;

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// `code`, **strong** and paragraphs, as the description uses them.
function prose(text) {
  return text.trim().split(/\n\s*\n/).map((paragraph) =>
    make("p", {}, ...paragraph.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
      if (part.startsWith("`")) return make("code", {}, part.slice(1, -1));
      if (part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
      return part;
    })));
}

const resolve = (schema) => schema.$ref ? schemas[schema.$ref.split("/").pop()] : schema;

function kind(schema) {
  if (schema.$ref) {
    const found = resolve(schema);
    return found.enum ? found.enum.join(" | ") : schema.$ref.split("/").pop();
  }
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? schema.prefixItems?.[0] ?? {})}`;
  return schema.format ?? schema.type ?? "any";
}

function limits(schema) {
  const all = [schema, ...(schema.anyOf ?? [])];
  const found = (name) => all.map((each) => each[name]).find((each) => each !== undefined);
  const words = [];
  if (found("minimum") !== undefined) words.push(`from ${found("minimum")}`);
  if (found("maximum") !== undefined) words.push(`to ${found("maximum")}`);
  if (found("maxLength") !== undefined) words.push(`${found("maxLength")} characters at most`);
  if (found("maxItems") !== undefined) words.push(`${found("maxItems")} at most`);
  if (schema.default !== undefined && schema.default !== null) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join(", ");
}

function fields(rows) {
  const head = ["Field", "Kind", "Meaning"].map((each) => make("th", { scope: "col" }, each));
  const body = rows.map(([name, schema, text, required]) => make("tr", {},
    make("td", {}, make("code", {}, name), required ? make("small", {}, " required") : ""),
    make("td", {}, kind(schema), make("br"), make("small", {}, limits(schema))),
    make("td", {}, text ?? schema.description ?? "")));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
}

function ofModel(schema) {
  const found = resolve(schema);
  const required = found.required ?? [];
  return fields(Object.entries(found.properties ?? {}).map(([name, each]) =>
    [name, each, each.description, required.includes(name)]));
}

function example(schema) {
  const found = resolve(schema);
  if (found.examples?.length) return found.examples[0];
  if (found.enum) return found.enum[0];
  if (found.type === "array") return [example(found.items)];
  if (found.properties) {
    return Object.fromEntries((found.required ?? []).map((name) => [name, example(found.properties[name])]));
  }
  return found.type === "integer" ? 1 : "";
}

function trial(method, path, operation) {
  const inputs = (operation.parameters ?? []).map((parameter) => {
    const id = `${operation.operationId}-${parameter.in}-${parameter.name}`;
    const options = parameter.schema.enum;
    const input = options
      ? make("select", { id }, make("option", { value: "" }, ""), ...options.map((each) => make("option", {}, each)))
      : make("input", { id, required: parameter.required });
    return { parameter, input };
  });
  const bodySchema = operation.requestBody?.content["application/json"].schema;
  const body = bodySchema && make("textarea", {
    id: `${operation.operationId}-body`, spellcheck: false, value: JSON.stringify(example(bodySchema), null, 2),
  });
  const shown = make("pre", { role: "status", "aria-label": "Answer", hidden: true, tabIndex: 0 });
  const send = async (event) => {
    event.preventDefault();
    const url = new URL(location.origin);
    url.pathname = path;
    const headers = {};
    const key = document.getElementById("key").value.trim();
    if (key) headers.Authorization = `Bearer ${key}`;
    for (const { parameter, input } of inputs) {
      if (!input.value) continue;
      if (parameter.in === "path") {
        url.pathname = url.pathname.replace(encodeURI(`{${parameter.name}}`), encodeURIComponent(input.value));
      } else if (parameter.in === "query") url.searchParams.set(parameter.name, input.value);
      else headers[parameter.name] = input.value;
    }
    if (body) headers["Content-Type"] = "application/json";
    shown.hidden = false;
    shown.textContent = "…";
    try {
      const answer = await fetch(url, { method: method.toUpperCase(), headers, body: body?.value });
      shown.textContent = `${answer.status} ${answer.statusText}\n`;
      for (const [name, value] of answer.headers) {
        if (/^(ratelimit|retry-after|location|x-request-id)/.test(name)) shown.textContent += `${name}: ${value}\n`;
      }
      shown.textContent += "\n";
      if (answer.headers.get("Content-Type").startsWith("text/event-stream")) {
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part = await reader.read(); !part.done; part = await reader.read()) shown.textContent += part.value;
        return;
      }
      const text = await answer.text();
      try { shown.textContent += JSON.stringify(JSON.parse(text), null, 2); } catch { shown.textContent += text; }
    } catch (error) {
      shown.textContent = String(error);
    }
  };
  return make("form", { onsubmit: send },
    ...inputs.map(({ parameter, input }) => make("div", { className: "field" },
      make("label", { htmlFor: input.id }, parameter.name, make("small", {}, ` ${parameter.in}`)), input)),
    ...(body ? [make("div", { className: "field" }, make("label", { htmlFor: body.id }, "Body"), body)] : []),
    make("button", { type: "submit" }, "Send"), shown);
}

function section(method, path, operation) {
  const needs = operation["x-scope"] ? `Needs the scope ${operation["x-scope"]}.` : "Needs no credentials.";
  const answers = Object.entries(operation.responses).map(([status, given]) => {
    const answer = given.$ref ? description.components.responses[given.$ref.split("/").pop()] : given;
    const schema = answer.content?.["application/json"]?.schema;
    return make("details", {}, make("summary", {}, make("code", {}, status), " ", schema ? kind(schema) : ""),
      ...prose(answer.description), ...(schema ? [ofModel(schema)] : []));
  });
  const bodySchema = operation.requestBody?.content["application/json"].schema;
  const parameters = (operation.parameters ?? []).map((each) =>
    [each.name, each.schema, `${each.description} (${each.in})`, each.required]);
  return make("details", { id: operation.operationId },
    make("summary", {}, make("span", { className: "method" }, method.toUpperCase()), " ", make("code", {}, path), " ",
      operation.summary),
    ...prose(operation.description), make("p", { className: "note" }, needs),
    ...(parameters.length ? [make("h3", {}, "Parameters"), fields(parameters)] : []),
    ...(bodySchema ? [make("h3", {}, "Body"), ofModel(bodySchema)] : []),
    make("h3", {}, "Try it"), trial(method, path, operation), make("h3", {}, "Answers"), ...answers);
}

const operations = document.getElementById("operations");
const index = document.getElementById("index");
operations.replaceChildren();
document.getElementById("about").append(...prose(description.info.description));
for (const tag of description.tags) {
  const found = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).filter(([, each]) => each.tags.includes(tag.name))
      .map(([method, operation]) => ({ method, path, operation })));
  operations.append(make("h2", {}, tag.name), make("p", {}, tag.description),
    ...found.map((each) => section(each.method, each.path, each.operation)));
  index.append(make("h2", {}, tag.name), make("ul", {}, ...found.map(({ operation }) =>
    make("li", {}, make("a", { href: `#${operation.operationId}` }, operation.summary)))));
}
function open() {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", open);
open();
