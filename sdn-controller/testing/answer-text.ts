// Policies as a directory may hold them, and the words of an answer about it, read without the code that wrote them.
import fc from "fast-check";
import { parseAddress, parseCidr } from "../policy/analysis/address-range.js";
import type { Policy } from "../policy/network-policy.js";
import { policies } from "./arbitraries.js";

/** Addresses of nobody: inside the blocks of the policies, at borders and elsewhere. */
export const OUTSIDE = [
  "192.168.1.9",
  "10.0.0.1",
  "10.0.0.5",
  "0.0.0.0",
  "255.255.255.255",
  "2001:db8:0:0:0:0:0:9",
];
const IPV6_BLOCKS = ["0:0:0:0:0:0:0:0/0", "2001:db8:0:0:0:0:0:0/32", "2001:db8:0:0:0:0:0:8/125"];

/** Turns some IPv4 blocks without exceptions into IPv6 ones, so that both families meet. */
const mixed = fc.tuple(policies, fc.array(fc.nat(9), { minLength: 20, maxLength: 20 })).map(([all, dice]) => {
  let next = 0;
  return JSON.parse(
    JSON.stringify(all, (key, value: unknown) => {
      if (key !== "ipBlock") return value;
      const roll = dice[next++ % dice.length] as number;
      return roll < 3 ? { cidr: IPV6_BLOCKS[roll] } : value;
    }),
  ) as Policy[];
});

/** Exceptions must lie inside their block; those that do not are left out. */
export function withSoundBlocks(all: readonly Policy[]): Policy[] {
  return JSON.parse(
    JSON.stringify(all, (key, value) => {
      if (key !== "ipBlock" || value?.except === undefined) return value;
      const block = parseCidr(value.cidr);
      const inside = value.except.filter((text: string) => {
        const hole = parseCidr(text);
        return (
          hole !== undefined && block !== undefined && hole.first >= block.first && hole.last <= block.last
        );
      });
      return { ...value, except: inside };
    }),
  );
}

export const soundPolicies: fc.Arbitrary<Policy[]> = mixed.map(withSoundBlocks);

/** Whether the range of an answer, "A-B[External]", has the address. */
export function rangeHolds(text: string, address: string): boolean {
  const [, first, last] = /^(\S+)-(\S+)\[External\]$/.exec(text) ?? [];
  const [low, at, high] = [first, address, last].map((one) => parseAddress(one ?? ""));
  if (low === undefined || at === undefined || high === undefined) return false;
  return low.family === at.family && low.address <= at.address && at.address <= high.address;
}

/** The words of an answer, read without the code that wrote them. */
export function parsePorts(text: string): (protocol: string, port: number) => boolean {
  if (text === "All Connections") return () => true;
  if (text === "No Connections") return () => false;
  const ranges = new Map<string, [number, number][]>();
  let current: [number, number][] = [];
  for (const word of text.split(",")) {
    const [, protocol, first, last] = /^(?:(\w+) )?(\d+)(?:-(\d+))?$/.exec(word) as RegExpExecArray;
    if (protocol !== undefined) {
      current = [];
      ranges.set(protocol, current);
    }
    current.push([Number(first), Number(last ?? first)]);
  }
  return (protocol, port) =>
    (ranges.get(protocol) ?? []).some(([first, last]) => first <= port && port <= last);
}
