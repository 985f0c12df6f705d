// The example's app and db talk without a pause while something else happens to controller or switch.
import { TCP_ACK, TCP_SYN } from "../../base/wire/index.js";
import type { SdnController } from "../../sdn-controller/index.js";
import { bytesOf } from "../../sdn-controller/pipeline/flow.js";
import { OFPORTS } from "../../sdn-controller/testing/shop.js";
import { type End, tcpFrame } from "./pipeline-frames.js";
import { type Stream, underTraffic } from "./steady-traffic.js";

export interface Wires {
  inject(ofport: number, frame: Uint8Array): Promise<void>;
  sentBy(ofport: number): Uint8Array[];
}

/**
 * Runs `work` while an open connection's packets go both ways; all but `lostMax` per direction must arrive. Returns how
 * many were sent, per direction.
 */
export async function whileTalking(
  controller: SdnController,
  wires: Wires,
  work: () => Promise<void>,
  lostMax = 0,
): Promise<number> {
  const [app, db] = ["app", "db"].map((name) => {
    const view = controller.compiler.inventory.port(`shop/${name}`);
    if (view === undefined) throw new Error(`no port ${name}`);
    const ofport = OFPORTS.get(view.key) as number;
    return { ofport, mac: bytesOf(view.mac, 6), address: view.addresses[0] as number };
  }) as [End, End];
  const there = { source: 22_000, destination: 5432 };
  const back = { source: 5432, destination: 22_000 };
  const stream = (name: string, from: End, to: End, frame: Uint8Array): Stream => ({
    name,
    send: () => wires.inject(from.ofport, frame),
    arrived: () => wires.sentBy(to.ofport).length,
  });
  const once = (one: Stream): Promise<number> => underTraffic([one], 1, async () => {});
  await once(stream("opening", app, db, tcpFrame(app, db, there, TCP_SYN, 100, 0)));
  await once(stream("answer", db, app, tcpFrame(db, app, back, TCP_SYN | TCP_ACK, 500, 101)));
  const streams = [
    stream("requests", app, db, tcpFrame(app, db, there, TCP_ACK, 101, 501)),
    stream("replies", db, app, tcpFrame(db, app, back, TCP_ACK, 501, 101)),
  ];
  return underTraffic(streams, 50, work, lostMax);
}
