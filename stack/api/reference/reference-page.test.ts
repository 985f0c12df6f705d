import { describe, expect, it } from "vitest";
import { ALL_KINDS, type SchemaNode } from "../../resources/index.js";
import { buildReferencePage } from "./reference-page.js";

const page = buildReferencePage("1.2.3");

describe("the page about the API", () => {
  it.each(ALL_KINDS.map((kind) => [kind.kind, kind] as const))("tells all of %s", (_, kind) => {
    const start = page.indexOf(`<section id="${kind.kind}">`);
    expect(start).toBeGreaterThan(0);
    const section = page.slice(start, page.indexOf("</section>", start));
    expect(section).toContain(`/${kind.plural}/NAME`);
    expect(section).toContain(`kind: ${kind.kind}`);
    const count = (node: SchemaNode): number => {
      const inner = node.items ?? node.additionalProperties;
      const own = Object.values(node.properties ?? {});
      return (
        own.reduce((sum, field) => sum + 1 + count(field), 0) + (typeof inner === "object" ? count(inner) : 0)
      );
    };
    expect(section.match(/class="field"|<details>/g)?.length).toBe(count(kind.schema as SchemaNode));
    expect(page).toContain(`<a href="#${kind.kind}">`);
  });

  it("fetches nothing, runs nothing, and closes what it opens", () => {
    expect(page).not.toMatch(/<(script|link|img|iframe|form)\b|\bsrc=|url\(|href="(?!#)|\bon\w+="/);
    for (const tag of ["section", "details", "summary", "div", "p", "pre", "span", "code", "main", "nav"])
      expect(page.split(`<${tag}`).length, tag).toBe(page.split(`</${tag}>`).length + extra(tag));
  });
});

/** Tags that begin with the same letters. */
function extra(tag: string): number {
  return tag === "p" ? page.split("<pre").length - 1 : 0;
}
