// What flow, group and meter modifications are refused with: the names of OpenFlow error codes are the codes.
//
// code        meaning                                          remedy
// OFPxxx_…    see OpenFlow 1.3.5, 7.4.4, clause of that code   mend the message; nothing of it was applied
import { PlinthError } from "../../base/errors/index.js";
import { isErrorName, type OfpErrorName } from "../../base/openflow/index.js";

/** The error to throw; `code` is the OpenFlow name, which the codec maps to the numbers on the wire. */
export function flowError(name: OfpErrorName, message: string): PlinthError {
  return new PlinthError(name, `${message} (${name})`);
}

/** The OpenFlow error that `thrown` carries, or undefined. */
export function openFlowErrorOf(thrown: unknown): OfpErrorName | undefined {
  return thrown instanceof PlinthError && isErrorName(thrown.code) ? thrown.code : undefined;
}
