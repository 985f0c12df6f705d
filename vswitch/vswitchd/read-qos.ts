// Reads how a Port row's frames are to leave: its QoS row and the Queue rows of that. Pure.
// Source: ovs-vswitchd.conf.db(5), QoS and Queue tables.
import type { QosConfig, QueueConfig } from "../datapath/index.js";
import type { Database, DatabaseRow } from "../db/index.js";

/** Kinds of quality of service that have queues; the others of Open vSwitch have none. */
export const TYPES_WITH_QUEUES = ["linux-htb", "linux-hfsc"];

/** With queues by number. There is always queue 0, which takes what no other does. Undefined: frames are not held up. */
export function readQos(database: Database, port: DatabaseRow): QosConfig | undefined {
  const qos = database.rows("QoS").get(port.string("qos"));
  if (qos === undefined || !TYPES_WITH_QUEUES.includes(qos.string("type"))) return undefined;
  const type = qos.string("type");
  const rows = database.rows("Queue");
  const queues = [...qos.map("queues")].map(([id, uuid]): QueueConfig => {
    const row = rows.get(uuid);
    const otherConfig = row?.map("other_config") ?? new Map<string, string>();
    // hfsc knows no priorities.
    const priority = type === "linux-htb" ? numberOf(otherConfig.get("priority")) : undefined;
    return {
      queueId: Number(id),
      ...given("minRateBps", rateOf(otherConfig.get("min-rate"))),
      ...given("maxRateBps", rateOf(otherConfig.get("max-rate"))),
      ...given("burstBits", rateOf(otherConfig.get("burst"))),
      ...given("priority", priority),
      ...given("dscp", row?.number("dscp")),
    };
  });
  if (!queues.some(({ queueId }) => queueId === 0)) queues.push({ queueId: 0 });
  queues.sort((a, b) => a.queueId - b.queueId);
  return { type, ...given("maxRateBps", rateOf(qos.map("other_config").get("max-rate"))), queues };
}

/** A property that is there only where it has a value. */
function given<Name extends string>(
  name: Name,
  value: number | undefined,
): { readonly [K in Name]?: number } {
  return (value === undefined ? {} : { [name]: value }) as { readonly [K in Name]?: number };
}

function rateOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,14}$/.test(text) ? Number(text) : undefined;
}

/** Up to 2³² − 1. */
function numberOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  return Math.min(Number(text), 0xffffffff);
}
