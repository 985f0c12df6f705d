// The same OpenFlow messages to ovs-ofctl and to `plinth ofctl`: what each prints of them, message by message.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { printMessage } from "../../vswitch/cli/message-print.js";
import { run } from "./run.js";

const DEADLINE_MS = 120_000;
const BATCH_SIZE = 500;
/** Ends what was printed of one message; no message of a test has this xid with this type. */
const MARKER = Uint8Array.of(4, 2, 0, 8, 0xfe, 0xed, 0xfa, 0xce);
/** With its bytes, where those are wanted. */
const MARKER_TEXT =
  /^OFPT_ECHO_REQUEST \(OF1\.3\) \(xid=0xfeedface\): 0 bytes of payload\n(?:00000000 {2}04 02 00 08 fe ed fa ce-.*\n)?/m;

/** What `ovs-ofctl ofp-parse` prints of each message; one process for many. Every header must tell the true length. */
export async function printedByOvs(
  messages: readonly Uint8Array[],
  options: readonly string[] = [],
): Promise<string[]> {
  const directory = mkdtempSync("/tmp/print-");
  try {
    const printed: string[] = [];
    for (let at = 0; at < messages.length; at += BATCH_SIZE) {
      const batch = messages.slice(at, at + BATCH_SIZE);
      const file = join(directory, "messages");
      writeFileSync(file, Buffer.concat(batch.flatMap((message) => [message, MARKER])));
      const { stdout, stderr, code } = await run("ovs-ofctl", [...options, "ofp-parse", file], {
        deadlineMs: DEADLINE_MS,
      });
      const parts = stdout.split(MARKER_TEXT);
      if (code !== 0 || parts.length !== batch.length + 1)
        throw new Error(
          `ovs-ofctl ended with ${code} after ${parts.length} of ${batch.length}: ${stderr.slice(-500)}`,
        );
      printed.push(...parts.slice(0, -1));
    }
    return printed;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export interface PrintDifference {
  readonly bytes: Uint8Array;
  readonly theirs: string;
  readonly ours: string;
}

/** Every message that the two print differently. `verbosity` counts as that of ofp-parse, 2 without -m. */
export async function printDifferences(
  messages: readonly Uint8Array[],
  options: readonly string[] = [],
  verbosity = 2,
): Promise<PrintDifference[]> {
  const theirs = await printedByOvs(messages, options);
  return messages.flatMap((bytes, i) => {
    const ours = printMessage(bytes, { verbosity });
    return ours === theirs[i] ? [] : [{ bytes, theirs: theirs[i] as string, ours }];
  });
}
