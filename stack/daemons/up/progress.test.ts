import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createProgress, mutable } from "./progress.js";

let out = "";
let errors = "";
beforeEach(() => {
  vi.useFakeTimers();
  out = "";
  errors = "";
});
afterEach(() => vi.useRealTimers());

function open(isTTY: boolean) {
  const sink = (take: (text: string) => void) => ({ isTTY, columns: 30, write: take }) as never;
  return createProgress(
    sink((text) => {
      out += text;
    }),
    sink((text) => {
      errors += text;
    }),
  );
}

it("createProgress() elsewhere than on a terminal prints results, and steps only when they take long", () => {
  const progress = open(false);
  progress.step("short");
  progress.done("short is done");
  progress.step("long, at first");
  progress.step("long, later");
  vi.advanceTimersByTime(5_000);
  progress.done("long is done");
  progress.step("bad");
  progress.failed("it was bad");
  vi.advanceTimersByTime(5_000);
  expect(out.replace(/\d+\.\d s/g, "T")).toBe("✓ short is done (T)\n… long, later\n✓ long is done (T)\n");
  expect(errors).toMatch(/^✗ it was bad \(\d+\.\d s\)\n$/);
});

it("createProgress() rewrites one line of a terminal and keeps it as wide as the terminal", () => {
  const progress = open(true);
  progress.step("a step whose text is far too long for it");
  progress.say("note");
  progress.done("done");
  const step = "… a step whose text is far to";
  expect(out.replace(/\d+\.\d s/, "T").replaceAll("\r\u001b[K", "<")).toBe(
    `${step}<note\n${step}<✓ done (T)\n`,
  );
});

it("mutable() passes on until it is muted", () => {
  let muted = false;
  const progress = mutable(open(false), () => muted);
  progress.say("before");
  muted = true;
  progress.say("after");
  expect(out).toBe("before\n");
});
