// The line of a packet-in as ovs-ofctl prints it, without the packet. Pure.
import { OFP_NO_BUFFER, type PacketIn } from "../../base/openflow/index.js";
import { matchParts } from "./match-text.js";
import type { TextContext } from "./message-text.js";

const NO_COOKIE = 0xffffffffffffffffn;

export function formatPacketIn(message: PacketIn, { names }: TextContext): string {
  const size = message.data.byteLength;
  const isWhole = message.totalLength === size;
  const userdata = message.userdata ?? new Uint8Array(0);
  const parts = [
    ...(message.tableId === 0 ? [] : [`table_id=${message.tableId}`]),
    ...(message.cookie === NO_COOKIE ? [] : [`cookie=0x${message.cookie.toString(16)}`]),
    `total_len=${message.totalLength}`,
    ...(message.match.length === 0 ? [""] : [matchParts(message.match, names).join(",")]),
    `(via ${message.laterReason ?? message.reason})`,
    `data_len=${size}`,
    message.bufferId === OFP_NO_BUFFER
      ? `(unbuffered)${isWhole ? "" : " (***total_len != data_len***)"}`
      : `buffer=0x${message.bufferId.toString(16).padStart(8, "0")}${message.totalLength < size ? " (***total_len < data_len***)" : ""}`,
  ];
  const data =
    userdata.byteLength === 0
      ? ""
      : ` userdata=${Array.from(userdata, (byte) => byte.toString(16).padStart(2, "0")).join(".")}`;
  return `${parts.join(" ")}\n${data === "" ? "" : `${data}\n`}`;
}
