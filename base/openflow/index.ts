// The OpenFlow 1.3 codec and channel state machine, shared by the switch and the controller.

export { type ActionHead, type ActionShape, actionShape, peekAction } from "./action-shapes.js";
export * from "./actions.js";
export { OFPAT } from "./actions-wire.js";
export { type ChannelOptions, type ChannelOutput, ChannelSession, encodeError } from "./channel-session.js";
export * from "./constants.js";
export * from "./continuation.js";
export * from "./error-codes.js";
export * from "./extension-messages.js";
export * from "./flow-monitor.js";
export { OFPGT } from "./group-wire.js";
export { OFPIT } from "./instructions-wire.js";
export { readFixedMatch, readMatchFields, writeFixedMatch, writeMatchFields } from "./match-fields-wire.js";
export { inWireOrder } from "./match-order.js";
export { onesMask, prerequisiteHolds } from "./match-wire.js";
export { MessageBatch } from "./message-batch.js";
export { type MessageHeader, parseHeader } from "./message-header.js";
export { kindOf, type MessageKind, sizeFits } from "./message-kinds.js";
export { type AnyDialect, type Dialect, encodeMessage, OPENFLOW_13, parseMessage } from "./message-wire.js";
export * from "./messages.js";
export { OFPMBT } from "./meter-wire.js";
export * from "./multipart.js";
export { splitMultipartBody } from "./multipart-wire.js";
export { OFPR, reasonCode } from "./nicira-wire.js";
export * from "./oxm-fields.js";
export { type FieldNames, OXM_NAMES } from "./oxm-names.js";
export { isLoadable, loadsOf, setFieldOf } from "./set-field-loads.js";
export { OFP10_VERSION, widenPort } from "./v10/numbers.js";
export { featuresPortsMax } from "./v10/port-wire.js";
export {
  OFPFW_ALL,
  OFPFW_DL_DST,
  OFPFW_DL_SRC,
  OFPFW_DL_TYPE,
  OFPFW_DL_VLAN,
  OFPFW_DL_VLAN_PCP,
  OFPFW_IN_PORT,
  OFPFW_NW_DST_SHIFT,
  OFPFW_NW_PROTO,
  OFPFW_NW_SRC_SHIFT,
  OFPFW_NW_TOS,
  OFPFW_TP_DST,
  OFPFW_TP_SRC,
} from "./v10/wildcards.js";
export { Reader, type ReaderChecks, WireError } from "./wire.js";
