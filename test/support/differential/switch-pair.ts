// Open vSwitch and Plinth side by side, with the same bridge and the same ports, ready to be given the same cases.
import { waitFor } from "../../../base/time/index.js";
import { RealOvs } from "../real-ovs.js";
import { SwitchProcess } from "../switch.js";
import { BRIDGE, type Layout, WiredSwitch } from "./wired-switch.js";
import { DummyWire, StreamWire } from "./wires.js";

const DEADLINE_MS = 30_000;

export class SwitchPair {
  readonly real: WiredSwitch;
  readonly ours: WiredSwitch;
  readonly #stop: () => Promise<void>;

  private constructor(real: WiredSwitch, ours: WiredSwitch, stop: () => Promise<void>) {
    this.real = real;
    this.ours = ours;
    this.#stop = stop;
  }

  static async open(layout: Layout): Promise<SwitchPair> {
    const opened: (() => Promise<void>)[] = [];
    const stop = async (): Promise<void> => {
      for (const close of opened.splice(0).reverse()) await close();
    };
    try {
      const ovs = await RealOvs.start();
      opened.push(() => ovs.stop());
      await forgetCaches(ovs);
      const plinth = new SwitchProcess();
      opened.push(() => plinth.destroy());
      await plinth.start();
      const real = await WiredSwitch.open("Open vSwitch", ovs, DummyWire.wiring(ovs), layout);
      opened.push(() => real.close());
      const ours = await WiredSwitch.open("Plinth", plinth, StreamWire.lay, layout);
      opened.push(() => ours.close());
      return new SwitchPair(real, ours, stop);
    } catch (thrown) {
      await stop();
      throw thrown;
    }
  }

  /** The same on both, at the same time. */
  async both<Result>(work: (one: WiredSwitch) => Promise<Result>): Promise<{ real: Result; ours: Result }> {
    const [real, ours] = await Promise.all([work(this.real), work(this.ours)]);
    return { real, ours };
  }

  async close(): Promise<void> {
    await this.#stop();
  }
}

/**
 * Open vSwitch judges packets by cached flows for up to half a second after what they follow from has changed, be it
 * a table or a learned address. Without room for cached flows it translates every packet anew.
 */
async function forgetCaches(ovs: RealOvs): Promise<void> {
  await ovs.vsctl("set", "Open_vSwitch", ".", "other_config:flow-limit=0");
  await ovs.vsctl("add-br", BRIDGE);
  await waitFor(
    async () => /\(limit 0\)/.test(await ovs.appctl("upcall/show")),
    "Open vSwitch to stop caching flows",
    DEADLINE_MS,
  );
  await ovs.vsctl("del-br", BRIDGE);
}
