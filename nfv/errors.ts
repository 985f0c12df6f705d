// What can go wrong in nfd that is not our bug, by code.
//
//   FUNCTION_INVALID    a field of function.apply is not what is expected; nothing was changed
//   FUNCTION_UNKNOWN    there is no function of that name
//   FUNCTIONS_TOO_MANY  nfd already runs FUNCTIONS_MAX functions
import { PlinthError } from "../base/errors/index.js";

export type NfvErrorCode = "FUNCTION_INVALID" | "FUNCTION_UNKNOWN" | "FUNCTIONS_TOO_MANY";

export function nfvError(code: NfvErrorCode, message: string, field?: string): PlinthError {
  return new PlinthError(code, message, field === undefined ? {} : { field });
}
