// What a bridge tells the main thread. Plain data: it is posted between threads.
import type { FlowRemoved, PacketIn, PortStatus, Unsent } from "../../base/openflow/index.js";
import type { FlowChange } from "../flow/index.js";

export type BridgeEvent =
  | (Unsent<PacketIn> & {
      /** As the output action asked, or OFPCML_NO_BUFFER. */
      readonly maxLength: number;
      /** Of the `controller` action; 0 otherwise. */
      readonly controllerId: number;
      /** Why the reason is no_match: no flow matched, which only OpenFlow 1.0 is told of, or the table-miss flow did. */
      readonly miss?: "table" | "flow";
      /** Of the `controller` action, for packet-ins of the second form. */
      readonly userdata?: Uint8Array;
    })
  | Unsent<FlowRemoved>
  | Unsent<PortStatus>
  | (FlowChange & {
      /** As change() was told; 0 = nobody asked for it. */
      readonly origin: number;
      /** Of the message that caused it. */
      readonly xid: number;
    });
