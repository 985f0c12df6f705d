import { describe, expect, it } from "vitest";

import { graphSvg } from "./graph-svg.js";

const edge = (source: string, destination: string, label: string) => ({ source, destination, label });

describe("graphSvg()", () => {
  it("draws every end once and an arrow for each pair, titled with what may pass", () => {
    const picture = graphSvg(
      [
        edge("shop/a[Pod]", "shop/b[Pod]", "TCP 80"),
        edge("0.0.0.0-9.9.9.9[External]", "shop/a[Pod]", "UDP 53"),
      ],
      ["shop/a[Pod]", "shop/alone[Pod]"],
      "Reach",
    );
    const texts = [...picture.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);
    expect(texts).toEqual(["0.0.0.0-9.9.9.9[External]", "shop/a[Pod]", "shop/alone[Pod]", "shop/b[Pod]"]);
    const titles = [...picture.matchAll(/<title>([^<]*)<\/title>/g)].map(([, title]) => title);
    expect(titles).toEqual([
      "Reach",
      "shop/a[Pod] =&gt; shop/b[Pod] : TCP 80",
      "0.0.0.0-9.9.9.9[External] =&gt; shop/a[Pod] : UDP 53",
    ]);
    expect(picture.match(/marker-end/g)).toHaveLength(2);
  });

  it("is a picture when there is nothing to draw", () => {
    expect(graphSvg([], [], '<none> & "nothing"')).toContain(
      "<title>&lt;none&gt; &amp; &quot;nothing&quot;</title>",
    );
  });

  it("keeps every number finite and inside the picture", () => {
    const ends = Array.from({ length: 60 }, (_, i) => `n${i % 7}/w${i}[Deployment]`);
    const picture = graphSvg([edge(ends[0] as string, ends[59] as string, "TCP 1")], ends, "Many");
    const size = Number(/width="(\d+)"/.exec(picture)?.[1]);
    const circles = [...picture.matchAll(/cx="([^"]*)" cy="([^"]*)"/g)];
    expect(circles).toHaveLength(60);
    for (const [, x, y] of circles)
      for (const value of [Number(x), Number(y)]) expect(value > 0 && value < size).toBe(true);
  });
});
