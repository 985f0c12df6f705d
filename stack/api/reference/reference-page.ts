// The API as one page to read in a browser: every kind with its paths, an example and all fields, made of the schemas that
// judge what is sent. It fetches nothing, runs no script and holds nothing of any installation. Pure.
import { stringify } from "yaml";
import { ALL_KINDS, apiVersionOf, type ResourceKind, type SchemaNode } from "../../resources/index.js";
import { pathOf } from "../discovery.js";
import { exampleOf } from "./examples.js";

/** For the answer's Content-Security-Policy: the page's own style, and nothing else. */
export const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE = `
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; display: grid; grid-template-columns: 15rem 1fr; }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1rem; box-sizing: border-box; border-right: 1px solid #8885; }
nav a { display: block; } nav h2 { font-size: .8rem; margin: 1rem 0 .2rem; word-break: break-all; }
main { padding: 1rem 2rem 50vh; max-width: 60rem; min-width: 0; }
section { border-top: 1px solid #8885; margin-top: 2rem; }
pre { background: #8882; padding: .7rem; overflow: auto; }
code, pre { font: 13px/1.4 ui-monospace, monospace; }
details, .field { margin: .2rem 0 .2rem 1.2rem; }
summary { cursor: pointer; }
.type { color: #07a; } .needed { color: #b40; } .fact { opacity: .7; }
p { margin: .1rem 0 .4rem; }
@media (max-width: 50rem) { body { display: block; } nav { position: static; height: auto; border: 0; } }
`;

export function buildReferencePage(version: string): string {
  const versions = [...new Set(ALL_KINDS.map(apiVersionOf))];
  const links = versions.map((name) => {
    const kinds = ALL_KINDS.filter((kind) => apiVersionOf(kind) === name);
    return `<h2>${escaped(name)}</h2>${kinds.map(({ kind }) => `<a href="#${kind}">${kind}</a>`).join("")}`;
  });
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>Plinth API</title><style>${STYLE}</style></head><body>`,
    `<nav><strong>Plinth API ${escaped(version)}</strong>${links.join("")}</nav><main><h1>Plinth API</h1>`,
    "<p>Every request but this page, <code>/version</code> and the health checks needs the token or certificate of a ",
    "kubeconfig. For programs: <code>/openapi/v3</code>.</p>",
    ...ALL_KINDS.map(kindSection),
    "</main></body></html>\n",
  ].join("");
}

function kindSection(kind: ResourceKind): string {
  const schema = kind.schema as SchemaNode;
  const example = stringify(exampleOf(kind));
  const names = [kind.plural, ...kind.shortNames].map((name) => `<code>${escaped(name)}</code>`).join(", ");
  return [
    `<section id="${kind.kind}"><h2>${kind.kind}</h2>`,
    `<p>${escaped(schema.description ?? "")}</p>`,
    `<p class="fact">${escaped(apiVersionOf(kind))}, ${kind.namespaced ? "in a namespace" : "cluster-wide"}; ${names}</p>`,
    `<h3>Paths</h3><pre>${escaped(pathsOf(kind).join("\n"))}</pre>`,
    `<h3>Example</h3><pre>${escaped(example)}</pre>`,
    `<h3>Fields</h3>${fieldsOf(schema)}</section>`,
  ].join("");
}

function pathsOf(kind: ResourceKind): string[] {
  const place = kind.namespaced ? "/namespaces/NAMESPACE" : "";
  const collection = `${pathOf(kind)}${place}/${kind.plural}`;
  return [
    ...(kind.namespaced ? [`GET ${pathOf(kind)}/${kind.plural}`] : []),
    `GET POST DELETE ${collection}`,
    `GET PUT PATCH DELETE ${collection}/NAME`,
    ...(kind.hasStatus ? [`GET PUT PATCH ${collection}/NAME/status`] : []),
    ...(kind.actions ?? []).map(({ name, method }) => `${method} ${collection}/NAME/${name}`),
  ];
}

function fieldsOf(node: SchemaNode): string {
  const inner = innermost(node);
  return Object.entries(inner.properties ?? {})
    .map(([name, field]) => {
      const needed =
        inner.required?.includes(name) === true && field.default === undefined && !field.readOnly;
      const title =
        `<code>${escaped(name)}</code> <span class="type">${escaped(typeOf(field))}</span>` +
        `${needed && name !== "metadata" ? ' <span class="needed">required</span>' : ""}` +
        `<span class="fact">${escaped(factsOf(field))}</span>`;
      const text = field.description ?? innermost(field).description ?? "";
      const description = text === "" ? "" : `<p>${escaped(text)}</p>`;
      const members = fieldsOf(field);
      return members === ""
        ? `<div class="field">${title}${description}</div>`
        : `<details><summary>${title}</summary>${description}${members}</details>`;
    })
    .join("");
}

/** Of lists and maps what is in them. */
function innermost(node: SchemaNode): SchemaNode {
  if (node.items !== undefined) return innermost(node.items);
  return typeof node.additionalProperties === "object" ? innermost(node.additionalProperties) : node;
}

function typeOf(node: SchemaNode): string {
  if (node["x-kubernetes-int-or-string"] === true) return "integer or string";
  if (node["x-plinth-quantity"] === true) return "quantity";
  if (node.items !== undefined) return `list of ${typeOf(node.items)}`;
  if (typeof node.additionalProperties === "object") return `map to ${typeOf(node.additionalProperties)}`;
  return node.type ?? "anything";
}

function factsOf(node: SchemaNode): string {
  const facts = [
    node.enum === undefined ? "" : `one of ${node.enum.join(", ")}`,
    node.minimum === undefined ? "" : `at least ${node.minimum}`,
    node.maximum === undefined ? "" : `at most ${node.maximum}`,
    node.default === undefined ? "" : `default ${JSON.stringify(node.default)}`,
    node.readOnly === true ? "read only" : "",
  ].filter((fact) => fact !== "");
  return facts.length === 0 ? "" : ` (${facts.join("; ")})`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
