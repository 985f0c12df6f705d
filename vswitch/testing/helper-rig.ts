// A bridge that tracks connections with a helper, for tests of FTP and TFTP.
import { CT_STATE_EST, CT_STATE_REL, type CtAction } from "../../base/openflow/index.js";
import { ACK, NAT_EXISTING, NEW, SYN, turn } from "./conversation.js";
import { type Ends, tcpFrame } from "./frames.js";
import { apply, field, match, output, Rig } from "./rig.js";
import { trackAction } from "./track-rig.js";

export const line = (text: string): Uint8Array => new TextEncoder().encode(`${text}\r\n`);
const MARK: CtAction["actions"] = [
  { type: "load", destination: { field: "ct_mark", offset: 0, bits: 32 }, value: 9n },
];

export interface HelperOptions {
  readonly alg?: number;
  readonly nat?: CtAction["actions"];
  /** Of the control connection; that of the alg when absent. */
  readonly port?: number;
}

/** Port 1 may open control connections to port 2; related ones are committed from either side, others are not let in. */
export function helperRig(ends: Required<Ends>, { alg = 21, nat = [], port = alg }: HelperOptions = {}): Rig {
  const rig = new Rig(2);
  const ip = field("eth_type", ends.source.includes(":") ? 0x86dd : 0x0800);
  const protocol = field("ip_proto", alg === 21 ? 6 : 17);
  const existing = nat.length === 0 ? [] : NAT_EXISTING;
  const both = (state: number, priority: number, actions: CtAction["actions"]): void => {
    for (const inPort of [1, 2])
      rig.flow({
        tableId: 1,
        priority,
        match: match(ip, field("in_port", inPort), field("ct_state", state, state)),
        instructions: [apply(trackAction({ commit: true, actions, tableId: 2 }))],
      });
  };
  rig.flow({
    match: match(ip, protocol),
    instructions: [apply(trackAction({ actions: existing, tableId: 1 }))],
  });
  rig.flow({
    tableId: 1,
    priority: 200,
    match: match(
      ip,
      protocol,
      field("in_port", 1),
      field("ct_state", NEW, NEW),
      field(alg === 21 ? "tcp_dst" : "udp_dst", port),
    ),
    instructions: [apply(trackAction({ commit: true, alg, actions: [...nat, ...MARK], tableId: 2 }))],
  });
  both(NEW | CT_STATE_REL, 300, existing);
  both(CT_STATE_EST, 100, existing);
  for (const port of [1, 2])
    rig.flow({ tableId: 2, match: match(field("in_port", port)), instructions: [apply(output(3 - port))] });
  // The grace after a start is over.
  rig.send(1, tcpFrame({ ...ends, destinationPort: 9 }, SYN));
  rig.nowMs += 1_000_000;
  return rig;
}

/** Opens the control connection, which the other side knows as `seen`: next numbers 101 and 501. Throws when it cannot. */
export function openControl(rig: Rig, ends: Required<Ends>, seen: Required<Ends> = ends): void {
  const nothing = new Uint8Array(0);
  const there = rig.where(1, tcpFrame(ends, SYN, nothing, { sequence: 100 }));
  const answer = tcpFrame(turn(seen), SYN | ACK, nothing, { sequence: 500, acknowledgment: 101 });
  const back = rig.where(2, answer);
  if (there[0] !== 2 || back[0] !== 1) throw new Error(`the control connection goes to ${there} and ${back}`);
  rig.send(1, tcpFrame(ends, ACK, nothing, { sequence: 101, acknowledgment: 501 }));
}

/** The client says this line first of all; the ports that it leaves by. */
export const say = (rig: Rig, ends: Required<Ends>, text: string): number[] =>
  rig.where(1, tcpFrame(ends, ACK, line(text), { sequence: 101, acknowledgment: 501 }));
/** The server does. */
export const answer = (rig: Rig, seen: Required<Ends>, text: string): number[] =>
  rig.where(2, tcpFrame(turn(seen), ACK, line(text), { sequence: 501, acknowledgment: 101 }));
