// Waiting for an event that may never come.

/** What `event` gave, or undefined once `deadlineMs` has passed. */
export async function within<T>(event: Promise<T>, deadlineMs: number): Promise<T | undefined> {
  let cancel = (): void => {};
  const late = new Promise<undefined>((resolve) => {
    const timer = setTimeout(() => resolve(undefined), deadlineMs);
    cancel = () => clearTimeout(timer);
  });
  const happened = await Promise.race([event, late]);
  cancel();
  return happened;
}
