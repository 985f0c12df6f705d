// Two clients of an OVSDB server, ours or the real one, whose answers and notifications are put in a form to compare:
// without what may differ, which is uuids (called after the insert that made them), versions, and the order of rows and
// of what one commit shows to several monitors.
import { JsonRpcFault } from "../../base/jsonrpc/index.js";
import type { PeerCall } from "./real-ovsdb-server.js";

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
/** Which of several broken references is told, and which of two rows first, follows from the order in memory. */
const BROKEN: readonly RegExp[] = [
  /^(Transaction causes multiple rows in .*)First row, (.*)Second row, (.*)$/,
  /^(Table) \S+ (column) \S+ (row) .* (references nonexistent row) .* (in table) \S+\.$/,
  /^(cannot delete) \S+ (row) .* (because of) \d+ (remaining reference\(s\))$/,
];

type Notification = [method: string, ...params: unknown[]];
type Connect = (heard: (notification: Notification) => void) => Promise<PeerCall>;

/** Two clients of one server and what they hear, with every uuid called after the insert that made it. */
export class OvsdbSide {
  readonly #clients: {
    readonly peer: PeerCall;
    readonly heard: Notification[];
    readonly held: Set<unknown>;
  }[] = [];
  readonly #names = new Map<string, string>();

  static async connect(connect: Connect): Promise<OvsdbSide> {
    const side = new OvsdbSide();
    for (let i = 0; i < 2; i++) {
      const heard: Notification[] = [];
      side.#clients.push({
        heard,
        held: new Set(),
        peer: await connect((notification) => heard.push(notification)),
      });
    }
    return side;
  }

  /** Sends a request by client 0 or 1; returns the answer and what both have heard then, in a form to compare. */
  async step(client: number, method: string, params: readonly unknown[]): Promise<unknown> {
    const { peer } = this.#clients[client]!;
    const answer = await peer.call(method, params).catch((thrown: unknown) => {
      if (!(thrown instanceof JsonRpcFault)) throw thrown;
      return { fault: thrown.value };
    });
    // What a server has sent to a client before is heard by the time that an echo comes back, and one more for those
    // it had only put aside.
    for (const { peer: other } of [...this.#clients, ...this.#clients]) await other.call("echo", []);
    if (method === "transact" && Array.isArray(answer)) this.#learn(answer);
    this.#follow(client, method, params[0], answer);
    return {
      answer: this.#plain(answer),
      heard: this.#clients.map(({ heard, held }) =>
        heard
          .splice(0)
          .filter(([kind, lock]) => !isRepeated(held, kind, lock))
          .map((notification) => withoutNothing(this.#plain(notification) as Notification))
          .filter((notification) => notification !== undefined)
          .map((notification) => JSON.stringify(notification))
          .sort(),
      ),
    };
  }

  /** `json` with the uuids that `other` knows the same rows by. */
  translate<T>(json: T, other: OvsdbSide): T {
    const uuids = new Map([...other.#names].map(([uuid, name]) => [name, uuid]));
    const text = JSON.stringify(json).replace(UUID, (uuid) => uuids.get(this.#names.get(uuid) ?? "") ?? uuid);
    return JSON.parse(text) as T;
  }

  close(): void {
    for (const { peer } of this.#clients) peer.connection.close();
  }

  /** Keeps which locks a client holds. */
  #follow(client: number, method: string, lock: unknown, answer: unknown): void {
    const { held } = this.#clients[client]!;
    if (method === "unlock") held.delete(lock);
    if ((answer as { locked?: boolean } | null)?.locked === true) held.add(lock);
  }

  #learn(results: readonly unknown[]): void {
    for (const result of results) {
      const { uuid } = (result ?? {}) as { uuid?: [string, string] };
      if (uuid !== undefined) this.#names.set(uuid[1], `row ${this.#names.size}`);
    }
  }

  /** Sorted, without wording, with names for uuids. */
  #plain(json: unknown): unknown {
    if (typeof json === "string") return json.replace(UUID, (uuid) => this.#names.get(uuid) ?? "a uuid");
    if (Array.isArray(json)) {
      const plain = json.map((one) => this.#plain(one));
      const isSet = plain[0] === "set" && Array.isArray(plain[1]);
      return isSet ? ["set", sorted(plain[1] as unknown[])] : plain;
    }
    if (typeof json !== "object" || json === null) return json;
    const object = json as Record<string, unknown>;
    const broken = BROKEN.map((form) => form.exec(String(object["details"]))).find((match) => match !== null);
    if (broken != null)
      return { ...object, details: sorted(broken.slice(1).map((part) => this.#plain(anyRow(part.trim())))) };
    const entries = Object.entries(object).map(([key, value]): [string, unknown] => {
      const plain = this.#plain(value);
      return [this.#plain(key) as string, key === "rows" && Array.isArray(plain) ? sorted(plain) : plain];
    });
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

/** Without the row: of several that are equal, any two are told. */
function anyRow(part: string): string {
  return part.replace(/^(with UUID) \S+(, was inserted)/, "$1 of a row$2");
}

type Updates = Record<string, Record<string, { old?: object; new?: object; modify?: object }>>;

/**
 * What of an update tells of a change: ovsdb-server 3.1.0 also tells rows in which nothing shown changed, when a column
 * of the condition did, or a weak reference to nobody was put in and taken out again.
 */
function withoutNothing(notification: Notification): Notification | undefined {
  const [kind, ...params] = notification;
  if (!kind.startsWith("update")) return notification;
  const isNothing = (change: object | undefined): boolean =>
    change !== undefined && Object.keys(change).length === 0;
  const tables = Object.entries(params.at(-1) as Updates)
    .map(([table, rows]) => [
      table,
      Object.fromEntries(
        Object.entries(rows).filter(([, row]) => !isNothing(row.modify) && !(row.new && isNothing(row.old))),
      ),
    ])
    .filter(([, rows]) => Object.keys(rows as object).length > 0);
  return tables.length === 0 ? undefined : [kind, ...params.slice(0, -1), Object.fromEntries(tables)];
}

/** True for a notification that tells a client of a lock which it holds. */
function isRepeated(held: Set<unknown>, kind: string, lock: unknown): boolean {
  if (kind === "stolen") held.delete(lock);
  if (kind !== "locked") return false;
  if (held.has(lock)) return true;
  held.add(lock);
  return false;
}

function sorted(list: readonly unknown[]): unknown[] {
  return [...list].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}
