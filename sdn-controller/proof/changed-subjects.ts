// Which pairs of ports two sets of compiled policy tables may treat differently. All flows of a policy table are about the
// sender (egress) or the receiver (ingress), so a pair whose two ends kept their identities, and their flows of those
// tables, kept its reachability: it need not be computed to be known equal. Pure.
import type { OxmFieldName } from "../../base/openflow/index.js";
import type { Compiler } from "../compiler.js";
import { addressesOf, type PortView } from "../network/views.js";
import type { Flow } from "../pipeline/flow.js";
import { TABLES, type TableName } from "../pipeline/tables.js";
import type { Direction } from "../policy/network-policy.js";

const DIRECTIONS: Partial<Record<TableName, Direction>> = {
  "admin-egress": "Egress",
  egress: "Egress",
  "admin-ingress": "Ingress",
  ingress: "Ingress",
};
const TABLE_IDS = new Set((Object.keys(DIRECTIONS) as TableName[]).map((table) => TABLES[table].id));
const SUBJECT: Readonly<Record<Direction, OxmFieldName>> = { Egress: "reg2", Ingress: "reg3" };

interface PortPair {
  readonly before: PortView | undefined;
  readonly after: PortView | undefined;
}

/** Identities whose flows differ; "all" where a flow differs that is about any. */
type Subjects = Set<number> | "all";

export class ChangedSubjects {
  readonly #before: Compiler;
  readonly #after: Compiler;
  readonly #subjects: Record<Direction, Subjects> = { Egress: new Set(), Ingress: new Set() };

  constructor(before: Compiler, after: Compiler) {
    this.#before = before;
    this.#after = after;
    const known = new Map<string, Flow>();
    for (const flow of before.flows.inTables(TABLE_IDS)) known.set(flow.key, flow);
    for (const flow of after.flows.inTables(TABLE_IDS)) {
      const was = known.get(flow.key);
      known.delete(flow.key);
      if (was?.body !== flow.body) this.#changed(flow);
    }
    for (const flow of known.values()) this.#changed(flow);
  }

  /** Whether packets of the end as a sender, or as a receiver, may be treated differently. */
  mayDiffer({ before, after }: PortPair, direction: Direction): boolean {
    if (before === undefined || after === undefined) return before !== after;
    const [was, will] = [
      this.#before.policies.identityOf(before.key),
      this.#after.policies.identityOf(after.key),
    ];
    const subjects = this.#subjects[direction];
    return (
      was?.number !== will?.number ||
      before.network.key !== after.network.key ||
      String(addressTexts(before)) !== String(addressTexts(after)) ||
      subjects === "all" ||
      (was !== undefined && subjects.has(was.number))
    );
  }

  #changed({ table, match }: Flow): void {
    const direction = DIRECTIONS[table];
    if (direction === undefined) return;
    const subjects = this.#subjects[direction];
    if (subjects === "all") return;
    const subject = match.find(({ field, mask }) => field === SUBJECT[direction] && mask === undefined);
    if (subject === undefined) this.#subjects[direction] = "all";
    else subjects.add(Buffer.from(subject.value).readUIntBE(0, subject.value.byteLength));
  }
}

function addressTexts(port: PortView): string[] {
  return addressesOf(port).map(({ family, value }) => `${family} ${value}`);
}
