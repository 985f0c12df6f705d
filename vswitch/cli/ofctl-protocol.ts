// Which protocol a command of `plinth ofctl` uses with a switch: the versions and flow formats that -O and -F allow,
// those that can say what the command says, and in OpenFlow 1.0 what of Nicira's the switch agrees to.
// Source: ovs-ofctl(8), --protocols and --flow-format; the wording is that of ovs-ofctl.
import { OFP10_VERSION } from "../../base/openflow/index.js";
import { commandError } from "./errors.js";
import { type OpenFlowClient, OpenFlowRefusal } from "./openflow-client.js";
import {
  P_ANY,
  type Protocol,
  type ProtocolSet,
  protocolsInOrder,
  protocolsOfVersions,
  protocolsText,
} from "./protocol-set.js";

export interface Allowed {
  /** As numbered on the wire. */
  readonly versions: readonly number[];
  readonly protocols: ProtocolSet;
}

/** By -O and -F; OpenFlow 1.0 where nothing is asked for. Throws COMMAND_FAILED when they exclude each other. */
export function allowedOf(
  versions: readonly number[] | undefined,
  formats: ProtocolSet | undefined,
): Allowed {
  const enabled = versions ?? [OFP10_VERSION];
  const protocols = protocolsOfVersions(enabled) & (formats ?? P_ANY);
  if (protocols === 0) {
    const names = enabled.map((version) => `OpenFlow1${version - 1}`).join(", ");
    const why = `None of the enabled OpenFlow versions (${names}) supports any of the enabled flow formats (${protocolsText(formats ?? P_ANY)}).`;
    const help = "(Use -O to enable additional OpenFlow versions or -F to enable additional flow formats.)";
    throw commandError(`${why}  ${help}`);
  }
  const left = enabled.filter((version) => (protocolsOfVersions([version]) & protocols) !== 0);
  return { versions: left, protocols };
}

/** Settles in what flow-mods and the like are written that only `usable` can carry. Resolves with its version. */
export async function settleForChange(
  client: OpenFlowClient,
  { protocols }: Allowed,
  usable: ProtocolSet,
): Promise<number> {
  if ((usable & protocols) === 0) throw noneUsable(usable, protocols);
  const candidates = protocolsInOrder(usable & protocols);
  if (candidates.some((one) => isCurrent(one, client))) return client.version;
  for (const one of candidates) if (await arranged(client, one)) return client.version;
  throw unsupported(usable);
}

/** The same for asking: the protocol that can say most is preferred. Resolves with whether matches are Nicira's. */
export async function settleForDump(
  client: OpenFlowClient,
  { protocols }: Allowed,
  usable: ProtocolSet,
): Promise<boolean> {
  for (const one of protocolsInOrder(usable & protocols).reverse()) {
    if (one.version === OFP10_VERSION && one.hasTableId) continue;
    if (await arranged(client, one)) return one.isNxm;
  }
  throw (usable & protocols) === 0 ? noneUsable(usable, protocols) : unsupported(usable);
}

function noneUsable(usable: ProtocolSet, allowed: ProtocolSet): Error {
  return commandError(
    `none of the usable flow formats (${protocolsText(usable)}) is among the allowed flow formats (${protocolsText(allowed)})`,
  );
}

function unsupported(usable: ProtocolSet): Error {
  return commandError(`switch does not support any of the usable flow formats (${protocolsText(usable)})`);
}

function isCurrent({ version, isNxm, hasTableId }: Protocol, { dialect }: OpenFlowClient): boolean {
  if (version !== dialect.version) return false;
  if (dialect.version !== OFP10_VERSION) return true;
  return (dialect.isNxm ?? false) === isNxm && dialect.flowModTableId === hasTableId;
}

/** Asks the switch for it, step by step; false when it refuses. */
async function arranged(client: OpenFlowClient, wanted: Protocol): Promise<boolean> {
  const { dialect } = client;
  if (wanted.version !== dialect.version) return false;
  if (dialect.version !== OFP10_VERSION) return true;
  try {
    if ((dialect.isNxm ?? false) !== wanted.isNxm)
      await client.send([{ type: "set_flow_format", format: wanted.isNxm ? "nxm" : "openflow10" }]);
    if (dialect.flowModTableId !== wanted.hasTableId)
      await client.send([{ type: "flow_mod_table_id", isEnabled: wanted.hasTableId }]);
  } catch (thrown) {
    if (thrown instanceof OpenFlowRefusal) return false;
    throw thrown;
  }
  client.arrange({ isNxm: wanted.isNxm, flowModTableId: wanted.hasTableId });
  return true;
}
