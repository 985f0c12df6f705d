// What a bridge tells the main thread. Plain data: it is posted between threads.
import type { FlowRemoved, PacketIn, PortStatus, Unsent } from "../../base/openflow/index.js";

export type BridgeEvent =
  | (Unsent<PacketIn> & {
      /** As the output action asked, or OFPCML_NO_BUFFER. */
      readonly maxLength: number;
      /** Of the `controller` action; 0 = every controller. */
      readonly controllerId: number;
      /** Of the `controller` action, for packet-ins of the second form. */
      readonly userdata?: Uint8Array;
    })
  | Unsent<FlowRemoved>
  | Unsent<PortStatus>;
