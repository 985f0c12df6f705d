// The worker for those who speak OpenFlow: while another process has the flows, nobody changes them here.
// Invariant: what was asked before open() is carried out in its order. Thread: main.
import type { DatapathHandle } from "../datapath/index.js";

export class GatedDatapath implements Pick<DatapathHandle, "call" | "settled" | "onEvent"> {
  readonly call: DatapathHandle["call"];
  readonly settled: DatapathHandle["settled"];
  readonly onEvent: DatapathHandle["onEvent"];
  open = (): void => {};

  constructor(datapath: DatapathHandle, isOpen: boolean) {
    const opened = isOpen
      ? Promise.resolve()
      : new Promise<void>((resolve) => {
          this.open = resolve;
        });
    this.call = async (method, body) => {
      await opened;
      return datapath.call(method, body);
    };
    this.settled = async () => {
      await opened;
      return datapath.settled();
    };
    this.onEvent = (bridge, listener) => datapath.onEvent(bridge, listener);
  }
}
