// The SDN controller with the network and policies of the example, and a switch that it drives.
import { basename, dirname, join } from "node:path";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { type Leadership, type Sdn, type SdnEvent, startSdn } from "../../sdn-controller/index.js";
import { OFPORTS, POLICIES, policyChange, shopChanges } from "../../sdn-controller/testing/shop.js";

export const BRIDGE = "br-int";
const SETTLED_DEADLINE_MS = 20_000;

/** A switch as the controller meets it: ours, or a real Open vSwitch. */
export interface ShopSwitch {
  readonly dir: string;
  /** Where its database answers. */
  readonly endpoint: string;
  vsctl(...args: string[]): Promise<string>;
  addPort(bridge: string, name: string, ofport: number, interfaceId: string): Promise<void>;
}

/** Makes the bridge, points it at the controller and adds port `p<ofport>` for every attachment that `wanted` takes. */
export async function addShopBridge(device: ShopSwitch, wanted = (_id: string) => true): Promise<void> {
  const settings = ["datapath_type=netdev", "fail_mode=secure"];
  await device.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, ...settings);
  await device.vsctl("set-controller", BRIDGE, `unix:${openflowSocket(device)}`);
  for (const [id, ofport] of OFPORTS) {
    if (wanted(id)) await device.addPort(BRIDGE, `p${ofport}`, ofport, id);
  }
}

export async function startShopController(
  device: Pick<ShopSwitch, "dir" | "endpoint">,
  more: {
    readonly socket?: string;
    readonly leadership?: Leadership;
    readonly onEvent?: (event: SdnEvent) => void;
  } = {},
): Promise<Sdn> {
  const { socket = openflowSocket(device), leadership, onEvent = () => {} } = more;
  const outputs = { onStatus: () => {}, onEvent, onCondition: () => {} };
  const sdn = await startSdn(
    {
      openflowSocket: socket,
      ovsdbEndpoint: device.endpoint,
      outputs,
      ...(leadership === undefined ? {} : { leadership }),
    },
    { clock: systemClock, log: silentLog },
  );
  sdn.controller.update([...shopChanges(), ...POLICIES.map((policy) => policyChange(policy))]);
  sdn.controller.inventoryComplete();
  return sdn;
}

/**
 * Has the switch dial the controller at `socket` now. A real one's pauses grow to eight seconds whatever max_backoff says,
 * and are no subject of these tests. To take the controller away and bring it back would flush all flows: it gets another
 * name instead.
 */
export async function dialAgain(device: ShopSwitch, socket = openflowSocket(device)): Promise<void> {
  const names = [`unix:${socket}`, `unix:${dirname(socket)}/./${basename(socket)}`];
  const targets = (await device.vsctl("get-controller", BRIDGE)).trim().split("\n");
  const others = targets.filter((target) => !names.includes(target));
  const renamed = names.filter((name) => !targets.includes(name));
  await device.vsctl("set-controller", BRIDGE, ...renamed, ...others);
}

/** Resolves when the switch has every flow for every attachment. */
export async function settled({ controller }: Sdn): Promise<void> {
  const complete = (): boolean =>
    controller.isSettled && controller.metrics().flowsInstalled === controller.metrics().flowsDesired;
  await waitFor(
    () => complete() && [...OFPORTS.keys()].every((id) => controller.compiler.ofportOf(id) !== undefined),
    () => `the switch to have every flow: ${JSON.stringify(controller.metrics())}`,
    SETTLED_DEADLINE_MS,
  );
}

function openflowSocket(device: Pick<ShopSwitch, "dir">): string {
  return join(device.dir, "of.sock");
}
