// Reads the queues of a Port row: its QoS row and the Queue rows of that. Pure.
// Source: ovs-vswitchd.conf.db(5), QoS and Queue tables.
import type { QueueConfig } from "../datapath/index.js";
import type { Database, DatabaseRow } from "../db/index.js";

/** Kinds of quality of service that have queues; the others of Open vSwitch have none. */
const TYPES_WITH_QUEUES = ["linux-htb", "linux-hfsc"];

/** By number. With such a kind there is always queue 0, which takes what no other does. */
export function readQueues(database: Database, port: DatabaseRow): QueueConfig[] {
  const qos = database.rows("QoS").get(port.string("qos"));
  if (qos === undefined || !TYPES_WITH_QUEUES.includes(qos.string("type"))) return [];
  const rows = database.rows("Queue");
  const queues = [...qos.map("queues")].map(([id, uuid]): QueueConfig => {
    const otherConfig = rows.get(uuid)?.map("other_config") ?? new Map<string, string>();
    const minRateBps = rateOf(otherConfig.get("min-rate"));
    const maxRateBps = rateOf(otherConfig.get("max-rate"));
    return {
      queueId: Number(id),
      ...(minRateBps === undefined ? {} : { minRateBps }),
      ...(maxRateBps === undefined ? {} : { maxRateBps }),
    };
  });
  if (!queues.some(({ queueId }) => queueId === 0)) queues.push({ queueId: 0 });
  return queues.sort((a, b) => a.queueId - b.queueId);
}

function rateOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,14}$/.test(text) ? Number(text) : undefined;
}
