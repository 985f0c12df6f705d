// `plinth explain vm.spec.interfaces`: a kind's documentation, from the schema itself. Pure.
import { PlinthError } from "../../base/errors/index.js";
import { apiVersionOf, findKindByWord, type SchemaNode } from "../resources/index.js";

export function explain(path: string): string {
  const [word, ...fields] = path.split(".");
  const kind = findKindByWord(word as string);
  if (kind === undefined) throw new PlinthError("KIND_UNKNOWN", `there is no kind "${word}"`);
  let node = kind.schema as SchemaNode;
  for (const [i, field] of fields.entries()) {
    const next = membersOf(node)?.[field];
    if (next === undefined) {
      const at = [word, ...fields.slice(0, i)].join(".");
      throw new PlinthError("FIELD_UNKNOWN", `${at} has no field "${field}"`, { field: path });
    }
    node = next;
  }
  const lines = [`KIND:      ${kind.kind}`, `VERSION:   ${apiVersionOf(kind)}`, ""];
  if (fields.length > 0) lines.push(`FIELD:     ${fields.join(".")} <${typeName(node)}>`, "");
  const description = node.description ?? node.items?.description ?? "";
  if (description !== "") lines.push("DESCRIPTION:", ...wrap(description, 4), "");
  lines.push(...limitsOf(node));
  const members = membersOf(node);
  if (members !== undefined) {
    lines.push("FIELDS:");
    const required = (node.type === "array" ? node.items : node)?.required ?? [];
    for (const [name, member] of Object.entries(members)) {
      const needed =
        required.includes(name) && member.default === undefined && !member.readOnly && name !== "metadata";
      const preset = member.default === undefined ? "" : ` (default ${JSON.stringify(member.default)})`;
      lines.push(`  ${name} <${typeName(member)}>${needed ? " -required-" : preset}`);
      lines.push(...wrap(member.description ?? member.items?.description ?? "", 6), "");
    }
  }
  return lines.join("\n").trimEnd();
}

function membersOf(node: SchemaNode): Readonly<Record<string, SchemaNode>> | undefined {
  return node.type === "array" ? node.items?.properties : node.properties;
}

function typeName(node: SchemaNode): string {
  if (node["x-kubernetes-int-or-string"]) return "integer or string";
  if (node["x-plinth-quantity"]) return "quantity";
  if (node.type === "array") return `[]${typeName(node.items ?? {})}`;
  if (typeof node.additionalProperties === "object")
    return `map[string]${typeName(node.additionalProperties)}`;
  return node.type === "object" ? "Object" : (node.type ?? "any");
}

function limitsOf(node: SchemaNode): string[] {
  const lines: string[] = [];
  if (node.enum !== undefined) lines.push(`ONE OF: ${node.enum.join(", ")}`, "");
  if (node.minimum !== undefined || node.maximum !== undefined) {
    lines.push(`RANGE: ${node.minimum ?? ""} to ${node.maximum ?? ""}`, "");
  }
  return lines;
}

function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + word.length + 1 > 88 - indent) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  if (line !== "") lines.push(line);
  return lines.map((each) => " ".repeat(indent) + each);
}
