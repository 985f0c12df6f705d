// Network namespaces for one test: one for the switch and one for each machine on it. They live as long as the processes
// in them, without names, and in a user namespace of their own where we are not root.
import { type ChildProcess, spawn } from "node:child_process";
import { readlinkSync } from "node:fs";
import { currentUid } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import { endChild, requirePrograms, run, runOk } from "./run.js";

const DEADLINE_MS = 15_000;

export class NetworkLab {
  readonly #holders = new Map<string, ChildProcess>();
  readonly #children: ChildProcess[] = [];
  readonly #isRoot = currentUid() === 0;

  /** "switch" and `machines`, each with its loopback up. */
  static async open(...machines: readonly string[]): Promise<NetworkLab> {
    requirePrograms("unshare", "nsenter", "ip", "ping", "iperf3");
    const lab = new NetworkLab();
    try {
      for (const name of ["switch", ...machines]) await lab.#hold(name);
      return lab;
    } catch (thrown) {
      await lab.close();
      throw thrown;
    }
  }

  /** The words that run a command in a namespace, in the same process. */
  enter(name: string): string[] {
    const pid = String(this.pid(name));
    return [
      "nsenter",
      "--target",
      pid,
      "--net",
      ...(this.#isRoot ? [] : ["--user", "--preserve-credentials"]),
    ];
  }

  /** A process in the namespace, by which `ip link set … netns` names it. */
  pid(name: string): number {
    const pid = this.#holders.get(name)?.pid;
    if (pid === undefined) throw new Error(`there is no namespace ${name}`);
    return pid;
  }

  /** Runs a program in a namespace; rejects when it fails. */
  exec(name: string, program: string, ...args: readonly string[]): Promise<string> {
    const [first = "", ...words] = [...this.enter(name), program, ...args];
    return runOk(first, words, { deadlineMs: 2 * DEADLINE_MS });
  }

  /** `ip` in a namespace. */
  ip(name: string, words: string): Promise<string> {
    return this.exec(name, "ip", ...words.split(" "));
  }

  /** Runs a program in the background until close(). */
  start(name: string, program: string, ...args: readonly string[]): ChildProcess {
    const [first = "", ...words] = [...this.enter(name), program, ...args];
    const child = spawn(first, words, { stdio: "ignore" });
    this.#children.push(child);
    return child;
  }

  /** Resolves when the address answers. */
  async reaches(name: string, address: string): Promise<void> {
    const [first = "", ...words] = [...this.enter(name), "ping", "-c", "1", "-W", "1", address];
    const answers = async (): Promise<boolean> => (await run(first, words)).code === 0;
    await waitFor(answers, () => `${name} does not reach ${address}`, DEADLINE_MS, 50);
  }

  /** Sends so much over TCP, e.g. "30M", from one machine to another; rejects when that fails. */
  async stream(from: string, to: string, address: string, amount: string): Promise<void> {
    await this.serve(to);
    await this.exec(from, "iperf3", "--client", address, "--bytes", amount);
  }

  /** Starts an iperf3 that serves one client, and waits until it listens. */
  async serve(name: string): Promise<void> {
    this.start(name, "iperf3", "--server", "--one-off");
    const listens = async (): Promise<boolean> => (await this.exec(name, "ss", "-tlnH")).includes(":5201");
    await waitFor(listens, () => `iperf3 does not listen in ${name}`, DEADLINE_MS, 20);
  }

  /** Ends everything that runs in the namespaces, which ends them. */
  async close(): Promise<void> {
    for (const child of [...this.#children, ...this.#holders.values()]) await endChild(child);
  }

  /** The same without waiting, for a program that has to end at once. */
  kill(): void {
    for (const child of [...this.#children, ...this.#holders.values()]) child.kill("SIGKILL");
  }

  async #hold(name: string): Promise<void> {
    const first = this.#holders.size === 0;
    const inside = !first && !this.#isRoot ? [...this.enter("switch")] : [];
    const [program = "", ...words] = [
      ...inside,
      "unshare",
      "--net",
      ...(first && !this.#isRoot ? ["--map-root-user"] : []),
      "sleep",
      "infinity",
    ];
    const holder = spawn(program, words, { stdio: "ignore" });
    this.#holders.set(name, holder);
    const others = [readlinkSync("/proc/self/ns/net")];
    for (const [other, { pid }] of this.#holders)
      if (other !== name) others.push(readlinkSync(`/proc/${pid}/ns/net`));
    const isApart = (): boolean => {
      if (holder.exitCode !== null) throw new Error("this system gives no network namespaces");
      return !others.includes(readlinkSync(`/proc/${holder.pid}/ns/net`));
    };
    await waitFor(isApart, () => `no namespace ${name}`, DEADLINE_MS, 5);
    await this.ip(name, "link set lo up");
  }
}
