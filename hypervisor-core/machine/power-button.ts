// The power button of a machine, pressed until QEMU has ended or the guest's time is over.
import { PlinthError } from "../../base/errors/index.js";
import type { Clock } from "../../base/time/index.js";
import type { QmpClient } from "../qmp/qmp-client.js";
import { within } from "./within.js";

/** A guest that is still booting does not hear the button: it is pressed again. */
const BUTTON_REPEAT_MS = 1_500;
const ANSWER_DEADLINE_MS = 5_000;

/** Resolves when `gone` has, or after `graceMs`, or when QEMU does not answer; never throws for what QEMU does. */
export async function pressPowerButton(
  monitor: QmpClient,
  gone: Promise<void>,
  graceMs: number,
  clock: Clock,
): Promise<void> {
  try {
    await monitor.execute("cont", undefined, ANSWER_DEADLINE_MS); // A halted guest cannot hear the button.
    const endMs = clock.nowMs() + graceMs;
    const ended = gone.then(() => true);
    for (let leftMs = graceMs; leftMs > 0; leftMs = endMs - clock.nowMs()) {
      await monitor.execute("system_powerdown", undefined, ANSWER_DEADLINE_MS);
      if (await within(ended, Math.min(leftMs, BUTTON_REPEAT_MS))) return;
    }
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
  }
}
