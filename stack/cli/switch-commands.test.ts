import { Command } from "commander";
import { expect, it } from "vitest";
import { register } from "./switch-commands.js";

function help(name: string): string {
  const program = new Command("plinth");
  register(program);
  const command = program.commands.find((one) => one.name() === name);
  let text = "";
  command?.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
  return text;
}

it.each([
  ["vswitchd", ["--dir", "--ovsdb", "--upgrade", "--host-devices"]],
  ["vsctl", ["--db", "add-br NEW-BRIDGE", "set TABLE RECORD"]],
  ["ofctl", ["dump-flows SWITCH", "add-flow SWITCH FLOW"]],
  ["appctl", ["--target", "fdb/show"]],
  ["trace", ["<port>", "--ct-next", "--output"]],
])("plinth %s --help tells what there is", (name, words) => {
  for (const word of words) expect(help(name)).toContain(word);
});

it.each(["vsctl", "ofctl"])("plinth %s --help says of each command and option what it does", (name) => {
  const lines = help(name)
    .split("\n")
    .filter((line) => line.startsWith("  "));
  const isRightSide = (line = ""): boolean => line.startsWith(" ".repeat(40));
  const silent = lines.filter(
    (line, i) => !/\S {2,}\S/.test(line) && !isRightSide(line) && !isRightSide(lines[i + 1]),
  );
  expect(silent).toEqual([]);
  expect(lines.length).toBeGreaterThan(60);
});
