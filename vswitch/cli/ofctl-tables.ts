// Verbs of `plinth ofctl` about the configuration of tables. Source: ovs-ofctl(8).
import { OFP14_VERSION } from "../../base/openflow/index.js";
import {
  askTables,
  changeTable,
  type TableConfig,
  type TableSetting,
  versionsOf,
} from "./client-requests.js";
import { commandError } from "./errors.js";
import type { OfctlContext } from "./ofctl-context.js";
import type { Reply } from "./openflow-client.js";

type Arguments = readonly string[];

const ALL_TABLES = 255;
const DESC_HEADER_SIZE = 16;
const OFPTC_EVICTION = 1 << 2;
const OFPTC_VACANCY_EVENTS = 1 << 3;

export async function dumpTableDesc(context: OfctlContext): Promise<number> {
  if (context.client.version < OFP14_VERSION)
    throw commandError("dump-table-desc needs OpenFlow 1.4 or later ('-O OpenFlow14')");
  await context.dump(askTables);
  return 0;
}

export async function modTable(
  context: OfctlContext,
  [tableText = "", settingText = ""]: Arguments,
): Promise<number> {
  const { client } = context;
  const tableId = tableOf(context, tableText);
  const setting = settingOf(settingText);
  if (!versionsOf(setting).includes(client.version)) {
    const names = versionsOf(setting).map((version) => `OpenFlow1${version - 1}`);
    throw commandError(
      `table_mod '${settingText}' requires one of the OpenFlow versions ${names.join(", ")}`,
    );
  }
  const kept =
    setting.kind === "miss" || tableId === ALL_TABLES
      ? { eviction: false, vacancy: false }
      : configOf(await client.ask(askTables), tableId);
  await client.send([changeTable(tableId, setting, kept)]);
  return 0;
}

function tableOf({ warn }: OfctlContext, text: string): number {
  if (/^all$/i.test(text)) return ALL_TABLES;
  const number = /^(\d{1,9}|0x[0-9a-f]{1,8})$/i.test(text) ? Number(text) : undefined;
  if (number !== undefined && number <= ALL_TABLES) return number;
  if (number !== undefined)
    warn("ofp_table", `table ${text} is outside the supported range 0 through ${ALL_TABLES}`);
  throw commandError(`unknown table "${text}"`);
}

function settingOf(text: string): TableSetting {
  if (text === "controller" || text === "continue" || text === "drop") return { kind: "miss", miss: text };
  if (text === "evict" || text === "noevict") return { kind: "eviction", isOn: text === "evict" };
  if (text === "novacancy") return { kind: "vacancy", range: undefined };
  if (text.startsWith("vacancy")) return { kind: "vacancy", range: rangeOf(text.slice("vacancy".length)) };
  throw commandError(`invalid table_mod setting ${text}`);
}

/** ":DOWN,UP", in percent. */
function rangeOf(text: string): [number, number] {
  const [downText = "", upText] = text.replace(/^:/, "").split(",", 2);
  if (downText === "") throw commandError("Vacancy down value missing");
  const down = percentOf(downText, "down");
  if (upText === undefined || upText === "") throw commandError("Vacancy up value missing");
  const up = percentOf(upText, "up");
  if (down > up)
    throw commandError(
      "Invalid vacancy range, vacancy up should be greater than vacancy down (OFPBPC_BAD_VALUE)",
    );
  return [down, up];
}

function percentOf(text: string, which: string): number {
  const number = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= 100)) throw commandError(`Invalid vacancy ${which} value "${text}"`);
  return number;
}

/** Of the table among those that the switch describes. */
function configOf(replies: readonly Reply[], tableId: number): TableConfig {
  for (const { bytes } of replies) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = DESC_HEADER_SIZE; at + 8 <= bytes.byteLength; ) {
      const length = view.getUint16(at);
      if (view.getUint8(at + 2) === tableId) {
        const config = view.getUint32(at + 4);
        return {
          eviction: (config & OFPTC_EVICTION) !== 0,
          vacancy: (config & OFPTC_VACANCY_EVENTS) !== 0,
        };
      }
      if (length < 8) break;
      at += length;
    }
  }
  return { eviction: false, vacancy: false };
}
