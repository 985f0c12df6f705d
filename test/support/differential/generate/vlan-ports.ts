// Random VLAN configurations of ports, as ovs-vsctl is told them (ovs-vswitchd.conf.db(5), Port, VLAN Configuration).
import fc from "fast-check";

const MODES = ["access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel"] as const;
export type PortMode = (typeof MODES)[number];
const PRIORITY_TAGS = ["never", "if-nonzero", "always"] as const;
const QINQ_TYPES = ["802.1ad", "802.1q"] as const;

/** Commands that configure each port, or leave it as it is. */
function vlanPorts(
  names: readonly string[],
  vlans: readonly number[],
  modes: readonly PortMode[],
): fc.Arbitrary<string[][]> {
  return fc
    .tuple(...names.map((name) => fc.option(vlanPort(name, vlans, modes), { freq: 5 })))
    .map((commands) => commands.flatMap((command) => (command === null ? [] : [command])));
}

function vlanPort(
  name: string,
  vlans: readonly number[],
  modes: readonly PortMode[],
): fc.Arbitrary<string[]> {
  const seldom = <Value>(arbitrary: fc.Arbitrary<Value>) =>
    fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
  return (
    fc
      .record({
        // Modes may be left to follow from the other columns.
        mode: fc.option(fc.constantFrom(...modes), { freq: 4 }),
        tag: fc.option(fc.constantFrom(...vlans), { freq: 3 }),
        trunks: fc.subarray([...vlans]),
        cvlans: seldom(fc.subarray([...vlans])),
        priorityTags: seldom(fc.constantFrom(...PRIORITY_TAGS)),
        qinq: seldom(fc.constantFrom(...QINQ_TYPES)),
        isProtected: seldom(fc.constant(true)),
      })
      // A tunnel in VLAN 0 is none: Open vSwitch then loses customers' tags.
      .filter(({ mode, tag }) => mode !== "dot1q-tunnel" || (tag !== null && tag !== 0))
      .map(({ mode, tag, trunks, cvlans, priorityTags, qinq, isProtected }) => [
        ...["set", "Port", name, `protected=${isProtected === true}`],
        ...(mode === null ? [] : [`vlan_mode=${mode}`]),
        ...(tag === null ? [] : [`tag=${tag}`]),
        ...(trunks.length === 0 ? [] : [`trunks=${trunks.join(",")}`]),
        ...(cvlans === null || cvlans.length === 0 ? [] : [`cvlans=${cvlans.join(",")}`]),
        ...(priorityTags === null ? [] : [`other_config:priority-tags=${priorityTags}`]),
        ...(qinq === null ? [] : [`other_config:qinq-ethtype=${qinq}`]),
      ])
  );
}

export interface VlanSwitchOptions {
  readonly modes?: readonly PortMode[];
  /** Patch ports: none is a tunnel, for that would be a second one, and of more than two tags Open vSwitch loses some. */
  readonly patches?: readonly string[];
}

/**
 * Ports, by their names, and bridge together. With tunnels nothing is learned, for Open vSwitch sends to a station that it has seen
 * whatever the customer VLANs of its port; and native VLANs have no priority tags, which it does not put in front of a
 * customer's tag.
 */
export function vlanSwitch(
  bridge: string,
  names: readonly string[],
  vlans: readonly number[],
  { modes = MODES, patches = [] }: VlanSwitchOptions = {},
): fc.Arbitrary<string[][]> {
  const withoutTunnels = modes.filter((mode) => mode !== "dot1q-tunnel");
  const options = fc.record({
    floodVlans: fc.option(fc.subarray([...vlans], { minLength: 1 })),
    forwardReserved: fc.option(fc.boolean()),
  });
  return fc
    .tuple(vlanPorts(names, vlans, modes), vlanPorts(patches, vlans, withoutTunnels), options)
    .map(([own, joining, options]) => ({ commands: [...own, ...joining], ...options }))
    .map(({ commands, floodVlans, forwardReserved }) => {
      const withTunnels = commands.flat().includes("vlan_mode=dot1q-tunnel");
      const flooded = withTunnels ? vlans : floodVlans;
      return [
        ...(withTunnels ? commands.map(withoutNativePriority) : commands),
        ...(flooded === null ? [] : [["set", "Bridge", bridge, `flood_vlans=${flooded.join(",")}`]]),
        ...(forwardReserved === null
          ? []
          : [["set", "Bridge", bridge, `other_config:forward-bpdu=${forwardReserved}`]]),
      ];
    });
}

/** The command without the priority tags of a native VLAN. */
export function withoutNativePriority(command: readonly string[]): string[] {
  const isNative = command.includes("vlan_mode=native-untagged");
  return command.filter((word) => !isNative || !word.startsWith("other_config:priority-tags="));
}

/** p1 … p`count`. */
export function portNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `p${index + 1}`);
}
