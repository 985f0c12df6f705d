// A bridge of the real datapath under the real OpenFlow agent, all in the test's own thread: ports are memory, and
// packets move when the test breathes.
import { join } from "node:path";
import { silentLog } from "../../base/log/index.js";
import { OFPP_LOCAL } from "../../base/openflow/index.js";
import { MemoryPort, PacketPool } from "../../base/packet/index.js";
import { systemClock } from "../../base/time/index.js";
import {
  DatapathSwitch,
  datapathHandlers,
  OpenFlowAgent,
  type RequestDatapath,
} from "../../vswitch/agent/index.js";
import { Datapath } from "../../vswitch/datapath/index.js";

const BRIDGE = "br0";

export class OpenFlowSwitch {
  readonly datapath: Datapath;
  readonly model: DatapathSwitch;
  readonly pool = new PacketPool({ slots: 512 });
  readonly ports = new Map<string, MemoryPort>();
  #agent: OpenFlowAgent | undefined;

  private constructor() {
    this.datapath = new Datapath({
      pool: this.pool,
      onEvents: (_bridge, events) => this.model.deliver(events),
    });
    const handlers = datapathHandlers(this.datapath, () => performance.now());
    const request: RequestDatapath = async (method, body) => handlers[method](body);
    this.model = new DatapathSwitch({
      bridge: BRIDGE,
      datapathId: 0x0000_0200_0000_0001n,
      version: "test",
      request,
    });
  }

  /** Ports vm1 (1), vm2 (2) and br0 (local); the management socket is `directory`/br0.mgmt. */
  static async open(directory: string): Promise<OpenFlowSwitch> {
    const created = new OpenFlowSwitch();
    created.datapath.addBridge(BRIDGE);
    created.addPort("vm1", 1);
    created.addPort("vm2", 2);
    created.addPort(BRIDGE, OFPP_LOCAL);
    created.#agent = await OpenFlowAgent.open(
      { managementSocket: join(directory, `${BRIDGE}.mgmt`) },
      { model: created.model, clock: systemClock, log: silentLog },
    );
    return created;
  }

  addPort(name: string, ofport: number): void {
    const port = new MemoryPort({ name, pool: this.pool });
    const mac = Uint8Array.of(2, 0, 0, 0, 0, ofport & 0xff);
    this.datapath.bridge(BRIDGE).addPort({ port, ofport, mac, mtu: 1500, nowMs: performance.now() });
    this.ports.set(name, port);
    this.datapath.deliver();
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
}
