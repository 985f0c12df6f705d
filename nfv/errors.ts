// What can go wrong in nfd that is not our bug, by code.
//
//   FUNCTION_INVALID    a field of function.apply is not what is expected; nothing was changed
//   FUNCTION_UNKNOWN    there is no function of that name
//   FUNCTION_SOCKET_UNAVAILABLE
//                       the function's socket cannot be made: path too long, no directory, no permission, in use;
//                       nothing was changed
//   FUNCTIONS_TOO_MANY  nfd already runs FUNCTIONS_MAX functions
import { PlinthError } from "../base/errors/index.js";

export type NfvErrorCode =
  | "FUNCTION_INVALID"
  | "FUNCTION_SOCKET_UNAVAILABLE"
  | "FUNCTION_UNKNOWN"
  | "FUNCTIONS_TOO_MANY";

export function nfvError(code: NfvErrorCode, message: string, field?: string): PlinthError {
  return new PlinthError(code, message, field === undefined ? {} : { field });
}
