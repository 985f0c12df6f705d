// A port worker for tests that dies, or hangs, of certain frames that come in, or leave, by a stream port.
import { writeFileSync } from "node:fs";
import { workerData } from "node:worker_threads";
import { type Batch, PacketPool, StreamPort } from "../../base/packet/index.js";
import { WORKER_JUDGES, type WorkerLane } from "../port/index.js";
import { POISON_HANGS, POISON_MARK, POISON_NUMBER, POISON_TYPE } from "./poison.js";

/** The worker's own: it begins empty, and takes in what it is lent. */
let pool: PacketPool | undefined;

const adopt = PacketPool.prototype.adopt;
PacketPool.prototype.adopt = function (this: PacketPool, packet: number): void {
  pool = this;
  adopt.call(this, packet);
};

const receive = StreamPort.prototype.rx;
StreamPort.prototype.rx = function (this: StreamPort, batch: Batch): number {
  const before = batch.length;
  const count = receive.call(this, batch);
  for (let i = before; i < batch.length; i++) taste(batch.packets[i]!);
  return count;
};

const { lane } = (workerData as { readonly data: { readonly lane: WorkerLane } }).data;
const state = new Int32Array(lane.state);

/** Hangs only while the worker finishes frames itself: what the thread that judges sends may leave. */
const send = StreamPort.prototype.tx;
StreamPort.prototype.tx = function (this: StreamPort, batch: Batch): void {
  for (let i = 0; i < batch.length && (state[WORKER_JUDGES]! & 1) === 1; i++) {
    const packet = batch.packets[i]!;
    const { view, offset, length } = pool!;
    if (length[packet] !== 80 || view.getUint32(offset[packet]! + 60) !== POISON_NUMBER) continue;
    writeFileSync(POISON_MARK, "");
    for (;;);
  }
  send.call(this, batch);
};

function taste(packet: number): void {
  const { view, offset } = pool!;
  const at = offset[packet]!;
  if (view.getUint16(at + 12) !== POISON_TYPE) return;
  if (view.getUint8(at + 14) !== POISON_HANGS) throw new Error("poisoned");
  for (;;);
}

await import("../datapath/port-worker.js");
