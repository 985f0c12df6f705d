// What can go wrong around a virtual machine, with the remedy where the user has one.
//
// code                    meaning
// QMP_MALFORMED           QEMU's monitor sent something that is not QMP; the connection is closed
// QMP_TOO_LONG            a QMP message is larger than QMP_MESSAGE_SIZE_BYTES_MAX
// QMP_COMMAND_FAILED      QEMU refused a command; context.class and the message are its own words
// QMP_TIMEOUT             no answer before the deadline
// QMP_CLOSED              the monitor went away (QEMU ended, or was never there)
// PROGRAM_MISSING         a program on which we depend is not installed
// PROGRAM_FAILED          a program ended with an error; its last lines are in the message
// IMAGE_BUILD_FAILED      the guest image could not be made from the distribution's packages
// IMAGE_UNKNOWN           a virtual machine names an image that does not exist
// MACHINE_SPEC_INVALID    a machine cannot be built from this description; `field` says where
// MACHINE_START_FAILED    QEMU ended or stayed silent while starting; its last words are in the message
// MACHINE_STATE           the command does not apply in the machine's present state
// GUEST_AGENT_SILENT      the guest's command agent did not answer before the deadline
// GUEST_COMMAND_INVALID   an exec request is empty or larger than its limit
import { PlinthError, type PlinthErrorOptions } from "../base/errors/index.js";

export type HypervisorErrorCode =
  | "QMP_MALFORMED"
  | "QMP_TOO_LONG"
  | "QMP_COMMAND_FAILED"
  | "QMP_TIMEOUT"
  | "QMP_CLOSED"
  | "PROGRAM_MISSING"
  | "PROGRAM_FAILED"
  | "IMAGE_BUILD_FAILED"
  | "IMAGE_UNKNOWN"
  | "MACHINE_SPEC_INVALID"
  | "MACHINE_START_FAILED"
  | "MACHINE_STATE"
  | "GUEST_AGENT_SILENT"
  | "GUEST_COMMAND_INVALID";

/** A PlinthError with a code of this folder. */
export function hypervisorError(
  code: HypervisorErrorCode,
  message: string,
  options: PlinthErrorOptions = {},
): PlinthError {
  return new PlinthError(code, message, options);
}
