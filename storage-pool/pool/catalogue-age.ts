// Whether the catalogue is as new as the disks. One that was restored from an earlier copy does not know the volumes that
// were made since, and takes what was written since for what a crash left behind: opening by it would free both.
//
//   said on the disks                           of an opening by today's catalogue
//   stamp: the opening that used a disk last    below the pool's epoch, which is recorded before each opening, and before
//                                               use of a disk that came, or of a volume that grew or was put back
//   header of a log segment: volume             below the next number, which is recorded before a volume is written to
//   header of a log segment: epoch              below the volume's epoch, recorded likewise
//
// Invariant: asked before anything on a disk is changed. Thread: the pool's worker. Hot: no.
import type { Disk } from "../disk/disk.js";
import { storageError } from "../errors.js";
import { SEGMENT_LOG } from "../log/format.js";
import type { Segment } from "../log/segment-table.js";

/** What the catalogue says before an opening. */
export interface Known {
  /** Of the pool, in this opening. */
  readonly epoch: number;
  /** No volume ever had this number or a higher one. */
  readonly nextVolumeId: number;
  /** Of the volumes, in this opening. */
  readonly volumes: readonly { readonly id: number; readonly name: string; readonly epoch: number }[];
}

/** The highest that was found on the disks: a catalogue that says at least that is not older than they are. */
export interface FoundOnDisks {
  readonly epoch: number;
  readonly volumeId: number;
  /** Volume number → epoch; of the catalogue's volumes. */
  readonly epochs: Readonly<Record<number, number>>;
}

/** Findings that are told one by one; of the others the number. */
const TOLD_MAX = 4;

/** Throws CATALOGUE_OLD, with FoundOnDisks as its context. */
export function refuseOldCatalogue(
  disks: readonly Disk[],
  found: readonly Segment[],
  { epoch, nextVolumeId, volumes }: Known,
): void {
  const findings: string[] = [];
  let lastEpoch = 0;
  for (const disk of disks) {
    if (disk.missing) continue;
    lastEpoch = Math.max(lastEpoch, disk.lastEpoch);
    if (disk.lastEpoch < epoch) continue;
    findings.push(
      `${disk.file.path} was used in opening ${disk.lastEpoch} of the pool, and the catalogue knows of ${epoch - 1}`,
    );
  }
  const specs = new Map(volumes.map((volume) => [volume.id, volume]));
  const unknown = new Map<number, Segment>();
  const newer = new Map<number, Segment>();
  for (const segment of found) {
    if (segment.kind !== SEGMENT_LOG) continue;
    const spec = specs.get(segment.volume);
    if (segment.volume >= nextVolumeId) unknown.set(segment.volume, segment);
    else if (spec !== undefined && segment.epoch >= Math.max(spec.epoch, newer.get(spec.id)?.epoch ?? 0))
      newer.set(spec.id, segment);
  }
  for (const [volume, segment] of unknown)
    findings.push(`${pathOf(segment)} holds a log of volume ${volume}, which the catalogue never knew`);
  for (const [id, segment] of newer) {
    const { name, epoch: now } = specs.get(id) as Known["volumes"][number];
    findings.push(
      `${pathOf(segment)} holds a log of ${name} from its opening ${segment.epoch}, and the catalogue knows of ${now - 1}`,
    );
  }
  if (findings.length === 0) return;
  const others = findings.length > TOLD_MAX ? `; ${findings.length - TOLD_MAX} more` : "";
  const context: FoundOnDisks = {
    epoch: lastEpoch,
    volumeId: Math.max(0, ...unknown.keys()),
    epochs: Object.fromEntries([...newer].map(([id, segment]) => [id, segment.epoch])),
  };
  throw storageError(
    "CATALOGUE_OLD",
    `the catalogue is older than the disks: ${findings.slice(0, TOLD_MAX).join("; ")}${others}`,
    {
      remedy:
        "stop storaged and put the newest catalogue back; plinth pool accept goes on with this one and gives up what it does not know",
      context: { ...context },
    },
  );
}

function pathOf({ disks }: Segment): string {
  return disks[0]?.file.path ?? "a disk";
}
