// `plinth ofctl monitor` and `snoop`: prints what the switch says unasked, until the user has seen enough.
import type { OpenFlowMessage } from "../../base/openflow/index.js";
import { commandError } from "./errors.js";
import { formatMessage } from "./message-print.js";
import type { OfctlContext } from "./ofctl-context.js";
import { toPlain } from "./plain-value.js";

const WHOLE_FRAMES = 0xffff;

/** MISSLEN is how much of a missed packet to show; "invalid_ttl" asks for packets whose time to live ran out. */
export async function monitor(context: OfctlContext, args: readonly string[]): Promise<number> {
  let missSendLength = WHOLE_FRAMES;
  for (const word of args) {
    if (/^\d{1,5}$/.test(word)) missSendLength = Math.min(Number(word), WHOLE_FRAMES);
    else if (word.startsWith("watch:"))
      throw commandError(`${word}: flow monitors are not spoken by this command`);
    else if (word !== "invalid_ttl" && word !== "resume")
      throw commandError(`${word}: unsupported "monitor" argument`);
  }
  await context.client.send([{ type: "set_config", flags: 0, missSendLength }]);
  return follow(context);
}

/** Everything that the switch tells, as it comes. Ends when the user or the switch ends it. */
async function follow(context: OfctlContext): Promise<number> {
  const names = await context.names();
  context.client.onMessage = (message: OpenFlowMessage): void => {
    if (context.flags.json) context.io.out(`${JSON.stringify(toPlain(message))}\n`);
    else context.io.out(formatMessage(message, names));
  };
  const ended = await Promise.race([context.io.interrupted.then(() => undefined), context.client.ended]);
  if (ended !== undefined) throw ended;
  return 0;
}
