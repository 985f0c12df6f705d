// A bridge of the real datapath under the real OpenFlow agent, all in the test's own thread: ports are memory, and
// packets move when the test breathes.
import { join } from "node:path";
import { createMonotonicClock } from "../../base/linux/index.js";
import { silentLog } from "../../base/log/index.js";
import { OFPP_LOCAL } from "../../base/openflow/index.js";
import { MemoryPort, PacketPool } from "../../base/packet/index.js";
import { systemClock } from "../../base/time/index.js";
import { OpenFlowAgent, type SwitchEvent } from "../../vswitch/agent/index.js";
import { datapathMethods } from "../../vswitch/datapath/control.js";
import { DatapathTime } from "../../vswitch/datapath/datapath-time.js";
import { BridgeModel, Datapath, type DatapathHandle } from "../../vswitch/datapath/index.js";
import type { PortFactory } from "../../vswitch/datapath/port-factory.js";
import type { DatapathMethods } from "../../vswitch/datapath/requests.js";

const BRIDGE = "br0";
const DATAPATH_ID = 0x0000_0200_0000_0001n;
const DESCRIPTION = {
  manufacturer: "Plinth",
  hardware: "memory ports",
  software: "test",
  serialNumber: "None",
  datapath: BRIDGE,
};

export class OpenFlowSwitch {
  readonly datapath: Datapath;
  readonly methods: DatapathMethods;
  readonly ports = new Map<string, MemoryPort>();
  readonly #listeners = new Set<(event: SwitchEvent) => void>();
  readonly #pool = new PacketPool({ slots: 512 });
  #agent: OpenFlowAgent | undefined;

  private constructor() {
    this.datapath = new Datapath({
      pool: this.#pool,
      onEvents: (_bridge, events) => {
        for (const event of events) for (const listener of this.#listeners) listener(event);
      },
    });
    const factory: Pick<PortFactory, "create" | "forget" | "kindOf"> = {
      create: ({ name }) => {
        const port = new MemoryPort({ name, pool: this.#pool });
        this.ports.set(name, port);
        return port;
      },
      forget: (name) => void this.ports.delete(name),
      kindOf: () => "",
    };
    this.methods = datapathMethods({
      datapath: this.datapath,
      factory: factory as PortFactory,
      time: new DatapathTime(createMonotonicClock()),
      watch: () => {},
      unwatch: () => {},
      restoreConnections: () => ({ connections: 0 }),
      checkConnections: () => {},
      rehearseConnections: () => {},
      banks: [],
      letSleep: () => undefined,
      leave: () => {},
    });
  }

  /** Ports vm1 (1), vm2 (2) and br0 (local); the management socket is `directory`/br0.mgmt. */
  static async open(directory: string): Promise<OpenFlowSwitch> {
    const created = new OpenFlowSwitch();
    created.methods.addBridge({ name: BRIDGE, macTableEntries: 1024, macAgeingMs: 300_000 });
    created.addPort("vm1", 1);
    created.addPort("vm2", 2);
    created.addPort(BRIDGE, OFPP_LOCAL);
    const model = new BridgeModel(created.#handle(), BRIDGE, DATAPATH_ID, DESCRIPTION);
    created.#agent = await OpenFlowAgent.open(
      { managementSocket: join(directory, `${BRIDGE}.mgmt`) },
      { model, clock: systemClock, log: silentLog },
    );
    return created;
  }

  addPort(name: string, ofport: number): void {
    const mac = Uint8Array.of(2, 0, 0, 0, 0, ofport & 0xff);
    const spec = { name, type: "memory", options: {}, mac, mtu: 1500 };
    this.methods.addPort({ bridge: BRIDGE, spec, ofport, vlan: { mode: "trunk", tag: 0, trunks: [] } });
  }

  get flowCount(): number {
    return this.datapath.bridge(BRIDGE).tables.flowCount;
  }

  /** A frame comes in by the port and goes where the tables send it. */
  inject(name: string, frame: Uint8Array): void {
    this.ports.get(name)?.inject(frame);
    this.datapath.breathe(performance.now());
  }

  takeSent(name: string): Uint8Array[] {
    return this.ports.get(name)?.takeSent() ?? [];
  }

  async close(): Promise<void> {
    await this.#agent?.close();
    this.datapath.close();
  }

  /** What DatapathHandle does across threads, in this one. */
  #handle(): Pick<DatapathHandle, "call" | "settled" | "onEvent"> {
    const call = async (method: keyof DatapathMethods, body: unknown): Promise<unknown> => {
      return (this.methods[method] as (body: unknown) => unknown)(body);
    };
    return {
      call: call as DatapathHandle["call"],
      settled: async () => {},
      onEvent: (_bridge, listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
    };
  }
}
