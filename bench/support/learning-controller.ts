// A learning switch on the controller's own channel (listener, session, codec, link), for comparisons with controllers
// that others wrote: what it takes to answer a packet-in with a flow-mod.
//   node dist/bench/support/learning-controller.js SOCKET
import { silentLog } from "../../base/log/index.js";
import { OFP_NO_BUFFER, OFPG_ANY, OFPP_ANY, OFPP_FLOOD, type PacketIn } from "../../base/openflow/index.js";
import { systemClock } from "../../base/time/index.js";
import { OpenFlowListener } from "../../sdn-controller/channel/openflow-listener.js";
import type { SwitchLink, SwitchLinkEvents } from "../../sdn-controller/channel/switch-link.js";
import { output } from "../../sdn-controller/pipeline/actions.js";

const IDLE_SECONDS = 60;
const PRIORITY = 100;

/** Where the stations of one switch are. */
class LearningSwitch implements SwitchLinkEvents {
  link: SwitchLink | undefined;
  readonly #ports = new Map<number, number>();

  onPacketIn(message: PacketIn): void {
    const { data } = message;
    const entry = message.match.find(({ field }) => field === "in_port");
    if (entry === undefined || data.byteLength < 14) return;
    const { value } = entry;
    const inPort = numberAt(value, 0, 4);
    this.#ports.set(numberAt(data, 6, 6), inPort);
    const port = this.#ports.get(numberAt(data, 0, 6));
    const actions = [output(port ?? OFPP_FLOOD)];
    if (port !== undefined) {
      this.link?.send({
        type: "flow_mod",
        cookie: 0n,
        cookieMask: 0n,
        tableId: 0,
        command: "add",
        idleTimeoutSeconds: IDLE_SECONDS,
        hardTimeoutSeconds: 0,
        priority: PRIORITY,
        bufferId: OFP_NO_BUFFER,
        outPort: OFPP_ANY,
        outGroup: OFPG_ANY,
        flags: 0,
        match: [
          { field: "in_port", value },
          { field: "eth_dst", value: data.subarray(0, 6) },
          { field: "eth_src", value: data.subarray(6, 12) },
        ],
        instructions: [{ type: "apply_actions", actions }],
      });
    }
    this.link?.send({ type: "packet_out", bufferId: OFP_NO_BUFFER, inPort, actions, data });
  }

  onFlowRemoved(): void {}
  onSlave(): void {}
  onError(): void {}
}

function numberAt(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = at; i < at + size; i++) value = value * 256 + (bytes[i] as number);
  return value;
}

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: learning-controller SOCKET");
let latest = new LearningSwitch();
await OpenFlowListener.open(
  {
    path,
    eventsFor: () => {
      latest = new LearningSwitch();
      return latest;
    },
    onSwitch: (link) => {
      latest.link = link;
    },
    onGone: () => {},
  },
  { clock: systemClock, log: silentLog },
);
