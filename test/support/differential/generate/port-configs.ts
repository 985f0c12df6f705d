// What random cases tell their ports.
import fc from "fast-check";
import type { PortConfig } from "../wired-switch.js";

/** Mostly nothing, for it takes time; else one or two of the ports 1 to `ports`. */
export function portConfigs(ports: number): fc.Arbitrary<readonly PortConfig[]> {
  const one = fc.tuple(fc.integer({ min: 1, max: ports }), fc.constantFrom("no-flood", "no-forward"));
  const some = fc.uniqueArray<PortConfig, number>(one, {
    selector: ([port]) => port,
    minLength: 1,
    maxLength: 2,
  });
  return fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: some });
}
