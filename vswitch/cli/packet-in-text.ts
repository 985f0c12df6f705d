// The line of a packet-in as ovs-ofctl prints it, without the packet. Pure.
import { type Continuation, OFP_NO_BUFFER, OFP13_VERSION, type PacketIn } from "../../base/openflow/index.js";
import { listText } from "./action-text.js";
import { formatHex } from "./field-text.js";
import { matchParts } from "./match-text.js";
import type { TextContext } from "./message-text.js";
import { packetInReason } from "./packet-in-bytes.js";

const NO_COOKIE = 0xffffffffffffffffn;

export function formatPacketIn(message: PacketIn, context: TextContext): string {
  const { names } = context;
  const size = message.data.byteLength;
  const isWhole = message.totalLength === size;
  const userdata = message.userdata ?? new Uint8Array(0);
  const parts = [
    ...(message.tableId === 0 ? [] : [`table_id=${message.tableId}`]),
    ...(message.cookie === NO_COOKIE ? [] : [`cookie=0x${message.cookie.toString(16)}`]),
    `total_len=${message.totalLength}`,
    ...(message.match.length === 0 ? [""] : [matchParts(message.match, names).join(",")]),
    `(via ${packetInReason(context.kind, context.bytes)})`,
    `data_len=${size}`,
    message.bufferId === OFP_NO_BUFFER
      ? `(unbuffered)${isWhole ? "" : " (***total_len != data_len***)"}`
      : `buffer=0x${message.bufferId.toString(16).padStart(8, "0")}${message.totalLength < size ? " (***total_len < data_len***)" : ""}`,
  ];
  const data =
    userdata.byteLength === 0
      ? ""
      : ` userdata=${Array.from(userdata, (byte) => byte.toString(16).padStart(2, "0")).join(".")}`;
  const { continuation } = message;
  const rest = continuation === undefined ? "" : formatContinuation(continuation, context);
  return `${parts.join(" ")}\n${data === "" ? "" : `${data}\n`}${rest}`;
}

/** What is left to do of a paused packet; in other versions than 1.3 its actions are not shown. */
function formatContinuation(
  { bridge, stack, frames, actionSet }: Continuation,
  context: TextContext,
): string {
  const is13 = context.version === OFP13_VERSION;
  const actions = frames
    .filter((frame) => is13 && frame.actions.length > 0)
    .flatMap((frame) => [
      `unroll_xlate(table=${frame.tableId}, cookie=${frame.cookie})`,
      listText(frame.actions),
    ]);
  const lines = [
    ...(bridge.every((byte) => byte === 0) ? [] : [`bridge=${formatUuid(bridge)}`]),
    ...(stack.length === 0
      ? []
      : [`stack=(top) ${[...stack].reverse().map(formatValue).join(" ")} (bottom)`]),
    ...(actions.length === 0 ? [] : [`actions=${actions.join(",")}`]),
    ...(is13 && actionSet.length > 0 ? [`action_set=${listText(actionSet)}`] : []),
  ];
  return lines.map((line) => ` continuation.${line}\n`).join("");
}

/** As four numbers of the machine's byte order, which is what it is sent as. */
function formatUuid(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const hex = [0, 4, 8, 12].map((at) => view.getUint32(at, true).toString(16).padStart(8, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

function formatValue(bytes: Uint8Array): string {
  return formatHex(BigInt(`0x${Buffer.from(bytes).toString("hex")}`));
}
