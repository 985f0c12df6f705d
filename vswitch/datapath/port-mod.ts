// What a port-mod may change. Source: OpenFlow 1.3.5, 7.3.4.3. Thread: datapath worker.
import type { PortMod } from "../../base/openflow/index.js";
import { flowError } from "../flow/index.js";
import { PORT_CONFIG_MASK, PORT_FEATURES_MASK, type PortSlot } from "./port-slot.js";

/** The port that is meant. Throws PlinthError with the OpenFlow error's name as code. */
export function checkPortMod(slot: PortSlot | null, mod: PortMod): PortSlot {
  if (slot === null) throw flowError("OFPPMFC_BAD_PORT", `there is no port ${mod.port}`);
  if (slot.mac.some((byte, i) => byte !== mod.macAddress[i]))
    throw flowError("OFPPMFC_BAD_HW_ADDR", `port ${mod.port} has another address`);
  if ((mod.mask & ~PORT_CONFIG_MASK) !== 0)
    throw flowError("OFPPMFC_BAD_CONFIG", `mask 0x${mod.mask.toString(16)}`);
  if ((mod.advertise & ~PORT_FEATURES_MASK) !== 0)
    throw flowError("OFPPMFC_BAD_ADVERTISE", `advertise 0x${mod.advertise.toString(16)}`);
  return slot;
}
