// The OpenFlow 1.3 codec and channel state machine, shared by the switch and the controller.

export * from "./actions.js";
export * from "./constants.js";
export * from "./error-codes.js";
export * from "./messages.js";
export * from "./multipart.js";
export * from "./oxm-fields.js";
