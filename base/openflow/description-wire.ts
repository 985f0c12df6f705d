// The description statistics as bytes, which all versions write alike.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5.1.

import type { SwitchDescription } from "./multipart.js";
import type { Reader, Writer } from "./wire.js";

const DESC_STR_SIZE = 256;
const SERIAL_SIZE = 32;

export function readDescription(reader: Reader): { readonly kind: "desc" } & SwitchDescription {
  return {
    kind: "desc",
    manufacturer: reader.text(DESC_STR_SIZE, "desc.mfr_desc"),
    hardware: reader.text(DESC_STR_SIZE, "desc.hw_desc"),
    software: reader.text(DESC_STR_SIZE, "desc.sw_desc"),
    serialNumber: reader.text(SERIAL_SIZE, "desc.serial_num"),
    datapath: reader.text(DESC_STR_SIZE, "desc.dp_desc"),
  };
}

export function writeDescription(writer: Writer, description: SwitchDescription): void {
  writer.text(description.manufacturer, DESC_STR_SIZE).text(description.hardware, DESC_STR_SIZE);
  writer.text(description.software, DESC_STR_SIZE).text(description.serialNumber, SERIAL_SIZE);
  writer.text(description.datapath, DESC_STR_SIZE);
}
