// `plinth vswitchd` with one stream port per iface-id; the test is the machine at the other end of each. Configured with
// the real ovs-vsctl.
import { requirePrograms } from "./run.js";
import { StreamPeer } from "./stream-peer.js";
import { SwitchProcess } from "./switch.js";

export class PlinthSwitch extends SwitchProcess {
  readonly #peers = new Map<number, StreamPeer>();

  static async open(): Promise<PlinthSwitch> {
    requirePrograms("ovs-vsctl", "ovs-ofctl");
    const one = new PlinthSwitch();
    await one.start();
    return one;
  }

  /** A stream port of `bridge`; resolves when the switch has dialled it. */
  async addPort(bridge: string, name: string, ofport: number, interfaceId: string): Promise<void> {
    const peer = await StreamPeer.listen(this.path(`${name}.sock`));
    this.#peers.set(ofport, peer);
    await this.vsctl(
      ...[
        "add-port",
        bridge,
        name,
        "--",
        "set",
        "interface",
        name,
        "type=stream",
        `options:path=${peer.path}`,
      ],
      `ofport_request=${ofport}`,
      `external_ids:iface-id="${interfaceId}"`,
    );
    await peer.connected();
  }

  /** Deletes `bridge`, which is the only one with ports, and forgets what they sent. */
  async deleteBridge(bridge: string): Promise<void> {
    await this.vsctl("--if-exists", "del-br", bridge);
    await this.#hangUp();
  }

  /** Every port that was added is connected. */
  async plugged(): Promise<void> {
    for (const peer of this.#peers.values()) await peer.connected();
  }

  inject(ofport: number, frame: Uint8Array): void {
    this.#peers.get(ofport)?.send(frame);
  }

  sentBy(ofport: number): Uint8Array[] {
    return this.#peers.get(ofport)?.received ?? [];
  }

  override async destroy(): Promise<void> {
    await this.end("SIGTERM");
    await this.#hangUp();
    await super.destroy();
  }

  async #hangUp(): Promise<void> {
    for (const peer of this.#peers.values()) await peer.close();
    this.#peers.clear();
  }
}
