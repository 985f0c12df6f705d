// Whom a drop is counted against, in names that people know. A policy's drop is counted against an identity, which is
// a number: it is told as the machines that share it and the policies that isolate them. Pure.
import type { Compiler } from "../compiler.js";
import { hash32 } from "../network/hash.js";
import { machineName } from "./packet-ends.js";

export interface DropSource {
  /** "Kind/namespace/name"; for an identity "Identity/number". */
  readonly resource: string;
  /** Of an identity: "namespace/machine" of each that shares it (a port without machine as "port namespace/port"). */
  readonly machines?: readonly string[];
  /** Of an identity: the policies that isolate it, as "namespace/policy". */
  readonly policies?: readonly string[];
}

const IDENTITY = /^Identity\/(\d+)$/;

/** Names what cookies carry as a hash. What is gone is still told for as long as its drops are. */
export class DropSources {
  readonly #byHash = new Map<number, DropSource>();

  /** Learns the names of `hashes` from what is compiled now, and forgets all others. */
  learn(compiler: Compiler, hashes: ReadonlySet<number>): void {
    for (const hash of this.#byHash.keys()) if (!hashes.has(hash)) this.#byHash.delete(hash);
    let machines: ReadonlyMap<number, string[]> | undefined;
    for (const hash of hashes) {
      const policy = compiler.policies.keyOfHash(hash);
      if (policy !== undefined) this.#byHash.set(hash, { resource: policy });
    }
    // Flows of others than policies name their owner as where they come from.
    for (const resource of compiler.flows.owners()) {
      const hash = hash32(resource);
      if (!hashes.has(hash)) continue;
      machines ??= machinesByIdentity(compiler);
      this.#byHash.set(hash, sourceOf(compiler, resource, machines));
    }
  }

  get(hash: number): DropSource {
    return this.#byHash.get(hash) ?? { resource: `#${hash.toString(16)}` };
  }
}

/** "namespace/machine", or the port where there is none, of all that share an identity. */
function machinesByIdentity(compiler: Compiler): Map<number, string[]> {
  const machines = new Map<number, string[]>();
  for (const port of compiler.inventory.ports()) {
    const number = compiler.policies.identityOf(port.key)?.number;
    if (number === undefined) continue;
    const own = machines.get(number) ?? [];
    machines.set(number, own);
    own.push(machineName(port));
  }
  return machines;
}

function sourceOf(compiler: Compiler, resource: string, machines: ReadonlyMap<number, string[]>): DropSource {
  const number = IDENTITY.exec(resource)?.[1];
  if (number === undefined) return { resource };
  const { Ingress, Egress } = compiler.policies.isolationOf(Number(number));
  const policies = [...new Set([...Ingress, ...Egress])]
    .map((key) => key.replace("NetworkPolicy/", ""))
    .sort();
  return { resource, machines: [...new Set(machines.get(Number(number)))].sort(), policies };
}
