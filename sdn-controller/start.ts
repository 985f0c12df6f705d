// Wires the SDN controller to its sockets: OpenFlow on a unix socket that the switch dials, OVSDB that it dials itself.
import { OvsdbClient, type OvsdbRow } from "../base/ovsdb/index.js";
import { ATTACHMENT_MONITOR, attachmentsOf } from "./channel/attachments.js";
import { OpenFlowListener } from "./channel/openflow-listener.js";
import { SdnController, type SdnControllerOptions, type SdnModules } from "./controller.js";

export interface SdnOptions extends SdnControllerOptions {
  /** Path of the unix socket on which switches are awaited. */
  readonly openflowSocket: string;
  /** Of the switch's database, such as "unix:/run/db.sock". */
  readonly ovsdbEndpoint: string;
  /** The integration bridge; "br-int" unless given. */
  readonly bridge?: string;
}

export interface Sdn {
  readonly controller: SdnController;
  /** Ends all channels. The switch keeps forwarding with the flows it has. */
  close(): Promise<void>;
}

/** Starts listening. Give the inventory with `controller.update`, then call `controller.inventoryComplete`. */
export async function startSdn(options: SdnOptions, modules: SdnModules): Promise<Sdn> {
  const controller = new SdnController(options, modules);
  const listener = await OpenFlowListener.open(
    {
      path: options.openflowSocket,
      eventsFor: () => controller.switchEvents(),
      onSwitch: (link) => controller.connectSwitch(link),
      onGone: (link) => controller.disconnectSwitch(link),
    },
    modules,
  );
  const bridge = options.bridge ?? "br-int";
  const refresh = (): void => {
    const rows = (table: string): ReadonlyMap<string, OvsdbRow> => database.rows(table);
    controller.setAttachments(attachmentsOf(bridge, rows));
  };
  const database: OvsdbClient = new OvsdbClient({
    endpoint: options.ovsdbEndpoint,
    monitor: ATTACHMENT_MONITOR,
    clock: modules.clock,
    log: modules.log,
    onChange: () => {
      if (database.isConnected) refresh();
    },
    onState: (connected) => {
      if (connected) refresh();
      else controller.attachmentsLost();
    },
  });
  return {
    controller,
    async close() {
      database.close();
      await listener.close();
      controller.close();
    },
  };
}
