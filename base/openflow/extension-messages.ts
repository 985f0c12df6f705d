// Values of the messages that experimenters added: the ONF's bundles.
// Source: ONF extension 230. On the wire each is an experimenter message; see extension-wire.ts.

interface Base<T extends string> {
  readonly type: T;
  readonly xid: number;
}

export type BundleControlType =
  | "open_request"
  | "open_reply"
  | "close_request"
  | "close_reply"
  | "commit_request"
  | "commit_reply"
  | "discard_request"
  | "discard_reply";

export interface BundleControl extends Base<"bundle_control"> {
  readonly bundleId: number;
  readonly control: BundleControlType;
  /** OFPBF_* bits; the same in all messages of a bundle. */
  readonly flags: number;
}

export interface BundleAdd extends Base<"bundle_add"> {
  readonly bundleId: number;
  readonly flags: number;
  /** One whole message with its header, whose xid is that of this message. */
  readonly message: Uint8Array;
}

export type ExtensionMessage = BundleControl | BundleAdd;
