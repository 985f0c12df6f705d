// Runs the operations of one `transact` request against a database (RFC 7047, 4.1.3).
import { OvsdbError, syntaxError } from "../../base/ovsdb/index.js";
import type { Database } from "./database.js";
import { executeOperation, type OperationContext, RowNames, WaitUnmet } from "./operations.js";
import { Transaction } from "./transaction.js";

export type TransactOutcome =
  | {
      readonly kind: "done";
      /** One per operation; after a failure nulls; a failure of the commit itself is one more at the end. */
      readonly results: readonly unknown[];
      readonly committed: boolean;
      readonly changed: boolean;
      readonly durable: boolean;
    }
  /** A `wait` does not hold yet; nothing was changed. */
  | { readonly kind: "wait"; readonly timeoutMs: number };

export interface TransactOptions {
  readonly elapsedMs?: number;
  readonly ownsLock?: (lock: string) => boolean;
  /** More operations are refused; any number unless given. */
  readonly operationsMax?: number;
  /** Operations that could change a row are refused with "not allowed". */
  readonly readOnly?: boolean;
}

/** Executes `operations` all or nothing. Failures are in the results; throws only for our own bugs. */
export function transact(
  database: Database,
  operations: readonly unknown[],
  options: TransactOptions = {},
): TransactOutcome {
  const transaction = new Transaction(database);
  const context: OperationContext = {
    transaction,
    names: new RowNames(operations),
    elapsedMs: options.elapsedMs ?? 0,
    ownsLock: options.ownsLock ?? (() => false),
    reserved: options.readOnly === true ? database.schema.name : undefined,
    durable: false,
  };
  const results: unknown[] = [];
  try {
    const { operationsMax = Number.POSITIVE_INFINITY } = options;
    if (operations.length > operationsMax)
      throw syntaxError(`a transaction has at most ${operationsMax} operations`);
    for (const [i, operation] of operations.entries()) {
      const name = `ovsdb operation ${i + 1} of ${operations.length}`;
      results.push(executeOperation(operation, name, context));
    }
    const changed = transaction.commit().length > 0;
    return { kind: "done", results, committed: true, changed, durable: context.durable };
  } catch (thrown) {
    if (thrown instanceof WaitUnmet) return { kind: "wait", timeoutMs: thrown.timeoutMs };
    if (!(thrown instanceof OvsdbError)) throw thrown;
    results.push(thrown.toJson());
    while (results.length < operations.length) results.push(null);
    return { kind: "done", results, committed: false, changed: false, durable: false };
  }
}
