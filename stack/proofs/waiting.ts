// Why machines do not run yet, in one line for people. Pure.

export interface WaitingMachine {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly phase?: unknown; readonly conditions?: unknown } | undefined;
}

/** "app, db: waiting for …; web1: Pending": machines that wait for the same are named together. */
export function describeWaiting(machines: readonly WaitingMachine[]): string {
  const byReason = new Map<string, string[]>();
  for (const machine of machines) {
    const reason = whyItWaits(machine);
    byReason.set(reason, [...(byReason.get(reason) ?? []), machine.metadata.name]);
  }
  return [...byReason].map(([reason, names]) => `${names.join(", ")}: ${reason}`).join("; ");
}

function whyItWaits({ status }: WaitingMachine): string {
  const conditions = (status?.conditions ?? []) as { type: string; status: string; message?: string }[];
  const failing = conditions.filter((each) => each.status === "False" && (each.message ?? "") !== "");
  // Ready sums up what the machine waits for; another condition may be false for good, such as Isolated.
  const told = failing.find(({ type }) => type === "Ready") ?? failing[0];
  return told?.message ?? String(status?.phase ?? "Pending");
}
