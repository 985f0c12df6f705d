// What ovs-appctl can ask about one packet: ofproto/trace, with the frame given as hex.
import { fromHex } from "../../base/bytes/index.js";
import { PlinthError } from "../../base/errors/index.js";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN } from "../../base/packet/index.js";
import type { DatapathHandle } from "../datapath/index.js";
import type { UnixctlCommand } from "./unixctl.js";

export function traceCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  return {
    "ofproto/trace": {
      usage: "BRIDGE in_port=PORT FRAME",
      argumentsMin: 3,
      argumentsMax: 3,
      run: ([bridge = "", input = "", hex = ""]) => {
        const port = /^in_port=(\d{1,10})$/.exec(input)?.[1];
        if (port === undefined)
          throw new PlinthError("TRACE_INVALID", `"${input.slice(0, 40)}" is not in_port=PORT`);
        return datapath.call("trace", { bridge, inPort: Number(port), frame: frameOf(hex) });
      },
    },
  };
}

function frameOf(hex: string): Uint8Array {
  if (!/^([0-9a-fA-F]{2})+$/.test(hex))
    throw new PlinthError("TRACE_INVALID", "the frame is not given in hex");
  const frame = fromHex(hex);
  if (frame.byteLength >= FRAME_SIZE_MIN && frame.byteLength <= FRAME_SIZE_MAX) return frame;
  throw new PlinthError("TRACE_INVALID", `a frame has ${FRAME_SIZE_MIN} to ${FRAME_SIZE_MAX} bytes`);
}
