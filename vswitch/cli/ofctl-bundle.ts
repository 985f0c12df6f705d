// `plinth ofctl bundle`: flow-mods, group-mods and packet-outs of a file, all of them or none. Source: ovs-ofctl(8).
import type { FlowMod, GroupMod, PacketOut, Unsent } from "../../base/openflow/index.js";
import { commandError } from "./errors.js";
import { readLines } from "./flow-file.js";
import { parseFlow } from "./flow-text.js";
import type { OfctlContext } from "./ofctl-context.js";
import { flowModOf, lineCommand, partsOf } from "./ofctl-flows.js";
import { GROUP_COMMANDS, groupModOf } from "./ofctl-groups.js";
import { packetOrder } from "./ofctl-switch.js";
import { P_ANY, type ProtocolSet } from "./protocol-set.js";

type Change = Unsent<FlowMod | GroupMod | PacketOut>;

export async function bundle(context: OfctlContext, [path = "-"]: readonly string[]): Promise<number> {
  const lines = await readLines(context.io, path);
  const ports = await context.numbers(lines.map(({ text }) => text));
  const known = new Map((await context.ports()).map(({ name, port }) => [name, port]));
  let usable: ProtocolSet = P_ANY;
  const read = (version: number): Change[] =>
    lines.map((line) =>
      line.parse((text) => {
        const { word, rest } = firstWord(text);
        if (word === "flow") {
          const { rest: flowText, given = "add" } = lineCommand(rest);
          const flow = parseFlow(flowText, { parts: partsOf(given), ports, version });
          usable &= flow.protocols;
          return flowModOf(given, flow);
        }
        if (word === "group") {
          const { word: command, rest: groupText } = firstWord(rest);
          const given = GROUP_COMMANDS.find((one) => one === command);
          return groupModOf(given ?? "add", given === undefined ? rest : groupText, ports, version);
        }
        if (word === "packet-out") return packetOrder(rest, version, (name) => known.get(name));
        throw commandError(`Unsupported bundle message type: ${word}`);
      }),
    );
  const { version } = context.client;
  const changes = read(version);
  await context.settleForChange(usable);
  await context.client.sendAtomically(changes);
  return 0;
}

function firstWord(text: string): { readonly word: string; readonly rest: string } {
  const [, word = "", rest = ""] = /^(\S*)\s*(.*)$/s.exec(text) ?? [];
  return { word, rest };
}
