// What the datapath refuses to do.
//
// code                  meaning                                            remedy
// BRIDGE_EXISTS         a bridge of that name is there                     choose another name
// BRIDGE_UNKNOWN        no bridge of that name                             add it first
// TOO_MANY_BRIDGES      BRIDGES_MAX reached                                remove some
// PORT_EXISTS           name or number is taken in the bridge              choose another
// MAC_TABLE_FULL        every station of the MAC table is static    remove some
// PORT_UNKNOWN          no port of that name in the bridge                 –
// PORT_NUMBER_INVALID   not 1–65279 nor the local port                     choose another
// PORT_TYPE_UNKNOWN     no such type of interface                          see Open_vSwitch.iface_types
// PORT_OPTION_MISSING   the type needs an option, named in the message     set it
// PORT_OPTION_INVALID   an option has no value that there is               as the message says
// PORT_FAILED           the system refused it; the message says why        as the message says
// OFPxxx_…              an OpenFlow error, see ../flow/errors.ts
import { AssertionError } from "../../base/assert/index.js";
import { PlinthError } from "../../base/errors/index.js";

/** Runs what may be refused by the system; its errors become PORT_FAILED, our own bugs stay what they are. */
export function refusable<Result>(name: string, run: () => Result): Result {
  try {
    return run();
  } catch (thrown) {
    if (thrown instanceof PlinthError || thrown instanceof AssertionError) throw thrown;
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw new PlinthError("PORT_FAILED", `port ${name}: ${why}`, { cause: thrown });
  }
}
