import { expect, it } from "vitest";
import { createCommandLog } from "./command-log.js";

function told(specs: readonly (string | undefined)[]): string {
  let text = "";
  const err = (more: string): void => {
    text += more;
  };
  const log = createCommandLog({ err }, specs);
  log.line("ofp_match", "info", "one");
  log.line("ofp_actions", "warn", "two");
  return text;
}

// Expectations as ovs-ofctl 3.1 fulfils them.
it("createCommandLog() tells lines up to the level, in the pattern asked for", () => {
  expect(told(["PATTERN:console:%c|%p|%m"])).toBe("ofp_match|INFO|one\nofp_actions|WARN|two\n");
  expect(told(["PATTERN:console:%N %5p%%%-6p|"])).toBe("1  INFO%INFO  |\n2  WARN%WARN  |\n");
  expect(told([])).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\|00001\|ofp_match\|INFO\|one\n.*\|00002\|/);
  expect(told(["PATTERN:console:%m", "console:warn"])).toBe("two\n");
  expect(told(["PATTERN:console:%m", "ofp_match:off"])).toBe("two\n");
  expect(told(["ANY:ANY:off"])).toBe("");
  expect(told(["PATTERN:console:%m", "file:off"])).toBe("one\ntwo\n");
});

it("createCommandLog() names what it does not understand", () => {
  expect(() => told(["FOO"])).toThrow('processing "FOO": no destination, level, or module "FOO"');
  expect(() => told(["console:foo"])).toThrow(
    'processing "console:foo": no destination, level, or module "foo"',
  );
  expect(() => told(["PATTERN:foo:x"])).toThrow('processing "PATTERN:foo:x": unknown destination "foo"');
});
