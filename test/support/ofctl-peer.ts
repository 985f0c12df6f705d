// A switch that only listens: what ovs-ofctl sends it, as bytes.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { encodeMessage, parseMessage } from "../../base/openflow/index.js";
import { TABLE_FEATURES } from "../../vswitch/datapath/switch-features.js";
import { run } from "./run.js";

const OFPT_HELLO = 0;
const OFPT_FLOW_MOD = 14;
const DEADLINE_MS = 60_000;

/** The flow-mods that `ovs-ofctl -O OpenFlow13 add-flows` makes of the flows. Rejects with what it complains of. */
export async function flowModsOf(flows: readonly string[]): Promise<Uint8Array[]> {
  const directory = mkdtempSync("/tmp/peer-");
  const path = join(directory, "switch");
  const mods: Uint8Array[] = [];
  const server = createServer((socket) => serve(socket, mods));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    const file = join(directory, "flows");
    writeFileSync(file, `${flows.join("\n")}\n`);
    const args = ["-O", "OpenFlow13", "--timeout=30", "add-flows", `unix:${path}`, file];
    const { code, stdout, stderr } = await run("ovs-ofctl", args, { deadlineMs: DEADLINE_MS });
    if (code !== 0) throw new Error(`ovs-ofctl: ${stdout}${stderr}`);
    return mods;
  } finally {
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true, force: true });
  }
}

function serve(socket: Socket, mods: Uint8Array[]): void {
  let received = Buffer.alloc(0);
  socket.on("error", () => socket.destroy());
  socket.write(encodeMessage({ type: "hello", xid: 1, version: 4, versions: [4] }));
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 8) {
      const length = received.readUInt16BE(2);
      if (received.length < length) return;
      const message = Uint8Array.from(received.subarray(0, length));
      received = received.subarray(length);
      if (message[1] === OFPT_FLOW_MOD) mods.push(message);
      else if (message[1] !== OFPT_HELLO) answer(socket, message);
    }
  });
}

function answer(socket: Socket, bytes: Uint8Array): void {
  const message = parseMessage(bytes);
  const { xid } = message;
  if (message.type === "barrier_request") socket.write(encodeMessage({ type: "barrier_reply", xid }));
  else if (message.type === "echo_request")
    socket.write(encodeMessage({ type: "echo_reply", xid, data: message.data }));
  else if (message.type === "multipart_request") {
    const body =
      message.body.kind === "port_desc"
        ? ({ kind: "port_desc", ports: [] } as const)
        : ({ kind: "table_features", tables: TABLE_FEATURES.slice(0, 1) } as const);
    socket.write(encodeMessage({ type: "multipart_reply", xid, flags: 0, body }));
  }
}
