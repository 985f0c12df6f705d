// Whom a drop is counted against, in names that people know. A policy's drop is counted against an identity, which is
// a number: it is told as the machines that share it and the policies that isolate them. Pure.
import type { Compiler } from "../compiler.js";
import { hash32 } from "../network/hash.js";

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
    const resources = new Set<string>();
    for (const key of compiler.flows.keys()) {
      const resource = compiler.flows.flow(key)?.origin.resource;
      if (resource !== undefined) resources.add(resource);
    }
    for (const resource of resources) {
      const hash = hash32(resource);
      if (hashes.has(hash)) this.#byHash.set(hash, sourceOf(compiler, resource));
    }
  }

  get(hash: number): DropSource {
    return this.#byHash.get(hash) ?? { resource: `#${hash.toString(16)}` };
  }
}

function sourceOf(compiler: Compiler, resource: string): DropSource {
  const number = IDENTITY.exec(resource)?.[1];
  if (number === undefined) return { resource };
  const machines = new Set<string>();
  for (const port of compiler.inventory.ports()) {
    if (compiler.policies.identityOf(port.key)?.number !== Number(number)) continue;
    const { virtualMachine, namespace, key } = port;
    machines.add(virtualMachine === undefined ? `port ${key}` : `${namespace}/${virtualMachine}`);
  }
  const { Ingress, Egress } = compiler.policies.isolationOf(Number(number));
  const policies = [...new Set([...Ingress, ...Egress])]
    .map((key) => key.replace("NetworkPolicy/", ""))
    .sort();
  return { resource, machines: [...machines].sort(), policies };
}
