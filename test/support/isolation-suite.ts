// Nobody crosses into another tenant, and who is shut off reaches nobody, whatever bytes a machine sends: on a switch that
// really forwards, a few hundred frames of those that our own tables are held against by the thousand.
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import type { SdnController } from "../../sdn-controller/index.js";
import {
  BLUE,
  build,
  honest,
  machine,
  plans,
  RED,
  SHUT,
  stations,
  TENANT_PORTS,
  tenants,
} from "./tenants.js";

const DEADLINE_MS = 30_000;
const FRAMES = 50;
const RUNS = process.env["PLINTH_NIGHTLY"] === "1" ? 100 : 3;

interface Tools {
  controller(): SdnController;
  inject(ofport: number, frame: Uint8Array): Promise<void>;
  sentBy(ofport: number): Uint8Array[];
}

/** Takes the switch's ports for the tenants'; nothing else can be tested on it afterwards. */
export function isolationSuite({ controller, inject, sentBy }: Tools): void {
  describe("two tenants with the same VLAN, subnet and addresses", () => {
    let serial = 20_000;
    /** Frames that are no attempt, but tell that those before were handled. */
    const markers = new Set<string>();
    const textOf = (frame: Uint8Array): string => Buffer.from(frame).toString("hex");

    beforeAll(async () => {
      controller().update(tenants());
      controller().setAttachments(TENANT_PORTS);
      await waitFor(() => controller().isSettled, "the tenants' flows to be there", DEADLINE_MS);
    });

    /** Sends from one machine to another of its tenant, and resolves when it has arrived. */
    async function mark(from: string, to: string): Promise<void> {
      const [source, destination] = [machine(controller(), from), machine(controller(), to)];
      const frame = honest(source, destination, serial++);
      markers.add(textOf(frame));
      const port = TENANT_PORTS.get(to) as number;
      const before = sentBy(port).length;
      const hasArrived = (): boolean =>
        sentBy(port)
          .slice(before)
          .some((each) => textOf(each) === textOf(frame));
      await inject(TENANT_PORTS.get(from) as number, frame);
      await waitFor(hasArrived, `${from} to reach ${to}`, DEADLINE_MS, 2);
    }

    /** What came out of `watched` when `frames` were put in, markers apart. */
    async function leaked(
      frames: readonly { readonly at: number; readonly frame: Uint8Array }[],
      watched: readonly number[],
    ): Promise<string[]> {
      const before = new Map(watched.map((port) => [port, sentBy(port).length]));
      for (const { at, frame } of frames) await inject(at, frame);
      // Twice: a switch that polls port by port may see the first before a frame at another port.
      for (let round = 0; round < 2; round++)
        for (const tenant of ["red", "blue"]) {
          await mark(`${tenant}/a`, `${tenant}/b`);
          await mark(`${tenant}/b`, `${tenant}/a`);
        }
      return watched.flatMap((port) =>
        sentBy(port)
          .slice(before.get(port))
          .map(textOf)
          .filter((text) => !markers.has(text))
          .map((text) => `port ${port} sent ${text}`),
      );
    }

    it.each([
      ["red", RED, BLUE],
      ["blue", BLUE, RED],
    ] as const)(
      "are not reached from %s with any frame, not even from its network function",
      async (_name, from, others) => {
        const all = stations(controller());
        await fc.assert(
          fc.asyncProperty(fc.array(plans(from), { minLength: FRAMES, maxLength: FRAMES }), async (some) => {
            const frames = some.map((plan) => ({ at: plan.at, frame: build(plan, all) }));
            expect(await leaked(frames, others)).toEqual([]);
          }),
          { numRuns: RUNS, endOnFailure: true },
        );
      },
    );

    it("do not let a machine that policy shuts off reach another, whatever connections there are", async () => {
      const all = stations(controller());
      const [a, b] = [machine(controller(), "red/a"), machine(controller(), "red/b")];
      for (const port of [53, 80, 1000]) {
        for (const [at, to, frame] of [
          [1, 2, honest(a, b, 40_000, port)],
          [2, 1, honest(b, a, port, 40_000)],
        ] as const) {
          const before = sentBy(to).length;
          await inject(at, frame);
          await waitFor(() => sentBy(to).length > before, "the connection", DEADLINE_MS, 2);
        }
      }
      await fc.assert(
        fc.asyncProperty(fc.array(plans([SHUT]), { minLength: FRAMES, maxLength: FRAMES }), async (some) => {
          const frames = some.map((plan) => ({ at: SHUT, frame: build({ ...plan, macFrom: 2 }, all) }));
          expect(await leaked(frames, [1, 2])).toEqual([]);
        }),
        { numRuns: RUNS, endOnFailure: true },
      );
    });
  });
}
