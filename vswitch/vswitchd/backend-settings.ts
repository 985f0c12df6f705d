// What a bridge, a port and a controller of the database are to the datapath and to the OpenFlow agent. Thread: main.
import { describeError, PlinthError, systemReason } from "../../base/errors/index.js";
import { type NetDeviceState, withNetDevices } from "../../base/linux/index.js";
import { OFPP_LOCAL, type SwitchDescription } from "../../base/openflow/index.js";
import { parseMac } from "../../base/wire/index.js";
import { type OpenFlowAgent, parseControllerTarget } from "../agent/index.js";
import type { BridgeSettings, PortSettings } from "../datapath/index.js";
import { type BridgeConfig, type ControllerStatus, type NumberedPort, OFPORT_LOCAL } from "./model.js";

/** Bytes, of a port for which nobody says another. */
export const MTU_DEFAULT = 1500;

/** Types of ports over network devices that others have made. */
export function isForeign(type: string): boolean {
  return type === "system" || type === "afxdp";
}

/** undefined when there is none of that name, or no way to ask. */
export function hostDevice(name: string): NetDeviceState | undefined {
  return withNetDevices((devices) => devices.read(name));
}

export function settingsOf(config: BridgeConfig): BridgeSettings {
  return {
    macTableEntries: config.macTableSizeMax,
    macAgeingMs: config.macAgingMs,
    floodVlans: config.floodVlans,
    forwardReserved: config.forwardReserved,
    tagsRead: config.tagsRead,
    mirrors: config.mirrors,
    flowLimits: config.flowTables.flatMap(({ tableId, flowsMax, evicts, groups }) =>
      flowsMax === undefined ? [] : [{ tableId, flowsMax, evicts, groups }],
    ),
  };
}

/** What controllers are told of the bridge. */
export function descriptionOf(config: BridgeConfig, version: string): SwitchDescription {
  return {
    manufacturer: "Plinth",
    hardware: "Plinth",
    software: version,
    serialNumber: config.serialNumber,
    datapath: config.description,
  };
}

export function portSettingsOf({ vlan, isProtected, policing, qos, mtu }: NumberedPort): PortSettings {
  return { vlan, isProtected, policing, qos, ...(mtu === undefined ? {} : { mtu }) };
}

/** What a port without a device says of itself. */
export function shownBy({ macAddress, mtu }: NumberedPort): NonNullable<PortSettings["shown"]> {
  return { mac: parseMac(macAddress), mtu: mtu ?? MTU_DEFAULT };
}

/**
 * Gives the port's device the address and MTU that are asked for now, where they are others than before; the address
 * only if it `isOurs`. Returns what the device has then. Throws with the errno's name: ENODEV for a device that was moved
 * to another network namespace, EINVAL, …
 */
export function changeDevice(
  before: NumberedPort,
  { name, macAddress, mtu }: NumberedPort,
  isOurs: boolean,
): NonNullable<PortSettings["shown"]> {
  const wanted = isOurs ? (mtu ?? MTU_DEFAULT) : mtu;
  return withNetDevices((devices) => {
    try {
      if (isOurs && macAddress !== before.macAddress) devices.setMac(name, parseMac(macAddress));
      if (wanted !== undefined && mtu !== before.mtu) devices.setMtu(name, wanted);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      const message = `could not change network device ${name} (${systemReason(thrown)})`;
      throw new PlinthError(thrown.code, message, { cause: thrown });
    }
    return devices.read(name) ?? shownBy(before);
  });
}

/** Makes the agent's controllers those of `config`; returns the ones that it cannot use. */
export function setControllers(agent: OpenFlowAgent, config: BridgeConfig): ControllerStatus[] {
  const { controllers, failMode, protocols, tls } = config;
  agent.setProtocols(protocols);
  const refused: ControllerStatus[] = [];
  const usable = controllers.filter(({ target }) => {
    try {
      parseControllerTarget(target);
      return true;
    } catch (thrown) {
      const lastError = describeError(thrown);
      const never = {
        isConnected: false,
        role: undefined,
        connectedAtMs: undefined,
        disconnectedAtMs: undefined,
      };
      refused.push({ target, ...never, state: "VOID", lastError });
      return false;
    }
  });
  const specs = usable.map(({ target, maxBackoffMs, inactivityProbeMs }) => ({
    target,
    maxBackoffMs,
    probeIntervalMs: inactivityProbeMs,
    ...(/^p?ssl:/.test(target) ? { tls } : {}),
  }));
  agent.setControllers(specs, failMode);
  return refused;
}

/** As the Interface table has it. */
export function databaseNumber(port: number): number {
  return port === OFPP_LOCAL ? OFPORT_LOCAL : port;
}
