// What flow, group and meter modifications are refused with: the names of OpenFlow error codes are the codes.
//
// code        meaning                                          remedy
// OFPxxx_…    see OpenFlow 1.3.5, 7.4.4, clause of that code   mend the message; nothing of it was applied
import { PlinthError } from "../../base/errors/index.js";
import { OFP_ERRORS, type OfpErrorName } from "../../base/openflow/index.js";

/** The error to throw; `code` is the OpenFlow name, which OFP_ERRORS maps to the pair on the wire. */
export function flowError(name: OfpErrorName, message: string): PlinthError {
  return new PlinthError(name, `${message} (${name})`);
}

/** The pair for an OpenFlow error message, when `thrown` carries one. */
export function openFlowErrorOf(thrown: unknown): readonly [type: number, code: number] | undefined {
  if (!(thrown instanceof PlinthError) || !Object.hasOwn(OFP_ERRORS, thrown.code)) return undefined;
  return OFP_ERRORS[thrown.code as OfpErrorName];
}
