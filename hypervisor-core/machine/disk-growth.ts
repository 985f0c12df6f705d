// The size of a running machine's disks, as QEMU and so the guest see it. Source: QEMU QMP reference, block_resize.
import { type Clock, systemClock } from "../../base/time/index.js";
import type { QmpClient } from "../qmp/qmp-client.js";

interface NamedNode {
  readonly "node-name"?: unknown;
  readonly image?: { readonly "virtual-size"?: unknown };
}

const RECONNECT_DEADLINE_MS = 20_000;
const RETRY_MS = 100;

/** Bytes of disk `index`, as QEMU has told its guest; undefined when there is no such disk. */
export async function diskSize(monitor: QmpClient, index: number): Promise<number | undefined> {
  const nodes = (await monitor.execute("query-named-block-nodes", { flat: true })) as NamedNode[];
  const size = nodes.find((node) => node["node-name"] === nodeName(index))?.image?.["virtual-size"];
  return typeof size === "number" ? size : undefined;
}

/**
 * Makes the guest see that disk `index` has `sizeBytes`. The disk's server must have closed the connection before, and
 * must tell the new size to who connects: QEMU learns a size only while it connects (NBD, "Option haggling").
 * Throws QmpError when that did not happen in time.
 */
export async function growDisk(
  monitor: QmpClient,
  index: number,
  sizeBytes: number,
  clock: Clock = systemClock,
): Promise<void> {
  const endMs = clock.nowMs() + RECONNECT_DEADLINE_MS;
  for (;;) {
    // Any request makes QEMU connect again; a guest at rest would send none. QMP itself offers no read.
    const read = `qemu-io ${nodeName(index)} "read 0 512"`;
    await monitor.execute("human-monitor-command", { "command-line": read }, RECONNECT_DEADLINE_MS);
    try {
      await monitor.execute("block_resize", { "node-name": nodeName(index), size: sizeBytes });
      return;
    } catch (thrown) {
      if (clock.nowMs() > endMs) throw thrown;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

const nodeName = (index: number): string => `disk${index}`;
