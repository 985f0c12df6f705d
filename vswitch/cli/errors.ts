// What the command-line verbs refuse.
//
// code               meaning                                              remedy
// USAGE              unknown verb or wrong number of arguments            see --help of the command
// TABLE_UNKNOWN      no such table in the database                        names as in ovs-vswitchd.conf.db(5)
// COLUMN_UNKNOWN     no such column in the table                          the same
// ROW_UNKNOWN        no such record                                       `vsctl list TABLE` shows what there is
// KEY_UNKNOWN        the map has no such key                              –
// COMMAND_FAILED     a command cannot be carried out; the message is that of  as the message says
//                    Open vSwitch's own tool
// BRIDGE_EXISTS      add-br of a bridge that is there                     --may-exist
// PORT_EXISTS        add-port of a port that is there                     --may-exist
// FLOW_TEXT_INVALID  a flow that cannot be understood                     ovs-ofctl(8), Flow Syntax
// OPENFLOW_REFUSED   the switch answered with an error, named             mend the flow
// OPENFLOW_UNREACHABLE, OPENFLOW_CLOSED, OPENFLOW_TIMEOUT, OPENFLOW_MALFORMED
//                    nobody answers, or not in OpenFlow 1.3               is the bridge there, the switch running?
// Errors of the database keep its own texts: CONSTRAINT_VIOLATION, TIMED_OUT … (base/ovsdb/errors.ts).
import { PlinthError } from "../../base/errors/index.js";

/** USAGE, pointing to the help of `tool`. */
export function usageError(tool: string, message: string): PlinthError {
  return new PlinthError("USAGE", message, { remedy: `plinth ${tool} --help` });
}

/** FLOW_TEXT_INVALID. */
export function flowTextError(message: string): PlinthError {
  return new PlinthError("FLOW_TEXT_INVALID", message, { remedy: "see ovs-ofctl(8), Flow Syntax" });
}

/** COMMAND_FAILED: printed as "plinth ofctl: MESSAGE", as the original prints it behind its own name. */
export function commandError(message: string): PlinthError {
  return new PlinthError("COMMAND_FAILED", message);
}
