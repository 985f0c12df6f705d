// Keeps the quotas of every namespace: who may write when, and what has to be stored with a write.
import type { Transaction } from "../../base/store/index.js";
import { type ApiObject, type ResourceKind, resourceQuotaKind } from "../resources/index.js";
import { NamespaceGate } from "./namespace-gate.js";
import { chargeQuotas, isCounted, type QuotaWrite, releaseQuotas } from "./quota.js";
import { encode, keyOf } from "./stored-object.js";

export type Charge = Required<Transaction>;
export const NO_CHARGE: Charge = { conditions: [], operations: [] };

/** What is written: undefined kind for what comes to nothing, whatever it is. */
export interface Counted {
  readonly kind: ResourceKind | undefined;
  readonly namespace: string | undefined;
}

export class QuotaKeeper {
  readonly #gate = new NamespaceGate();
  readonly #list: (kind: ResourceKind, namespace: string) => Promise<readonly ApiObject[]>;

  /** `list` gives the objects that are stored. */
  constructor(list: (kind: ResourceKind, namespace: string) => Promise<readonly ApiObject[]>) {
    this.#list = list;
  }

  /**
   * Runs a write: alone in its namespace when a quota counts the kind, so that no two writes take the same room. No quota
   * comes or changes while any write runs.
   */
  async inTurn<T>({ kind, namespace }: Counted, write: () => Promise<T>): Promise<T> {
    if (kind?.namespaced !== true || namespace === undefined) return write();
    if (kind !== resourceQuotaKind) {
      const answer = await this.#gate.together(namespace, async () => {
        const quotas = await this.#list(resourceQuotaKind, namespace);
        return isCounted(kind, quotas) ? undefined : { done: await write() };
      });
      if (answer !== undefined) return answer.done;
    }
    return this.#gate.alone(namespace, write);
  }

  /** What quotas become by a write, to be stored with it. Throws ApiError Forbidden or Invalid. */
  async charge(write: QuotaWrite): Promise<Charge> {
    const namespace = (write.after ?? write.before)?.metadata.namespace;
    if (!write.kind.namespaced || namespace === undefined) return NO_CHARGE;
    return this.#stored(await chargeQuotas(write, (kind) => this.#list(kind, namespace)));
  }

  /** The same for objects of one kind and namespace that go together. */
  async release(kind: ResourceKind, gone: readonly ApiObject[]): Promise<Charge> {
    const namespace = gone[0]?.metadata.namespace;
    if (!kind.namespaced || namespace === undefined) return NO_CHARGE;
    return this.#stored(await releaseQuotas(kind, gone, (each) => this.#list(each, namespace)));
  }

  #stored(quotas: readonly ApiObject[]): Charge {
    const key = (quota: ApiObject): string => keyOf(resourceQuotaKind, quota.metadata);
    return {
      conditions: quotas.map((each) => ({ key: key(each), revision: Number(each.metadata.resourceVersion) })),
      operations: quotas.map((each) => ({ type: "put", key: key(each), value: encode(each) })),
    };
  }
}
