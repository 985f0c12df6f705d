// How controllers reach the switch, configured with the real ovs-vsctl: TLS both ways, the versions that a bridge
// speaks, and what the Controller row says of it.
import { existsSync } from "node:fs";
import { createServer, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { readTlsFiles } from "../../base/tls/index.js";
import { runOfctl } from "../../vswitch/index.js";
import { ControllerPeer } from "../../vswitch/testing/controller-peer.js";
import { freePort } from "../support/controller-process.js";
import { createIdentity, type Identity } from "../support/identity.js";
import { flowMod, message } from "../support/openflow-bytes.js";
import { RawOpenFlow } from "../support/raw-openflow.js";
import { type RunResult, requirePrograms, run } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";
import { runInside } from "../support/tool-run.js";

const DEADLINE_MS = 30_000;

let daemon: SwitchProcess;

beforeEach(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl", "openssl");
  daemon = new SwitchProcess();
  await daemon.start();
  await daemon.vsctl("add-br", "br0");
});

afterEach(async () => {
  await daemon.destroy();
});

const identity = (name: string): Promise<Identity> => createIdentity((file) => daemon.path(file), name);

function status(column: string): Promise<string> {
  return daemon.vsctl("get", "controller", "br0", column);
}

function show(target: string, ...options: string[]): Promise<RunResult> {
  return run("ovs-ofctl", [...options, "--timeout=10", "show", target], { deadlineMs: DEADLINE_MS });
}

/** Without clocks, the name of the program and the words of OpenSSL, which each build has of its own. */
function normal({ code, stdout, stderr }: RunResult): readonly unknown[] {
  const said = stderr.split("\n").map((line) =>
    line
      .replace(/^[^|]+Z\|\d{5}\|/, "")
      .replace(/^(ovs-|plinth )ofctl: /, "")
      .replace(/(SSL_connect): .*/, "$1")
      // Which of the two the original says depends on whether the handshake fails before it first waits.
      .replace(/^connecting to (\S+) \(Protocol error\)/, "$1: failed to connect to socket (Protocol error)"),
  );
  return [code, stdout, said];
}

describe("a controller over TLS", () => {
  it("is let in where the switch listens when the CA of the SSL row signed it, and no other", async () => {
    const [ours, stranger] = [await identity("ours"), await identity("stranger")];
    const port = await freePort();
    await daemon.vsctl("set-ssl", ours.key, ours.certificate, ours.certificate);
    await daemon.vsctl("set-controller", "br0", `pssl:${port}:127.0.0.1`);
    const as = (who: typeof ours): Promise<RunResult> =>
      show(`ssl:127.0.0.1:${port}`, "-p", who.key, "-c", who.certificate, "-C", ours.certificate);
    const { code, stdout, stderr } = await as(ours);
    expect(`${code} ${stderr}`).toBe("0 ");
    expect(stdout).toContain("LOCAL(br0)");
    expect((await as(stranger)).code).toBe(1);
    expect((await as(ours)).code).toBe(0);
    const key = ["-p", ours.key];
    const both = [...key, "-c", ours.certificate];
    const target = `ssl:127.0.0.1:${port}`;
    const lines = [
      [...both, "-C", ours.certificate, "show", target],
      [...both, "-C", "none", "show", target],
      [...both, "-C", stranger.certificate, "show", target],
      [...both, "-C", ours.certificate, "show", "ssl:127.0.0.1:1"],
      [...both, "show", target],
      [...key, "show", target],
      ["--ca-cert", ours.certificate, "show", target],
      ["show", target],
      ["-p"],
    ];
    for (const line of lines) {
      const theirs = await run("ovs-ofctl", line, { deadlineMs: DEADLINE_MS });
      const told = await runInside("ofctl", runOfctl, line);
      expect([line, ...normal(told)]).toEqual([line, ...normal(theirs)]);
    }
    // Whether it hears why is a race.
    const asStranger = ["-p", stranger.key, "-c", stranger.certificate, "-C", ours.certificate];
    const turnedDown = await runInside("ofctl", runOfctl, [...asStranger, "show", target]);
    expect([turnedDown.code, turnedDown.stdout]).toEqual([1, ""]);
    expect(turnedDown.stderr).toContain(`${target}: failed to connect to socket (`);
  });

  it("is dialled, and only believed with the right CA", async () => {
    const [ours, theirs] = [await identity("ours"), await identity("theirs")];
    const peers: ControllerPeer[] = [];
    const files = {
      privateKey: theirs.key,
      certificate: theirs.certificate,
      caCert: ours.certificate,
      bootstrapCaCert: false,
    };
    const server = createServer(readTlsFiles(files), (socket: TLSSocket) => {
      peers.push(new ControllerPeer(socket));
    });
    server.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { readonly port: number };
    try {
      await daemon.vsctl("set-controller", "br0", `ssl:127.0.0.1:${port}`);
      await waitFor(
        async () => (await status("status")).includes("TLS needs a private key"),
        "no complaint about the missing SSL row",
        DEADLINE_MS,
      );
      await daemon.vsctl("set-ssl", ours.key, ours.certificate, ours.certificate);
      await waitFor(async () => (await status("status")).includes("self"), "no distrust", DEADLINE_MS);
      expect(await status("is_connected")).toBe("false");
      await daemon.vsctl("set-ssl", ours.key, ours.certificate, theirs.certificate);
      await waitFor(async () => (await status("is_connected")) === "true", "not connected", DEADLINE_MS);
      const peer = peers[peers.length - 1] as ControllerPeer;
      peer.send({ type: "role_request", role: "master", generationId: 1n });
      expect(await peer.next("role_reply")).toMatchObject({ role: "master" });
      await waitFor(async () => (await status("role")) === "master", "the role is not told", DEADLINE_MS);
      expect(await status("status")).toContain("state=ACTIVE");
    } finally {
      for (const { socket } of peers) socket.destroy();
      server.close();
    }
  });

  it("gives its CA certificate to a switch that is to trust its first one", async () => {
    const [ours, theirs] = [await identity("ours"), await identity("theirs")];
    const files = {
      privateKey: theirs.key,
      certificate: theirs.certificate,
      caCert: "none",
      bootstrapCaCert: false,
    };
    const peers: ControllerPeer[] = [];
    const server = createServer(readTlsFiles(files), (socket: TLSSocket) => {
      peers.push(new ControllerPeer(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { readonly port: number };
    try {
      const caCert = daemon.path("first.pem");
      await daemon.vsctl("--bootstrap", "set-ssl", ours.key, ours.certificate, caCert);
      await daemon.vsctl("set-controller", "br0", `ssl:127.0.0.1:${port}`);
      await waitFor(async () => (await status("is_connected")) === "true", "not connected", DEADLINE_MS);
      expect(existsSync(caCert)).toBe(true);
    } finally {
      for (const { socket } of peers) socket.destroy();
      server.close();
    }
  });
});

it("a bridge that goes tells that its flows are gone, as they asked for, and hangs up", async () => {
  const peer = new RawOpenFlow(daemon.path("br0.mgmt"), 4);
  const setConfig = message(9, [0, 0, 0xff, 0xff]);
  expect(await peer.ask(setConfig, flowMod({ flags: 1, priority: 9 }))).toEqual([]);
  await daemon.vsctl("add-br", "br1", "--", "del-br", "br0");
  const removed = await peer.next(11);
  expect([removed.readUInt16BE(16), removed[18]], "OFPRR_DELETE").toEqual([9, 2]);
  await waitFor(() => peer.isClosed, "the end of the connection", DEADLINE_MS, 10);
  expect(
    peer.messages.map((one) => one[1]),
    "nothing of its ports",
  ).toEqual([]);
});

describe("the protocols of a bridge", () => {
  it("are those that its connections agree on", async () => {
    const management = `unix:${daemon.path("br0.mgmt")}`;
    const versionOf = async (offered: string): Promise<string> => {
      const { code, stdout, stderr } = await show(management, "-O", offered);
      return code === 0
        ? (/\((OF1\.\d)\)/.exec(stdout)?.[1] ?? "OF1.0")
        : (/version negotiation/.exec(stderr)?.[0] ?? stderr);
    };
    expect(await versionOf("OpenFlow10,OpenFlow13")).toBe("OF1.3");
    await daemon.vsctl("set", "bridge", "br0", "protocols=OpenFlow10");
    expect(await versionOf("OpenFlow10,OpenFlow13")).toBe("OF1.0");
    expect(await versionOf("OpenFlow13")).toBe("version negotiation");
    await daemon.vsctl("set", "bridge", "br0", "protocols=OpenFlow13,OpenFlow15");
    expect(await versionOf("OpenFlow10,OpenFlow13,OpenFlow15")).toBe("OF1.3");
    expect(await versionOf("OpenFlow10")).toBe("version negotiation");
    await daemon.vsctl("clear", "bridge", "br0", "protocols");
    expect(await versionOf("OpenFlow10")).toBe("OF1.0");
  });
});
