// The life of a network device of the host under a port: it must be there when the port is made; later it may be set
// down, go, and come back under the same name, which is looked for now and then.
// Thread: the datapath worker's.
import { PlinthError } from "../../base/errors/index.js";
import { IFF_RUNNING, IFF_UP, withNetDevices } from "../../base/linux/index.js";
import { DeviceWatch } from "./device-watch.js";

export interface DeviceLinkOptions {
  readonly name: string;
  /** The device's, when it is to be changed. */
  readonly mtu?: number;
  /** Begins to use the device with this index; throws a PlinthError when it cannot. */
  readonly open: (index: number) => void;
  /** The device that was opened is no longer used. */
  readonly close: () => void;
}

export class DeviceLink {
  isUp = false;
  /** Why the link is down; empty when it is up. */
  lastError = "";
  readonly #options: DeviceLinkOptions;
  readonly #watch: DeviceWatch;
  /** Of the device in use; 0 when there is none. */
  #index = 0;

  /** Throws DEVICE_UNKNOWN, or what setting up and opening the device throws. */
  constructor(options: DeviceLinkOptions) {
    const { name, mtu } = options;
    this.#options = options;
    this.#watch = new DeviceWatch(name);
    try {
      if (this.#watch.index === 0)
        throw new PlinthError("DEVICE_UNKNOWN", `could not open network device ${name} (No such device)`);
      if (mtu !== undefined) withNetDevices((devices) => devices.setMtu(name, mtu));
      this.#open();
    } catch (thrown) {
      this.#watch.close();
      throw namingDevice(thrown, name);
    }
  }

  /** Asks after the device when it is time to; true when it did. */
  poll(nowMs: number): boolean {
    if (!this.#watch.poll(nowMs)) return false;
    const { name } = this.#options;
    const { index } = this.#watch;
    if (this.#index !== 0 && index !== this.#index) this.#lose(`${name} has gone (No such device)`);
    if (this.#index === 0 && index !== 0) {
      try {
        this.#open();
      } catch (thrown) {
        if (!(thrown instanceof PlinthError)) throw thrown;
        this.lastError = thrown.message;
      }
    } else if (this.#index !== 0) this.#judge();
    return true;
  }

  /** What is open of the device is closed, and opened anew when it is asked after next. */
  restart(reason: string): void {
    if (this.#index !== 0) this.#lose(reason);
  }

  close(): void {
    if (this.#index !== 0) this.#lose("closed");
    this.#watch.close();
  }

  #open(): void {
    const { name, open } = this.#options;
    // As ever when a switch takes a device: it is of no use down.
    withNetDevices((devices) => devices.setUp(name, true));
    this.#watch.look();
    open(this.#watch.index);
    this.#index = this.#watch.index;
    this.#judge();
  }

  #judge(): void {
    const { flags } = this.#watch;
    this.isUp = (flags & IFF_UP) !== 0 && (flags & IFF_RUNNING) !== 0;
    this.lastError = this.isUp ? "" : `${this.#options.name} is down or has no carrier`;
  }

  #lose(reason: string): void {
    this.#index = 0;
    this.isUp = false;
    this.lastError = reason;
    this.#options.close();
  }
}

/** Says of trouble with the system which device it is about, as Open vSwitch words it. */
function namingDevice(thrown: unknown, name: string): unknown {
  const beginning = `could not open network device ${name}`;
  if (!(thrown instanceof PlinthError) || thrown.message.startsWith(beginning)) return thrown;
  return new PlinthError(thrown.code, `${beginning}: ${thrown.message}`, { cause: thrown });
}
