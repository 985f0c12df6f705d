// Two controllers at one switch: who is its master, and what happens when that one is gone. Runs last on a switch that has
// the shop example: it gives the bridge other controllers.
import { join } from "node:path";
import { expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { Lease, openMemoryStore, type Store } from "../../base/store/index.js";
import { SimulatedClock, waitFor } from "../../base/time/index.js";
import type { Sdn, SdnMetrics } from "../../sdn-controller/index.js";
import { portInput } from "../../sdn-controller/testing/shop.js";
import { BRIDGE, dialAgain, type ShopSwitch, settled, startShopController } from "./shop-controller.js";
import { type Wires, whileTalking } from "./shop-traffic.js";

const DEADLINE_MS = 60_000;
const LEASE_MS = 10_000;

interface Instance {
  readonly sdn: Sdn;
  readonly target: string;
  /** Of its lease, so that no machine is too slow for it. */
  readonly clock: SimulatedClock;
}

export function rolesSuite(device: () => ShopSwitch, wires: Wires): void {
  async function start(name: string, store: Store, exclusive = false): Promise<Instance> {
    const clock = new SimulatedClock();
    const options = { key: "/lease", holder: name, durationMs: LEASE_MS, exclusive };
    const leadership = await Lease.open(options, { store, clock, log: silentLog });
    const socket = join(device().dir, `${name}.sock`);
    const sdn = await startShopController(device(), { socket, leadership });
    return { sdn, target: `unix:${socket}`, clock };
  }

  const has = ({ sdn }: Instance, role: SdnMetrics["role"]): Promise<void> =>
    waitFor(
      () => sdn.controller.metrics().role === role,
      () => `role ${role}: ${JSON.stringify(sdn.controller.metrics().role)}`,
      DEADLINE_MS,
    );

  /** What the switch's database says of the channel. */
  async function switchSays(one: Instance, role: string): Promise<void> {
    const find = ["--bare", "--columns=role", "find", "controller", `target="${one.target}"`];
    let said = "";
    await waitFor(
      async () => {
        said = (await device().vsctl(...find)).trim();
        return said === role;
      },
      () => `${one.target} to be ${role}, not ${said}`,
      DEADLINE_MS,
      200,
    );
  }

  it("has one master of two controllers, and the other when that is gone, without a flow touched or a packet lost", async () => {
    const store = openMemoryStore();
    const [a, b] = [await start("a", store), await start("b", store)];
    const instances = [a, b];
    try {
      await device().vsctl("set-controller", BRIDGE, a.target, b.target);
      await has(a, "master");
      await settled(a.sdn);
      await waitFor(() => b.sdn.controller.metrics().switchConnected, "the second channel", DEADLINE_MS);
      await switchSays(a, "master");
      await switchSays(b, "slave");
      // Labels that only matter to policies which are the same for both.
      const change = {
        kind: "Port",
        key: "shop/app",
        value: portInput("app", "back", { tier: "app" }),
      } as const;
      await whileTalking(b.sdn.controller, wires, async () => {
        for (const { sdn } of instances) sdn.controller.update([change]);
        await settled(a.sdn);
        expect(b.sdn.controller.metrics().changes).toEqual([]);
        // It gives nothing back: its lease has to run out.
        await a.sdn.close();
        b.clock.advance(LEASE_MS / 2);
        expect(b.sdn.controller.metrics().role).toBe("slave");
        for (let spentMs = 0; spentMs < 2 * LEASE_MS; spentMs += 1_000) {
          b.clock.advance(1_000);
          await new Promise((resolve) => setImmediate(resolve));
        }
        await has(b, "master");
        await settled(b.sdn);
      });
      expect(b.sdn.controller.metrics().changes).toMatchObject([
        { cause: "connect", added: 0, changed: 0, deleted: 0 },
      ]);

      // Another store, which knows nothing of these generations.
      const stranger = await start("a", openMemoryStore(), true);
      instances.push(stranger);
      await dialAgain(device(), join(device().dir, "a.sock"));
      await has(stranger, "master");
      await settled(stranger.sdn);
      const refused = { ...change, value: portInput("app", "back", { tier: "ops" }) };
      b.sdn.controller.update([refused]);
      await has(b, "slave");
      expect(b.sdn.controller.metrics()).toMatchObject({ flowsRefused: 0, changes: [{ cause: "connect" }] });
      stranger.sdn.controller.audit();
      await settled(stranger.sdn);
      expect(stranger.sdn.controller.metrics()).toMatchObject({ flowsRepaired: 0 });
    } finally {
      for (const { sdn } of instances) await sdn.close();
    }
  });
}
