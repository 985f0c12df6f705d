// What can be told to a bridge and to a port while it is there. Plain data: it is posted between threads.
import type { FlowLimit } from "../flow/index.js";
import type { MirrorConfig, VlanConfig } from "../learn/index.js";
import type { PolicingConfig } from "./policer.js";
import type { QosConfig } from "./queues.js";

export interface BridgeSettings {
  readonly macTableEntries: number;
  readonly macAgeingMs: number;
  /** VLANs without learning. */
  readonly floodVlans?: readonly number[];
  /** NORMAL forwards frames to reserved addresses like any other. */
  readonly forwardReserved?: boolean;
  /** How many VLAN tags of a frame are looked at: 1 or 2; when absent, 1 by NORMAL and mirrors, and all by flows. */
  readonly tagsRead?: number;
  readonly mirrors?: readonly MirrorConfig[];
  readonly flowLimits?: readonly FlowLimit[];
}

export interface PortSettings {
  readonly vlan: VlanConfig;
  /** Gets nothing from other protected ports. */
  readonly isProtected?: boolean;
  /** Absent: everything that the port receives comes in. */
  readonly policing?: PolicingConfig;
  /** Longer frames do not leave by the port; absent: it is for the port to say what it cannot carry. */
  readonly mtu?: number;
  /** What the port says of itself, where no device says it; absent: as before. */
  readonly shown?: { readonly mac: Uint8Array; readonly mtu: number };
  /** Absent: the port has no queues, and what leaves is not held up. */
  readonly qos?: QosConfig | undefined;
}

/** Whether two parts of settings say the same. */
export function isSame<Part>(a: Part, b: Part): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
