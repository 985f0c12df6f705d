// Our switch and a real Open vSwitch, both with dummy ports, told the same things by the same ovs-vsctl, ovs-ofctl and
// ovs-appctl: what the two answer is to agree line by line, but for numbers that each counts by itself.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { describeError } from "../../base/errors/index.js";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import { RealOvs } from "./real-ovs.js";
import { requirePrograms, run, runOk } from "./run.js";
import { SwitchProcess } from "./switch.js";

const DEADLINE_MS = 20_000;

/** "vsctl …", "ofctl VERB BRIDGE …" or "appctl …", as a shell reads it without expansions: words, quoted or not. */
export type Line = string;

export class DummyTwins {
  readonly real: RealOvs;
  readonly ours: SwitchProcess;

  private constructor(real: RealOvs, ours: SwitchProcess) {
    this.real = real;
    this.ours = ours;
  }

  static async open(): Promise<DummyTwins> {
    requirePrograms("ovs-vsctl", "ovs-ofctl", "ovs-appctl");
    const ours = new SwitchProcess();
    let real: RealOvs | undefined;
    try {
      await ours.start("--enable-dummy=override");
      real = await RealOvs.start();
      return new DummyTwins(real, ours);
    } catch (thrown) {
      await real?.stop();
      await ours.destroy();
      throw thrown;
    }
  }

  /** Both do it, and must succeed. */
  async both(...lines: readonly Line[]): Promise<void> {
    for (const line of lines)
      await Promise.all(
        this.#sides.map((side) => {
          const [program, args] = side.command(line);
          return runOk(program, args, { deadlineMs: DEADLINE_MS });
        }),
      );
  }

  /**
   * What each says to a line of appctl, as the text that ovs-appctl would print: over connections that stay open, since
   * starting a program for every question takes longer than the question.
   */
  async told(line: Line): Promise<{ readonly ours: string; readonly real: string }> {
    const [, command = "", ...args] = wordsOf(line);
    this.#controls ??= await Promise.all(
      [this.real.path("vs.ctl"), this.ours.path("vswitchd.ctl")].map((path) =>
        connectJsonRpc({ kind: "unix", path }, { timeoutMs: DEADLINE_MS }),
      ),
    );
    const [real, ours] = await Promise.all(
      this.#controls.map((control) =>
        control.call(command, args, DEADLINE_MS).then(String, (error: unknown) => describeError(error)),
      ),
    );
    return { ours: ours as string, real: real as string };
  }
  #controls: JsonRpcConnection[] | undefined;

  /** What each says to it: exit code and output, without what only one of them could say. */
  async answers(line: Line): Promise<{ readonly ours: string; readonly real: string }> {
    const [real, ours] = await Promise.all(this.#sides.map((side) => answerOf(side, line)));
    return { ours: ours as string, real: real as string };
  }

  get #sides(): Side[] {
    return [
      sideOf(this.real.dir, this.real.path("vs.ctl"), this.real.endpoint),
      sideOf(this.ours.dir, this.ours.path("vswitchd.ctl"), this.ours.endpoint),
    ];
  }

  async close(): Promise<void> {
    for (const control of this.#controls ?? []) control.close();
    await this.ours.end();
    await this.ours.destroy();
    await this.real.stop();
    rmSync(this.real.dir, { recursive: true, force: true });
  }
}

interface Side {
  readonly dir: string;
  readonly command: (line: Line) => readonly [program: string, args: readonly string[]];
}

function sideOf(dir: string, control: string, database: string): Side {
  const command = (line: Line): readonly [string, readonly string[]] => {
    const [tool = "", ...words] = wordsOf(line.replaceAll("$DIR", dir));
    switch (tool) {
      case "vsctl":
        return ["ovs-vsctl", [`--db=${database}`, "--timeout=10", ...words]];
      case "appctl":
        return ["ovs-appctl", ["-T", "10", "-t", control, ...words]];
      default: {
        // The first word that names no option and no verb is the bridge.
        const at = words.findIndex((word) => /^br\d+$/.test(word));
        const placed = words.map((word, i) => (i === at ? `unix:${join(dir, `${word}.mgmt`)}` : word));
        return ["ovs-ofctl", ["--timeout=10", ...placed]];
      }
    }
  };
  return { dir, command };
}

/** Words between blanks; quotes of either kind keep blanks. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
    (match) => match[1] ?? match[2] ?? (match[3] as string),
  );
}

async function answerOf(side: Side, line: Line): Promise<string> {
  const [program, args] = side.command(line);
  const { code, stdout, stderr } = await run(program, args, { deadlineMs: DEADLINE_MS });
  return `${code}\n${stdout}${stderr}`
    .replaceAll(side.dir, "DIR")
    .replaceAll(/DIR\/(vs|vswitchd)\.ctl/g, "SOCKET")
    .replaceAll(/ ?\(xid=0x[0-9a-f]+\)/g, "")
    .replaceAll(/duration=[\d.]+s(, )?/g, "")
    .replaceAll(/(idle|hard)_age=\d+(, )?/g, "")
    .replaceAll(/addr:[0-9a-f:]{17}/g, "addr:MAC")
    .replaceAll(/^\d{4}-\d\d-\d\dT\S+Z\|/gm, "TIME|")
    .replaceAll(/hit:\d+ missed:\d+/g, "hit:N missed:N");
}
