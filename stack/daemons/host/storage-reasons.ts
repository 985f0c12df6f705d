// Refusals of storaged as reasons of conditions. Pure. Thread: any.

/** "VOLUME_IN_USE" as the reason of a condition: "VolumeInUse". */
export function reasonOf(code: string): string {
  return code
    .split("_")
    .map((word) => word.slice(0, 1) + word.slice(1).toLowerCase())
    .join("");
}
