// Bundle control and bundle add as bytes: the ONF's extension of OpenFlow 1.3 for what became part of 1.4.
// Source: ONF extension 230 (EXT-230), message layouts as in OpenFlow 1.4.1, 7.3.9. A reader here starts behind the
// experimenter type. Properties are skipped: none is known.

import { OFP_HEADER_SIZE } from "./constants.js";
import type { BundleAdd, BundleControl, BundleControlType } from "./extension-messages.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

export const ONFT_BUNDLE_CONTROL = 2300;
export const ONFT_BUNDLE_ADD_MESSAGE = 2301;

const OFPBCT: Readonly<Record<BundleControlType, number>> = {
  open_request: 0,
  open_reply: 1,
  close_request: 2,
  close_reply: 3,
  commit_request: 4,
  commit_reply: 5,
  discard_request: 6,
  discard_reply: 7,
};

export function readBundleControl(reader: Reader, xid: number): BundleControl {
  const bundleId = reader.u32("bundle_control.bundle_id");
  const at = reader.offset;
  const code = reader.u16("bundle_control.type");
  const control = nameOf(OFPBCT, code);
  if (control === undefined)
    throw reader.fail("OFPBFC_BAD_TYPE", "bundle_control.type", `unknown type ${code}`, at);
  const flags = reader.u16("bundle_control.flags");
  reader.skip(reader.left);
  return { type: "bundle_control", xid, bundleId, control, flags };
}

export function writeBundleControl(writer: Writer, message: BundleControl): void {
  writer.u32(message.bundleId).u16(OFPBCT[message.control]).u16(message.flags);
}

export function readBundleAdd(reader: Reader, xid: number): BundleAdd {
  const bundleId = reader.u32("bundle_add.bundle_id");
  reader.skip(2);
  const flags = reader.u16("bundle_add.flags");
  const at = reader.offset;
  const header = reader.within(
    Math.min(reader.left, OFP_HEADER_SIZE),
    "bundle_add.message",
    "OFPBFC_MSG_BAD_LEN",
  );
  header.skip(2);
  const length = header.u16("bundle_add.message.length");
  if (length < OFP_HEADER_SIZE || length > reader.end - at) {
    throw reader.fail(
      "OFPBFC_MSG_BAD_LEN",
      "bundle_add.message.length",
      `${length} of ${reader.end - at} bytes`,
      at,
    );
  }
  reader.offset = at;
  const message = reader.copy(length, "bundle_add.message");
  reader.skip(reader.left);
  return { type: "bundle_add", xid, bundleId, flags, message };
}

export function writeBundleAdd(writer: Writer, add: BundleAdd): void {
  writer.u32(add.bundleId).zero(2).u16(add.flags).put(add.message);
}
